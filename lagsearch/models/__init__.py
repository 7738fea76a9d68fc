"""Hugging Face models seen as named tensors. Import from its modules: some need torch."""
