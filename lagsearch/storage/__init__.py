"""Files that matter: written at once or not at all, and the cache."""
