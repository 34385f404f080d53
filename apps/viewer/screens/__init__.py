"""The two screens: the worklist, and the reading of one study."""
