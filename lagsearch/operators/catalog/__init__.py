"""All growth operators; a new one is a file here."""
