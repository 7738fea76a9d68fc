"""What a run of several stages came to, in words."""

from pathlib import Path
from typing import Any

from lagsearch.display.watch import clock


def tell(report: dict[str, Any], folder: Path) -> list[str]:
    """Return the last lines of a run: result, comparison, cost and files."""
    lines = [*judge(report), cost_line(report), *files_lines(report, folder)]
    if report["winner"]["checkpoint"] is not None:
        lines.append(f"Checkpoint: {folder / report['winner']['checkpoint']}")
    return lines


def judge(report: dict[str, Any]) -> list[str]:
    """Say how adaptive stacking ended, and against what."""
    rows = {row["course"]: row for row in report["table"]}
    adaptive = rows["adaptive"]["val_loss"]
    over = f", the mean of {adaptive['n']} seeds" if adaptive["n"] > 1 else ""
    lines = _not_worth_it(rows)
    lines.append(f"Adaptive stacking: validation loss {adaptive['value']:.4f}{over}.")
    if "last" in rows:
        lines.append(claim(rows["last"]))
    lines += [
        f"{name}: {row['val_loss']['value']:.4f}, {compared(row['behind'])}."
        for name, row in rows.items()
        if name not in ("adaptive", "last") and "behind" in row
    ]
    return lines


def _not_worth_it(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Say so where the first stage's model, trained on, does not end above the grown one."""
    if "continue" not in rows or (ended := side(rows["continue"]["behind"])) == "below":
        return []
    if ended == "above":
        return ["Growing did not pay here: the model of the first stage, trained on, ends lower."]
    return [
        "Growing is not shown to pay here: at the end the model of the first stage, trained on, "
        "cannot be told apart."
    ]


def claim(row: dict[str, Any]) -> str:
    """Say what becomes of the paper's claim that adaptive stacking ends below last stacking."""
    behind = row["behind"]
    found = {
        "below": "confirmed here",
        "above": "contradicted here",
        "open": "neither confirmed nor contradicted here",
    }[side(behind)]
    if behind["over"] != "seeds":
        found = "not put to the test by one seed: another may end otherwise"
    return (
        f"last: {row['val_loss']['value']:.4f}, {compared(behind)}. The LAG paper's claim that "
        f"adaptive stacking ends below last stacking is {found}."
    )


def side(behind: dict[str, Any]) -> str:
    """Return whether adaptive ended `below` a course, `above` it, or whether that is `open`."""
    if behind["low"] is None or behind["low"] <= 0 <= behind["high"]:
        return "open"
    return "below" if behind["low"] > 0 else "above"


def compared(behind: dict[str, Any]) -> str:
    """Say how far a course ended from the adaptive one."""
    word = "above" if behind["value"] >= 0 else "below"
    text = f"{abs(behind['value']):.4f} {word} adaptive"
    if behind["low"] is None:
        return text
    return f"{text} (difference, 95 % over {behind['over']}: {interval(behind)})"


def interval(mean: dict[str, Any]) -> str:
    """Write an interval."""
    return f"{mean['low']:+.4f} to {mean['high']:+.4f}"


def cost_line(report: dict[str, Any]) -> str:
    """Say what the search took beside the training."""
    cost = report["cost"]
    share = cost["search_flops"] / cost["training_flops"]
    return (
        f"Cost: {cost['steps']:,} steps and {cost['extra_steps']:,} more for the search, "
        f"{cost['training_flops']:.2e} and {cost['search_flops']:.2e} training FLOPs "
        f"({share:.1%} more); {taken(cost)}."
    )


def taken(cost: dict[str, Any]) -> str:
    """Say how long all of it took."""
    seconds = sum(cost["wall_s"].values())
    return f"all courses and seeds took {clock(seconds)}, {cost['slots']} at a time"


def files_lines(report: dict[str, Any], folder: Path) -> list[str]:
    """Say where the report and the schedule are."""
    return [
        f"Report: {folder / 'report.html'}, {folder / 'report.md'}",
        f"Schedule: {folder / 'schedule.yaml'}; `lagsearch run` repeats it without search",
    ]
