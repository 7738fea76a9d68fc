"""`python -m lagsearch.cli`: the same as `lagsearch`."""

from lagsearch.cli import main

main()
