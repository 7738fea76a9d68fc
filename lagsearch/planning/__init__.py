"""What a run would train, and at what cost, before anything is trained."""
