"""Find the best way to grow a trained transformer, and say how sure that is.

    space = lagsearch.load_space("search_spaces/quickstart.yaml")
    lagsearch.plan(space)
    result = lagsearch.run(space, lag=200)

Importing this loads neither torch nor ray; the first call of a function does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from lagsearch.api import RunResult, run
    from lagsearch.planning.run import Plan, plan
    from lagsearch.planning.stage import StagePlan
    from lagsearch.records.benchmark import Benchmark, load_benchmark
    from lagsearch.space import Space, SpaceFile, load_space

__all__ = [
    "Benchmark",
    "Plan",
    "RunResult",
    "Space",
    "SpaceFile",
    "StagePlan",
    "__version__",
    "load_benchmark",
    "load_space",
    "plan",
    "run",
]

_HOMES = {
    "Benchmark": "lagsearch.records.benchmark",
    "load_benchmark": "lagsearch.records.benchmark",
    "StagePlan": "lagsearch.planning.stage",
    "RunResult": "lagsearch.api",
    "Space": "lagsearch.space",
    "SpaceFile": "lagsearch.space",
    "Plan": "lagsearch.planning.run",
    "load_space": "lagsearch.space",
    "plan": "lagsearch.planning.run",
    "run": "lagsearch.api",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lagsearch")
    if name not in _HOMES:
        raise AttributeError(f"module 'lagsearch' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
