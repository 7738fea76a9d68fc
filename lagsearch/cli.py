"""The command line: verbs only. Nothing heavy is imported before a verb needs it."""

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from lagsearch.cache_commands import cache_app
from lagsearch.errors import (
    InterruptedRunError,
    LagsearchError,
    brief,
    in_short,
    is_out_of_memory,
    words_of,
)
from lagsearch.terminal import (
    make_console,
    show_lines,
    show_plan,
    show_replay,
    show_result,
    show_run,
    show_staged_plan,
)

if TYPE_CHECKING:
    from lagsearch.init import Written
    from lagsearch.space import SpaceFile, StagedFile

app = typer.Typer(
    help="Find the best way to grow a trained transformer, and say how sure that is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

MOST_DIGITS = 18
"""Of a number of steps, and of a seed."""

SpaceArgument = Annotated[Path, typer.Argument(metavar="SPACE", help="The space file (YAML).")]
LagOption = Annotated[
    str | None,
    typer.Option("--lag", metavar="K", help="Steps before the ranking, or auto: until it settles."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. training.steps=500."),
]


LayersOption = Annotated[int | None, typer.Option("--layers", min=1, help="Layers of the target.")]
HiddenOption = Annotated[
    int | None, typer.Option("--hidden", min=1, help="Width (hidden size) of the target.")
]
HoursOption = Annotated[
    float | None, typer.Option("--hours", help="Time that the whole search may take.")
]


@app.command("plan")
def plan_command(space: SpaceArgument, lag: LagOption = None, set_: SetOption = None) -> None:
    """Show every candidate and the cost of the search; nothing is trained."""
    from lagsearch.staging import StagedPlan, plan

    planned = plan(_load(space, set_), lag=_lag(lag))
    if isinstance(planned, StagedPlan):
        show_staged_plan(planned)
    else:
        show_plan(planned)


@app.command("init")
def init_command(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint folder or hub name.")
    ],
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...",
            help="Text files or folders, one dataset of the hub, or python-stdlib.",
        ),
    ],
    layers: LayersOption = None,
    hidden: HiddenOption = None,
    hours: HoursOption = None,
    out: Annotated[Path, typer.Option("--out", help="The space file to write.")] = Path(
        "space.yaml"
    ),
) -> None:
    """Write a space file for a checkpoint and a text, ready to run."""
    from lagsearch.planning import plan

    written = _init(checkpoint, texts, layers, hidden, hours, out)
    show_plan(plan(written.file))
    show_lines("", *written.lines, f"Next: lagsearch run {shlex.quote(str(out))}")


@app.command("run")
def run_command(  # noqa: PLR0913 (each is an option of the command line)
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="SPACE | CHECKPOINT TEXT...",
            help="The space file (YAML); or a checkpoint and texts, for which `init` writes one.",
        ),
    ],
    lag: LagOption = None,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="Train all to completion and score the ranking.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder instead of reports/<name>.")
    ] = None,
    serial: Annotated[
        bool, typer.Option("--serial", help="One candidate at a time, without Ray.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say where the time goes; trace a few steps.")
    ] = False,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="0,1,2", help="Train all under each of them.")
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="With stages: train what they are compared with, too."),
    ] = False,
    layers: LayersOption = None,
    hidden: HiddenOption = None,
    hours: HoursOption = None,
    set_: SetOption = None,
) -> None:
    """Train all candidates K steps, rank them, train the winner on. Run it again to continue."""
    from lagsearch.pipeline import run

    space = _space_for(what, layers, hidden, hours)
    loaded = _load(space, set_)
    try:
        result = run(
            loaded,
            lag=_lag(lag),
            oracle=oracle,
            out=out,
            serial=serial,
            profile=profile,
            seeds=_seeds(seeds),
            baselines=baselines,
        )
    except KeyboardInterrupt:
        message = "interrupted; the same command continues where this stopped"
        raise InterruptedRunError(message) from None
    show_run(result.folder, result.report)


app.add_typer(cache_app, name="cache")

schedule_app = typer.Typer(no_args_is_help=True, help="Work on a schedule that a run has left.")
app.add_typer(schedule_app, name="schedule")


@schedule_app.command("scale")
def scale_command(
    schedule: Annotated[Path, typer.Argument(metavar="SCHEDULE", help="A run's schedule.yaml.")],
    layers: Annotated[
        int | None, typer.Option("--layers", min=1, help="Layers at the end.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps of all stages.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The new file; beside the old one by default.")
    ] = None,
) -> None:
    """Carry a schedule over to another depth or length, in proportion, and say how."""
    from lagsearch.scaling import scale_schedule

    changed = [f"{layers}-layers"] if layers else []
    changed += [f"{steps}-steps"] if steps else []
    out = out or schedule.with_name("-".join([schedule.stem, *changed]) + schedule.suffix)
    lines = scale_schedule(schedule, layers, steps, out)
    sys.stdout.write("\n".join([*lines, f"Schedule: {out}"]) + os.linesep)


