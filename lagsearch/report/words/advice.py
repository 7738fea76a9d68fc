"""What to run next, after what a run came to."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.report.numbers.trust import ENOUGH, Trust, good_from
from lagsearch.report.numbers.worth import judge_growing
from lagsearch.report.words.verdict import judge


@dataclass(frozen=True)
class Advice:
    """What to run next.

    Attributes:
        line: What for, in a sentence.
        command: The command, from where the run was started; None where there is none.
    """

    line: str
    command: str | None


def advise_next(report: dict[str, Any], folder: Path) -> Advice:
    """Say what to run next.

    Args:
        report: As `report.json`.
        folder: The run folder.
    """
    if report["curves"] is not None:
        return _elsewhere(report, folder)
    if any(each["kind"] == "stage" for each in report.get("sources", ())):
        line = "This is one stage of a run: change K and steps in the space that has the stages."
        return Advice(line, None)
    commands = _Commands(report, folder)
    if any(each.outcome == "did not pay" for each in judge_growing(report)):
        twice = 2 * report["steps"]
        line = f"To see whether growing pays when all are trained longer: {twice:,} steps."
        return Advice(line, commands.longer(twice))
    trust = judge(report).trust
    if trust in ("settled", "open", "unsettled"):
        return _without_scores(report, commands, trust)
    if trust == "unknown":
        line = f"Fewer than {ENOUGH} growths say little: add candidates; these operators are there."
        return Advice(line, "lagsearch operators")
    return _with_scores(report, commands, is_useful=trust == "useful")


def _elsewhere(report: dict[str, Any], folder: Path) -> Advice:
    """Say what to do next with what another trainer trained."""
    trust, lag, good = judge(report).trust, report["lag"], None
    if report["oracle"] and trust != "unknown":
        good = good_from(report)
        if good is not None and good not in (lag, report["steps"]):
            line = f"From step {good:,} on the ranking is good: look at it there."
            beside = folder.with_name(f"{folder.name}-lag{good}")
            baselines = [each["name"] for each in report["candidates"] if each["is_baseline"]]
            options = [part for name in baselines for part in ("--baseline", name)]
            options += ["--lag", str(good), "--end", str(report["steps"]), "--out", str(beside)]
            return Advice(line, shlex.join(["lagsearch", "report", report["curves"], *options]))
    lines = {
        "unknown": f"Fewer than {ENOUGH} candidates say little: record more.",
        "useful": f"In searches like this one, train to step {lag:,} and choose there.",
        "misleading": "No step before the end ranks well here: train all further, and look again.",
        "settled": "Train all to the end, to see what such a ranking is worth.",
        "unsettled": "Train further, to see where the ranking settles.",
    }
    more = "Record losses by batch or under more seeds, to tell the first places apart."
    return Advice(lines.get(trust, more), None)


@dataclass(frozen=True)
class _Commands:
    """Command lines that go on from a run."""

    report: dict[str, Any]
    folder: Path

    def again(self, *options: str) -> str:
        """Go on in the same folder."""
        return self._run("space.yaml", *options, "--out", str(self.folder))

    def more_seeds(self) -> str:
        """Go on under two seeds more."""
        seeds = list(self.report["seeds"])
        seeds += [max(seeds) + 1, max(seeds) + 2]
        return self.again("--seeds", ",".join(map(str, seeds)))

    def rank_at(self, step: int) -> str:
        """Rank at another step, in a folder beside."""
        beside = self.folder.with_name(f"{self.folder.name}-lag{step}")
        lag = ["--lag", str(step)]
        if self.report["search"]["asked_lag"] == "auto":  # beside bounds, --lag is refused
            lag = ["--set", f"search.min_lag={step}", "--set", f"search.max_lag={step}"]
        return self._run("space.yaml", *lag, "--out", str(beside))

    def longer(self, steps: int) -> str:
        """Train all further, in a folder beside."""
        beside = self.folder.with_name(f"{self.folder.name}-steps{steps}")
        return self._run("space.yaml", "--set", f"training.steps={steps}", "--out", str(beside))

    def winner_alone(self) -> str:
        """Train the winner without a search."""
        return self._run("schedule.yaml")

    def _run(self, space: str, *options: str) -> str:
        return shlex.join(["lagsearch", "run", str(self.folder / space), *options])


def _without_scores(report: dict[str, Any], commands: _Commands, trust: Trust) -> Advice:
    lag, steps = report["lag"], report["steps"]
    if trust == "settled":
        line = (
            "The winner can be used. To see what such a ranking is worth, train all to completion; "
            "what is trained already is kept."
        )
        return Advice(line, commands.again("--oracle"))
    if trust == "unsettled" and lag < steps:
        if (later := 2 * lag) < steps:
            return Advice(f"Rank later, at step {later:,}.", commands.rank_at(later))
        line = "Train all to completion, to see which is best; what is trained already is kept."
        return Advice(line, commands.again("--oracle"))
    line = "Train all under more seeds, to tell the first places apart; what is trained is kept."
    return Advice(line, commands.more_seeds())


def _with_scores(report: dict[str, Any], commands: _Commands, *, is_useful: bool) -> Advice:
    lag, steps, several = report["lag"], report["steps"], len(report["seeds"]) > 1
    if is_useful and several:
        line = "The winner can be used; its schedule trains it alone, without a search."
        return Advice(line, commands.winner_alone())
    good = good_from(report)
    if is_useful or (good is not None and good <= lag):
        line = "Train all under more seeds, to see whether it holds; what is trained is kept."
        return Advice(line, commands.more_seeds())
    best = report["oracle"]["candidate"]
    if good is None or good >= steps:
        line = f"No step before completion ranks well here: rank there. {best} is best."
        return Advice(line, commands.rank_at(steps))
    line = f"From step {good:,} on the ranking is good: rank there. {best} is best at completion."
    return Advice(line, commands.rank_at(good))
