"""What measuring fewer batches where nothing is decided changes, on recorded runs.

    python tests/benchmarks/thinning.py [--share 4] [--start 0.25] [--raw] [RUNS ...]

By default the committed runs of 8 batches and more. At the steps that a space thins today, only the
first of the recorded batches are kept, as a run with `evaluation: {thin: true}` would have measured
them, and the report is made of both. Rankings at K and at completion must be the same. `--share 2`
keeps a half instead of a quarter; `--start 1` thins all steps before K but the half, not only
those before a quarter of K; `--raw` takes the plain mean of the batches that are kept, without
moving it by how far they lay from the mean of all before (`lagsearch.records.curve.level`).
Searches are replayed on both: means over the runs, each over its seeds. No test calls it.
"""

import argparse
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lagsearch.errors import RunFolderError
from lagsearch.records import curve as curves
from lagsearch.records.curve import Curve, Evaluation, level
from lagsearch.records.folder import RunFolder
from lagsearch.records.run import Recorded, read_run
from lagsearch.records.search import Searched, conclude
from lagsearch.replay.replay import RIVALS, measured_signals, plays, recordings_of
from lagsearch.report.numbers.stage import build_numbers
from lagsearch.report.numbers.trust import with_oracle, without_oracle
from lagsearch.report.numbers.worth import judge_growing
from lagsearch.space import thinned_steps

REPORTS = Path(__file__).parents[2] / "reports"


