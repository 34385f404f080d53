"""Arrays to batches: who is in which split, samples, caches, augmentation, loaders."""
