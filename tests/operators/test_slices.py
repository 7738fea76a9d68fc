"""Wider tensors put together of rows and columns are what the executor computes, to the bit."""

from dataclasses import replace

import pytest
import torch

from lagsearch.grow.shards import WrittenTensor, _pieces
from lagsearch.models.families import FAMILIES, UNITS
from lagsearch.models.headers import StoredTensor
from lagsearch.operators.build.width import padded
from lagsearch.operators.execute.shapes import n_units, widened_shape
from lagsearch.operators.execute.slices import slices_of
from lagsearch.operators.execute.widen import Widened, widen
from lagsearch.operators.plan.width import Lift, Width

TYPES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}
SEVERAL = ("query", "key_value", "qkv_blocks", "qkv_per_head", "qkv_per_group")
"""Axes that have several places in their innermost units."""


def copies(split, residual, heads, ffn):
    """Return a width whose new units are all copies: residual 6, heads 2 x 3, ffn 10 before."""
    sizes = zip((6, 2, 3, 10), (residual, *heads, ffn), strict=True)
    return Width(*(Lift(source, target, target, split) for source, target in sizes))


ZEROS = Width(
    *(padded("zero", "zero", "zero")(*each) for each in ((6, 14), (2, 3), (3, 5), (10, 23))),
    new_gain="zero",
)
WIDTHS = {
    "even, tied": replace(copies("even", 14, (3, 5), 23), is_tied=True, embedding_scale=0.65),
    "own": copies("own", 18, (2, 3), 20),
    "own, heads": copies("own", 14, (3, 5), 23),
    "zeros": ZEROS,
    "zeros, norms scaled": replace(
        ZEROS, gain_scale=0.65, scales_norms=True, head_norm_scale=0.8, is_tied=True
    ),
}


def shape_of(weight, width):
    """Return the shape of a source tensor."""

    def size(axis):
        if not UNITS.get(axis):
            return 5
        return n_units(axis, width.before) * (2 if axis in SEVERAL else 1)

    return tuple(map(size, weight.axes))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("family", FAMILIES.all(), ids=lambda family: family.name)
def test_they_are_what_the_executor_computes(tmp_path, family, width, dtype):
    compared = 0
    for weight in (*family.layer, *family.bottom, *family.top):
        shape = shape_of(weight, width)
        is_last_norm = weight in family.top and weight.role in ("norm", "shift")
        slices = slices_of(width, weight, shape, is_last_norm=is_last_norm)
        if slices is None:
            continue
        compared += 1
        generator = torch.Generator().manual_seed(compared)
        source = torch.randn(shape, generator=generator).to(dtype)
        wider = widened_shape(width, weight, shape)
        what = Widened(weight, source, None, is_last_norm)
        expected = widen(width, what, torch.zeros(wider, dtype=dtype)).to(dtype)
        data = bytes(source.view(torch.uint8).numpy())
        (tmp_path / "file").write_bytes(data)
        stored = StoredTensor(tmp_path / "file", "w", TYPES[dtype], shape, 0, len(data))
        entry = WrittenTensor("w", TYPES[dtype], wider, stored, slices=slices)
        pieces = _pieces(entry, stored, memoryview(bytearray(64)))
        made = b"".join(bytes(piece) for _, piece in pieces)
        assert made == bytes(expected.contiguous().view(torch.uint8).numpy()), weight
    assert compared
