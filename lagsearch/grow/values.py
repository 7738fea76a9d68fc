"""Stored values as numpy sees their bytes: looked through, and put together anew."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.errors import ModelError
from lagsearch.models.headers import FLOATS, ITEM_BYTES, StoredTensor
from lagsearch.operators.plan.slices import Slice

_Bits = NDArray[np.unsignedinteger[Any]]

_INFINITY: Mapping[str, int] = {
    "F16": 0x7C00,
    "BF16": 0x7F80,
    "F32": 0x7F800000,
    "F64": 0x7FF0000000000000,
}
"""Infinity's bits: larger ones are NaN, each without the sign's bit."""


def check_numbers(
    tensor: StoredTensor, chunk: memoryview, everything: Callable[[], Iterable[memoryview]]
) -> None:
    """Check that all values are numbers.

    The bits of NaN and infinity are the largest of their sign, whether read as signed or as
    unsigned: two maxima tell.

    Args:
        tensor: Whose values they are.
        chunk: The bytes of some of them.
        everything: Returns those of all, to count what is wrong.

    Raises:
        ModelError: Some are not.
    """
    if tensor.dtype not in FLOATS or not chunk:
        return
    width, infinity = ITEM_BYTES[tensor.dtype], _INFINITY[tensor.dtype]
    signed, unsigned = np.frombuffer(chunk, f"<i{width}"), np.frombuffer(chunk, f"<u{width}")
    sign = 1 << (8 * width - 1)
    if signed.max() < infinity and int(unsigned.max()) < infinity + sign:
        return
    broken = sum(
        int(((np.frombuffer(each, f"<u{width}") & infinity) == infinity).sum())
        for each in everything()
    )
    count = tensor.size // width
    raise ModelError(
        f"{tensor.place}: {broken:,} of its {count:,} values are NaN or infinite; the source "
        "computes nothing"
    )


def with_factors(
    chunk: memoryview, dtype: str, n_columns: int, columns: Sequence[Slice], factor: float
) -> memoryview:
    """Return rows with other columns, times factors, as bytes: rounded once, as torch does.

    Args:
        chunk: The bytes of whole rows.
        dtype: The type of their values.
        n_columns: How many each row has.
        columns: Which the new rows have; all, as they are, where there are none.
        factor: What all are multiplied by.
    """
    rows: _Bits = np.frombuffer(chunk, f"<u{ITEM_BYTES[dtype]}").reshape(-1, n_columns)
    columns = columns or [Slice(range(n_columns))]
    parts = {
        part: _times(rows[:, part.source.start : part.source.stop], dtype, part.factor * factor)
        for part in dict.fromkeys(columns)
    }
    made = np.empty((len(rows), sum(len(each.source) for each in columns)), rows.dtype)
    np.concatenate([parts[each] for each in columns], axis=1, out=made)
    return made.data.cast("B")


def _times(bits: _Bits, dtype: str, factor: float) -> _Bits:
    """Multiply values, given and returned as their bits."""
    if factor == 1:
        return bits
    if factor == 0:
        return np.zeros_like(bits)
    if dtype != "BF16":
        kind = np.dtype(f"<f{ITEM_BYTES[dtype]}")
        wide = np.promote_types(kind, np.float32)
        values = bits.view(kind).astype(wide) * wide.type(factor)
        rounded: _Bits = values.astype(kind).view(bits.dtype)
        return rounded
    wide_bits = bits.astype("<u4")
    wide_bits <<= 16
    values = wide_bits.view("<f4")
    values *= np.float32(factor)
    rounding = wide_bits >> 16
    rounding &= 1  # of two that are as near, to the even one
    rounding += 0x7FFF
    wide_bits += rounding
    wide_bits >>= 16
    return wide_bits.astype(bits.dtype)
