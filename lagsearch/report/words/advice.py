"""What to run next, after what a run came to."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.report.numbers.trust import ENOUGH, Trust, ended_best, good_from, judge_ranking
from lagsearch.report.numbers.view import growths, stopped
from lagsearch.report.numbers.worth import baselines_to_add, judge_growing
from lagsearch.selection.outlook import EARLIEST

KEPT = "finished training is kept"
BEGINS_AGAIN = "the winner's training is kept, the others' begins again"
"""Their weights at K are let go when the winner is chosen."""


@dataclass(frozen=True)
class Advice:
    """What to run next.

    Attributes:
        line: What for, in a sentence.
        command: The command, from where the run was started; None where there is none.
    """

    line: str
    command: str | None


def advise(report: dict[str, Any], folder: Path) -> list[Advice]:
    """Say what to run next: for the ranking, then for what is not known of growing.

    Args:
        report: As `report.json`.
        folder: The run folder.
    """
    found = [advise_next(report, folder)]
    if baselines := baselines_to_add(report):
        line = "To know whether growing pays off, train these baselines too; the rest is kept."
        setting = f"search.baselines=[{', '.join(baselines)}]"
        found.append(Advice(line, _Commands(report, folder).again("--set", setting)))
    return found


def advise_next(report: dict[str, Any], folder: Path) -> Advice:
    """Say what to run next for the ranking.

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
        line = f"To see whether growing pays off in a longer training: {twice:,} steps."
        return Advice(line, commands.longer(twice))
    trust = judge_ranking(report)[0]
    if trust in ("settled", "open", "unsettled"):
        return _without_scores(report, commands, trust)
    can_be_scored = not report["oracle"] and len(growths(report)) >= ENOUGH
    if trust == "unknown" and stopped(report) and can_be_scored:
        line = f"Train every candidate to the final step, to see which is best; {BEGINS_AGAIN}."
        return Advice(line, commands.again("--oracle"))
    if trust == "unknown":
        failed = any(each["status"] == "failed" for each in report["candidates"])
        what = "Mend the candidates that failed, or add others" if failed else "Add candidates"
        line = f"{what}: fewer than {ENOUGH} say little of a ranking. All operators:"
        return Advice(line, "lagsearch operators")
    return _with_scores(report, commands, is_useful=trust == "useful")


def _elsewhere(report: dict[str, Any], folder: Path) -> Advice:
    """Say what to do next with what another trainer trained."""
    trust, lag, good = judge_ranking(report)[0], report["lag"], None
    if report["oracle"] and trust != "unknown":
        good = good_from(report)
        if good is not None and good not in (lag, report["steps"]):
            line = f"The ranking is good from step {good:,} on: look at it there."
            beside = folder.with_name(f"{folder.name}-lag{good}")
            baselines = [each["name"] for each in report["candidates"] if each["is_baseline"]]
            options = [part for name in baselines for part in ("--baseline", name)]
            options += ["--lag", str(good), "--end", str(report["steps"]), "--out", str(beside)]
            options += ["--manifest", report["manifest"]] if report.get("manifest") else []
            return Advice(line, shlex.join(["lagsearch", "report", report["curves"], *options]))
    lines = {
        "unknown": f"Fewer than {ENOUGH} candidates say little: record more.",
        "useful": f"In similar searches, train to step {lag:,} and choose there.",
        "misleading": "Rankings do not stay reliable before the last step: train longer.",
        "settled": "Train every candidate to the end, to see how good such a ranking is.",
        "unsettled": "Train every candidate longer, to see where the ranking settles.",
    }
    more = "Record losses by batch or under more seeds, to decide the first places."
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

    def best_alone(self) -> str:
        """Train the candidate that ended best without a search."""
        return self._run("best.yaml")

    def _run(self, space: str, *options: str) -> str:
        return shlex.join(["lagsearch", "run", str(self.folder / space), *options])


def _without_scores(report: dict[str, Any], commands: _Commands, trust: Trust) -> Advice:
    lag, steps = report["lag"], report["steps"]
    if lag < steps and (trust == "unsettled" or lag < EARLIEST):
        if (later := max(2 * lag, EARLIEST)) < steps:
            return Advice(f"Rank later, at step {later:,}.", commands.rank_at(later))
        line = f"Train every candidate to the final step, to see which is best; {BEGINS_AGAIN}."
        return Advice(line, commands.again("--oracle"))
    if trust == "settled":
        line = (
            "The winner can be used. To see how good such a ranking is, train every candidate to "
            f"the final step; {BEGINS_AGAIN}."
        )
        return Advice(line, commands.again("--oracle"))
    line = f"Train every candidate under more seeds, to decide the first places; {KEPT}."
    return Advice(line, commands.more_seeds())


def _with_scores(report: dict[str, Any], commands: _Commands, *, is_useful: bool) -> Advice:
    lag, steps, several = report["lag"], report["steps"], len(report["seeds"]) > 1
    if is_useful and several:
        line = "The winner can be used; its schedule repeats its training without the search."
        return Advice(line, commands.winner_alone())
    good, best = good_from(report), ended_best(report)
    if is_useful or (good is not None and good <= lag) or (best is None and not several):
        line = f"Train every candidate under more seeds, to see whether this holds; {KEPT}."
        return Advice(line, commands.more_seeds())
    if good is not None:  # where there is one, a step that the next verdict does not call early
        known = sorted(map(int, report["oracle"]["spearman"]))
        good = next((each for each in known if max(good, EARLIEST) <= each < steps), good)
    if good is None or good >= steps:
        when = "Before the final step rankings do not stay reliable."
    else:
        when = f"In similar searches rank at step {good:,}: from there on rankings are reliable."
    if best is None:
        line = f"The winner ended best all the same, and can be used. {when}"
        return Advice(line, commands.winner_alone())
    line = f"{best} ended best: to get its weights, train it again, alone. {when}"
    return Advice(line, commands.best_alone())
