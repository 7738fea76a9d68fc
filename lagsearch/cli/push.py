"""`lagsearch push`: the winner of a run, sent to the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from lagsearch.cli.cache import is_agreed, size_in_words
from lagsearch.display.screen import write
from lagsearch.errors import counted


def push_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    repo: Annotated[
        str, typer.Option("--repo", metavar="NAME", help="The repository: NAME or OWNER/NAME.")
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make a repository that nobody else sees.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent; the hub is not asked.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Send the winner's checkpoint and its model card to the Hugging Face hub."""
    from lagsearch.hub.push import plan_upload, upload

    asked = plan_upload(folder, repo, is_private=private)
    kind = "private" if private else "public"
    write("\n".join(f"{size_in_words(size):>9}  {name}" for name, size in asked.files))
    write(f"\n{asked.card}")
    what = f"{counted(len(asked.files), 'file')}, {size_in_words(asked.size)}, to {repo}, {kind}"
    if dry_run:
        write(f"Would send {what}. Nothing was sent.")
        return
    if not yes and not is_agreed(f"Send {what}?", "push"):
        write("Nothing was sent.")
        return
    write(f"Sent: {upload(asked)}")
