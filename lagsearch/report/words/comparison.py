"""A comparison of runs as pages and tables: `compare.md`, `compare.html`, `tables/*.csv`."""

import base64
from html import escape
from pathlib import Path
from typing import Any

from lagsearch.errors import LagsearchError
from lagsearch.report.numbers.tables import Table, write_csv
from lagsearch.report.numbers.trust import Trust
from lagsearch.report.pages.markdown import markdown_section
from lagsearch.report.pages.stage import headed, html_section
from lagsearch.report.words.stage import Grid, Section
from lagsearch.storage.files import write_text

SHOWN = 50
"""Shared candidates that a page lists; all are in `tables/`."""

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


def write_comparison(comparison: dict[str, Any], folder: Path) -> None:
    """Write pages, tables and the figure of a comparison.

    Args:
        comparison: As `compare` returns it.
        folder: A new or empty one, or that of an earlier comparison.

    Raises:
        LagsearchError: The folder holds something else; nothing was written.
    """
    from lagsearch.report.pictures.comparison import draw_comparison

    page = folder / "compare.md"
    if folder.exists() and not folder.is_dir():
        raise LagsearchError(f"{folder}: is no folder; choose another with --out")
    if folder.is_dir() and any(folder.iterdir()) and not page.is_file():
        message = "has files, but no comparison; choose another folder with --out"
        raise LagsearchError(f"{folder}: {message}")
    drawn = draw_comparison(comparison, folder / "figures")
    for name, (head, rows) in _tables(comparison).items():
        write_csv(folder / "tables" / f"{name}.csv", head, rows)
    told = sections(comparison)
    figure = f"![{drawn[1]}](figures/{drawn[0]}.png)\n\n*{drawn[1]}*" if drawn else ""
    parts = [f"# {_title(comparison)}", *map(markdown_section, told), figure]
    write_text(page, "\n\n".join(part for part in parts if part) + "\n")
    svg = (folder / "figures" / f"{drawn[0]}.svg", drawn[1]) if drawn else None
    write_text(folder / "compare.html", _html(comparison, told, svg))


def sections(comparison: dict[str, Any]) -> list[Section]:
    """Return what a comparison holds in words and tables."""
    found = [_runs(comparison)]
    if comparison["shared"]:
        found += [_shared(comparison), _agreement(comparison)]
    return found


def _title(comparison: dict[str, Any]) -> str:
    return f"{len(comparison['runs'])} runs side by side"


def _runs(comparison: dict[str, Any]) -> Section:
    head = ["run", "winner", "candidates", "seeds", "ranked at K", "loss at K", "Spearman"]
    head += ["given away", "tied", "the ranking is", "cost"]
    rows = [
        [
            f"`{run['name']}`",
            f"`{run['winner']}`",
            f"{run['candidates']:,}" + (f" ({run['failed']:,} failed)" if run["failed"] else ""),
            str(run["seeds"]),
            f"{run['lag']:,} of {run['steps']:,}{_by(run)}",
            f"{run['val_loss']:.4f}",
            _score(run["spearman"]),
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


def _score(score: dict[str, Any] | None) -> str:
    if score is None:
        return ""
    if score["value"] is None:
        return "not defined"
    ends = score["interval"]
    return f"{score['value']:.2f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "")


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
            f"`{row['name']}`" + (" (baseline)" if row["is_baseline"] else ""),
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
    head = ["candidate", *(f"`{run['name']}`" for run in comparison["runs"])]
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
            *(f"`{name}`" for name in pair["runs"]),
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


def _tables(comparison: dict[str, Any]) -> dict[str, Table]:
    """Return the tables by name: one row for each run, for each shared candidate, for each pair."""
    runs, names = comparison["runs"], [run["name"] for run in comparison["runs"]]
    plain = [key for key, value in runs[0].items() if key not in (*_SCORES, "by_step")]
    head = [*plain, *(f"{key}{end}" for key in _SCORES for end in ("", "_low", "_high"))]
    rows = [
        [*(run[key] for key in plain), *(cell for key in _SCORES for cell in _cells(run[key]))]
        for run in runs
    ]
    facts = ("rank", "of", "status", "val_loss", "final_val_loss")
    shared = [
        [row["name"], row["is_baseline"], name, *(place[key] for key in facts)]
        for row in comparison["shared"]
        for name, place in zip(names, row["places"], strict=True)
        if place
    ]
    keys = ("at_lag", "n_at_lag", "at_end", "n_at_end")
    pairs = [
        [*pair["runs"], *(pair[key] for key in keys)] for pair in comparison["rank_correlation"]
    ]
    return {
        "runs": (head, rows),
        "shared": (["candidate", "is_baseline", "run", *facts], shared),
        "rank_correlation": (["run", "other_run", *keys], pairs),
    }


_SCORES = ("spearman", "regret", "relative_regret")


def _cells(score: dict[str, Any] | None) -> list[Any]:
    if score is None:
        return [None] * 3
    return [score["value"], *(score["interval"] or (None, None))]


def _html(comparison: dict[str, Any], told: list[Section], figure: tuple[Path, str] | None) -> str:
    """Return the page: no script, nothing loaded, all text escaped."""
    parts = [f"<section>{html_section(each)}</section>" for each in told]
    if figure is not None:
        picture = base64.b64encode(figure[0].read_bytes()).decode()
        source = f"data:image/svg+xml;base64,{picture}"
        caption = escape(figure[1])
        parts.append(
            f'<section><img class="picture" alt="{caption}" src="{source}">'
            f'<p class="note">{caption}</p></section>'
        )
    names = " · ".join(run["name"] for run in comparison["runs"])
    return headed(_title(comparison), names, "\n".join(parts))
