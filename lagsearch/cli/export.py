"""`lagsearch export`: all candidates untrained, for another trainer."""

from pathlib import Path
from typing import Annotated

import typer

from lagsearch.cli.options import SetOption, SkipOption, SpaceArgument
from lagsearch.display.screen import write
from lagsearch.display.watch import make_watch


def export_command(
    space: SpaceArgument,
    out: Annotated[Path, typer.Option("--out", help="The folder for the checkpoints.")],
    skip_unfit: SkipOption = False,
    set_: SetOption = None,
) -> None:
    """Write all candidates of a space, untrained, as Hugging Face checkpoints with a manifest.

    If it is interrupted, the same command continues where it stopped.
    """
    from lagsearch.running import interrupts
    from lagsearch.space import opened, said
    from lagsearch.space.arguments import space_of

    loaded = opened(space_of("export", space), said(set_ or (), skip_unfit=skip_unfit))
    watch = make_watch()
    with watch.doing("checking the space", is_brief=True):
        from lagsearch.planning.run import check_first

        check_first(loaded)
    with watch.doing("loading torch and transformers", is_brief=True):
        from lagsearch.records.manifest import MANIFEST
        from lagsearch.running.exporting import export_space

    with interrupts.continued_by_the_same_command():
        manifest = export_space(loaded, out, watch)
    count = len(manifest["checkpoints"])
    write(f"Checkpoints: {count} in {out}, each untrained\nManifest: {out / MANIFEST}")
    write(f"Next: train each, and lagsearch report curves.csv --manifest {out / MANIFEST}")
