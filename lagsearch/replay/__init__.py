"""Other searches over curves that were recorded."""
