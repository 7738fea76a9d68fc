"""Who is in a ranking, by what it was judged, how far behind the winner, and who is shown."""

from typing import Any

from lagsearch.errors import counted
from lagsearch.selection import find_signal

DRAWN_BEST = 100
"""Candidates that are drawn from the best on; of the others a sample is."""
DRAWN_SAMPLE = 100


def titled(candidate: dict[str, Any], mark: str = "") -> str:
    """Return all names of a candidate, e.g. `stack = lag-i0-b4-duplicate`.

    Args:
        candidate: As the report has it.
        mark: What stands around each name.
    """
    names = (candidate["name"], *candidate.get("also", ()))
    return " = ".join(f"{mark}{name}{mark}" for name in names)


def alive(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates that did not fail, stopped ones too, best first."""
    return [each for each in report["candidates"] if each["status"] != "failed"]


def compared_at_lag(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates that were compared at K: neither failed nor stopped."""
    return [each for each in report["candidates"] if each["status"] == "ok"]


def stopped(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates that a race stopped."""
    return [each for each in report["candidates"] if each["status"] == "stopped"]


def is_cut(report: dict[str, Any]) -> bool:
    """Return whether a curve ends before K, as its candidate was stopped."""
    return any(str(report["lag"]) not in each["val_loss"] for each in stopped(report))


def beside(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the baselines that were trained beside the candidates and did not fail."""
    found = (report.get("growing") or {}).get("baselines", ())
    return [each for each in found if each["status"] == "ok"]


def own_losses(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sources whose own loss is known, as they were before growth."""
    return list((report.get("growing") or {}).get("sources", ()))


def growths(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates that are growths and did not fail, best first."""
    return [each for each in alive(report) if not each["is_baseline"]]


def came_to_lag(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the growths that have a loss at K, best first."""
    return [each for each in growths(report) if str(report["lag"]) in each["val_loss"]]


def judged(report: dict[str, Any], candidate: dict[str, Any]) -> float | None:
    """Return the value that a candidate was ranked by at K, None where it was not."""
    if candidate["status"] != "ok":
        return None
    if report["search"]["signal"] == "loss":
        return float(candidate["val_loss"][str(report["lag"])])
    return None if candidate["signal"] is None else float(candidate["signal"])


def behind(report: dict[str, Any], candidate: dict[str, Any]) -> float | None:
    """Return how far a candidate is behind the winner in what it was ranked by."""
    own, best = judged(report, candidate), judged(report, report["candidates"][0])
    return None if own is None or best is None else own - best


def signal_column(report: dict[str, Any]) -> str | None:
    """Return the head of the signal's column, None where the loss has it already."""
    signal = report["search"]["signal"]
    return None if signal == "loss" else f"{find_signal(signal).heading} at {report['lag']:,}"


def has_average_column(report: dict[str, Any]) -> bool:
    """Return whether the average's loss is shown beside what candidates are ranked by."""
    is_measured = any("val_loss_ema" in each for each in report["candidates"])
    return is_measured and report["search"]["signal"] != "ema"


def evidence_in_words(candidate: dict[str, Any]) -> str:
    """Say why a race stopped a candidate."""
    found = candidate["stopped"]
    told = f"{found['difference']:+.4f} from `{found['leader']}` at step {found['step']:,}"
    return f"{told} (p {found['p_value']:.2g})"


def first_step(report: dict[str, Any]) -> str:
    """Return the first evaluated step: 0, right after growth, in a run."""
    if report["oracle"]:
        return str(min(map(int, report["oracle"]["spearman"])))
    return str(min(int(step) for each in alive(report) for step in each["val_loss"]))


def early_steps(report: dict[str, Any]) -> list[str]:
    """Return the first step and K, once where they are the same."""
    return list(dict.fromkeys([first_step(report), str(report["lag"])]))


def candidates_scored(report: dict[str, Any]) -> str:
    """Count those that a correlation is over: baselines that are candidates too are not."""
    grown = "grown " * any(each["is_baseline"] for each in report["candidates"])
    return counted(len(report["oracle"]["scored"]), f"{grown}candidate")


def of_seed(report: dict[str, Any], candidate: dict[str, Any], step: str) -> str:
    """Say so where a loss is that of one seed, and not the mean of all: a winner's after K."""
    by_seed = candidate.get("val_loss_by_seed", {})
    seeds = [seed for seed, losses in by_seed.items() if step in losses]
    return f" (seed {seeds[0]})" if len(seeds) == 1 < len(by_seed) else ""


def mean_of_seeds(report: dict[str, Any]) -> str:
    """Say what losses are means of; empty under one seed."""
    count = len(report["seeds"])
    return f"mean of {count} seeds" if count > 1 else ""


def is_grown(report: dict[str, Any]) -> bool:
    """Return whether operators made the candidates: not with curves from elsewhere."""
    return any(each["operator"] for each in report["candidates"])


def steps_axis(report: dict[str, Any]) -> str:
    """Name the axis of steps."""
    return "steps after growth" if is_grown(report) else "step"


def tied(report: dict[str, Any]) -> set[str]:
    """Return who cannot be told apart from the winner, as far as anything tells."""
    return set(report["doubt"]["indistinguishable_from_winner"] or ())


def varied(report: dict[str, Any]) -> str:
    """Name what intervals and tests are over; empty where each loss was measured once."""
    seeds = len(report["seeds"])
    parts = [f"{seeds} seeds"] if seeds > 1 else []
    parts += ["the validation batches"] if report["batches"] > 1 else []
    found = " and ".join(parts)
    # nobody knows how another trainer cut its text
    alone = report["curves"] is not None and report["batches"] > 1
    return f"{found}, taken as independent" if alone else found


def has(report: dict[str, Any], key: str) -> bool:
    """Return whether something is known of any candidate."""
    return any(each[key] is not None for each in report["candidates"])


def dimension_name(dimension: dict[str, Any]) -> str:
    """Name a dimension of the design space: a setting by its operator too."""
    of = dimension["operator"]
    return str(dimension["name"]) if of is None else f"{of}: {dimension['name']}"


def adaptive_courses(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the adaptive courses of a run with stages, one for each seed."""
    return [each for each in report["courses"] if each["name"] == "adaptive"]


def first_seed_courses(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all courses of a run with stages under the first seed."""
    return [each for each in report["courses"] if each["seed"] == report["seeds"][0]]


def shown_candidates(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates that figures and charts show, best at K first.

    Those are all that did not fail or, of many, the best, the best at completion, baselines, and
    of the others one in so many by rank; then what was trained beside them.
    """
    return [*_sampled(report), *beside(report)]


def _sampled(report: dict[str, Any]) -> list[dict[str, Any]]:
    found = alive(report)
    others = found[DRAWN_BEST:]
    stride = max(1, -(-len(others) // DRAWN_SAMPLE))
    best = report["oracle"]["candidate"] if report["oracle"] else None
    return found[:DRAWN_BEST] + [
        each
        for place, each in enumerate(others)
        if place % stride == stride - 1 or each["is_baseline"] or each["name"] == best
    ]


def say_not_shown(report: dict[str, Any]) -> str:
    """Say which candidates are not drawn, if any."""
    count, shown = len(alive(report)), len(_sampled(report))
    if shown == count:
        return ""
    return (
        f" Of {count:,} candidates, {shown} are drawn: the best {DRAWN_BEST} and a sample of the "
        "others."
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


def is_later(report: dict[str, Any], name: str) -> bool:
    """Return whether this is a baseline beside the candidates, and not the first of those."""
    return name in [each["name"] for each in beside(report)[1:]]


def loss_by_step(candidate: dict[str, Any]) -> dict[int, float]:
    """Return a candidate's loss by step."""
    return {int(step): loss for step, loss in candidate["val_loss"].items()}


def mean_of_candidates(candidates: list[dict[str, Any]]) -> dict[int, float]:
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
