"""`lagsearch grow`: one growth of a checkpoint on disk, without training."""

from lagsearch.growing.growth import Growth
from lagsearch.growing.request import Request, find_growth
from lagsearch.growing.writing import Grown, check_free, grow

__all__ = ["Grown", "Growth", "Request", "check_free", "find_growth", "grow"]
