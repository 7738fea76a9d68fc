"""Small checkpoints."""

import torch

from lagsearch.data.tokens.tokenizers import byte_tokenizer
from lagsearch.models.build import fresh_model
from lagsearch.models.configs import build_config

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 3,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 259,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}


def save(folder, keys=None, kind="causal", seed=0, dtype=None):
    """Save a small model with its tokenizer; return its folder."""
    model = fresh_model(build_config(keys or LLAMA), kind, seed).to(dtype or torch.float32)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder
