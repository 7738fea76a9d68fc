"""The command line: verbs only. Nothing heavy is imported before a verb needs it."""

import shlex
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lagsearch.cli.bench import bench_app
from lagsearch.cli.cache import cache_app
from lagsearch.cli.export import export_command
from lagsearch.cli.grow import grow_command
from lagsearch.cli.log import check_log, log_command
from lagsearch.cli.options import (
    BaselinesOption,
    BudgetOption,
    ColumnOption,
    FigureWidthOption,
    HiddenOption,
    HoursOption,
    KeepOption,
    LagOption,
    LayersOption,
    LogOption,
    OracleOption,
    ProfileOption,
    RunArgument,
    RunFolderOption,
    SeedsOption,
    SerialOption,
    SetOption,
    SkipOption,
    SpaceArgument,
    operator_names,
    read_lag,
    read_seeds,
)
from lagsearch.cli.push import push_command
from lagsearch.cli.tables import (
    show_lines,
    show_plan,
    show_replay,
    show_run,
    show_sections,
)
from lagsearch.display.screen import (
    write,
)
from lagsearch.display.watch import (
    Watch,
    make_waiting_watch,
    make_watch,
)
from lagsearch.errors import (
    LagsearchError,
)
from lagsearch.report.pictures.style import PAGE_WIDTH
from lagsearch.running import interrupts

if TYPE_CHECKING:
    from lagsearch.init import Written

app = typer.Typer(
    help="Find the best way to grow a trained transformer, and say how sure that is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from lagsearch import __version__

        write(f"lagsearch {__version__}")
        raise typer.Exit


@app.callback()
def _before_all(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version, and end."
        ),
    ] = False,
) -> None:
    """Find the best way to grow a trained transformer, and say how sure that is."""


@app.command("plan")
def plan_command(
    space: SpaceArgument,
    lag: LagOption = None,
    budget: BudgetOption = None,
    skip_unfit: SkipOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write all of it as JSON, for other programs.")
    ] = False,
    set_: SetOption = None,
) -> None:
    """Show every candidate and the cost of the search; nothing is trained."""
    from lagsearch.space import opened, said
    from lagsearch.space.arguments import space_of

    options = said(set_ or (), lag=read_lag(lag), skip_unfit=skip_unfit)
    loaded = opened(space_of("plan", space), options, has_budget=budget is not None)
    watch = make_waiting_watch()
    with watch.doing("planning"):
        from lagsearch.planning.run import plan

        planned = plan(loaded, budget=budget)
    if as_json:
        from lagsearch.cli.plan_json import dump_plan

        write(dump_plan(planned))
        return
    show_plan(planned)


@app.command("init")
def init_command(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint folder or hub name.")
    ],
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT",
            help="Text files or folders, one dataset of the hub, or python-stdlib.",
        ),
    ],
    layers: LayersOption = None,
    hidden: HiddenOption = None,
    hours: HoursOption = None,
    column: ColumnOption = None,
    out: Annotated[Path, typer.Option("--out", help="The space file to write.")] = Path(
        "space.yaml"
    ),
) -> None:
    """Write a space file for a checkpoint and a text, ready to run."""
    watch = make_watch()
    written = _init(checkpoint, texts, (layers, hidden, hours, column), out, watch)
    with watch.doing("planning", is_brief=True):
        from lagsearch.planning.run import plan

        planned = plan(written.file)
    show_plan(planned)
    show_lines("", *written.lines, f"Next: lagsearch run {shlex.quote(str(out))}{written.options}")


@app.command("run")
def run_command(  # noqa: PLR0913 (each is an option of the command line)
    what: RunArgument,
    lag: LagOption = None,
    budget: BudgetOption = None,
    oracle: OracleOption = False,
    out: RunFolderOption = None,
    serial: SerialOption = False,
    profile: ProfileOption = False,
    seeds: SeedsOption = None,
    baselines: BaselinesOption = False,
    layers: LayersOption = None,
    hidden: HiddenOption = None,
    hours: HoursOption = None,
    column: ColumnOption = None,
    skip_unfit: SkipOption = False,
    keep: KeepOption = None,
    log: LogOption = None,
    set_: SetOption = None,
) -> None:
    """Train all candidates K steps, rank them, and train the winner on.

    If it is interrupted, the same command continues where it stopped.
    """
    from lagsearch.space import opened, said

    options = said(
        set_ or (),
        lag=read_lag(lag),
        oracle=oracle,
        seeds=read_seeds(seeds),
        profile=profile,
        skip_unfit=skip_unfit,
        keep=keep,
    )
    watch = make_watch()
    check_log(log)
    space = _space_for(what, (layers, hidden, hours, column), watch)
    loaded = opened(space, options, has_budget=budget is not None)
    with watch.doing("checking the space", is_brief=True):
        from lagsearch.planning.run import budgeted, check_baselines, check_first

        if baselines:
            check_baselines(loaded)
        check_first(loaded)
        loaded = budgeted(loaded, budget)
    with _loading(watch):
        from lagsearch.api import run

    with interrupts.continued_by_the_same_command():
        result = run(
            loaded, out=out, serial=serial, baselines=baselines, log=log or (), watch=watch
        )
    show_run(result.folder, result.report)


