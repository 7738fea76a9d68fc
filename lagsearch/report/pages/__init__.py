"""Whole pages: HTML and Markdown."""