@app.command("report")
def report_command(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUNFOLDER|CURVES",
            help="A folder that a run left; or the curves of another trainer, .csv or .parquet.",
        ),
    ],
    pack: Annotated[
        bool, typer.Option("--pack", help="Compress the curves, to keep or to send the folder.")
    ] = False,
    lag: Annotated[
        str | None, typer.Option("--lag", metavar="K", help="Curves: the step to rank at, or auto.")
    ] = None,
    end: Annotated[
        int | None, typer.Option("--end", min=1, help="Curves: the step that counts as the end.")
    ] = None,
    baseline: Annotated[
        list[str] | None, typer.Option("--baseline", help="Curves: a candidate that is one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Curves: the report's folder, else one beside.")
    ] = None,
) -> None:
    """Build a run folder's report again, or that of the curves of another trainer."""
    from lagsearch.report.build import build_report, report_curves
    from lagsearch.report.curve_files import is_curves
    from lagsearch.report.elsewhere import Asked
    from lagsearch.report.folder import RunFolder
    from lagsearch.report.staged import build_whole
    from lagsearch.report.whole import is_whole

    if is_curves(path):
        if pack:
            raise LagsearchError("report: --pack is for run folders")
        found = _lag(lag)
        asked = Asked("auto" if found is None else found, end, tuple(baseline or ()))
        folder, report = report_curves(path, asked, out)
        show_result(folder, report)
        return
    given = {"--lag": lag, "--end": end, "--baseline": baseline, "--out": out}
    if named := [option for option, value in given.items() if value]:
        raise LagsearchError(f"report: {named[0]} is for curves from elsewhere, .csv or .parquet")
    is_staged = is_whole(path)
    report = build_whole(path) if is_staged else build_report(path)
    for each in (sorted(path.glob("*/stage-*")) if is_staged else [path]) if pack else ():
        RunFolder(each).pack()
    show_run(path, report)


@app.command("compare")
def compare_command(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="RUN1 RUN2...", help="Run folders; curves; reports of curves."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write pages, tables and a figure here.")
    ] = None,
) -> None:
    """Show several runs side by side, and what they say of candidates that they share."""
    from lagsearch.report.compare import compare
    from lagsearch.report.compared import sections, write_comparison
    from lagsearch.report.markdown import markdown_section

    comparison = compare(paths)
    if out is not None:
        write_comparison(comparison, out)
    sys.stdout.write("\n\n".join(map(markdown_section, sections(comparison))) + "\n")
    if out is not None:
        sys.stdout.write(f"\nComparison: {out / 'compare.html'}, {out / 'compare.md'}\n")


@app.command("replay")
def replay_command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUNFOLDER...", help="Folders of runs with --oracle.")
    ],
    lag: Annotated[
        int | None, typer.Option("--lag", min=1, help="K, in place of each run's own.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="Those alone whose name has this in it.")
    ] = None,
    signal: Annotated[
        str | None, typer.Option("--signal", help="Those alone that judge by it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write each replay to this CSV file.")
    ] = None,
) -> None:
    """Replay searches on recorded curves: what each would have chosen and spent."""
    from lagsearch.replay import replay_runs, summary
    from lagsearch.report.tables import write_csv

    table = replay_runs(folders, lag, strategy=strategy, signal=signal)
    if out is not None:
        write_csv(out, list(table.columns), table.astype(object).to_numpy().tolist())
    shown = summary(table)
    show_replay(shown, len(table.groupby(["run", "seed"])))


@app.command("grow")
def grow_command(  # noqa: PLR0913 (each is an option of the command line)
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Checkpoint folders or hub names."),
    ] = None,
    operator: Annotated[str | None, typer.Option("--operator", help="Its name.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the operator, or factor=2."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="KEY=VALUE", help="A configuration key to change."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The new checkpoint's folder.")] = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="Take the growth from a space file...")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="...where it has this name.")
    ] = None,
    from_mergekit: Annotated[
        Path | None, typer.Option("--from-mergekit", help="Read a passthrough YAML file.")
    ] = None,
    to_mergekit: Annotated[
        Path | None, typer.Option("--to-mergekit", help="Write the growth as such a file.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of random weights, noise.")] = 0,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read *.bin checkpoints, weights only.")
    ] = False,
) -> None:
    """Grow one checkpoint by one operator, without training."""
    from lagsearch.growing import Request, check_free, find_growth, grow
    from lagsearch.operators.mergekit import to_mergekit as as_mergekit

    request = Request(
        sources=tuple(sources or ()),
        operator=operator,
        settings=_pairs("--set", set_),
        target=_pairs("--target", target),
        space=space,
        candidate=candidate,
        mergekit=from_mergekit,
        allow_pickle=allow_pickle,
    )
    if out is None and to_mergekit is None:
        raise LagsearchError("grow: give --out DIR for the new checkpoint, or --to-mergekit FILE")
    growth = find_growth(request)
    if out is not None:
        check_free(out)
    if to_mergekit is not None:
        from lagsearch.space import dump_yaml
        from lagsearch.storage import write_text

        write_text(to_mergekit, dump_yaml(as_mergekit(growth.plan, growth.names)))
        sys.stdout.write(f"mergekit: {to_mergekit}\n")
    if out is not None:
        from lagsearch.progress import make_watch

        grown = grow(growth, out, seed=seed, allow_pickle=allow_pickle, watch=make_watch())
        sys.stdout.write(grown.text() + "\n")


