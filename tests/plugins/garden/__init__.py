"""Things that are added to lagsearch from outside."""
