"""A comparison of runs in words and tables."""

from typing import Any

from lagsearch.report.numbers.trust import Trust
from lagsearch.report.words.parts import SHOWN, Grid, Section, code, score_cell

SURE: dict[Trust, str] = {
    "useful": "reliable",
    "partly": "partly reliable",
    "misleading": "NOT reliable",
    "unknown": "not judged: too few candidates",
    "settled": "settled",
    "open": "undecided at the top",
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
    head += ["regret: relative, random", "tied", "ranking", "cost"]
    rows = [
        [
            code(run["name"]),
            code(run["winner"]),
            f"{run['candidates']:,}" + (f" ({run['failed']:,} failed)" if run["failed"] else ""),
            str(run["seeds"]),
            f"{run['lag']:,} of {run['steps']:,}{_by(run)}",
            f"{run['val_loss']:.4f}",
            score_cell(run["spearman"]),
            _regret(run),
            "" if run["tied"] is None else str(run["tied"]),
            SURE[run["trust"]],
            _cost(run),
        ]
        for run in comparison["runs"]
    ]
    note = (
        "Loss at K: mean over the seeds. Spearman: correlation of the loss at K with the final "
        "loss, with 95 % intervals over seeds and validation batches. Regret: final loss of the "
        "winner less the best one, in nats; relative: as a share of the range of final losses, "
        "beside that of a random choice. Both are known only where every candidate was trained to "
        "the final step. Tied: candidates that cannot be told apart from the winner at K. Cost: "
        "training FLOPs of search and winner, and their share of the compute to train every "
        "candidate. Losses of two runs compare only where text, tokenizer and objective are the "
        "same; ranks always do."
    )
    return Section("Runs", (Grid(head, rows, ("tied", "seeds", "candidates", "cost")), note))


def _by(run: dict[str, Any]) -> str:
    kind = "" if run["strategy"] == "lag" else f", {run['strategy']}"
    return kind + ("" if run["signal"] == "loss" else f", by {run['signal']}")


def _regret(run: dict[str, Any]) -> str:
    if run["regret"] is None:
        return ""
    share, chance = run["relative_regret"]["value"], run["chance"]
    return f"{run['regret']['value']:.4f}: {share:.0%}, {chance:.0%}"


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
    left = f"The best {SHOWN} of {count:,}; all: `tables/shared.csv`. " * (count > SHOWN)
    note = (
        f"{left}Rank at K among all candidates of the run, and the loss there; after the arrow the "
        "final loss, where every candidate was trained to the final step."
    )
    head = ["candidate", *(code(run["name"]) for run in comparison["runs"])]
    return Section("Candidates of several runs", (Grid(head, rows), note))


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
        "Spearman's correlation between two runs of what they rank by at K, and of their final "
        "losses, over the candidates that both have, baselines left out; their number in "
        "parentheses, at least three."
    )
    head = ["run", "other run", "at K", "final loss"]
    return Section("Agreement between runs", (Grid(head, rows), note))


def _correlation(pair: dict[str, Any], key: str) -> str:
    if not pair[f"n_{key}"]:
        return ""
    value = pair[key]
    return f"{'not defined' if value is None else f'{value:.2f}'} ({pair[f'n_{key}']})"