app.add_typer(cache_app, name="cache")
app.add_typer(bench_app, name="bench")
app.command("log")(log_command)
app.command("push")(push_command)

schedule_app = typer.Typer(no_args_is_help=True, help="Work with the schedule.yaml of a run.")
app.add_typer(schedule_app, name="schedule")


@schedule_app.command("scale")
def scale_command(
    schedule: Annotated[
        Path, typer.Argument(metavar="SCHEDULE", help="The schedule.yaml of a run.")
    ],
    layers: Annotated[
        int | None, typer.Option("--layers", min=1, help="Number of layers at the end.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps of all stages together.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The new file; by default it is written beside the old one."),
    ] = None,
) -> None:
    """Scale a schedule to another depth or length, in proportion, and list what changes."""
    from lagsearch.planning.scale_schedule import scale_schedule

    if layers is None and steps is None:
        raise LagsearchError("schedule scale: say what to, with --layers N, --steps N or both")
    changed = [f"{layers}-layers"] if layers else []
    changed += [f"{steps}-steps"] if steps else []
    out = out or schedule.with_name("-".join([schedule.stem, *changed]) + schedule.suffix)
    lines = scale_schedule(schedule, layers, steps, out)
    write("\n".join([*lines, f"Schedule: {out}"]))


@app.command("report")
def report_command(  # noqa: PLR0913 (each is an option of the command line)
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUNFOLDER|CURVES",
            help="A folder that a run left, or another trainer's losses (.csv, .parquet, .jsonl).",
        ),
    ],
    pack: Annotated[
        bool, typer.Option("--pack", help="Compress the curves, to keep the folder or to send it.")
    ] = False,
    lag: Annotated[
        str | None,
        typer.Option("--lag", metavar="K", help="For curves: rank at this step, or auto."),
    ] = None,
    end: Annotated[
        int | None,
        typer.Option("--end", min=1, help="For curves: the step that counts as the final one."),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="For curves: a candidate that is a baseline."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="For curves: the report's folder; by default beside the file."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest", help="For curves of exported checkpoints: the manifest.json beside them."
        ),
    ] = None,
    figure_width: FigureWidthOption = PAGE_WIDTH,
) -> None:
    """Build a run folder's report again, or that of the curves of another trainer."""
    if pack and not path.is_dir():
        raise LagsearchError("report: --pack is for run folders")
    with make_waiting_watch().doing("building the report"):
        given = {"--lag": lag, "--end": end, "--baseline": baseline, "--manifest": manifest}
        folder, report = _report(path, given, out, figure_width)
        if pack:
            _pack(path)
    show_run(folder, report)


def _report(
    path: Path, given: dict[str, Any], out: Path | None, width: float
) -> tuple[Path, dict[str, Any]]:
    """Build the report of a run folder, or of curves with what is given for them."""
    if not path.is_dir():
        from lagsearch.records.imported_rows import is_curves

        if is_curves(path):
            return _report_curves(path, given, out, width)
    from lagsearch.report.write import write_report

    if named := [option for option, value in {**given, "--out": out}.items() if value]:
        raise LagsearchError(f"report: {named[0]} is for curves from elsewhere, .csv or .parquet")
    return path, write_report(path, width)


def _report_curves(
    path: Path, given: dict[str, Any], out: Path | None, width: float
) -> tuple[Path, dict[str, Any]]:
    """Build the report of curves from elsewhere."""
    from lagsearch.records.imported_curves import Asked
    from lagsearch.report.of_curves import report_curves

    found = read_lag(given["--lag"])
    baselines = tuple(given["--baseline"] or ())
    asked = Asked("auto" if found is None else found, given["--end"], baselines)
    return report_curves(path, asked, out, width, given["--manifest"])


