"""Whether a ranking is to be believed: by what all came to, or by the ranking at K alone."""

from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from lagsearch.report.numbers.view import (
    candidates_scored,
    compared_at_lag,
    first_step,
    growths,
    stopped,
    varied,
)
from lagsearch.selection.outlook import EARLIEST, FEWEST, LEAST
from lagsearch.selection.scores import half

Trust = Literal["useful", "partly", "misleading", "unknown", "settled", "open", "unsettled"]
"""The first four are known from an oracle, the last three from the ranking at K alone."""

ONCE = "each loss was measured once, so nothing tells what of this is chance"
"""Said where there are neither seeds nor batches."""

NAMED = 10
"""Candidates that a sentence names."""

ENOUGH = 5
"""Growths from which on a rank correlation is worth a verdict."""

USEFUL_REGRET = 0.25
"""Largest regret, as a share of the spread of the best half, at which a choice counts as good."""
USEFUL_SPEARMAN = 0.5
"""Least correlation at which a ranking counts as good; its interval must lie above 0 too, or, where
each loss was measured once, chance give as much with a probability of at most `BY_CHANCE`."""
BY_CHANCE = 0.025


HEADLINES: dict[Trust, str] = {
    "useful": "The ranking is reliable",
    "partly": "The ranking is only partly reliable",
    "misleading": "The ranking is NOT reliable",
    "unknown": "Too few candidates to judge the ranking",
    "settled": "The ranking looks settled",
    "open": "The first places are undecided",
    "unsettled": "The ranking is NOT settled",
}


def judge_ranking(report: dict[str, Any]) -> tuple[Trust, str]:
    """Say whether the ranking at K is to be believed, and why."""
    return with_oracle(report) if report["oracle"] else without_oracle(report)


def with_oracle(report: dict[str, Any]) -> tuple[Trust, str]:
    """Judge the ranking at K by what all candidates came to."""
    oracle, lag = report["oracle"], str(report["lag"])
    rank, regret = oracle["spearman"][lag]["value"], oracle["regret"][lag]["value"]
    first = first_step(report)
    at_first = oracle["spearman"][first]["value"]
    count, of = len(oracle["scored"]), Spread.of(report)
    if len(report["candidates"]) == 1:
        return "unknown", _ALONE
    facts = (
        f"over the {candidates_scored(report)} trained to step {report['steps']:,}, the "
        f"loss at step {report['lag']:,} has a Spearman correlation of "
        f"{_number(rank)}{_interval(oracle['spearman'][lag])} with the final loss (the loss at "
        f"step {first}: {_number(at_first)}). The winner has a regret of {regret:.4f} nats: a "
        f"relative regret of {of.all(regret):.0%} of the range of final losses ({of.whole:.4f}), "
        f"or of {_percent(of.half(regret))} of the range of their better half "
        f"({of.best_half:.4f}). A random choice has {of.all(of.chance):.0%} and "
        f"{_percent(of.half(of.chance))} on "
        f"average{_tied_at_completion(report)}{_first_is_better(report)}"
    )
    if count < ENOUGH:
        return "unknown", facts
    if rank is None or rank <= 0 or regret >= of.chance:
        return "misleading", facts + " At this K the search chose no better than chance."
    is_good = of.half(regret) <= USEFUL_REGRET and rank >= USEFUL_SPEARMAN
    return ("useful" if is_good and _is_surely_above(oracle, lag) else "partly"), facts


def _first_is_better(report: dict[str, Any]) -> str:
    """Say so where the loss before any training ranks better than the loss at K."""
    spearman, first = report["oracle"]["spearman"], first_step(report)
    before, here = spearman[first]["value"], spearman[str(report["lag"])]["value"]
    if before is None or here is None or before <= here:
        return ""
    return f" The loss at step {first} ranks them better than the loss at step {report['lag']:,}."


def _is_surely_above(oracle: dict[str, Any], lag: str) -> bool:
    """Return whether the ranking correlates with the end beyond chance."""
    interval, by_chance = oracle["spearman"][lag]["interval"], oracle.get("p_value")
    if interval is not None:
        return bool(interval[0] > 0)
    return by_chance is not None and bool(by_chance <= BY_CHANCE)


