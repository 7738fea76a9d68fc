"""One model in one process: growth, loop, optimizer, evaluation, FLOPs, state."""
