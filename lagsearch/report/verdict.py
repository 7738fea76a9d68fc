"""The first lines of a report: who won, by how much, whether to believe it, and what is next."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lagsearch.report.ranked import JUDGED, first_step, noun, ranked, stopped, varied
from lagsearch.selection.outlook import FEWEST

Trust = Literal["useful", "partly", "misleading", "unknown", "settled", "open", "unsettled"]
"""The first four are known from an oracle, the last three from the ranking at K alone."""

ONCE = "each loss was measured once, so that nothing tells what of this is chance"
"""Said where there are neither seeds nor batches."""

NAMED = 10
"""Candidates that a sentence names."""

ENOUGH = 5
"""Growths from which on a rank correlation is worth a verdict."""

USEFUL_REGRET = 0.1
"""Largest relative regret at which a choice counts as good."""
USEFUL_SPEARMAN = 0.5
"""Least correlation at which a ranking counts as good; its interval must lie above 0 too."""


@dataclass(frozen=True)
class Verdict:
    """What a reader must know first.

    Attributes:
        trust: In one word.
        lines: In sentences.
    """

    trust: Trust
    lines: tuple[str, ...]


HEADLINES: dict[Trust, str] = {
    "useful": "The ranking did useful work",
    "partly": "The ranking is to be trusted in part",
    "misleading": "The ranking is NOT to be trusted",
    "unknown": "Too few candidates to judge the ranking",
    "settled": "The ranking has settled, as far as it can tell by itself",
    "open": "The first places are open",
    "unsettled": "The ranking is NOT settled",
}


def judge(report: dict[str, Any]) -> Verdict:
    """Judge a run by its numbers."""
    lines = [_winner(report), *_searched(report), *_ranked_by(report)]
    if failed := [each for each in report["candidates"] if each["status"] == "failed"]:
        named = "; ".join(f"{each['name']} ({each['failure']})" for each in failed[:NAMED])
        named += f"; and {len(failed) - NAMED:,} more" if len(failed) > NAMED else ""
        lines.append(f"{len(failed)} candidates failed and are ranked last: {named}.")
    lines += _scratch_ahead(report)
    lines += _saved(report)
    lines += _stable(report)
    trust, reason = _with_oracle(report) if report["oracle"] else _without_oracle(report)
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
        good = _good_from(report)
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
    good = _good_from(report)
    if is_useful or (good is not None and good <= lag):
        line = "Train all under more seeds, to see whether it holds; what is trained is kept."
        return Advice(line, commands.more_seeds())
    best = report["oracle"]["candidate"]
    if good is None or good >= steps:
        line = f"No step before completion ranks well here: rank there. {best} is best."
        return Advice(line, commands.rank_at(steps))
    line = f"From step {good:,} on the ranking is good: rank there. {best} is best at completion."
    return Advice(line, commands.rank_at(good))


def _good_from(report: dict[str, Any]) -> int | None:
    """Return the step from which on every choice is good and every ranking too."""
    oracle, first = report["oracle"], None
    for step in sorted(map(int, oracle["spearman"]), reverse=True):
        rank = oracle["spearman"][str(step)]["value"]
        regret = oracle["relative_regret"].get(str(step), {"value": None})["value"]
        if rank is None or regret is None or rank < USEFUL_SPEARMAN or regret > USEFUL_REGRET:
            break
        first = step
    return first


def dimension_name(dimension: dict[str, Any]) -> str:
    """Name a dimension of the design space: a setting by its operator too."""
    of = dimension["operator"]
    return str(dimension["name"]) if of is None else f"{of}: {dimension['name']}"


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
    entry = savings["growths"][winner]
    ways = {"growth": "alone", "with_sources": "with its source", "with_search": "and the search"}
    known = {way: entry["flops"][f"{way}_speed_up"] for way in ways}
    never = ", which that never came to" if entry["is_bound"] else ""
    least = "at least " if entry["is_bound"] else ""
    told = [f"{least}{speed:+.0%} {ways[way]}" for way, speed in known.items() if speed is not None]
    return [
        f"Speed-up of the winner over {savings['baseline']} at equal loss "
        f"({entry['val_loss']:.4f}{never}), in training FLOPs: {', '.join(told)}."
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


def _with_oracle(report: dict[str, Any]) -> tuple[Trust, str]:
    """Judge the ranking at K by what all candidates came to."""
    oracle, lag = report["oracle"], str(report["lag"])
    rank, regret = oracle["spearman"][lag]["value"], oracle["relative_regret"][lag]["value"]
    first = first_step(report)
    at_first = oracle["spearman"][first]["value"]
    chance = oracle["random_choice_relative_regret"]
    spread = _spread(report)
    count = len(oracle["scored"])
    facts = (
        f"over the {count} {noun(report)}s trained to completion, Spearman's correlation "
        f"of the loss at step {lag} with the final loss is {_number(rank)}"
        f"{_interval(oracle['spearman'][lag])} (at step {first}: {_number(at_first)}); the choice "
        f"gives away {regret:.0%} of the spread of final losses ({spread:.4f} nats), a choice at "
        f"random {chance:.0%} on average{_tied_at_completion(report)}"
    )
    if count < ENOUGH:
        return "unknown", facts
    if rank is None or rank <= 0 or regret >= chance:
        return "misleading", facts + " At this K the search chose no better than chance."
    low = (oracle["spearman"][lag]["interval"] or [0.0])[0]
    if regret <= USEFUL_REGRET and rank >= USEFUL_SPEARMAN and low > 0:
        return "useful", facts
    return "partly", facts


def _tied_at_completion(report: dict[str, Any]) -> str:
    oracle = report["oracle"]
    tied, others = oracle["indistinguishable_from_best"], len(oracle["scored"]) - 1
    if tied is None:
        return f"; {ONCE}."
    return (
        f". {len(tied)} of the other {others} cannot be told apart from the best at completion "
        f"(paired t-test over {varied(report)}, Holm-corrected, 5 %)."
    )


def _spread(report: dict[str, Any]) -> float:
    scored, steps = set(report["oracle"]["scored"]), str(report["steps"])
    finals = [each["val_loss"][steps] for each in report["candidates"] if each["name"] in scored]
    return float(max(finals) - min(finals))


def _without_oracle(report: dict[str, Any]) -> tuple[Trust, str]:
    """Judge the ranking at K by its own noise and by how far candidates are still to move."""
    found = report["doubt"].get("outlook")
    tied = report["doubt"]["indistinguishable_from_winner"]
    unseen = ", and only several seeds how it varies" if len(report["seeds"]) < 2 else ""
    caution = f"Only {_oracle(report)} shows how it ends{unseen}."
    facts = f"{_ties_at_lag(report)}; {_still_to_move(report)}. {caution}"
    if found is None or not found["is_clear"]:
        return "unsettled", facts
    return ("open" if tied or tied is None else "settled"), facts


def _ties_at_lag(report: dict[str, Any]) -> str:
    """Say who cannot be told apart from the winner at K."""
    tied, lag = report["doubt"]["indistinguishable_from_winner"], report["lag"]
    if tied is None:
        return ONCE
    others = len(ranked(report)) - 1
    left = " that were not stopped" if stopped(report) else ""
    named = ", ".join(tied[:NAMED])
    named += f" and {len(tied) - NAMED:,} more" if len(tied) > NAMED else ""
    return (
        f"{len(tied)} of the {others} others{left} cannot be told apart from the winner at "
        f"step {lag:,} (paired t-test over {varied(report)}, Holm-corrected, 5 %)"
        f"{': ' if tied else ''}{named}"
    )


def _still_to_move(report: dict[str, Any]) -> str:
    """Say how far apart growths lie, how far they may still move, and where to."""
    found, lag, steps = report["doubt"].get("outlook"), report["lag"], report["steps"]
    if found is None:
        return (
            f"there are fewer than {FEWEST} {noun(report)}s, or no evaluation up to step "
            f"{lag // 2:,}, to say whether the ranking still moves"
        )
    told = (
        f"{noun(report)}s lie {found['apart']:.4f} nats apart at step {lag:,} (standard "
        f"deviation) and are still to move by {found['to_come']:.4f} against one another, if each "
        f"doubling of the steps up to {steps:,} moves them as steps {found['since']:,} to {lag:,} "
        "did"
    )
    if found["forecast"] is None:
        return f"{told}; too few evaluations since step {lag // 4:,} tell who will lead there"
    if found["forecast"] == found["leader"]:
        return f"{told}; {found['leader']} is forecast to lead there too"
    return f"{told}; {found['forecast']} is forecast to lead there, not {found['leader']}"


def _oracle(report: dict[str, Any]) -> str:
    return "--oracle" if report["curves"] is None else "training all to the end"


def _interval(score: dict[str, Any]) -> str:
    if score["interval"] is None:
        return ""
    return f" [{score['interval'][0]:.2f}, {score['interval'][1]:.2f}]"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.2f}"
