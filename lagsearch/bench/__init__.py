"""The benchmark: recorded growths that anyone may replay, make again, and add to."""
