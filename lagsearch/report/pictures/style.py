"""One style for all that is drawn: colours by what they stand for, and which candidates."""

from typing import Any

from lagsearch.report.numbers.view import alive, beside

LIGHT = {
    "page": "#f6f7f8",
    "card": "#ffffff",
    "ink": "#1f2328",
    "muted": "#5b6570",
    "line": "#e3e7eb",
    "winner": "#c8102e",
    "best": "#1f6fb4",
    "baseline": "#2e7d32",
    "rest": "#9aa5b1",
    "picked": "#e07b00",
    "further": "#7b4fa3",
    "good": "#1a7f37",
    "doubtful": "#8f5e00",
    "bad": "#c8102e",
}
"""Colours on white, for figures and for the page by day."""

DARK = {
    "page": "#101418",
    "card": "#191e24",
    "ink": "#e6eaee",
    "muted": "#9ba7b3",
    "line": "#2c343d",
    "winner": "#ff6b7d",
    "best": "#6cb6ff",
    "baseline": "#6fcf7a",
    "rest": "#7b8794",
    "picked": "#ffb454",
    "further": "#b58bd9",
    "good": "#56d364",
    "doubtful": "#e3b341",
    "bad": "#ff7b86",
}
"""The same by night."""

DRAWN_BEST = 100
"""Candidates that are drawn from the best on; of the others a sample is."""
DRAWN_SAMPLE = 100


def drawn(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates that figures and charts show, best at K first.

    Those are all that did not fail or, of many, the best, the best at completion, baselines, and
    of the others every so manyth by rank; then what was trained beside them.
    """
    return [*_candidates(report), *beside(report)]


def _candidates(report: dict[str, Any]) -> list[dict[str, Any]]:
    found = alive(report)
    others = found[DRAWN_BEST:]
    stride = max(1, -(-len(others) // DRAWN_SAMPLE))
    best = report["oracle"]["candidate"] if report["oracle"] else None
    return found[:DRAWN_BEST] + [
        each
        for place, each in enumerate(others)
        if place % stride == stride - 1 or each["is_baseline"] or each["name"] == best
    ]


def left_out(report: dict[str, Any]) -> str:
    """Say which candidates are not drawn, if any."""
    count, shown = len(alive(report)), len(_candidates(report))
    if shown == count:
        return ""
    return (
        f" Of {count:,} candidates, the best {DRAWN_BEST} and a sample of the others are drawn, "
        f"{shown} in all."
    )


def role(report: dict[str, Any], candidate: dict[str, Any]) -> str:
    """Return what a candidate's colour stands for: `winner`, `best`, `baseline` or `rest`."""
    if candidate["name"] == report["winner"]["name"]:
        return "winner"
    if report["oracle"] and candidate["name"] == report["oracle"]["candidate"]:
        return "best"
    return "baseline" if candidate["is_baseline"] else "rest"


def has_random(candidate: dict[str, Any]) -> bool:
    """Return whether a candidate has new layers that are random."""
    return "R" in (candidate["layer_map"] or "").partition("[")[0].split()


def is_later(report: dict[str, Any], candidate: dict[str, Any]) -> bool:
    """Return whether a candidate is a baseline beside the others, and not the first of those."""
    return candidate["name"] in [each["name"] for each in beside(report)[1:]]


def curve(candidate: dict[str, Any]) -> dict[int, float]:
    """Return a candidate's loss by step."""
    return {int(step): loss for step, loss in candidate["val_loss"].items()}


def mean_curve(candidates: list[dict[str, Any]]) -> dict[int, float]:
    """Return the mean loss at the steps that all have."""
    curves = [each["val_loss"] for each in candidates]
    shared = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {
        step: sum(curve[str(step)] for curve in curves) / len(curves)
        for step in sorted(map(int, shared))
    }


def flops_curve(candidate: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return a candidate's training FLOPs and losses, from its first training on."""
    spent = candidate["flops_by_step"]
    pairs = [(spent[step], loss) for step, loss in candidate["val_loss"].items() if spent[step] > 0]
    return [flops for flops, _ in pairs], [loss for _, loss in pairs]
