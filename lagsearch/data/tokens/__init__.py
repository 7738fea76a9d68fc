"""Tokens: encoded, stored, and drawn as batches."""
