"""Whether growing is worth it, in words and tables."""

from typing import Any

from lagsearch.report.numbers.view import (
    beside,
    mean_of_seeds,
    of_seed,
    own_losses,
    varied,
)
from lagsearch.report.numbers.worth import baselines_to_add, failed_baselines
from lagsearch.report.words.parts import SHOWN, Grid, Part, Section, code, loss_cell


def tell_growing(report: dict[str, Any]) -> Section:
    """Return what everything came to, every growth beside every baseline, and what that means."""
    parts: list[Part] = [losses_grid(report)]
    rows, note = _compared(report), _note(report)
    if rows:
        parts.append(Grid(_HEAD, rows[:SHOWN]))
    if len(rows) > SHOWN:
        note = f"The first {SHOWN} of {len(rows):,}; all: `tables/growing.csv`. {note}"
    return Section("Does growing pay off?", (*parts, note))


def losses_grid(report: dict[str, Any]) -> Grid:
    """Return the sources before growth, the baselines, and the winner."""
    steps = list(dict.fromkeys(["0", str(report["lag"]), str(report["steps"])]))
    winner = [each for each in report["candidates"] if each["name"] == report["winner"]["name"]]
    shown = [*beside(report), *winner]
    is_longer = any(_last(each) > report["steps"] for each in shown)
    head = ["model", "steps", "training FLOPs", *(f"loss at {int(step):,}" for step in steps)]
    head += ["at its own end"] if is_longer else []
    rows = [
        [f"source `{each['name']}`, before growth", "0", "", f"{each['val_loss']:.4f}"]
        + [""] * (len(head) - 4)
        for each in own_losses(report)
    ]
    for each in shown:
        last = str(_last(each))
        told = [_loss(report, each, step) for step in steps]
        told += [_loss(report, each, last)] if is_longer else []
        name = code(each["name"]) + (" (winner)" if each in winner else "")
        rows.append([name, f"{int(last):,}", f"{each['flops_by_step'][last]:.2e}", *told])
    return Grid(head, rows)


def _loss(report: dict[str, Any], candidate: dict[str, Any], step: str) -> str:
    return loss_cell(candidate["val_loss"].get(step)) + of_seed(report, candidate, step)


_HEAD = ["candidate", "baseline", "at step", "difference", "p", "at FLOPs", "difference", "p"]


def _compared(report: dict[str, Any]) -> list[list[str]]:
    """Return how far each growth is behind each baseline, at equal steps and FLOPs."""
    rows = []
    for each in report["growing"]["comparisons"]:
        steps, flops = each["equal_steps"], each["equal_flops"]
        at_step = [f"{steps['step']:,}", *_point(steps)] if steps else [""] * 3
        at_flops = [f"{flops['flops']:.2e}", *_point(flops)] if flops else ["", "not known", ""]
        rows.append([code(each["growth"]), code(each["baseline"]), *at_step, *at_flops])
    return rows


def _point(point: dict[str, Any]) -> list[str]:
    p_value = point["p_value"]
    mark = "" if point["is_fair"] else " (mid-schedule)"
    return [f"{point['difference']:+.4f}{mark}", "" if p_value is None else f"{p_value:.2g}"]


def _note(report: dict[str, Any]) -> str:
    if not beside(report) and (failed := failed_baselines(report)):
        return " ".join(failed)
    if not beside(report):
        return (
            "Nothing was trained on without growing: `search: {baselines: [continue]}` does that, "
            "beside the candidates."
        )
    notes = [f"Losses and FLOPs: {mean_of_seeds(report)}."] if mean_of_seeds(report) else []
    notes.append(
        "Difference: the candidate's loss minus the baseline's on the same validation batches, at "
        "the last step that both reached and at the training FLOPs that both spent; negative "
        "favours growing. FLOPs count from growth, without those of the source."
    )
    if over := varied(report):
        notes.append(f"p: two-sided paired t-test over {over}, not corrected for multiple testing.")
    if varied(report) and len(report["seeds"]) < 2:
        notes.append("It does not cover what another seed would change.")
    points = [
        each[at]
        for each in report["growing"]["comparisons"]
        for at in ("equal_steps", "equal_flops")
    ]
    if any(point and not point["is_fair"] for point in points):
        notes.append(
            "Mid-schedule: the learning rate of only one of the two had decayed, so the difference "
            "says little."
        )
    if asked := baselines_to_add(report):
        notes.append(f"`search.baselines: [{', '.join(asked)}]` compares what is not known.")
    return " ".join(notes)


def _last(candidate: dict[str, Any]) -> int:
    return max(map(int, candidate["val_loss"]))