@app.command("operators")
def operators_command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="All that is to be said of one.")
    ] = None,
) -> None:
    """List the growth operators and their settings."""
    from rich.table import Table

    from lagsearch.operators import all_operators, find_operator

    if name is not None:
        found = find_operator(name)
        settings = "\n".join(f"  {each}" for each in found.settings_text()) or "  none"
        sys.stdout.write(
            f"{found.name} ({found.paper})\n\n{found.description}\n\nSettings\n{settings}\n"
        )
        return
    table = Table("operator", "grows", "preserves", "settings", "paper", "what it does")
    for each in all_operators():
        settings = "\n".join(each.settings_text()) or "none"
        table.add_row(each.name, each.grows, each.preserves, settings, each.paper, each.summary)
    make_console().print(table)


def main() -> None:
    """Run the command line; every error of ours is one line on stderr."""
    signal.signal(signal.SIGTERM, _interrupt)
    # threads that wait must not starve those that work: by default they spin for so long that two
    # threads on a busy machine are many times slower than one
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # the same bits again on a GPU
    try:
        if app(standalone_mode=False) == 130:  # how typer hands on a Ctrl-C
            raise KeyboardInterrupt
    except LagsearchError as error:
        _stop(str(error), error.exit_code)
    except OSError as error:  # no permission, no space on the disk
        _stop(words_of(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        _stop("interrupted", 130)
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong command line, as click says it
            if not (message := error.format_message()):  # the help was shown instead
                raise SystemExit(2) from None
            _stop(message, 2)
        if is_out_of_memory(error):
            _stop(f"not enough memory on this machine: {brief(error)}", 2)
        raise


def _stop(line: str, code: int) -> NoReturn:
    sys.stderr.write(f"lagsearch: {in_short(line)}\n")
    sys.stderr.flush()
    raise SystemExit(code)


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _load(space: Path, overrides: list[str] | None) -> "SpaceFile | StagedFile":
    from lagsearch.space import load_any

    return load_any(space, overrides or ())


def _init(
    checkpoint: str,
    texts: list[str],
    layers: int | None,
    hidden: int | None,
    hours: float | None,
    out: Path | None,
) -> "Written":
    from lagsearch.init import HOURS, Request, init_space
    from lagsearch.progress import make_watch

    request = Request(checkpoint, tuple(texts), layers, hidden, HOURS if hours is None else hours)
    return init_space(request, out, make_watch())


def _space_for(
    what: list[str], layers: int | None, hidden: int | None, hours: float | None
) -> Path:
    """Return the space file that is to be run; for a checkpoint and texts one is written."""
    if len(what) > 1:
        written = _init(what[0], what[1:], layers, hidden, hours, None)
        show_lines(f"Space: {written.file.path}", *written.lines)
        return written.file.path
    path = Path(what[0])
    if (path / "config.json").is_file():
        message = f"{path} is a checkpoint: give a text, too: lagsearch run {path} TEXT"
        raise LagsearchError(message)
    given = {"--layers": layers, "--hidden": hidden, "--hours": hours}
    if named := [option for option, value in given.items() if value is not None]:
        raise LagsearchError(
            f"{named[0]} is for a checkpoint and a text; what {path} grows to stands in it"
        )
    return path


def _lag(text: str | None) -> "int | Literal['auto'] | None":
    """Read K."""
    if text is None or text == "auto":
        return "auto" if text else None
    if not text.isdecimal() or len(text) > MOST_DIGITS:
        raise LagsearchError(f"--lag {text}: write a number of steps, or auto")
    return int(text)


def _seeds(text: str | None) -> list[int]:
    """Read numbers between commas."""
    if text is None:
        return []
    numbers = [each.strip() for each in text.split(",")]
    if not all(each.isdecimal() and len(each) <= MOST_DIGITS for each in numbers):
        raise LagsearchError(f"--seeds {text}: write whole numbers between commas, e.g. 0,1,2")
    return [int(each) for each in numbers]


def _pairs(flag: str, texts: list[str] | None) -> dict[str, Any]:
    """Read `KEY=VALUE` texts, the values as YAML."""
    from lagsearch.space import read_yaml

    pairs = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise LagsearchError(f"{flag} {text}: write KEY=VALUE")
        pairs[key] = read_yaml(value)[0]
    return pairs


if __name__ == "__main__":
    main()