def _pack(path: Path) -> None:
    """Compress the curves of a run folder."""
    from lagsearch.records.folder import RunFolder

    for each in sorted(path.glob("*/stage-*")) if RunFolder(path).has_stages else [path]:
        RunFolder(each).pack()


@app.command("compare")
def compare_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", help="Run folders, files of curves, or the reports made from them."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Also write pages, tables and a figure to this folder."),
    ] = None,
) -> None:
    """Show several runs side by side, and compare the candidates that they share."""
    with make_waiting_watch().doing("comparing the runs"):
        from lagsearch.report.numbers.comparison import compare
        from lagsearch.report.pages.comparison import write_comparison
        from lagsearch.report.words.comparison import comparison_sections

        comparison = compare(paths)
        if out is not None:
            write_comparison(comparison, out)
    show_sections(comparison_sections(comparison), "--out FOLDER writes all")
    if out is not None:
        write(f"\nComparison: {out / 'compare.html'}, {out / 'compare.md'}")


@app.command("replay")
def replay_command(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Folders of runs with --oracle, or files of curves."),
    ],
    lag: Annotated[
        int | None, typer.Option("--lag", min=1, help="Rank at this step, not at each run's own K.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="Only strategies with this in their names.")
    ] = None,
    signal: Annotated[
        str | None, typer.Option("--signal", help="Only strategies that judge by this signal.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write every single replay to this CSV file.")
    ] = None,
) -> None:
    """Replay searches on recorded curves: what each would have chosen, and what it would cost."""
    with make_waiting_watch().doing("replaying the searches"):
        from lagsearch.replay.replay import replay_runs, summary
        from lagsearch.report.numbers.tables import write_csv

        table = replay_runs(folders, lag, strategy=strategy, signal=signal)
        if out is not None:
            write_csv(out, list(table.columns), table.astype(object).to_numpy().tolist())
        shown = summary(table)
    show_replay(shown, table["run"].nunique(), len(table.groupby(["run", "seed"])))


app.command("grow")(grow_command)
app.command("export")(export_command)


@app.command("schema")
def schema_command(
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it to this file instead of the terminal.")
    ] = None,
) -> None:
    """Print the JSON schema of space files, which lets editors complete and check them."""
    from lagsearch.cli.schema import dump_schema
    from lagsearch.space import MODELINE
    from lagsearch.storage.files import write_text

    if out is None:
        write(dump_schema())
        return
    write_text(out, dump_schema() + "\n")
    write(f"Schema: {out}\nFirst line of a space beside it: {MODELINE}{out.name}")


@app.command("operators")
def operators_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Describe this one in full.", autocompletion=operator_names
        ),
    ] = None,
) -> None:
    """List the growth operators, or describe one: settings, an example, a growth drawn."""
    from lagsearch.cli.describe import show_operator, show_operators

    if name is None:
        show_operators()
    else:
        show_operator(name)


def _loading(watch: Watch) -> AbstractContextManager[None]:
    """Say what the first seconds go into."""
    what = "loading torch and transformers"
    return nullcontext() if "torch" in sys.modules else watch.doing(what)


Wanted = tuple[int | None, int | None, float | None, str | None]
"""Layers, width, hours and column, as a command says them."""


def _init(
    checkpoint: str, texts: list[str], wanted: Wanted, out: Path | None, watch: Watch
) -> "Written":
    from lagsearch.planning.first_looks import check_before_loading
    from lagsearch.space.arguments import (
        argument_kind,
        check_checkpoint_and_texts,
        check_hours,
        check_out,
    )

    check_checkpoint_and_texts(checkpoint, texts)
    check_before_loading(checkpoint, texts, wanted[0])
    check_hours(wanted[2])
    if argument_kind(checkpoint) != "missing":  # the hub is asked first whether it has it
        check_out(out)
    with _loading(watch):
        from lagsearch.init import InitRequest, init_space

    return init_space(InitRequest(checkpoint, tuple(texts), *wanted), out, watch)


def _space_for(what: list[str], wanted: Wanted, watch: Watch) -> Path:
    """Return the space file that is to be run; for a checkpoint and texts one is written."""
    if len(what) > 1:
        written = _init(what[0], what[1:], wanted, None, watch)
        show_lines(f"Space: {written.file.path}", *written.lines)
        return written.file.path
    from lagsearch.space.arguments import space_of

    path = space_of("run", what)
    given = zip(("--layers", "--hidden", "--hours", "--column"), wanted, strict=True)
    if named := [option for option, value in given if value is not None]:
        message = f"is for a checkpoint and a text; change what stands in {path}, or use --set"
        raise LagsearchError(f"{named[0]} {message}")
    return path
