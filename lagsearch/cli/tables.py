"""What the verbs write on the terminal."""

import shutil
import sys
import textwrap
from collections.abc import Callable, Hashable, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lagsearch.display.screen import write
from lagsearch.errors import counted

if TYPE_CHECKING:
    import pandas as pd

    from lagsearch.planning.run import Plan
    from lagsearch.planning.stage import StagePlan
    from lagsearch.report.words.parts import Grid, Section

_SHOWN_OPTIONS = 12


_MAP_COLUMNS = 20  # that layers have at least, in a table


def show_lines(*lines: str) -> None:
    """Write sentences; a terminal has them wrapped between words, but for indented commands."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        wrap = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
        lines = tuple(line if line.startswith(" ") else wrap.fill(line) for line in lines)
    write("\n".join(lines))


def show_plan(plan: "Plan") -> None:
    """Show the candidates of a plan, stage by stage where there are several, and what they cost."""
    from lagsearch.display.console import make_console

    console = make_console()
    if plan.file.has_stages:
        _show_stages(plan, console)
    else:
        _show_stage(plan.stages[0], console)
    for line in (plan.documents, *plan.notes):
        if line:
            console.print(line)


def _show_stage(plan: "StagePlan", console: Any) -> None:
    from rich.table import Table

    from lagsearch.display.layer_blocks import legend

    space = plan.space
    _show_candidates(plan, console, has_memory=True)
    for line in plan.remarks:
        console.print(line[0].upper() + line[1:])
    warned: dict[str, list[str]] = {}
    for each in plan.candidates:
        if each.candidate.plan.warning:
            warned.setdefault(each.candidate.plan.warning, []).append(each.name)
    for warning, names in warned.items():
        console.print(f"Warning: {', '.join(names)}: {warning}")
    lag, steps, count = plan.lag, space.training.steps, len(plan.candidates)
    shown = counted(count, "candidate")
    if plan.domain is not None:
        _show_domain(plan, console)
        shown = f"Above: {counted(count, 'example')}"
        count = plan.n_searched
    search, winner, every = plan.search_flops(), plan.winner_flops(), plan.flops(steps)
    source = plan.source_flops()
    console.print(
        f"\n{shown}. {legend(each.layer_map for each in plan.candidates)}. Memory: "
        "weights, gradients, moments and activations in fp32, an estimate."
    )
    rows = Table("training FLOPs", "", "", box=None, pad_edge=False)
    rows.add_row("source", "not known" if source is None else f"{source:.2e}", "")
    learning = sum(each.cost.operator_flops for each in plan.candidates)
    learnt = f", and {learning:.2e} for operators that are learned" if learning else ""
    under = f" x {len(space.seeds)} seeds" if len(space.seeds) > 1 else ""
    rows.add_row("search", f"{search:.2e}", f"{_search_steps(plan, count)}{under}{learnt}")
    evaluated = plan.evaluation_flops()
    rows.add_row("its evaluations", f"{evaluated:.2e}", _evaluations(plan, evaluated / search))
    rows.add_row("winner", f"{winner:.2e}", f"{steps - lag:,} steps")
    if further := plan.baseline_flops():
        told = [f"{each.name} {each.steps:,} steps" for each in plan.baselines]
        longer = [each for each in plan.candidates if each.steps > steps]
        told += [f"{each.name} from step {steps:,} to {each.steps:,}" for each in longer]
        rows.add_row("baselines", f"{further:.2e}", ", ".join(told))
    share = f"{(search + winner) / every:.0%} of {every:.2e} to train every candidate"
    rows.add_row("search + winner", f"{search + winner:.2e}", share)
    console.print(rows)
    for advice in (plan.evaluation_advice(), plan.advice()):
        if advice:
            console.print(advice)


def _search_steps(plan: "StagePlan", count: int) -> str:
    space = plan.space
    cut, lag = space.cut, space.latest_lag
    told = f"{count} x {cut:,} steps"
    return told if lag == cut else f"{told}, {space.n_finalists(count)} on to step {lag:,}"


def _evaluations(plan: "StagePlan", share: float) -> str:
    """Say on how much losses are measured, how often, and what share of training that takes."""
    from lagsearch.space import measures_itself

    measured, (batches, rows) = plan.evaluations, plan.validation_size
    if measures_itself(plan.space):
        return f"{len(measured)}, by the trainer"
    whole = sum(size == batches for size in measured.values())
    fewer = len(measured) - whole
    tokens = batches * rows * plan.space.data.sequence_length
    also = f" and {fewer} on the first {min(measured.values())} of {batches} batches"
    return f"{whole} on {tokens:,} tokens{also if fewer else ''}: {share:.1%} of the search"


def _show_stages(plan: "Plan", console: Any) -> None:
    from lagsearch.display.layer_blocks import legend

    for number, stage in enumerate(plan.stages, 1):
        steps, count = stage.space.training.steps, len(stage.candidates)
        chosen = (
            f"{counted(count, 'candidate')}, K = {stage.lag:,}"
            if count > 1
            else "nothing to choose"
        )
        console.print(f"\nStage {number}: {counted(steps, 'step')}; {chosen}")
        _show_candidates(stage, console, has_memory=False)
        for line in stage.remarks:
            console.print(line[0].upper() + line[1:])
    maps = [each.layer_map for stage in plan.stages for each in stage.candidates]
    search, training = plan.search_flops(), plan.training_flops()
    evaluated = sum(each.evaluation_flops() for each in plan.stages)
    lines = [
        f"\n{legend(maps)}: in each stage, of the winner of the stage before.",
        f"Training: {plan.file.steps:,} steps, {training:.2e} training FLOPs.",
        f"Search: {plan.extra_steps:,} more steps, {search:.2e} training FLOPs, "
        f"{search / training:.1%} of the training.",
        f"Evaluations up to K, winners' too: {evaluated:.2e} FLOPs, {evaluated / training:.1%} of "
        "the training.",
    ]
    if len(plan.file.seeds) > 1:
        lines.append(f"All of it under each of {len(plan.file.seeds)} seeds.")
    for line in lines:
        console.print(line)


def show_run(folder: Path, report: dict[str, Any]) -> None:
    """Write the last lines of a run, with stages or without."""
    if report.get("kind") != "stages":
        show_result(folder, report)
        return
    from lagsearch.report.words.verdict import tell_courses

    show_lines(*tell_courses(report, folder))


def _show_candidates(plan: "StagePlan", console: Any, *, has_memory: bool) -> None:
    """Show each candidate with its layers and what it takes."""
    from rich.table import Table

    from lagsearch.display.console import print_rows
    from lagsearch.display.layer_blocks import widths_once

    table = Table(box=None, pad_edge=False)
    table.add_column("candidate", no_wrap=True)
    table.add_column("layers", min_width=_MAP_COLUMNS)
    place = plan.space.resources.of_candidates
    memory_heading = "memory" if place.devices == 1 else "memory/device"
    for heading in ("parameters", "FLOPs/step", *([memory_heading] if has_memory else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    maps, widths = widths_once([each.layer_map for each in plan.candidates])
    for each, layers in zip(plan.candidates, maps, strict=True):
        cost = each.cost
        memory = f"{cost.memory_bytes / 2**20:,.0f} MiB" if cost.memory_bytes else "not known"
        numbers = [f"{cost.parameters:,}", f"{cost.flops_per_step:.2e}"]
        table.add_row(each.title, layers, *numbers, *([memory] if has_memory else []))
    print_rows(console, table)
    if widths:
        console.print(widths)


def _show_domain(plan: "StagePlan", console: Any) -> None:
    """Show what is sampled from."""
    from rich.table import Table

    assert plan.domain is not None, "the space lists its candidates"
    table = Table("parameter", "options", box=None, pad_edge=False)
    labels = [branch.label for branch in plan.domain.branches]
    if len(labels) > 1:
        table.add_row("entry", ", ".join(labels))
    for branch in plan.domain.branches:
        for name, options in branch.parameters.items():
            listed = ", ".join(map(str, options[:_SHOWN_OPTIONS]))
            more = len(options) - _SHOWN_OPTIONS
            table.add_row(name, f"{listed} and {more} more" if more > 0 else listed)
    console.print()
    console.print(table)
    search = plan.space.search
    has_controls = search.single_model_control and len(plan.space.sources) > 1
    controls = "; controls come on top" if has_controls else ""
    console.print(
        f"\n{plan.domain.size:,} combinations; {plan.n_sampled} different growths are sampled by "
        f"{search.sampler}, {search.at_a_time} at a time{controls}."
    )


_REPLAYED = {
    "of better half": "Of better half: the same as a share of the range of that half.",
    "nats": "nats: regret.",
    "steps trained": "",
    "95 %": "95 %: interval of the mean relative regret in other runs like these, free of "
    "assumptions on its distribution; it takes more than one run.",
    "best chosen": "",
}
"""What a narrow terminal does without, the first one first, and what each column says."""

_CELLS: dict[str, Callable[[dict[Hashable, Any]], str]] = {
    "steps trained": lambda row: f"{row['steps']:,.0f}",
    "of LAG at K": lambda row: f"{row['share']:.0%}",
    "relative regret": lambda row: f"{row['relative_regret']:.3f}",
    "95 %": lambda row: "" if isnan(row["low"]) else f"{row['low']:.2f} to {row['high']:.2f}",
    "of better half": lambda row: f"{row['regret_of_best_half']:.3f}",
    "nats": lambda row: f"{row['regret']:.4f}",
    "best chosen": lambda row: f"{row['is_best']:.0%}",
}
"""The numbers of a replay, by their headings."""


def show_replay(summary: "pd.DataFrame", n_runs: int, n_searches: int) -> None:
    """Show the means of replays (`lagsearch.replay.replay.summary`)."""
    from rich.table import Table

    from lagsearch.display.console import make_console, print_rows

    rows = summary.to_dict("records")
    columns = {key: [str(row[key]) for row in rows] for key in ("strategy", "until", "signal")}
    columns |= {
        heading: [write_cell(row) for row in rows] for heading, write_cell in _CELLS.items()
    }
    table = Table(box=None, pad_edge=False)
    shown = {heading: cells for heading, cells in columns.items() if any(cells)}
    for heading in shown:
        table.add_column(heading, justify="right" if heading in _CELLS else "left", no_wrap=True)
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*cells)
    console = make_console()
    gone = print_rows(console, table, tuple(each for each in _REPLAYED if each in shown))
    named = {*shown} - {*gone}
    told = [meaning for heading, meaning in _REPLAYED.items() if meaning and heading in named]
    more = [f"Left out here: {', '.join(gone)}; --out FILE.csv writes all."] if gone else []
    console.print(
        f"\nRecorded runs: {n_runs}; searches of one seed: {n_searches}; means over the runs, each "
        "over its seeds. until: the last step that candidates are trained to: K, half of the "
        "training, or its end. Relative regret: final loss of the choice less the best one, as a "
        f"share of the range of final losses. {' '.join([*told, *more])}".rstrip()
    )


def show_sections(sections: Sequence["Section"], where_all: str) -> None:
    """Show sections as tables and paragraphs in a terminal; elsewhere they are Markdown.

    Args:
        sections: What is told.
        where_all: Says where columns are that a narrow terminal leaves out.
    """
    from lagsearch.report.pages.markdown import markdown_section
    from lagsearch.report.words.parts import Grid, unmarked

    if not sys.stdout.isatty():
        write("\n\n".join(map(markdown_section, sections)))
        return
    for number, section in enumerate(sections):
        show_lines(*([""] if number else []), section.title)
        for part in section.parts:
            write("")
            if isinstance(part, Grid):
                _show_grid(part, where_all)
            elif isinstance(part, str):
                show_lines(unmarked(part))
            else:
                show_lines(*(f"- {point}" for point in part.points))


def _show_grid(grid: "Grid", where_all: str) -> None:
    """Show a table of words; columns without a word are left out."""
    from rich.table import Table

    from lagsearch.display.console import make_console, print_rows
    from lagsearch.report.words.parts import unmarked

    table = Table(box=None, pad_edge=False)
    columns = [[heading, *cells] for heading, *cells in zip(grid.head, *grid.rows, strict=True)]
    shown = [[unmarked(cell) for cell in column] for column in columns if any(column[1:])]
    for heading, *_ in shown:
        table.add_column(heading, no_wrap=True)
    for cells in list(zip(*shown, strict=True))[1:]:
        table.add_row(*cells)
    may_go = [each for each in grid.may_go if each in {heading for heading, *_ in shown}]
    if gone := print_rows(make_console(), table, may_go):
        show_lines("", f"Left out here: {', '.join(gone)}; {where_all}.")


def show_result(folder: Path, report: dict[str, Any]) -> None:
    """Write what a report comes to, what to do next, and where its files are."""
    from lagsearch.report.words.advice import advise
    from lagsearch.report.words.verdict import judge

    lines = list(judge(report).lines)
    if report["cost"]:
        lines += _cost(report)
    for word, advice in zip(("Next", "Also"), advise(report, folder), strict=False):
        lines += [f"{word}: {advice.line}", *([f"  {advice.command}"] if advice.command else [])]
    lines += [
        f"Report: {folder / 'report.html'}, {folder / 'report.md'}",
    ]
    if report["winner"]["checkpoint"] is not None:
        lines.append(f"Checkpoint: {folder / report['winner']['checkpoint']}")
    show_lines(*lines)


def _cost(report: dict[str, Any]) -> list[str]:
    from lagsearch.display.watch import clock

    cost = report["cost"]
    wall = ", ".join(f"{phase} {clock(seconds)}" for phase, seconds in cost["wall_s"].items())
    spent = cost["search_flops"] + cost["winner_flops"]
    share = spent / cost["oracle_flops"]
    more = f", and {cost['evaluation_flops']:.2e} for the evaluations of the search; {wall}"
    more = more if report["curves"] is None else ""
    if report["oracle"]:
        return [
            f"Cost: {cost['oracle_flops']:.2e} training FLOPs to train every candidate to the "
            f"final step, which scores the ranking; search and winner alone take {spent:.2e} of "
            f"them, {share:.0%}{more}."
        ]
    return [
        f"Cost: {spent:.2e} training FLOPs for search and winner, {share:.0%} of the compute to "
        f"train every candidate{more}."
    ]
