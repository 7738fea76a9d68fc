"""What makes a grown model of a plan: weights and the state of its optimizer."""
