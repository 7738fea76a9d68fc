"""Whether growing is worth it, in words and tables."""

from typing import Any

from lagsearch.report.numbers.view import (
    beside,
    own_losses,
    varied,
)
from lagsearch.report.words.parts import SHOWN, Grid, Part, Section, code, loss_cell


def tell_growing(report: dict[str, Any]) -> Section:
    """Return what everything came to, every growth beside every baseline, and what that means."""
    parts: list[Part] = [losses_grid(report)]
    rows, note = _compared(report), _note(report)
    if rows:
        parts.append(Grid(_HEAD, rows[:SHOWN]))
    if len(rows) > SHOWN:
        note = f"The first {SHOWN} of {len(rows):,}; all are in `tables/growing.csv`. {note}"
    return Section("Is growing worth it?", (*parts, note))


def losses_grid(report: dict[str, Any]) -> Grid:
    """Return the sources before growth, the baselines, and the winner."""
    steps = list(dict.fromkeys(["0", str(report["lag"]), str(report["steps"])]))
    winner = [each for each in report["candidates"] if each["name"] == report["winner"]["name"]]
    shown = [*beside(report), *winner]
    is_longer = any(_last(each) > report["steps"] for each in shown)
    head = ["", "steps", "training FLOPs", *(f"loss at {int(step):,}" for step in steps)]
    head += ["at its end"] if is_longer else []
    rows = [
        [f"source `{each['name']}`, before growth", "0", "", f"{each['val_loss']:.4f}"]
        + [""] * (len(head) - 4)
        for each in own_losses(report)
    ]
    for each in shown:
        last = str(_last(each))
        told = [loss_cell(each["val_loss"].get(step)) for step in steps]
        told += [loss_cell(each["val_loss"].get(last))] if is_longer else []
        name = code(each["name"]) + (" (winner)" if each in winner else "")
        rows.append([name, f"{int(last):,}", f"{each['flops_by_step'][last]:.2e}", *told])
    return Grid(head, rows)


_HEAD = ["growth", "beside", "at step", "behind by", "p", "at FLOPs", "behind by", "p"]


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
    mark = "" if point["is_fair"] else " †"
    return [f"{point['difference']:+.4f}{mark}", "" if p_value is None else f"{p_value:.2g}"]


def _note(report: dict[str, Any]) -> str:
    if not beside(report):
        return (
            "Nothing was trained on without growing: `search: {baselines: [continue]}` does that, "
            "beside the candidates."
        )
    notes = [
        "A growth is behind where its loss is above the baseline's, on the same validation "
        "batches: at the last step that both came to, and at the training FLOPs that both spent. "
        "FLOPs count from growth: what a source took is not in them."
    ]
    if over := varied(report):
        notes.append(f"p: two-sided paired t-tests over {over}, none corrected for the others.")
    if varied(report) and len(report["seeds"]) < 2:
        notes.append("They do not hold what another seed would change.")
    points = [
        each[at]
        for each in report["growing"]["comparisons"]
        for at in ("equal_steps", "equal_flops")
    ]
    if any(point and not point["is_fair"] for point in points):
        notes.append(
            "†: the learning rate had not fallen alike in both, so this says little; for equal "
            "FLOPs name `{operator: continue, steps: matched}` in `search.baselines`."
        )
    return " ".join(notes)


def _last(candidate: dict[str, Any]) -> int:
    return max(map(int, candidate["val_loss"]))