def _tied_at_completion(report: dict[str, Any]) -> str:
    oracle = report["oracle"]
    tied, others = oracle["indistinguishable_from_best"], len(oracle["scored"]) - 1
    if tied is None:
        if (by_chance := oracle.get("p_value")) is None:
            return f". {ONCE[0].upper()}{ONCE[1:]}."
        return (
            ". Each loss was measured once, so there are no intervals; randomly permuted final "
            f"losses correlate as much with a probability of {by_chance:.2g} (permutation test)."
        )
    test = f"at step {report['steps']:,} ({_paired(report)})"
    if not tied:
        return f". {_all_worse(others, f'the best {test}')}."
    return f". {_some_tied(len(tied), others)} from the best {test}."


def _all_worse(others: int, best: str, left: str = "") -> str:
    """Say that no other candidate is tied with the best."""
    if not others:
        return "No other candidate was left to compare"
    every = "Both" if others == 2 else f"All {others:,}"
    who = f"The other candidate{left} is" if others == 1 else f"{every} others{left} are"
    return f"{who} significantly worse than {best}"


def _some_tied(count: int, others: int, left: str = "") -> str:
    """Say how many other candidates, at least one, are tied; whom with is to follow."""
    if others == 1:
        return f"The other candidate{left} cannot be told apart"
    of = f"of the {others:,} other candidates{left}"
    if count == others:
        return f"{'Neither' if others == 2 else 'None'} {of} can be told apart"
    return f"{count:,} {of} cannot be told apart"


def tied_with_winner(count: int, others: int) -> str:
    """Say how many other candidates are tied with the winner, in the fewest words."""
    if others == 1:
        return "the other one is tied" if count else "the other one is not tied"
    if count == others:
        return f"{'both' if others == 2 else f'all {others:,}'} others are tied"
    return f"{count or 'none'} of {others:,} others {'is' if count < 2 else 'are'} tied"


def _paired(report: dict[str, Any]) -> str:
    return f"paired t-test over {varied(report)}, Holm-corrected, 5 %"


@dataclass(frozen=True)
class Spread:
    """How far final losses lie apart, in nats.

    Attributes:
        whole: Best to worst: one that is far worse than all others sets it.
        best_half: Of the better half.
        chance: What a choice at random gives away on average.
    """

    whole: float
    best_half: float
    chance: float

    @classmethod
    def of(cls, report: dict[str, Any]) -> "Spread":
        """Return that of a report with an oracle."""
        scored, steps = set(report["oracle"]["scored"]), str(report["steps"])
        every = report["candidates"]
        finals = sorted(each["val_loss"][steps] for each in every if each["name"] in scored)
        best = finals[0]
        chance = sum(finals) / len(finals) - best
        return cls(finals[-1] - best, finals[half(len(finals)) - 1] - best, chance)

    def all(self, regret: float) -> float:
        """Return regret as a share of the whole spread."""
        return regret / self.whole if self.whole > 0 else 0.0

    def half(self, regret: float) -> float:
        """Return a share that is infinite where the best half is all equal, and the regret not."""
        if self.best_half > 0:
            return regret / self.best_half
        return inf if regret > 0 else 0.0


def without_oracle(report: dict[str, Any]) -> tuple[Trust, str]:
    """Judge the ranking at K by its own noise and by how far candidates are still to move."""
    found = report["doubt"].get("outlook")
    tied = report["doubt"]["indistinguishable_from_winner"]
    unseen = ", and only several seeds show how much it varies" if len(report["seeds"]) < 2 else ""
    caution = f"Only {_oracle(report)} shows how it ends{unseen}."
    facts = f"{_ties_at_lag(report)}; {_still_to_move(report)}.{_expected(report)} {caution}"
    if len(growths(report)) < FEWEST:
        return "unknown", _few(report, facts)
    if len(compared_at_lag(report)) < FEWEST:  # others were stopped
        return ("open" if tied or tied is None else "unknown"), facts
    if found is None or not found["is_clear"] or is_early(report):
        return "unsettled", facts
    return ("open" if tied or tied is None else "settled"), facts


def is_early(report: dict[str, Any]) -> bool:
    """Return whether K is so early that a ranking there says little, and no oracle says how much.

    Steps of curves that others recorded may be of any length.
    """
    known = report["curves"] is not None or report["oracle"] is not None
    return not known and report["lag"] < EARLIEST


_ALONE = "there was one candidate, so nothing was chosen."


