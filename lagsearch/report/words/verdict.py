"""The first lines of a report: who won, by how much, and whether to believe it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.display.watch import clock
from lagsearch.errors import counted
from lagsearch.operators.plan.growth import tell_fading
from lagsearch.report.numbers.trust import (
    HEADLINES,
    NAMED,
    Trust,
    is_early,
    judge_ranking,
)
from lagsearch.report.numbers.view import (
    mean_of_seeds,
    of_seed,
    stopped,
)
from lagsearch.report.numbers.worth import failed_baselines, judge_growing, was_not_compared
from lagsearch.selection import find_signal, find_strategy, why_stopped
from lagsearch.selection.outlook import EARLIEST


@dataclass(frozen=True)
class Verdict:
    """What a reader must know first.

    Attributes:
        trust: In one word.
        lines: In sentences.
    """

    trust: Trust
    lines: tuple[str, ...]


def judge(report: dict[str, Any]) -> Verdict:
    """Judge a run by its numbers."""
    worth = judge_growing(report)
    lines = [each.line for each in worth if not each.pays]
    lines += [_winner(report), *(each.line for each in worth if each.pays)]
    lines += [*_not_compared(report), *_searched(report), *_ranked_by(report), *_too_early(report)]
    lines += _fading(report)
    if failed := [each for each in report["candidates"] if each["status"] == "failed"]:
        named = "; ".join(f"{each['name']} ({each['failure']})" for each in failed[:NAMED])
        named += f"; and {len(failed) - NAMED:,} more" if len(failed) > NAMED else ""
        lines.append(f"{counted(len(failed), 'candidate')} failed and ranked last: {named}.")
    lines += failed_baselines(report)
    if ignored := report.get("ignored"):
        more = f" and {len(ignored) - NAMED:,} more" if len(ignored) > NAMED else ""
        columns = "Columns that were" if len(ignored) > 1 else "Column that was"
        lines.append(f"{columns} not read: {', '.join(ignored[:NAMED])}{more}.")
    lines += _scratch_ahead(report)
    lines += _saved(report)
    trust, reason = judge_ranking(report)
    lines += _stable(report, trust)
    return Verdict(trust, (*lines, f"{HEADLINES[trust]}: {reason}"))


def _winner(report: dict[str, Any]) -> str:
    best, lag, steps = report["candidates"][0], report["lag"], report["steps"]
    losses, over = best["val_loss"], mean_of_seeds(report)
    told = f"validation loss {losses[str(lag)]:.4f}" + (f" ({over})" if over else "")
    if str(steps) in losses and steps != lag:
        told += f", and {losses[str(steps)]:.4f} at the final step ({steps:,})"
        told += of_seed(report, best, str(steps)).replace("(", "for ").rstrip(")")
    found = f"Winner at step {lag:,}: {best['name']}, {told}."
    if (over := report["search"].get("preferred_to")) is None:
        return found
    return (
        f"{found} {over} had the lowest loss there, but cannot be told apart from it; growths like "
        f"{best['name']} ended better in other runs (search.prior)."
    )


def _not_compared(report: dict[str, Any]) -> list[str]:
    """Say so where nothing tells whether growing pays off."""
    if not was_not_compared(report):
        return []
    return [
        "Whether growing pays off was not measured: search.baselines: [continue] trains the source "
        "on beside the candidates."
    ]


def _too_early(report: dict[str, Any]) -> list[str]:
    """Warn of a K that is early, where no oracle tells what the ranking there is worth."""
    if not is_early(report):
        return []
    return [
        f"K = {report['lag']:,} is early: on recorded runs, rankings before step {EARLIEST} told "
        "little, and none of them looked settled."
    ]


def _fading(report: dict[str, Any]) -> list[str]:
    """Warn of candidates that were ranked before all of them counted in full."""
    ends = {each["name"]: each.get("fades_until", 0) for each in report["candidates"]}
    line = tell_fading(ends, report["lag"])
    return [f"{line[0].upper()}{line[1:]}"] if line else []


def _searched(report: dict[str, Any]) -> list[str]:
    """Say where the search chose and why, where that was for it to find."""
    search, lag = report["search"], report["lag"]
    lines = []
    strategy = find_strategy(search["strategy"])
    if strategy.stops:
        beaten, count = stopped(report), len(report["candidates"])
        steps = {each["stopped"]["step"] for each in beaten}
        words = strategy.name.replace("_", " ")
        were = "was" if len(beaten) < 2 else "were"
        many = f"{len(beaten):,} of {counted(count, 'candidate')}" if beaten else "no candidate"
        at = f"at step {min(steps):,}" if len(steps) == 1 else f"by step {lag:,}"
        line = f"{words.capitalize()}: {many} {were} stopped {at}"
        if beaten:
            line += f", {why_stopped(strategy.name, search['evidence'])}"
        elif search["stable_since"] is None and search["evidence"] == "batches":
            line += ", as the ranking did not become stable"
        lines.append(f"{line}.")
    elif strategy.verdict:
        lines.append(strategy.verdict)
    if search["reason"] == "alone":
        lines.append(f"K = {lag:,}: no other candidate was left.")
    elif search["asked_lag"] == "auto":
        lines.append(f"K = {lag:,}{_found_at(report)}.")
    return lines


def _found_at(report: dict[str, Any]) -> str:
    """Say why the search ended at its K and, with an oracle, what all steps say of that."""
    search, known = report["search"], report["oracle"] and report["phase_transition"]
    if search["reason"] == "stable":
        has, later = ("had", f"; over all steps, {_transition(known)}") if known else ("has", "")
        return f": the ranking {has} been stable since step {search['stable_since']:,}{later}"
    told = _transition(known) if known else "no phase transition showed by then"
    return f", the largest allowed: {told}"


def _ranked_by(report: dict[str, Any]) -> list[str]:
    signal, lag = report["search"]["signal"], report["lag"]
    if signal == "loss":
        return []
    return [
        f"Candidates are ranked at step {lag:,} by {find_signal(signal).words} "
        f"(search.signal: {signal}), not by their loss there."
    ]


def _scratch_ahead(report: dict[str, Any]) -> list[str]:
    winner, lag = report["winner"]["name"], str(report["lag"])
    for each in report["candidates"]:
        if each["is_baseline"] and each["name"] == winner:
            ahead = f"No grown candidate is better than {winner} at step {lag}"
            return [f"{ahead}: there growing is behind."]
    return []


def _saved(report: dict[str, Any]) -> list[str]:
    """Say what the winner saves against training from scratch."""
    savings, winner = report["savings"], report["winner"]["name"]
    if not savings or winner not in savings["growths"]:
        return []
    entry, over = savings["growths"][winner], savings["baseline"]
    if entry["is_bound"]:
        return [
            f"The winner's speed-up over {over} is not defined: {over} ended at "
            f"{savings['val_loss']:.4f}, a higher loss than the winner began with."
        ]
    ways = {
        "growth": "for its own training",
        "with_sources": "with that of its source",
        "with_search": "with source and search",
    }
    known = {way: entry["flops"][f"{way}_speed_up"] for way in ways}
    told = [f"{speed:+,.0%} {ways[way]}" for way, speed in known.items() if speed is not None]
    return [
        f"Speed-up of the winner over {over} in training FLOPs to equal loss "
        f"({entry['val_loss']:.4f}): {', '.join(told)}."
    ]


def _stable(report: dict[str, Any], trust: Trust) -> list[str]:
    """Say since when the ranking is stable, so that it does not seem to contradict the trust."""
    found = report["phase_transition"]
    if found is None or report["search"]["asked_lag"] == "auto":
        return []  # the line of K has it
    told = _transition(found)
    is_good, is_transition = trust in ("useful", "settled", "open"), found["step"] is not None
    agrees = is_transition or found.get("agree_since") is not None
    is_plain = is_good == is_transition == agrees
    apart = "" if is_plain else "; the next line does not depend on that"
    return [f"{told[0].upper()}{told[1:]}{apart}."]


def _transition(found: dict[str, Any]) -> str:
    """Say whether there was a phase transition, in a clause."""
    until, step, agree = found["until"], found["step"], found.get("agree_since")
    since = agree if step is None else step
    pairs = f"every two rankings correlate by at least {found['threshold']:g}"
    if since is None:
        over = f"over steps that grow by a factor of {found['margin']:g}"
        return f"no phase transition by step {until:,} (not {pairs}, {over})"
    stable = (
        f"the ranking has been stable since step {since:,} ({pairs} from there to step {until:,})"
    )
    if step is not None:
        return stable
    resembles = f"some of these correlate by {found['left']:g} or more with the initial one"
    return f"{stable}, but {resembles}, so this is no phase transition"


def tell_courses(report: dict[str, Any], folder: Path) -> list[str]:
    """Return the last lines of a run: result, comparison, cost and files."""
    lines = [*judge_courses(report), cost_line(report), *files_lines(report, folder)]
    if report["winner"]["checkpoint"] is not None:
        lines.append(f"Checkpoint: {folder / report['winner']['checkpoint']}")
    return lines


def judge_courses(report: dict[str, Any]) -> list[str]:
    """Say how adaptive stacking ended, and against what."""
    rows = {row["course"]: row for row in report["table"]}
    adaptive = rows["adaptive"]["val_loss"]
    over = f", the mean of {adaptive['n']} seeds" if adaptive["n"] > 1 else ""
    lines = [f"Adaptive stacking: validation loss {adaptive['value']:.4f}{over}."]
    lines = [*_worth_it(rows, report["missing"]), *lines]
    if "last" in rows:
        lines.append(claim(rows["last"]))
    lines += [
        f"{name}: {row['val_loss']['value']:.4f}, {compared(row['behind'])}."
        for name, row in rows.items()
        if name not in ("adaptive", "last", *_UNGROWN) and "behind" in row
    ]
    return lines


_UNGROWN = {
    "continue": "the first stage's model, trained on without growing",
    "scratch": "the full depth trained from scratch",
}
"""The courses that tell whether growing pays off."""


def _worth_it(rows: dict[str, dict[str, Any]], missing: Mapping[str, str]) -> list[str]:
    """Say whether growing paid off against each course without it, at equal steps and FLOPs."""
    found = [
        f"{_paid(rows[name])}: {other} ends at "
        f"{rows[name]['val_loss']['value']:.4f}, {compared(rows[name]['behind'])}; at equal "
        f"training FLOPs, search included, {compared(rows[name]['behind_at_equal_flops'])}."
        for name, other in _UNGROWN.items()
        if name in rows and "behind" in rows[name]
    ]
    lacking = [
        f"{name} is missing ({why})"
        for name, why in missing.items()
        if name.partition("@")[0] in _UNGROWN
    ]
    if not found and lacking:
        return [f"Whether growing pays off is not known: {', '.join(lacking)}."]
    return found or [
        "Whether growing pays off was not measured: with --baselines, `lagsearch run` trains "
        "without it, too."
    ]


def _paid(row: dict[str, Any]) -> str:
    """Say what of a course without growing is known: paid off is what is below it in both ways."""
    at_steps, at_flops = side(row["behind"]), side(row["behind_at_equal_flops"])
    if at_steps == "above":
        return "Growing did not pay off at equal steps"
    if at_steps == "open":
        return "Growing is not shown to pay off at equal steps"
    if at_flops == "below":
        return "Growing paid off"
    return "Growing is ahead at equal steps, and not shown to pay off at equal compute"


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
    return f"{text} (difference, 95 % over {behind.get('over', 'seeds')}: {interval(behind)})"


def interval(mean: dict[str, Any]) -> str:
    """Write an interval."""
    return f"{mean['low']:+.4f} to {mean['high']:+.4f}"


def cost_line(report: dict[str, Any]) -> str:
    """Say what the search took beside the training."""
    cost, seeds = report["cost"], report["seeds"]
    share = cost["search_flops"] / cost["training_flops"]
    of_first = f", seed {seeds[0]}" if len(seeds) > 1 else ""
    return (
        f"Cost of adaptive stacking{of_first}: {cost['steps']:,} training steps "
        f"({cost['training_flops']:.2e} FLOPs), and {cost['extra_steps']:,} more for the search "
        f"({cost['search_flops']:.2e} FLOPs, {share:.0%} of the training); {taken(cost)}."
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
