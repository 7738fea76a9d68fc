"""How many logits are formed at once."""

MOST_LOGITS = 2**28
"""Logits that are formed at once. In training each takes up to 16 bytes (as it is, in fp32, its
log-softmax, gradients): 4 GiB. Where a pass has more, its tokens are divided into equal parts."""
