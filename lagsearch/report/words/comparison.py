"""A comparison of runs in words and tables."""

from typing import Any

from lagsearch.report.numbers.trust import Trust
from lagsearch.report.words.parts import SHOWN, Grid, Section, code, score_cell

SURE: dict[Trust, str] = {
    "useful": "useful",
    "partly": "to be trusted in part",
    "misleading": "NOT to be trusted",
    "unknown": "too few to judge",
    "settled": "settled",
    "open": "open in the first places",
    "unsettled": "NOT settled",
}
"""The verdict on a ranking, in a table's words."""


def comparison_sections(comparison: dict[str, Any]) -> list[Section]:
    """Return what a comparison holds in words and tables."""
    found = [_runs(comparison)]
    if comparison["shared"]:
        found += [_shared(comparison), _agreement(comparison)]
    return found


def _runs(comparison: dict[str, Any]) -> Section:
    head = ["run", "winner", "candidates", "seeds", "ranked at K", "loss at K", "Spearman"]
    head += ["given away", "tied", "the ranking is", "cost"]
    rows = [
        [
            code(run["name"]),
            code(run["winner"]),
            f"{run['candidates']:,}" + (f" ({run['failed']:,} failed)" if run["failed"] else ""),
            str(run["seeds"]),
            f"{run['lag']:,} of {run['steps']:,}{_by(run)}",
            f"{run['val_loss']:.4f}",
            score_cell(run["spearman"]),
            _given_away(run),
            "" if run["tied"] is None else str(run["tied"]),
            SURE[run["trust"]],
            _cost(run),
        ]
        for run in comparison["runs"]
    ]
    note = (
        "Spearman: of the loss at K with the loss at completion; given away: how much more than "
        "the best the choice ends with, in nats and as a share of the spread of final losses; both "
        "only where all were trained to completion, in brackets 95 % intervals over seeds and "
        "validation batches. Tied: candidates that cannot be told apart from the winner at K. "
        "Cost: training FLOPs of search and winner, as a share of training all. Losses of two runs "
        "compare only where text, tokenizer and objective are the same; ranks always do."
    )
    return Section("What each run came to", (Grid(head, rows), note))


def _by(run: dict[str, Any]) -> str:
    kind = "" if run["strategy"] == "lag" else f", {run['strategy']}"
    return kind + ("" if run["signal"] == "loss" else f", by {run['signal']}")


def _given_away(run: dict[str, Any]) -> str:
    if run["regret"] is None:
        return ""
    share, chance = run["relative_regret"]["value"], run["chance"]
    return f"{run['regret']['value']:.4f}: {share:.0%}, chance {chance:.0%}"


def _cost(run: dict[str, Any]) -> str:
    return "" if run["flops"] is None else f"{run['flops']:.2e}, {run['flops_share']:.0%}"


def _shared(comparison: dict[str, Any]) -> Section:
    rows = [
        [
            code(row["name"]) + (" (baseline)" if row["is_baseline"] else ""),
            *map(_place, row["places"]),
        ]
        for row in comparison["shared"][:SHOWN]
    ]
    count = len(comparison["shared"])
    left = f"The best {SHOWN} of {count:,}; all are in `tables/shared.csv`. " * (count > SHOWN)
    note = (
        f"{left}Rank at K among all candidates of the run, and the loss there; behind the arrow "
        "the loss at completion, where all were trained to it."
    )
    head = ["candidate", *(code(run["name"]) for run in comparison["runs"])]
    return Section("Candidates that stand in several", (Grid(head, rows), note))


def _place(place: dict[str, Any] | None) -> str:
    if place is None:
        return ""
    if place["val_loss"] is None:
        return f"{place['rank']} of {place['of']}: {place['status']}"
    final = place["final_val_loss"]
    told = f"{place['rank']} of {place['of']}: {place['val_loss']:.4f}"
    return told + ("" if final is None else f" → {final:.4f}")


def _agreement(comparison: dict[str, Any]) -> Section:
    rows = [
        [
            *(code(name) for name in pair["runs"]),
            _correlation(pair, "at_lag"),
            _correlation(pair, "at_end"),
        ]
        for pair in comparison["rank_correlation"]
        if pair["n_at_lag"]
    ]
    note = (
        "Spearman's correlation of what the two rank by at K, and of their losses at completion, "
        "over the growths that both have, their number in parentheses; three are needed."
    )
    return Section(
        "Do the runs agree?", (Grid(["run", "and", "at K", "at completion"], rows), note)
    )


def _correlation(pair: dict[str, Any], key: str) -> str:
    if not pair[f"n_{key}"]:
        return ""
    value = pair[key]
    return f"{'not defined' if value is None else f'{value:.2f}'} ({pair[f'n_{key}']})"
