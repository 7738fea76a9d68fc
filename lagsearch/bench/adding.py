"""Adds anyone's run to a benchmark."""

from pathlib import Path

from lagsearch.errors import RunFolderError
from lagsearch.records.benchmark import BENCHMARK_MANIFEST, add_run, read_manifest
from lagsearch.records.folder import RunFolder
from lagsearch.replay.replay import recordings

OWN = "own"
"""The half that added runs are in: neither the one that rules are chosen on nor the test."""


def add(folder: Path, path: Path, name: str | None = None) -> list[str]:
    """Add an oracle run: its space, plans and losses; no weights and no text.

    Args:
        folder: The benchmark's; made where there is none.
        path: The run folder; one with `stages` stands for the searches of its stages.
        name: What the run is called there; the run folder's name when left out.

    Returns:
        The names of what was added.

    Raises:
        RunFolderError: It is no complete oracle run, or another run has that name.
    """
    searches = RunFolder(path).stages()
    if not searches:
        raise RunFolderError(f"{path}: nothing was chosen in it")
    name = name or path.resolve().name
    names = {name if each.path == path else f"{name}-{each.path.name}": each for each in searches}
    if len(names) < len(searches):
        names = {f"{name}-{each.path.parent.name}-{each.path.name}": each for each in searches}
    manifest = read_manifest(folder)["runs"] if (folder / BENCHMARK_MANIFEST).is_file() else []
    for entry in manifest:
        if entry["run"] in names and entry["half"] != OWN:
            message = "is the name of a run of the design; give another with --name"
            raise RunFolderError(f"{path}: {entry['run']} {message}")
    for each in searches:
        recordings(each.path)
    for called, search in names.items():
        add_run(folder, search, called, {"half": OWN})
    return list(names)
