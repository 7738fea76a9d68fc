"""A run: stages, search, winners, in this process or in workers."""
