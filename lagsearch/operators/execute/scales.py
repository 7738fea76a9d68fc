"""Factors of whole tensors that are widened; torch is not needed."""

import math

from lagsearch.models.families import Axis, Weight
from lagsearch.operators.plan.width import Width


def scale_of(width: Width, weight: Weight, *, is_last_norm: bool = False) -> float:
    """Return the factor of a tensor, beside the shares of copies.

    It makes up for what new units take from the mean square of a norm, and for the factor of
    embeddings that follows from the width. With e the factor of the norms' eps, and c the share of
    copies among what one of them spans, gains get the root of c, and what the norm takes comes in
    with the root of e / c.
    """
    scale = 1.0
    if weight.role == "embedding":
        scale *= width.embedding_scale
    if is_last_norm and width.is_tied:  # the head is the embedding
        scale /= width.embedding_scale
    if weight.role == "norm":
        scale *= _root_of_copies(width, weight.axes[0])
    if weight.normed_over is not None:
        scale *= width.head_norm_scale / _root_of_copies(width, weight.normed_over)
    return scale


def _root_of_copies(width: Width, axis: Axis) -> float:
    if axis == "residual":
        return width.gain_scale
    return math.sqrt(width.copied_share(axis)) if width.scales_norms else 1.0
