"""What Python callers have: runs and their results."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lagsearch.display.watch import Watch, make_watch
from lagsearch.loggers import find_loggers, following
from lagsearch.planning.run import budgeted
from lagsearch.records.folder import RunFolder
from lagsearch.report.write import write_report
from lagsearch.running.run import run_space
from lagsearch.space import SpaceFile, Written, opened, said

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RankedCandidate:
    """A candidate and what it came to.

    Attributes:
        name: Unique in its run.
        operator: The operator's name.
        settings: The operator's settings.
        layer_map: Its layers drawn, e.g. `0 1 0* 1* 2`.
        rank: 1 is the lowest loss at K; failed ones come last.
        status: `ok`, `stopped` (in a race) or `failed`.
        val_loss: Nats per predicted token, by step.
        parameters: Tied ones once.
        flops: Training FLOPs up to K.
        wall_s: Seconds of its own training and evaluation up to K.
        stage: The stage, from 1, where the run has `stages`.
    """

    name: str
    operator: str
    settings: dict[str, Any]
    layer_map: str
    rank: int
    status: str
    val_loss: dict[int, float]
    parameters: int
    flops: int
    wall_s: float
    stage: int | None = None


@dataclass(frozen=True, repr=False)
class RunResult:
    """What a run came to.

    Attributes:
        folder: The run folder.
        report: The numbers of `report.json`.
    """

    folder: Path
    report: dict[str, Any]

    def __repr__(self) -> str:
        losses = self.report["winner"]["val_loss"]
        step, loss = max((int(step), loss) for step, loss in losses.items())
        ended = f"validation loss {loss:.4f} at step {step}"
        return f"RunResult({self.winner}: {ended}; {self.folder})"

    def _repr_html_(self) -> str:
        from lagsearch.report.pages.notebook import result_html

        return result_html(self.report, self.folder)

    @property
    def _searched(self) -> dict[int | None, "RunResult"]:
        """The run of each stage that had a choice, under the first seed; itself without stages."""
        if self.report.get("kind") != "stages":
            return {None: self}
        folders = {
            each["number"]: RunFolder(self.folder / each["folder"])
            for each in self.report["courses"][0]["stages"]
            if each["candidates"] > 1
        }
        return {number: RunResult(each.path, each.report()) for number, each in folders.items()}

    @property
    def stages(self) -> list["RunResult"]:
        """The run of each stage that had a choice, under the first seed; none without stages."""
        return [each for number, each in self._searched.items() if number is not None]

    @property
    def candidates(self) -> list[RankedCandidate]:
        """All candidates, best at K first; with stages those of the first, then of the next."""
        return [
            _candidate(entry, number)
            for number, run in self._searched.items()
            for entry in run.report["candidates"]
        ]

    @property
    def winner(self) -> str:
        """The winner's name."""
        return str(self.report["winner"]["name"])

    @property
    def checkpoint(self) -> Path:
        """Folder of the winner's Hugging Face checkpoint."""
        return self.folder / "winner"

    @property
    def curves(self) -> "pd.DataFrame":
        """All evaluations as a table: candidate, step, val_loss, wall_s, flops.

        With stages, `course` and `stage` stand before them, and steps count from each growth.
        """
        from lagsearch.report.write import curves_table

        return curves_table(self.folder)


def _candidate(entry: dict[str, Any], stage: int | None) -> RankedCandidate:
    values = {each.name: entry[each.name] for each in fields(RankedCandidate) if each.name in entry}
    values["val_loss"] = {int(step): loss for step, loss in entry["val_loss"].items()}
    return RankedCandidate(**values, stage=stage)


def run(  # noqa: PLR0913 (each is an option of the command)
    space: Written | SpaceFile,
    *,
    lag: int | Literal["auto"] | None = None,
    budget: float | None = None,
    oracle: bool = False,
    out: str | Path | None = None,
    serial: bool = False,
    profile: bool = False,
    seeds: Sequence[int] = (),
    baselines: bool = False,
    skip_unfit: bool = False,
    keep: int | None = None,
    overrides: Sequence[str] = (),
    log: str | Sequence[str] = (),
    watch: Watch | None = None,
) -> RunResult:
    """Find the best growth by LAG and train it to the end; go on where a run was interrupted.

    Args:
        space: A space file, with stages or without; one that is loaded, a dictionary or a `Space`.
        lag: K, in place of the space's `search.lag`.
        budget: What search and winner may cost, as a share of the compute to train every candidate:
            strategy and K follow from it.
        oracle: Train all candidates to the final step and score the ranking.
        out: The run folder, in place of `reports/<name>`.
        serial: Train one candidate after the other in this process, without Ray.
        profile: Say where the time goes, and trace a few steps of every candidate.
        seeds: Seeds to train every candidate under, in place of the space's `search.seeds`.
        baselines: With stages: train what adaptive stacking is compared with, too.
        skip_unfit: Leave out candidates that do not fit, and name them.
        keep: Keep the checkpoints of so many of the best at K, with their optimizer's moments.
        overrides: `key.path=value` texts, as `--set` takes them.
        log: Loggers to send curves, settings and outcomes to, e.g. `tensorboard,mlflow`.
        watch: Follows the run; a live table or plain lines when left out.

    Raises:
        LagsearchError: The space cannot be run; nothing was written.
        NoSurvivorError: Every candidate failed.
    """
    loggers, watch = find_loggers(log), watch or make_watch()
    flags = said(
        overrides,
        lag=lag,
        oracle=oracle,
        seeds=seeds,
        profile=profile,
        skip_unfit=skip_unfit,
        keep=keep,
    )
    folder, report = run_space(
        budgeted(opened(space, flags, has_budget=budget is not None), budget),
        out,
        watch,
        write_report,
        serial=serial,
        baselines=baselines,
        follow=lambda folder: following(folder, loggers, watch.say),
    )
    return RunResult(folder, report)
