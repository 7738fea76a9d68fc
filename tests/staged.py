"""A tiny space with stages, for several tests."""

STAGED = """\
name: tiny-stages
seed: 3
data:
  train: {{files: [{corpus}]}}
  validation: {{fraction: 0.2}}
  tokenizer: bytes
  sequence_length: 16
objective: {{name: causal}}
stages:
  model: {{model_type: llama, hidden_size: 16, intermediate_size: 32,
          num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}}
  from: 1
  to: 3
  count: 3
  allocation: [20, 20, 24]
  candidates: {{operator: lag, index: every, block_size: 1, init: [duplicate, random]}}
training:
  batch_size: 4
  optimizer: {{name: adamw, lr: 3e-3}}
  schedule: {{name: cosine, warmup_steps: 2, continue: true, rewarm_steps: 2}}
evaluation: {{batches: 4}}
search: {{lag: 10}}
"""

LISTED = """\
stages:
  - model: {model_type: llama, num_hidden_layers: 1, hidden_size: 16, intermediate_size: 32,
            num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}
    steps: 20
  - target: {num_hidden_layers: 2}
    candidates: [{operator: lag, index: every, block_size: 1, init: [duplicate, random]}]
    steps: 20
  - target: {num_hidden_layers: 3}
    candidates: [{operator: lag, index: every, block_size: 1, init: [duplicate, random]}]
    steps: 24
"""
"""The same stages, written as a list."""


def as_list(text):
    """Return the space with its stages written as a list."""
    begin, end = text.index("stages:"), text.index("training:")
    return text[:begin] + LISTED + text[end:]