def kept(batches: int, share: int) -> int:
    """Return how many of some batches are kept."""
    return batches if batches < 8 else max(4, -(-batches // share))


def thinned(found: Curve, steps: frozenset[int], share: int) -> Curve:
    """Return a curve with fewer batches at some steps."""
    whole: tuple[float, ...] = ()
    evaluations: list[Evaluation] = []
    for each in found.evaluations:
        if each.step not in steps:
            whole = each.val_loss_batches
            evaluations.append(each)
            continue
        size = kept(len(each.val_loss_batches), share)
        losses = each.val_loss_batches[:size]
        evaluations.append(
            replace(
                each,
                val_loss=level(losses, whole),
                val_loss_batches=losses,
                ema_batches=each.ema_batches[:size],
                parts={name: part[:size] for name, part in each.parts.items()},
            )
        )
    return Curve(tuple(evaluations), found.failure)


def steps_of(run: Recorded, start: float | None) -> frozenset[int]:
    """Return the steps that are thinned: today's, or those before a share of K but the half."""
    if start is None:
        return thinned_steps(run.space)
    half = max(step for step in run.table.steps if step <= run.lag / 2)
    early = {step for step in run.table.steps if 0 < step < start * run.lag and step != half}
    return frozenset(early - run.terms.annealed.keys())


def thinned_run(run: Recorded, steps: frozenset[int], share: int, where: Path) -> Recorded:
    """Return a run as it would have been."""
    by_seed = {
        name: tuple(thinned(each, steps, share) for each in found)
        for name, found in run.by_seed.items()
    }
    found = conclude(run.terms, by_seed, where)
    assert isinstance(found, Searched), where
    baselines = {
        name: replace(
            each,
            by_seed=tuple(thinned(one, steps, share) for one in each.by_seed),
            curve=thinned(each.curve, steps, share),
        )
        for name, each in run.baselines.items()
    }
    return replace(run, **vars(found), baselines=baselines)


@dataclass(frozen=True)
class Made:
    """A report, and what it says."""

    run: Recorded
    report: dict[str, Any]

    @staticmethod
    def of(run: Recorded) -> "Made":
        """Make it."""
        return Made(run, build_numbers(run))

    @property
    def words(self) -> tuple[str, ...]:
        """The verdicts: by what all came to, by K alone, and on growing."""
        grown = judge_growing(self.report) if self.report["growing"] else []
        by_end = with_oracle(self.report)[0] if self.report["oracle"] else "-"
        return by_end, without_oracle(self.report)[0], " / ".join(each.outcome for each in grown)

    @property
    def transition(self) -> Any:
        """The phase transition."""
        found = self.report["phase_transition"]
        return found and (found["step"], found["agree_since"])

    @property
    def expected(self) -> float:
        """The expected regret."""
        found = self.report["doubt"]["expected_regret"]
        return found["value"] if found else nan

    @property
    def forecast(self) -> Any:
        """Who is forecast to lead."""
        found = self.report["doubt"]["outlook"]
        return found and found["forecast"]

    def spearman(self, step: int) -> float:
        """The correlation with the end."""
        found = self.report["oracle"] and self.report["oracle"]["spearman"].get(str(step))
        return nan if not found or found["value"] is None else found["value"]


def folders(paths: list[Path]) -> Iterator[RunFolder]:
    """Yield the folders of searches."""
    for path in paths:
        with suppress(RunFolderError):
            yield from RunFolder(path).stages()


def regrets(run: Recorded, where: Path) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Return regret and the steps of all replays but those of others' strategies."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for recording in recordings_of(run, where):
        for play in plays(recording, run.lag, measured_signals(recording)):
            if play.strategy in RIVALS:
                continue
            outcome = play.play()
            key = (outcome.strategy, outcome.until, outcome.signal)
            lost = (outcome.given_away.regret, outcome.steps)
            found.setdefault(key, []).append(lost)
    return {key: tuple(np.mean(each, axis=0)) for key, each in found.items()}


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--share", type=int, default=4)
    parser.add_argument("--start", type=float)
    parser.add_argument("--raw", action="store_true")
    asked = parser.parse_args()
    if asked.raw:
        curves._offset = lambda size, whole: 0.0
    console = Console(width=170)
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "batches", "error, nats", "between candidates", "their spread"):
        table.add_column(heading)
    for heading in ("Spearman, largest change", "transition", "expected regret", "words"):
        table.add_column(heading)
    replays: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
    for folder in folders(
        asked.runs or sorted(each.parent for each in REPORTS.glob("*/space.yaml"))
    ):
        run = read_run(folder)
        batches = run.table.batches.shape[3]
        early = steps_of(run, asked.start)
        steps = [each for each in run.table.steps if each in early]
        if batches < 8 or not steps:
            continue
        few = thinned_run(run, early, asked.share, folder.path)
        assert few.ranking == run.ranking, folder.path
        one, other = Made.of(run), Made.of(few)
        error = np.array([few.table.at(step) - run.table.at(step) for step in steps])
        between = error - np.nanmean(error, axis=1, keepdims=True)
        spread = np.median([np.nanstd(run.table.at(step)) for step in steps])
        moved = [abs(one.spearman(each) - other.spearman(each)) for each in steps]
        at = int(np.argmax(np.nan_to_num(moved)))
        words = [
            f"{a}" if a == b else f"{a} -> {b}" for a, b in zip(one.words, other.words, strict=True)
        ]
        if one.forecast != other.forecast:
            words.append(f"forecast {one.forecast} -> {other.forecast}")
        table.add_row(
            "/".join(folder.path.parts[len(REPORTS.parts) :]),
            f"{kept(batches, asked.share)} of {batches}",
            f"{np.sqrt(np.nanmean(error**2)):.4f}",
            f"{np.sqrt(np.nanmean(between**2)):.4f}",
            f"{spread:.4f}",
            f"{moved[at]:.2f} at step {steps[at]}",
            f"{one.transition}"
            + (f" -> {other.transition}" if one.transition != other.transition else ""),
            f"{one.expected:.4f} -> {other.expected:.4f}",
            ", ".join(words),
        )
        if run.terms.has_oracle and len(run.complete_growths) > 1:
            replays.append((regrets(run, folder.path), regrets(few, folder.path)))
    console.print(table)
    shared = set.intersection(*({*one} & {*other} for one, other in replays))
    summary = Table(
        "strategy", "until", "signal", "regret", "thinned", "steps", "thinned", box=None
    )
    for key in sorted(shared):
        means = [np.mean([pair[place][key] for pair in replays], axis=0) for place in (0, 1)]
        if key[1].isdigit():
            continue
        (lost, taken), (lost_few, taken_few) = means
        summary.add_row(
            *key, f"{lost:.4f}", f"{lost_few:.4f}", f"{taken:,.0f}", f"{taken_few:,.0f}"
        )
    console.print(summary)
    console.print(f"{len(replays)} runs with an oracle are replayed.")


if __name__ == "__main__":
    main()
