"""The first lines of a report: who won, by how much, and whether to believe it."""

from dataclasses import dataclass
from typing import Any, Literal

Trust = Literal["useful", "partly", "misleading", "unknown", "settled", "unsettled"]
"""The first four are known from an oracle, the last two from the ranking at K alone."""

ENOUGH = 5
"""Growths from which on a rank correlation is worth a verdict."""

SETTLED = 0.8
"""Spearman's correlation between K/2 and K from which a ranking counts as settled."""
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


def judge(report: dict[str, Any]) -> Verdict:
    """Judge a run by its numbers."""
    lines = [_winner(report)]
    if failed := [each for each in report["candidates"] if each["status"] == "failed"]:
        named = "; ".join(f"{each['name']} ({each['failure']})" for each in failed)
        lines.append(f"{len(failed)} candidates failed and are ranked last: {named}.")
    lines += _scratch_ahead(report)
    lines += _saved(report)
    lines += _stable(report)
    trust, reason = _with_oracle(report) if report["oracle"] else _without_oracle(report)
    headline = {
        "useful": "The ranking did useful work",
        "partly": "The ranking is to be trusted in part",
        "misleading": "The ranking is NOT to be trusted",
        "unknown": "Too few growths to judge the ranking",
        "settled": "The ranking has settled, as far as it can tell by itself",
        "unsettled": "The ranking is NOT settled",
    }[trust]
    return Verdict(trust, (*lines, f"{headline}: {reason}"))


def varied(report: dict[str, Any]) -> str:
    """Name what intervals and tests are over."""
    seeds = len(report["seeds"])
    return f"{seeds} seeds and the validation batches" if seeds > 1 else "the validation batches"


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
        line += f"; the one of seed {winner['seed']}, chosen by the mean of {len(report['seeds'])}"
    return line + "."


def _scratch_ahead(report: dict[str, Any]) -> list[str]:
    winner, lag = report["winner"]["name"], str(report["lag"])
    for each in report["candidates"]:
        if each["is_baseline"] and each["name"] == winner:
            return [f"No growth is better than {winner} at step {lag}: growing does not pay here."]
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
    if found is None:
        return []
    until, agree = found["until"], f"correlate by at least {found['threshold']:g}"
    if found["step"] is None:
        why = (
            f"every two rankings {agree}, over steps that grow by a factor of {found['margin']:g} "
            f"and away from the first ranking (below {found['left']:g})"
        )
        return [f"The ranking has not become stable by step {until:,}: that would need that {why}."]
    return [
        f"The ranking has been stable since step {found['step']:,}: every two rankings from there "
        f"to step {until:,} {agree}."
    ]


def _with_oracle(report: dict[str, Any]) -> tuple[Trust, str]:
    """Judge the ranking at K by what all candidates came to."""
    oracle, lag = report["oracle"], str(report["lag"])
    rank, regret = oracle["spearman"][lag]["value"], oracle["relative_regret"][lag]["value"]
    at_zero = oracle["spearman"]["0"]["value"]
    chance = oracle["random_choice_relative_regret"]
    spread = _spread(report)
    tied = oracle["indistinguishable_from_best"]
    count = len(oracle["scored"])
    facts = (
        f"over the {count} growths trained to completion, Spearman's correlation "
        f"of the loss at step {lag} with the final loss is {_number(rank)}"
        f"{_interval(oracle['spearman'][lag])} (at step 0: {_number(at_zero)}); the choice gives "
        f"away {regret:.0%} of the spread of final losses ({spread:.4f} nats), a choice at random "
        f"{chance:.0%} on average. {len(tied)} of the other {count - 1} cannot be told apart from "
        f"the best at completion (paired t-test over {varied(report)}, Holm-corrected, 5 %)."
    )
    if count < ENOUGH:
        return "unknown", facts
    if rank is None or rank <= 0 or regret >= chance:
        return "misleading", facts + " At this K the search chose no better than chance."
    low = (oracle["spearman"][lag]["interval"] or [0.0])[0]
    if regret <= USEFUL_REGRET and rank >= USEFUL_SPEARMAN and low > 0:
        return "useful", facts
    return "partly", facts


def _spread(report: dict[str, Any]) -> float:
    scored, steps = set(report["oracle"]["scored"]), str(report["steps"])
    finals = [each["val_loss"][steps] for each in report["candidates"] if each["name"] in scored]
    return float(max(finals) - min(finals))


def _without_oracle(report: dict[str, Any]) -> tuple[Trust, str]:
    """Judge the ranking at K by its own noise and by whether it still moves."""
    doubt, lag = report["doubt"], report["lag"]
    tied, settled = doubt["indistinguishable_from_winner"], doubt["stability"]
    others = sum(each["status"] == "ok" for each in report["candidates"]) - 1
    noise = (
        f"{len(tied)} of the {others} others cannot be told apart from the winner at step {lag} "
        f"(paired t-test over {varied(report)}, Holm-corrected, 5 %)"
    )
    if settled is None:
        moves = "there is no earlier step to say whether the ranking still moves"
    else:
        moves = (
            f"Spearman's correlation of the rankings at steps {settled['since']} and {lag} is "
            f"{_number(settled['spearman'])}"
        )
    unseen = ", and only several seeds how it varies" if len(report["seeds"]) < 2 else ""
    caution = f" Only --oracle shows how it ends{unseen}."
    is_settled = settled is not None and settled["spearman"] >= SETTLED
    if is_settled and not tied:
        return "settled", f"{noise}; {moves}.{caution}"
    why = "it is still moving" if not is_settled else "the first places are a tie"
    return "unsettled", f"{why}; {noise}; {moves}.{caution}"


def _interval(score: dict[str, Any]) -> str:
    if score["interval"] is None:
        return ""
    return f" [{score['interval'][0]:.2f}, {score['interval'][1]:.2f}]"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.2f}"
