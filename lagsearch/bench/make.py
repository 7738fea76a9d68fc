"""Makes the runs of the benchmark, one after the other, and goes on where it was stopped."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from lagsearch.bench.design import STORIES, Design, facts_of, split
from lagsearch.bench.spaces import designed_space
from lagsearch.bench.texts import Texts
from lagsearch.display.watch import Watch
from lagsearch.errors import LagsearchError, RunFolderError, counted
from lagsearch.records.benchmark import BENCHMARK_MANIFEST, add_run, is_benchmark, read_manifest
from lagsearch.records.folder import RunFolder
from lagsearch.space import load_space
from lagsearch.storage.files import write_json


class _WithoutLosses(Watch):
    """Shows how far a run is and what failed, but no loss: nobody is to see those of a test."""

    def __init__(self, outer: Watch) -> None:
        self.outer, self.left, self.title = outer, 0, ""

    @override
    def begin(self, phase: str, ends: Mapping[str, int]) -> None:
        self.title, self.left = phase, len(ends)

    @override
    def finished(self, name: str) -> None:
        self.left -= 1
        self.outer.passing(f"{self.title}: {self.left} trainings left")

    @override
    def failed(self, name: str, reason: str) -> None:
        self.left -= 1
        self.outer.say(f"  {name}: failed, {reason}")


def run_folder(folder: Path, name: str) -> RunFolder:
    """Return where a run of a benchmark is made."""
    return RunFolder(folder / "runs" / name)


def made_runs(folder: Path) -> set[str]:
    """Return the names of the runs that are in the benchmark's file."""
    if not is_benchmark(folder):
        return set()
    return {each["run"] for each in read_manifest(folder)["runs"] if "recorded" in each}


def make(
    folder: Path,
    wanted: Sequence[Design],
    given: Path | None,
    watch: Watch,
    *,
    serial: bool = False,
) -> None:
    """Make runs that are not made yet.

    Args:
        folder: The benchmark's.
        wanted: Which runs, in this order.
        given: A folder of the public files, if any; runs that need others are named and left out.
        watch: Follows.
        serial: Train one candidate at a time, without Ray.

    Raises:
        LagsearchError: Some runs failed; all others are made.
        RunFolderError: The folder's manifest is no benchmark's.
    """
    if (folder / BENCHMARK_MANIFEST).is_file():
        read_manifest(folder)  # another's manifest is refused before anything trains
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / BENCHMARK_MANIFEST, split())
    failed = _make(folder, wanted, Texts(folder / "texts", given, watch.say), watch, serial)
    if failed:
        raise LagsearchError(
            f"bench make: {counted(len(failed), 'run')} failed: {'; '.join(failed)}"
        )


def _make(
    folder: Path, wanted: Sequence[Design], texts: Texts, watch: Watch, serial: bool
) -> list[str]:
    possible = []
    for design in wanted:
        why = next(filter(None, map(texts.lacks, _needs(design))), None)
        if why is None:
            possible.append(design)
        else:
            watch.say(f"{design.name}: left out, it {why}")
    left = [each for each in possible if each.name not in made_runs(folder)]
    watch.say(f"{len(possible) - len(left)} of {counted(len(possible), 'run')} made")
    failed, n_made, began = [], 0, time.monotonic()
    for number, design in enumerate(left, start=1):
        if design.name in made_runs(folder) or _is_taken(folder, design):
            continue
        at = len(possible) - len(left) + number
        watch.say(f"[{at}/{len(possible)}] {design.name}")
        run_began = time.monotonic()
        try:
            make_run(folder, design, texts, watch, serial=serial)
        except LagsearchError as error:
            if _is_taken(folder, design):
                continue
            failed.append(f"{design.name}: {error}")
            watch.say(f"  failed: {error}")
            continue
        now, n_made = time.monotonic(), n_made + 1
        still = (len(left) - number) * (now - began) / n_made
        watch.say(f"  made in {_words(now - run_began)}; about {_words(still)} left")
    return failed


def _is_taken(folder: Path, design: Design) -> bool:
    """Return whether another process is making a run: several may, side by side."""
    try:
        run_folder(folder, design.name).lock().release()
    except RunFolderError:
        return True
    return False


def _needs(design: Design) -> list[str]:
    """Return the texts that a run needs, and the checkpoint where it has one."""
    return [design.text] * (design.text != "python-stdlib") + [STORIES] * design.is_from_checkpoint


def make_run(
    folder: Path, design: Design, texts: Texts, watch: Watch, *, serial: bool = False
) -> None:
    """Make one run, or go on where it stopped, and write it to the benchmark's file."""
    from lagsearch.running.run import run_space

    run = run_folder(folder, design.name)
    places = {name: [str(path) for path in texts.find(name)] for name in _needs(design)}
    run_space(
        load_space(designed_space(design, places)),
        run.path,
        _WithoutLosses(watch),
        _no_report,
        serial=serial,
        baselines=False,
    )
    add_run(folder, run, design.name, facts_of(design))


def _no_report(path: Path) -> dict[str, Any]:
    """Write no report: `lagsearch report` makes it of any of the runs."""
    return {}


def _words(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes // 60} h {minutes % 60} min"
