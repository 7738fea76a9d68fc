"""Texts: from files and from the hub to documents."""
