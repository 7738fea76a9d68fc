"""Corpora, tokenizers, the token store, batch(step) as a pure function, objectives."""
