"""The numbers of a report, from records alone."""
