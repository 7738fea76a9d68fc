"""Growths as data."""
