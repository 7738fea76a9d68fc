"""A checkpoint and a text to a space file that runs as it is: `lagsearch init`.

Everything in the file comes from the checkpoint, from the text, or from a short measurement on this
machine, and a comment says from where.
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lagsearch.display.watch import Watch
from lagsearch.errors import SpaceError
from lagsearch.init.checkpoint import inspect_checkpoint, safe_name
from lagsearch.init.draft import Draft, make_draft, measured_cheaply, space_name, target_of
from lagsearch.init.growths import Plain
from lagsearch.init.text import corpus_of, measure_text
from lagsearch.init.wording import about, space_text
from lagsearch.planning.run import plan
from lagsearch.space import SCHEMA_FILE, SpaceFile, load_space
from lagsearch.space.arguments import check_checkpoint_and_texts, check_hours, check_out
from lagsearch.storage.files import write_text

HOURS = 0.1
"""Hours that a search may take where nothing is said: a first look."""


@dataclass(frozen=True)
class InitRequest:
    """What a space is to be written for.

    Attributes:
        checkpoint: A folder or hub name.
        texts: Files, folders, one dataset of the hub, or `python-stdlib`.
        layers: Layers of the target; where neither this nor `hidden` is given, 1.5 to 2 times the
            checkpoint's.
        hidden: Width of the target.
        hours: Hours that the whole search may take on this machine; `HOURS` when left out.
        column: Of records: the key that holds the text; found when left out.
    """

    checkpoint: str
    texts: tuple[str, ...]
    layers: int | None = None
    hidden: int | None = None
    hours: float | None = None
    column: str | None = None


@dataclass(frozen=True)
class Written:
    """A space file that was written.

    Attributes:
        file: The space.
        lines: What a user should know of it.
        options: What `lagsearch run` is to be given where longer training is advised.
    """

    file: SpaceFile
    lines: tuple[str, ...]
    options: str = ""


def init_space(
    request: InitRequest, out: Path | None = None, watch: Watch | None = None
) -> Written:
    """Write a commented space for growing a checkpoint, which runs as it is.

    Args:
        request: What it is for.
        out: The file, which must not be there. When left out, it is named after checkpoint and
            target, and hours where they are given; one that an earlier call wrote for the same is
            taken as it is.
        watch: Is told what goes on.

    Raises:
        LagsearchError: Checkpoint or text cannot be used, or the file is there; nothing is written.
    """
    watch = watch or Watch()
    check_checkpoint_and_texts(request.checkpoint, request.texts)
    check_hours(request.hours)
    hours = HOURS if request.hours is None else request.hours
    try:
        watch.passing(f"reading {request.checkpoint}")
        checkpoint = inspect_checkpoint(request.checkpoint)
        check_out(out)
        target = target_of(checkpoint, request.layers, request.hidden)
        name = space_name(checkpoint, target)
        if request.hours is not None:  # another time is another run, in a folder of its own
            name = f"{name}-{hours:g}h"
        path = out or Path(f"{name}.yaml")
        if path.exists():
            return _earlier(path, request, target)
        watch.passing(f"reading {', '.join(request.texts[:3])}")
        text = measure_text(request.texts, checkpoint.tokenizer, request.column)
        if out is not None and out.stem != "space":
            name = safe_name(out.stem) or name
        draft = make_draft(checkpoint, text, target, hours, name, watch)
    finally:
        watch.passing("")
    how_long, quoted = about(draft.length.seconds), shlex.quote(str(path))
    head = (
        f"Grows {checkpoint.written} on {text.name}. Written by `lagsearch init`.",
        f"A run takes {how_long} on the machine that wrote this, as busy as it was: "
        f"lagsearch run {quoted}",
        "Editors complete and check this file once its schema is there: lagsearch schema --out "
        f"{shlex.quote(str(path.with_name(SCHEMA_FILE)))}",
    )
    file = _write(path, head, draft)
    as_it_is = " as it is written" if draft.options else ""
    told = f"{path} is written. A run{as_it_is} takes {how_long} on this machine as it is now."
    return Written(file, (*draft.warnings, told), draft.options)


def _write(path: Path, head: Iterable[str], draft: Draft) -> SpaceFile:
    """Write a space, with evaluations so few that its plan does not advise fewer.

    Raises:
        LagsearchError: It cannot be; nothing is written.
    """
    write_text(path, space_text(head, draft.parts, draft.notes, draft.growths.listed))
    try:
        cheap = measured_cheaply(draft, plan(load_space(path)).stages[0])
        if cheap is not draft:
            write_text(path, space_text(head, cheap.parts, cheap.notes, cheap.growths.listed))
        return load_space(path)
    except BaseException:  # Ctrl-C, too: what is left would be taken for a space of the user's own
        path.unlink(missing_ok=True)
        raise


def _earlier(path: Path, request: InitRequest, target: Plain) -> Written:
    """Return a space that an earlier call wrote.

    Raises:
        SpaceError: It is of another checkpoint, text or target.
    """
    file = load_space(path)
    space = file.space
    is_same = (
        space.sources[0].checkpoint == request.checkpoint
        and space.data.train == corpus_of(request.texts, request.column)
        and dict(space.target) == target
    )
    if not is_same:
        raise SpaceError(
            f"{path} is there already, and is of another checkpoint, text or target: write yours "
            "to another file with `lagsearch init ... --out OTHER.yaml`"
        )
    return Written(file, (f"{path} is there from before and is used as it is.",))
