"""A room imports only rooms above it."""

import ast
from pathlib import Path

import pytest

import lagsearch

ROOT = Path(lagsearch.__file__).parent

EVERYWHERE = {"errors", "storage", "cache"}
MAY_IMPORT = {
    "screen": set(),
    "console": {"screen"},
    "interrupts": {"screen"},
    "space": set(),
    "models": set(),
    "operators": {"models"},
    "data": {"space", "models"},
    "training": {"space", "models", "operators", "data"},
    "search": {"space", "training", "progress", "interrupts"},
    "selection": set(),
    "report": {"space", "operators", "training", "selection", "progress"},
    "progress": {"training", "screen", "console"},
    "notebook": {"operators", "report"},
    "cache_commands": {"terminal", "console", "screen"},
    "guideline": set(),
    "vocabulary": {"space", "models", "data"},
    "costs": {"space", "models", "operators", "training"},
    "domain": {"space", "models", "operators"},
    "listing": {"space", "operators"},
    "planning": {
        "notebook",
        *("space", "models", "operators", "training", "guideline", "vocabulary", "costs"),
        *("domain", "listing"),
    },
    "jobs": {"planning", "space", "models", "data", "training", "report"},
    "replay": {"space", "selection", "report", "search"},
    "downstream": {"space", "models", "training", "search", "report"},
    "searching": {"space", "selection", "report", "search", "training", "progress"},
    "sampling": {
        *("planning", "domain", "phases", "searching", "report", "search", "space", "storage"),
        "progress",
    },
    "phases": {
        *("planning", "jobs", "downstream", "searching", "report", "search", "training"),
        *("models", "progress"),
    },
    "staging": {"planning", "vocabulary", "space", "models", "notebook"},
    "courses": {"staging", "planning", "vocabulary", "space", "models", "report"},
    "stage": {
        *("staging", "planning", "jobs", "phases", "downstream", "vocabulary", "space", "data"),
        *("report", "sampling", "search", "training", "progress"),
    },
    "stages": {
        *("stage", "courses", "staging", "report", "search", "space", "training", "progress"),
    },
    "terminal": {
        *("planning", "staging", "operators", "report", "progress", "screen", "console"),
    },
    "describing": {"operators", "space", "screen", "console"},
    "planned": {"planning", "staging"},
    "editing": {"operators", "space"},
    "scaling": {"staging", "space", "models"},
    "init": {
        *("planning", "vocabulary", "space", "models", "operators", "data", "training", "search"),
        *("progress", "arguments"),
    },
    "arguments": {"space"},
    "growing": {"planning", "vocabulary", "space", "models", "operators", "progress"},
}
ONLY_HERE = {
    "optuna": {"search/study.py", "search/rivals.py"},
    "ray": {"search/ray_runner.py", "search/rivals.py"},
    "matplotlib": {
        *("report/figures.py", "report/staged_figures.py", "report/compared_figure.py"),
    },
    "lm_eval": {"training/sealed.py", "training/tasks.py", "training/harness.py"},
}


def imports_of(path):
    """Yield every imported module, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


PATHS = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", PATHS, ids=[str(path.relative_to(ROOT)) for path in PATHS])
def test_a_room_imports_only_what_it_may(path):
    room = room_of(path)
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] == "lagsearch" and room in {*MAY_IMPORT, *EVERYWHERE}:
            allowed = {room, *EVERYWHERE, *MAY_IMPORT.get(room, set())}
            assert parts[1] in allowed, f"{path} imports {module}"
        if parts[0] in ONLY_HERE:
            assert str(path.relative_to(ROOT)) in ONLY_HERE[parts[0]], f"{path} imports {module}"


def test_space_and_plans_need_neither_torch_nor_transformers():
    for room in ("space", "selection"):
        for path in sorted((ROOT / room).glob("*.py")):
            heavy = {"torch", "ray", "transformers", "datasets"}
            found = heavy & {module.split(".")[0] for module in imports_of(path)}
            assert not found, f"{path} imports {found}"


def test_all_rooms_have_a_rule():
    rooms = {room_of(path) for path in PATHS}
    assert rooms == {*MAY_IMPORT, *EVERYWHERE, "cli", "pipeline", "__init__"}
