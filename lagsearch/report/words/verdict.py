"""The first lines of a report: who won, by how much, whether to believe it, and what is next."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.report.numbers.trust import (
    ENOUGH,
    HEADLINES,
    NAMED,
    Trust,
    good_from,
    with_oracle,
    without_oracle,
)
from lagsearch.report.numbers.view import (
    JUDGED,
    noun,
    stopped,
)
from lagsearch.report.numbers.worth import failed_baselines, judge_growing


@dataclass(frozen=True)
class Verdict:
    """What a reader must know first.

    Attributes:
        trust: In one word.
        lines: In sentences.
    """

    trust: Trust
    lines: tuple[str, ...]


def judge(report: dict[str, Any]) -> Verdict:
    """Judge a run by its numbers."""
    worth = judge_growing(report)
    lines = [each.line for each in worth if not each.pays]
    lines += [_winner(report), *(each.line for each in worth if each.pays)]
    lines += [*_searched(report), *_ranked_by(report)]
    if failed := [each for each in report["candidates"] if each["status"] == "failed"]:
        named = "; ".join(f"{each['name']} ({each['failure']})" for each in failed[:NAMED])
        named += f"; and {len(failed) - NAMED:,} more" if len(failed) > NAMED else ""
        lines.append(f"{len(failed)} candidates failed and are ranked last: {named}.")
    lines += failed_baselines(report)
    if ignored := report.get("ignored"):
        more = f" and {len(ignored) - NAMED:,} more" if len(ignored) > NAMED else ""
        lines.append(f"Columns that were not read: {', '.join(ignored[:NAMED])}{more}.")
    lines += _scratch_ahead(report)
    lines += _saved(report)
    lines += _stable(report)
    trust, reason = with_oracle(report) if report["oracle"] else without_oracle(report)
    return Verdict(trust, (*lines, f"{HEADLINES[trust]}: {reason}"))


@dataclass(frozen=True)
class Advice:
    """What to run next.

    Attributes:
        line: What for, in a sentence.
        command: The command, from where the run was started; None where there is none.
    """

    line: str
    command: str | None


def advise(report: dict[str, Any], folder: Path) -> Advice:
    """Say what to run next.

    Args:
        report: As `report.json`.
        folder: The run folder.
    """
    if report["curves"] is not None:
        return _elsewhere(report, folder)
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
        later = min(2 * lag, steps)
        return Advice(f"Rank later, at step {later:,}.", commands.rank_at(later))
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


def _winner(report: dict[str, Any]) -> str:
    winner, lag, steps = report["winner"], report["lag"], report["steps"]
    losses = winner["val_loss"]
    line = f"Winner at step {lag:,}: {winner['name']}, validation loss {losses[str(lag)]:.4f}"
    if str(steps) in losses and steps != lag:
        line += f", and {losses[str(steps)]:.4f} at completion (step {steps:,})"
    if len(report["seeds"]) > 1:
        one = "" if winner["seed"] is None else f"the one of seed {winner['seed']}, chosen by "
        line += f"; {one}the mean of {len(report['seeds'])} seeds"
    return line + "."


_STOPPED = {
    "batches": ", worse than the leader beyond doubt (paired t-tests, 5 % for all together)",
    "forecast": ", behind the leader and forecast to be so at completion (lines over one over the "
    "step; one-sided tests, 20 % each)",
}


def _searched(report: dict[str, Any]) -> list[str]:
    """Say where the search chose and why, where that was for it to find."""
    search, lag = report["search"], report["lag"]
    lines = []
    if search["strategy"] == "race":
        beaten, count = len(stopped(report)), len(report["candidates"])
        line = f"Race: {beaten or 'none'} of {count} were stopped by step {lag:,}"
        if beaten:
            line += _STOPPED[search["evidence"]]
        elif search["stable_since"] is None and search["evidence"] == "batches":
            line += ", as the ranking did not become stable"
        lines.append(f"{line}.")
    if search["strategy"] == "optuna":
        lines.append("Candidates were sampled by Optuna: other growths were not tried.")
    if search["reason"] == "alone":
        lines.append(f"K = {lag:,}: no other candidate was left.")
    elif search["asked_lag"] == "auto" and search["reason"] == "stable":
        lines.append(
            f"K = {lag:,}: the ranking {_has(report)} been stable since step "
            f"{search['stable_since']:,}."
        )
    elif search["asked_lag"] == "auto":
        lines.append(f"K = {lag:,}, the largest allowed: no phase transition showed by then.")
    return lines


def _has(report: dict[str, Any]) -> str:
    """Return the tense: with an oracle, K is not the last that is known."""
    return "had" if report["oracle"] else "has"


def _ranked_by(report: dict[str, Any]) -> list[str]:
    signal, lag = report["search"]["signal"], report["lag"]
    if signal == "loss":
        return []
    return [
        f"Candidates are ranked at step {lag:,} by {JUDGED[signal]} (search.signal: {signal}), "
        "not by their loss there."
    ]


def _scratch_ahead(report: dict[str, Any]) -> list[str]:
    winner, lag = report["winner"]["name"], str(report["lag"])
    for each in report["candidates"]:
        if each["is_baseline"] and each["name"] == winner:
            better = f"No {noun(report)} is better than {winner}"
            return [f"{better} at step {lag}: growing does not pay here."]
    return []


def _saved(report: dict[str, Any]) -> list[str]:
    """Say what the winner saves against training from scratch."""
    savings, winner = report["savings"], report["winner"]["name"]
    if not savings or winner not in savings["growths"]:
        return []
    entry, over = savings["growths"][winner], savings["baseline"]
    if entry["is_bound"]:
        return [
            f"No speed-up of the winner over {over} can be told: that ended at "
            f"{savings['val_loss']:.4f}, worse than the winner began."
        ]
    ways = {"growth": "alone", "with_sources": "with its source", "with_search": "and the search"}
    known = {way: entry["flops"][f"{way}_speed_up"] for way in ways}
    told = [f"{speed:+.0%} {ways[way]}" for way, speed in known.items() if speed is not None]
    return [
        f"Speed-up of the winner over {over} at equal loss ({entry['val_loss']:.4f}), in training "
        f"FLOPs: {', '.join(told)}."
    ]


def _stable(report: dict[str, Any]) -> list[str]:
    """Say since when the ranking is stable."""
    found = report["phase_transition"]
    if found is None or (report["search"]["asked_lag"] == "auto" and not report["oracle"]):
        return []  # the search has said so, by the space's own measure
    until, agree = found["until"], f"correlate by at least {found['threshold']:g}"
    if found["step"] is not None:
        return [
            f"The ranking has been stable since step {found['step']:,}: every two rankings from "
            f"there to step {until:,} {agree}."
        ]
    if found.get("agree_since") is not None:
        early = "" if report["oracle"] else ", as early rankings do whether they are right or not"
        return [
            f"The ranking has held since step {found['agree_since']:,}: every two rankings from "
            f"there to step {until:,} {agree}. It has not left the first one either (correlations "
            f"with it do not stay below {found['left']:g}){early}."
        ]
    why = f"every two rankings {agree}, over steps that grow by a factor of {found['margin']:g}"
    return [f"No phase transition shows by step {until:,}: that would need that {why}."]
