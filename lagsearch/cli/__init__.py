"""The command line: `lagsearch`."""

from lagsearch.cli.program import main

__all__ = ["main"]
