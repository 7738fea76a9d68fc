"""The command line: `lagsearch`."""

from lagsearch.cli.commands import main

__all__ = ["main"]