def _few(report: dict[str, Any], facts: str) -> str:
    """Say that there was one candidate, or how few; then the facts that are left."""
    count = len(report["candidates"])
    if count == 1:
        return _ALONE
    return f"{count} say little of how good a ranking is. {facts[0].upper()}{facts[1:]}"


def _expected(report: dict[str, Any]) -> str:
    found = report["doubt"].get("expected_regret")
    if found is None:
        return ""
    told = (
        f" Expected regret of the winner: {found['value']:.4f} nats, at most {found['high']:.4f} "
        "with 95 % probability, if curves go on as they did since K / 4"
    )
    if (later := found.get("later")) is None or later["step"] <= report["lag"]:
        return f"{told}."
    return (
        f"{told}; {later['value']:.4f} if the choice waited until step {later['step']:,}, for a "
        f"further {later['share']:.0%} of the compute to train every candidate."
    )


def _ties_at_lag(report: dict[str, Any]) -> str:
    """Say who cannot be told apart from the winner at K."""
    tied, lag = report["doubt"]["indistinguishable_from_winner"], report["lag"]
    if tied is None:
        return ONCE
    others = len(compared_at_lag(report)) - 1
    left = f" that {'was' if others == 1 else 'were'} not stopped" if stopped(report) else ""
    test = f"at step {lag:,} ({_paired(report)})"
    if not tied:
        return _inside(_all_worse(others, f"the winner {test}", left))
    named = ", ".join(tied[:NAMED])
    named += f" and {len(tied) - NAMED:,} more" if len(tied) > NAMED else ""
    return _inside(f"{_some_tied(len(tied), others, left)} from the winner {test}: {named}")


def _inside(sentence: str) -> str:
    """Return a sentence as it stands behind a colon."""
    return f"{sentence[0].lower()}{sentence[1:]}"


def _still_to_move(report: dict[str, Any]) -> str:
    """Say how far losses differ, how far they may still change, and which is to lead."""
    found, lag, steps = report["doubt"].get("outlook"), report["lag"], report["steps"]
    if found is None:
        few = len(compared_at_lag(report)) < FEWEST
        why = f"fewer than {FEWEST} candidates" if few else f"no evaluation up to step {lag // 2:,}"
        return f"{why}: too little to say whether the ranking still changes"
    told = (
        f"losses differ by {found['apart']:.4f} nats at step {lag:,} (standard deviation) and "
        f"should still move against one another by {found['to_come']:.4f} up to step {steps:,} "
        f"(their movement from step {found['since']:,} to {lag:,}, extrapolated in log(step))"
    )
    if not found["is_apart"]:
        needed = LEAST * found["to_come"]
        told += (
            f"; to look settled, they would have to differ by {needed:.4f}, "
            f"{LEAST:g} times that movement"
        )
    if found["forecast"] is None:
        return (
            f"{told}; too few evaluations since step {lag // 4:,} to forecast which will lead then"
        )
    if found["forecast"] == found["leader"]:
        return f"{told}; {found['leader']} is forecast to lead then too"
    return f"{told}; {found['forecast']} is forecast to lead then, not {found['leader']}"


def _oracle(report: dict[str, Any]) -> str:
    return "--oracle" if report["curves"] is None else "training every candidate to the end"


def _interval(score: dict[str, Any]) -> str:
    if score["interval"] is None:
        return ""
    return f" [{score['interval'][0]:.2f}, {score['interval'][1]:.2f}]"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share <= 10 else "over 1,000%"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.2f}"


def ended_best(report: dict[str, Any]) -> str | None:
    """Return who has the least final loss; None where that is the winner, or is not known."""
    oracle = report["oracle"]
    is_other = oracle is not None and oracle["candidate"] != report["winner"]["name"]
    return oracle["candidate"] if is_other else None


def good_from(report: dict[str, Any]) -> int | None:
    """Return the step from which on every choice is good and every ranking too."""
    oracle, first, of = report["oracle"], None, Spread.of(report)
    for step in sorted(map(int, oracle["spearman"]), reverse=True):
        rank = oracle["spearman"][str(step)]["value"]
        regret = oracle["regret"].get(str(step), {"value": None})["value"]
        if rank is None or regret is None or rank < USEFUL_SPEARMAN:
            break
        if of.half(regret) > USEFUL_REGRET:
            break
        first = step
    return first
