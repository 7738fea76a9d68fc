"""What a checkpoint brings along: its model card, and the way to the Hugging Face hub."""
