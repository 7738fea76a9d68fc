"""Small checkpoints."""

import json
from functools import cache

import tokenizers as hf
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


def save(folder, keys=None, kind="causal", seed=0, dtype=None, **saving):
    """Save a small model with its tokenizer; return its folder."""
    model = fresh_model(build_config(keys or LLAMA), kind, seed).to(dtype or torch.float32)
    model.save_pretrained(folder, **saving)
    byte_tokenizer().save_pretrained(folder)
    return folder


_TEXT = ["a cat and a dog sat on the mat", "the dog saw a cat", "Häuser und Bäume"] * 3
_SPECIAL = ["<|endoftext|>", "<|padding|>", "<unk>", "<s>", "</s>", "<pad>", "<mask>", "<bos>",
           "<eos>", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"]  # fmt: skip


@cache
def small_vocabulary(kind):
    """Return a small vocabulary, with all special tokens in it, and its merges."""
    if kind == "WordPiece":
        backend = hf.Tokenizer(hf.models.WordPiece(unk_token="[UNK]"))
        trainer = hf.trainers.WordPieceTrainer(
            vocab_size=90, special_tokens=_SPECIAL, show_progress=False
        )
        backend.pre_tokenizer = hf.pre_tokenizers.BertPreTokenizer()
    else:
        backend = hf.Tokenizer(hf.models.BPE())
        backend.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = hf.pre_tokenizers.ByteLevel.alphabet()
        trainer = hf.trainers.BpeTrainer(
            vocab_size=300, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    backend.train_from_iterator(_TEXT, trainer)
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], [tuple(each) for each in model.get("merges", [])]
