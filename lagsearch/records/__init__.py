"""What a run leaves on disk: its folder, curves and results, read and written."""
