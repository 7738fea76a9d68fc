"""The house: which room imports which. Each line may use what stands below it, as it says."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import lagsearch

ROOT = Path(lagsearch.__file__).parent

EVERYWHERE = {"errors", "registry", "storage"}
MAY_IMPORT = {
    "cli": "api bench loggers hub init grow replay report records planning running data operators "
    "selection space display",
    "bench": "report replay running records operators selection space display",
    "api": "loggers running report planning records space display",
    "loggers": "records display",
    "init": "running planning training data operators models selection space display",
    "running": "grow planning training data records models selection space display",
    "grow": "hub planning operators models space display",
    "planning": "data operators models selection space display",
    "training": "records data operators models space display",
    "report": "hub records operators selection space display",
    "replay": "records selection",
    "records": "operators selection space",
    "data": "models space",
    "operators": "models",
    "hub": "records",
    "models": "",
    "space": "selection",
    "selection": "",
    "display": "",
    "callbacks": "",
    "registry": "",
    "storage": "",
    "errors": "",
}
MOST_FLOORS = 9
ONLY_HERE = {
    "optuna": {"running/optuna_study.py", "replay/rivals.py", "loggers/optuna.py"},
    "ray": {
        "running/workers/cluster.py",
        "running/workers/ray_tune.py",
        "running/workers/spread.py",
        "replay/rivals.py",
    },
    "tensorboardX": {"loggers/tensorboard.py"},
    "wandb": {"loggers/wandb.py", "records/logged_losses.py"},
    "mlflow": {"loggers/mlflow.py"},
    "matplotlib": {"report/pictures/as_matplotlib.py"},
    "lm_eval": {
        "running/evaluation/isolation.py",
        "running/evaluation/tasks.py",
        "running/evaluation/harness.py",
    },
}

SHARED_NAMES: dict[str, str] = {}
"""Public names that two files define, and why."""
MOST_SHARED_NAMES = 6

PATHS = sorted(ROOT.rglob("*.py"))


@cache
def imports_of(path):
    """Return every imported module, those inside functions and for types alone included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", PATHS, ids=[str(path.relative_to(ROOT)) for path in PATHS])
def test_a_room_imports_only_what_it_may(path):
    room = room_of(path)
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] == "lagsearch" and len(parts) > 1 and room != "__init__":
            allowed = {room, *EVERYWHERE, *MAY_IMPORT[room].split()}
            assert parts[1] in allowed, f"{path} imports {module}"
        if parts[0] in ONLY_HERE:
            assert str(path.relative_to(ROOT)) in ONLY_HERE[parts[0]], f"{path} imports {module}"


def test_rooms_stand_on_few_floors_and_in_no_circle():
    @cache
    def floor(room):  # a circle would never end
        below = {*MAY_IMPORT[room].split(), *({"errors"} if room != "errors" else ())}
        return 1 + max(map(floor, below), default=0)

    assert max(map(floor, MAY_IMPORT)) <= MOST_FLOORS


def test_a_room_is_a_line_of_the_table_and_every_line_a_room():
    rooms = {room_of(path) for path in PATHS}
    assert rooms == {*MAY_IMPORT, "__init__"}
    loose = [path.name for path in ROOT.iterdir() if path.is_file()]
    assert len(loose) <= 8, loose


def test_a_room_imports_all_that_the_table_grants_it():
    used = {room: set() for room in MAY_IMPORT}
    for path in PATHS:
        for module in imports_of(path):
            if module.startswith("lagsearch.") and room_of(path) in used:
                used[room_of(path)].add(module.split(".")[1])
    for room, granted in MAY_IMPORT.items():
        assert set(granted.split()) <= used[room], room


def test_space_and_selection_need_neither_torch_nor_transformers():
    for room in ("space", "selection"):
        for path in sorted((ROOT / room).glob("*.py")):
            heavy = {"torch", "ray", "transformers", "datasets"}
            found = heavy & {module.split(".")[0] for module in imports_of(path)}
            assert not found, f"{path} imports {found}"


MOST_LINES = 50
"""Of a function, its parameters included and its docstring not."""


def lines_of(function):
    said = function.body[0] if ast.get_docstring(function) else None
    own = 0 if said is None else said.end_lineno - said.lineno + 1
    return function.end_lineno - function.lineno + 1 - own


def test_no_function_is_long():
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = [
        f"{path.relative_to(ROOT)}: {node.name}, {lines_of(node)} lines"
        for path in PATHS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, functions) and lines_of(node) > MOST_LINES
    ]
    assert not long, long


def test_a_public_name_means_one_thing():
    homes: dict[str, set[str]] = {}
    for path in PATHS:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(str(path.relative_to(ROOT)))
    shared = {name: where for name, where in homes.items() if len(where) > 1}
    assert set(shared) <= set(SHARED_NAMES), {
        name: where for name, where in shared.items() if name not in SHARED_NAMES
    }
    assert len(SHARED_NAMES) <= MOST_SHARED_NAMES
    assert all(re.search(r"\w", reason) for reason in SHARED_NAMES.values())
