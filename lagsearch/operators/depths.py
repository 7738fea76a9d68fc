"""What an operator says of its settings where depths change, or where a word stands for layers."""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Any


@dataclass(frozen=True)
class Depths:
    """A growth, and the one that it is scaled to, in layers.

    Attributes:
        source: Layers before the growth.
        target: Layers after it.
        new_source: Layers before the other growth.
        new_target: Layers after that one.
    """

    source: int
    target: int
    new_source: int
    new_target: int


Settings = dict[str, Any]

Scale = Callable[[Settings, Depths], tuple[Settings, str]]
"""From settings, one value each, to those of the other growth, and what became of them in words."""


@dataclass(frozen=True)
class Indices:
    """A setting that names a layer: a stage may have a word for all that there are, or for some.

    Attributes:
        last: From the layers before and after the growth to the largest index; the least is 0.
    """

    last: Callable[[int, int], int]

    def at(self, source: int, target: int, stride: int) -> list[int]:
        """Return those of a growth, every `stride`-th of them."""
        return list(range(0, max(0, self.last(source, target)) + 1, stride))


def as_it_is(settings: Settings, depths: Depths) -> tuple[Settings, str]:
    """Keep settings: none of them names or counts layers."""
    return settings, ""


def same_share(place: int, last: int, new_last: int) -> int:
    """Return the place in 0..new_last that is as far along as another in 0..last."""
    return floor(place * new_last / last + 0.5) if last else 0


def nearest_divisor(wanted: float, n: int) -> int:
    """Return the divisor of n that is nearest in proportion; of two the larger."""
    divisors = [size for size in range(1, n + 1) if n % size == 0]
    return min(divisors, key=lambda size: (max(size / wanted, wanted / size), -size))
