"""Sentences and tables of the numbers."""
