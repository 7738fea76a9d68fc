"""`python -m lagsearch`: the same as `lagsearch`."""

from lagsearch.cli import main

main()
