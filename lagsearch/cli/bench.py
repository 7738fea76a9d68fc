"""`lagsearch bench`: the benchmark of recorded growths, made, added to and read."""

from pathlib import Path
from typing import Annotated

import typer

from lagsearch.display.screen import write
from lagsearch.display.watch import make_watch
from lagsearch.errors import LagsearchError, counted
from lagsearch.running import interrupts

bench_app = typer.Typer(
    no_args_is_help=True,
    help="The benchmark: recorded growths that anyone may replay, make again, and add to. "
    "E.g. lagsearch bench report reports/bench",
)

DEFAULT = Path("reports/bench")
FolderArgument = Annotated[
    Path, typer.Argument(metavar="[DIR]", help="The benchmark's folder, with its manifest.json.")
]


@bench_app.command("list")
def designs_command() -> None:
    """List the runs of the design, half by half: those that `bench space` and `--only` take.

    E.g. lagsearch bench list
    """
    from lagsearch.bench.design import designs

    for each in sorted(designs(), key=lambda each: each.half):
        write(each.name)


@bench_app.command("space")
def space_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A run of the design, as `bench list` has it.")
    ],
) -> None:
    """Print the space of a run of the design, as a space file.

    E.g. lagsearch bench space NAME > space.yaml, then lagsearch plan space.yaml
    """
    from lagsearch.bench.design import find_design
    from lagsearch.bench.spaces import designed_space
    from lagsearch.bench.texts import places_shown
    from lagsearch.space import dump_yaml

    write(dump_yaml(designed_space(find_design(name), places_shown())).rstrip())


@bench_app.command("make")
def make_command(
    folder: FolderArgument = DEFAULT,
    files: Annotated[
        Path | None,
        typer.Option(
            "--files",
            metavar="FOLDER",
            help="Holds the texts that PyPI does not have, by the names that docs/benchmark.md "
            "lists; runs that need others are left out, and named.",
        ),
    ] = None,
    half: Annotated[
        str | None,
        typer.Option(
            "--half",
            metavar="choice|test",
            help="Make the runs of this half alone: rules are chosen on `choice` and judged on "
            "`test`.",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="NAME,...",
            help="Make these runs alone, by the names of `bench list`.",
        ),
    ] = None,
    serial: Annotated[
        bool, typer.Option("--serial", help="Train one candidate at a time, without Ray.")
    ] = False,
) -> None:
    """Make the runs of the design one after the other; the same command goes on.

    It may be started several times side by side: each run is made by one of them.

    E.g. lagsearch bench make reports/bench --half choice --serial
    """
    from lagsearch.bench.design import chosen_designs
    from lagsearch.bench.make import make

    wanted = chosen_designs(half, only.split(",") if only else [])
    with interrupts.continued_by_the_same_command():
        make(folder, wanted, files, make_watch(), serial=serial)


@bench_app.command("add")
def add_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, made with --oracle.")],
    folder: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="The benchmark that it is added to.")
    ] = DEFAULT,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What to call it there; the run folder's name by default."),
    ] = None,
) -> None:
    """Add a run of your own: its space, plans and losses; no weights, no text.

    E.g. lagsearch bench add reports/mine --to reports/bench --name mine-6to9
    """
    from lagsearch.bench.adding import add

    for each in add(folder, run, name):
        write(f"{folder}: added {each}")


@bench_app.command("report")
def show_command(
    folder: FolderArgument = DEFAULT,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write it as Markdown to this file, with figures beside it, not to the terminal.",
        ),
    ] = None,
) -> None:
    """Say what the runs show, those of the half `test` left out: rules are chosen on this.

    E.g. lagsearch bench report reports/bench --out shows.md
    """
    _page(folder, None, "What the benchmark shows, the half test left out", out)


@bench_app.command("test")
def test_command(
    folder: FolderArgument = DEFAULT,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write it as Markdown to this file, not to the terminal."),
    ] = None,
    early: Annotated[
        bool, typer.Option("--early", help="Compare even if runs of the half are still to be made.")
    ] = False,
) -> None:
    """Compare all strategies on the half `test`: once, when no rule will change any more.

    The one that is judged is the best on the half `choice`.

    E.g. lagsearch bench test reports/bench --out test.md
    """
    from lagsearch.bench.design import chosen_designs
    from lagsearch.records.benchmark import TEST, load_benchmark

    found = load_benchmark(folder, TEST)
    missing = {each.name for each in chosen_designs(TEST, [])} - {*found.runs}
    if missing and not early:
        message = (
            f"{counted(len(missing), 'run')} of the half test still to be made, e.g. {min(missing)}"
        )
        raise LagsearchError(
            f"bench test: {message}; its figures are read once, when all are there"
        )
    _page(folder, TEST, "What the half test of the benchmark shows", out, chosen_on="choice")


def _page(
    folder: Path, half: str | None, title: str, out: Path | None, chosen_on: str | None = None
) -> None:
    from lagsearch.bench.words import page_of
    from lagsearch.records.benchmark import load_benchmark
    from lagsearch.storage.files import write_text

    benchmark = load_benchmark(folder, half)
    if not benchmark.runs:
        raise LagsearchError(f"{folder}: no runs to show; `lagsearch bench make` makes them")
    others = None if chosen_on is None else load_benchmark(folder, chosen_on)
    if others is not None and not others.runs:
        message = f"no runs of the half {chosen_on} to choose a strategy on"
        raise LagsearchError(f"{folder}: {message}; `lagsearch bench make` makes them")
    watch = make_watch()
    with watch.doing("replaying the searches"):
        figures = None if out is None else out.parent / "figures"
        page = page_of(benchmark, title, watch.passing, others, figures)
    if out is None:
        write(page.rstrip())
        return
    write_text(out, page)
    write(f"{out}: {counted(len(benchmark.runs), 'run')}")
