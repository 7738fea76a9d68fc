"""Many candidates: in parallel with Ray Tune, or one after the other."""
