"""Where the time of profiled candidates went, in words and as rows of a table."""

from typing import Any

from lagsearch.report.words.parts import SHOWN, Grid, Section, code


def tell_times(report: dict[str, Any]) -> Section:
    """Return a line, a table by rank, and a note.

    Args:
        report: As `report.json`, with `profile`.
    """
    profiles = report["profile"]
    ranked = [(each["rank"], each["name"]) for each in report["candidates"]]
    found = [(rank, name, profiles[name]) for rank, name in ranked if name in profiles]
    best = found[0][2]
    head = ["rank", "candidate", "ms a step", "tokens/s", *best["shares"], "evaluation, s"]
    head += ["FLOP utilization", "peak memory, MiB"]
    has_gpu = any(profile["gpu_utilization"] for _, _, profile in found)
    head += ["GPU busy"] if has_gpu else []
    rows = []
    for rank, name, profile in found:
        row = [str(rank), code(name), _step(profile), f"{profile['tokens_per_s']:,.0f}"]
        row += [f"{share:.0%}" for share in profile["shares"].values()]
        row += [f"{profile['evaluation_s']['sum']:.1f}"]
        row += [f"{profile['model_flop_utilization']:.1%}", _memory(profile["memory"])]
        row += [_busy(profile["gpu_utilization"])] if has_gpu else []
        rows.append(row)
    note = _note(best, has_gpu=has_gpu)
    if len(rows) > SHOWN:
        note = f"The best {SHOWN} of {len(rows):,}. {note}"
    parts = (_line(found[0][1], best), Grid(head, rows[:SHOWN]), note)
    return Section("Where the time goes", parts)


def _line(name: str, profile: dict[str, Any]) -> str:
    """Say in one line where the time of the best candidate went."""
    part, share = max(profile["shares"].items(), key=lambda each: each[1])
    where = "on the GPU"
    if profile["device"] == "cpu":
        threads = profile["threads"]
        where = f"on {threads} CPU thread{'s' if threads > 1 else ''}"
    return (
        f"A training step of `{name}`, the best candidate measured, took "
        f"{1e3 * profile['step_s']['median']:.1f} ms {where} in {profile['precision']}, "
        f"{share:.0%} of it {part}, at {profile['model_flop_utilization']:.0%} of the peak rate of "
        "matrix products."
    )


def _note(profile: dict[str, Any], *, has_gpu: bool) -> str:
    memory = profile["memory"]
    before = memory["before_bytes"]
    held = f", {before / 2**20:,.0f} MiB of it held before" if before is not None else ""
    busy = "GPU busy: the whole GPU, other processes included. " if has_gpu else ""
    return (
        "Steps: median [quartiles] over each candidate's last process, without the first and the "
        "traced steps; shares are of their sum, `other` is the rest. FLOP utilization: FLOPs of a "
        "step, counted as under Cost, over its median time, as a share of the best rate of a "
        f"matrix product measured in the same process ({profile['peak_flops_per_s']:.2e} FLOP/s in "
        f"the first row). Memory: {memory['kind']}{held} (first row). {busy}`profile/`: all "
        "figures, and for each candidate a trace of a few steps for ui.perfetto.dev; "
        "`profile/winner/`: its training after the ranking; `profile/sources/`: sources trained "
        "in this run."
    )


def _step(profile: dict[str, Any]) -> str:
    low, high = (1e3 * each for each in profile["step_s"]["quartiles"])
    return f"{1e3 * profile['step_s']['median']:.1f} [{low:.1f}, {high:.1f}]"


def _memory(memory: dict[str, Any]) -> str:
    peak = memory["peak_bytes"]
    return "not known" if peak is None else f"{peak / 2**20:,.0f}"


def _busy(load: dict[str, Any] | None) -> str:
    return "not known" if load is None else f"{load['mean']:.0%}"
