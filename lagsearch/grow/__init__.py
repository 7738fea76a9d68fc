"""`lagsearch grow`: one growth of a checkpoint on disk, without training."""

from lagsearch.grow.growth import Growth
from lagsearch.grow.request import GrowRequest, find_growth
from lagsearch.grow.writing import (
    Grown,
    check_free,
    grow,
)

__all__ = ["GrowRequest", "Grown", "Growth", "check_free", "find_growth", "grow"]
