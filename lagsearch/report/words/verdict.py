"""The first lines of a report: who won, by how much, and whether to believe it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.display.watch import clock
from lagsearch.report.numbers.trust import (
    HEADLINES,
    NAMED,
    Trust,
    with_oracle,
    without_oracle,
)
from lagsearch.report.numbers.view import (
    noun,
    stopped,
)
from lagsearch.report.numbers.worth import failed_baselines, judge_growing
from lagsearch.selection import Strategy, find_evidence, find_signal, find_strategy


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
    lines += [*_searched(report), *_ranked_by(report)]
    if failed := [each for each in report["candidates"] if each["status"] == "failed"]:
        named = "; ".join(f"{each['name']} ({each['failure']})" for each in failed[:NAMED])
        named += f"; and {len(failed) - NAMED:,} more" if len(failed) > NAMED else ""
        lines.append(f"{len(failed)} candidates failed and are ranked last: {named}.")
    lines += failed_baselines(report)
    if ignored := report.get("ignored"):
        more = f" and {len(ignored) - NAMED:,} more" if len(ignored) > NAMED else ""
        lines.append(f"Columns that were not read: {', '.join(ignored[:NAMED])}{more}.")
    lines += _scratch_ahead(report)
    lines += _saved(report)
    trust, reason = with_oracle(report) if report["oracle"] else without_oracle(report)
    lines += _stable(report, trust)
    return Verdict(trust, (*lines, f"{HEADLINES[trust]}: {reason}"))


def _winner(report: dict[str, Any]) -> str:
    winner, lag, steps = report["winner"], report["lag"], report["steps"]
    losses = winner["val_loss"]
    line = f"Winner at step {lag:,}: {winner['name']}, validation loss {losses[str(lag)]:.4f}"
    if str(steps) in losses and steps != lag:
        line += f", and {losses[str(steps)]:.4f} at completion (step {steps:,})"
    if len(report["seeds"]) > 1:
        one = "" if winner["seed"] is None else f"the one of seed {winner['seed']}, chosen by "
        line += f"; {one}the mean of {len(report['seeds'])} seeds"
    return line + "."


def _searched(report: dict[str, Any]) -> list[str]:
    """Say where the search chose and why, where that was for it to find."""
    search, lag = report["search"], report["lag"]
    lines = []
    strategy = find_strategy(search["strategy"])
    if strategy.stops:
        beaten, count = len(stopped(report)), len(report["candidates"])
        line = f"{strategy.name.capitalize()}: {beaten or 'none'} of {count} were stopped "
        line += f"by step {lag:,}"
        if beaten:
            line += f", {_why_stopped(search, strategy)}"
        elif search["stable_since"] is None and search["evidence"] == "batches":
            line += ", as the ranking did not become stable"
        lines.append(f"{line}.")
    elif strategy.verdict:
        lines.append(strategy.verdict)
    if search["reason"] == "alone":
        lines.append(f"K = {lag:,}: no other candidate was left.")
    elif search["asked_lag"] == "auto" and search["reason"] == "stable":
        lines.append(
            f"K = {lag:,}: the ranking {_has(report)} been stable since step "
            f"{search['stable_since']:,}."
        )
    elif search["asked_lag"] == "auto":
        lines.append(f"K = {lag:,}, the largest allowed: no phase transition showed by then.")
    return lines


def _why_stopped(search: dict[str, Any], strategy: Strategy) -> str:
    evidence = search["evidence"]
    return strategy.verdict if evidence is None else find_evidence(evidence).words


def _has(report: dict[str, Any]) -> str:
    """Return the tense: with an oracle, K is not the last that is known."""
    return "had" if report["oracle"] else "has"


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
            better = f"No {noun(report)} is better than {winner}"
            return [f"{better} at step {lag}: growing does not pay here."]
    return []


def _saved(report: dict[str, Any]) -> list[str]:
    """Say what the winner saves against training from scratch."""
    savings, winner = report["savings"], report["winner"]["name"]
    if not savings or winner not in savings["growths"]:
        return []
    entry, over = savings["growths"][winner], savings["baseline"]
    if entry["is_bound"]:
        return [
            f"No speed-up of the winner over {over} can be told: that ended at "
            f"{savings['val_loss']:.4f}, worse than the winner began."
        ]
    ways = {"growth": "alone", "with_sources": "with its source", "with_search": "and the search"}
    known = {way: entry["flops"][f"{way}_speed_up"] for way in ways}
    told = [f"{speed:+.0%} {ways[way]}" for way, speed in known.items() if speed is not None]
    return [
        f"Speed-up of the winner over {over} at equal loss ({entry['val_loss']:.4f}), in training "
        f"FLOPs: {', '.join(told)}."
    ]


def _stable(report: dict[str, Any], trust: Trust) -> list[str]:
    """Say since when the ranking is stable.

    Where it is not, that is said so that it does not seem to contradict a ranking that has settled.
    """
    found = report["phase_transition"]
    if found is None or (report["search"]["asked_lag"] == "auto" and not report["oracle"]):
        return []  # the search has said so, by the space's own measure
    until, agree = found["until"], f"correlate by at least {found['threshold']:g}"
    if found["step"] is not None:
        return [
            f"The ranking has been stable since step {found['step']:,}: every two rankings from "
            f"there to step {until:,} {agree}."
        ]
    if found.get("agree_since") is not None:
        early = "" if report["oracle"] else ", as early rankings do whether they are right or not"
        return [
            f"The ranking has held since step {found['agree_since']:,}: every two rankings from "
            f"there to step {until:,} {agree}. It has not left the first one either (correlations "
            f"with it do not stay below {found['left']:g}){early}."
        ]
    why = f"every two rankings {agree}, over steps that grow by a factor of {found['margin']:g}"
    if trust in ("settled", "open"):
        return [
            f"Rankings at earlier steps still differed (no phase transition by step {until:,}: not "
            f"{why}). That alone does not count against the ranking at K, which the next line "
            "judges by the losses."
        ]
    return [f"No phase transition shows by step {until:,}: that would need that {why}."]


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
