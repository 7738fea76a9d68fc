"""A wider tensor as slices of the source's places, for those that copy bytes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Slice:
    """Places of a target's axis that follow one another in the source, too.

    Attributes:
        source: The source's places.
        factor: What is multiplied by it there; where it is 0, the target has zeros.
    """

    source: range
    factor: float = 1.0


@dataclass(frozen=True)
class Slices:
    """A tensor made of another one's rows and columns; a vector is one row.

    An entry is the source's times the factors of its row and of its column.

    Attributes:
        rows: One slice after the other; none where it is the very same tensor.
        columns: Those of each row; none where rows are as they are.
    """

    rows: tuple[Slice, ...] = ()
    columns: tuple[Slice, ...] = ()

    @property
    def factors(self) -> frozenset[float]:
        """All factors."""
        return frozenset(each.factor for each in (*self.rows, *self.columns))


AS_IT_IS = Slices()
"""The very same tensor."""
