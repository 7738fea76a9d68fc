"""`lagsearch grow`: from checkpoint to checkpoint, without training."""

from pathlib import Path
from typing import Annotated

import typer

from lagsearch.cli.options import operator_names, read_pairs
from lagsearch.display.screen import write
from lagsearch.display.watch import make_watch
from lagsearch.errors import LagsearchError

_SourcesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="SOURCE", help="Checkpoint folders or hub names."),
]
_OperatorOption = Annotated[
    str | None,
    typer.Option(
        "--operator",
        help="Name of the operator; `lagsearch operators` lists them.",
        autocompletion=operator_names,
    ),
]
_SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the operator, or factor=2 to double the depth.",
    ),
]
_TargetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="KEY=VALUE",
        help="A configuration key to change, e.g. num_hidden_layers=12.",
    ),
]
_OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for the grown checkpoint.")]
_SpaceOption = Annotated[
    Path | None,
    typer.Option("--space", help="Take the growth from this space file: with --candidate."),
]
_CandidateOption = Annotated[
    str | None, typer.Option("--candidate", help="Name of the candidate in --space.")
]
_FromMergekitOption = Annotated[
    Path | None,
    typer.Option("--from-mergekit", help="Take the growth from a passthrough file of mergekit."),
]
_ToMergekitOption = Annotated[
    Path | None,
    typer.Option("--to-mergekit", help="Write the growth as a passthrough file for mergekit."),
]
_SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of new random weights and of noise.")
]
_AllowPickleOption = Annotated[
    bool,
    typer.Option("--allow-pickle", help="Read *.bin checkpoints too; only weights are read."),
]
_MeasureOption = Annotated[
    bool | None,
    typer.Option(
        "--measure/--no-measure",
        help="Compare outputs before and after; by default where the operator claims that they "
        "are the same.",
    ),
]


def grow_command(  # noqa: PLR0913 (each is an option of the command line)
    sources: _SourcesArgument = None,
    operator: _OperatorOption = None,
    set_: _SettingsOption = None,
    target: _TargetOption = None,
    out: _OutOption = None,
    space: _SpaceOption = None,
    candidate: _CandidateOption = None,
    from_mergekit: _FromMergekitOption = None,
    to_mergekit: _ToMergekitOption = None,
    seed: _SeedOption = 0,
    allow_pickle: _AllowPickleOption = False,
    measure: _MeasureOption = None,
) -> None:
    """Grow one checkpoint by one operator, without training."""
    from lagsearch.grow import GrowRequest, check_free, find_growth, grow
    from lagsearch.grow.mergekit import to_mergekit as as_mergekit

    watch = make_watch()
    request = GrowRequest(
        sources=tuple(sources or ()),
        operator=operator,
        settings=read_pairs("--set", set_),
        target=read_pairs("--target", target),
        space=space,
        candidate=candidate,
        mergekit=from_mergekit,
        allow_pickle=allow_pickle,
    )
    if out is None and to_mergekit is None:
        raise LagsearchError("grow: give --out DIR for the new checkpoint, or --to-mergekit FILE")
    if out is not None:
        check_free(out)
    with watch.doing("reading the checkpoint", is_brief=True):
        growth = find_growth(request)
    if to_mergekit is not None:
        from lagsearch.space import dump_yaml
        from lagsearch.storage.files import write_text

        write_text(to_mergekit, dump_yaml(as_mergekit(growth.plan, growth.names, growth.closing)))
        write(f"mergekit: {to_mergekit}")
    if out is not None:
        with watch.doing("growing", is_brief=True):
            grown = grow(
                growth, out, seed=seed, allow_pickle=allow_pickle, measure=measure, watch=watch
            )
        write(grown.text())
