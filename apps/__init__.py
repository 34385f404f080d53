"""Apps on top of medfuse; each is thin, and builds and trains nothing."""
