"""What the words of a command are: a space file, a checkpoint or a text. No torch."""

import re
import shlex
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Literal

from lagsearch.errors import LagsearchError, did_you_mean_file
from lagsearch.space import Space
from lagsearch.storage.files import is_path, path_of

Kind = Literal["space", "checkpoint", "inside", "run", "text", "folder", "unknown", "missing"]
"""`inside` is a file of a checkpoint, `folder` one that may hold texts, `unknown` a file that could
be anything."""

STDLIB = "python-stdlib"

EXAMPLES = {
    "plan": "lagsearch plan space.yaml",
    "init": "lagsearch init path/to/checkpoint text.txt",
    "run": "lagsearch run space.yaml, or lagsearch run path/to/checkpoint text.txt",
    "report": "lagsearch report reports/mine",
    "replay": "lagsearch replay reports/mine",
    "compare": "lagsearch compare reports/one reports/two",
    "export": "lagsearch export space.yaml --out checkpoints",
    "push": "lagsearch push reports/mine --repo me/model",
    "log": "lagsearch log reports/mine --to tensorboard",
    "space": "lagsearch bench space NAME; `lagsearch bench list` has the names",
    "add": "lagsearch bench add reports/mine",
    "scale": "lagsearch schedule scale reports/mine/schedule.yaml --layers 24",
}
"""A command line of each verb that needs words."""


VALUES = {"hours": "0.5", "layers": "12", "hidden": "512", "seed": "0", "steps": "1000"}
"""A value of options that take numbers."""


def example_command(verb: str, given: Mapping[str, Any]) -> str:
    """Return a command line of a verb that lacks words, empty where there is none.

    Args:
        verb: The command.
        given: What it has by name, e.g. a checkpoint.
    """
    if verb == "init" and (checkpoint := given.get("checkpoint")):
        return f"{_command('init', checkpoint, 'text.txt')}, or {STDLIB} for a first try"
    return EXAMPLES.get(verb, "")


_SPACES = (".yaml", ".yml")
_TEXTS = (".txt", ".jsonl", ".ndjson", ".parquet", ".gz", ".md", ".csv", ".tsv")
_MODELS = (".json", ".safetensors", ".bin", ".model")
_KEYS = {*Space.model_fields, "stages"}


def argument_kind(name: str) -> Kind:
    """Tell what a word names, by the files that are there; a name of the hub is `missing`."""
    path = path_of(name)
    if path.is_dir():
        if (path / "config.json").is_file():
            return "checkpoint"
        return "run" if (path / "space.yaml").is_file() else "folder"
    if not path.exists():
        return "text" if name == STDLIB else "missing"
    if path.suffix in _SPACES or not path.is_file():  # a pipe is not read here: once is all it can
        return "space"
    if path.suffix in _MODELS and (path.parent / "config.json").is_file():
        return "inside"
    return _kind_of_file(path)


def _kind_of_file(path: Path) -> Kind:
    """Tell by its content what a file is whose name does not say it."""
    with path.open("rb") as file:
        head = file.read(4096)
    if path.suffix not in (".jsonl", ".ndjson") and _begins_space(head):
        return "space"
    if b"\0" in head and path.suffix not in _TEXTS:
        return "unknown"
    return "text"


def _begins_space(head: bytes) -> bool:
    """Return whether a file begins with a key of a space, in YAML or JSON."""
    lines = head.decode(errors="replace").splitlines()
    begin = "\n".join(line for line in lines if line.strip() and not line.startswith("#"))
    found = re.match(r'[\s{]*"?([a-z_]+)"?\s*:(\s|$)', begin)
    return found is not None and found[1] in _KEYS


def space_of(verb: str, words: Sequence[str]) -> Path:
    """Return the space file that a command names.

    Args:
        verb: The command, `plan` or `run`.
        words: Its arguments.

    Raises:
        LagsearchError: They are something else; the message has the command that takes it.
    """
    if len(words) > 1:
        is_space = argument_kind(words[0]) == "space"
        way = "" if is_space else f"; {_command('init', *words)} writes one and shows its plan"
        raise LagsearchError(f"{verb} takes one space file, not {len(words)} words{way}")
    (name,) = words
    behind = "init" if verb == "plan" else verb
    match argument_kind(name):
        case "text":
            command = _command(behind, "CHECKPOINT", name)
            raise LagsearchError(f"{name} is a text, and goes behind a checkpoint: {command}")
        case "checkpoint":
            raise LagsearchError(f"{name} is a checkpoint: {_with_text(behind, name)}")
        case "inside":
            folder = path_of(name).parent
            message = f"is a file of a checkpoint: {_with_text(behind, str(folder))}"
            raise LagsearchError(f"{name} {message}")
        case "run":
            command = _command(verb, str(Path(name) / "space.yaml"))
            raise LagsearchError(f"{name} is a run folder: name the space in it, {command}")
        case "missing":
            _refuse_missing(name, behind)
    return Path(name)


def _with_text(verb: str, checkpoint: str) -> str:
    command = _command(verb, checkpoint)
    return f"give a text, too: {command} TEXT, e.g. {command} text.txt"


def _command(verb: str, *words: str) -> str:
    return shlex.join(["lagsearch", verb, *words])


def _refuse_missing(name: str, behind: str) -> None:
    """Say what to do where a name may be meant for one of the hub.

    Raises:
        LagsearchError: It is not written as a file's name.
    """
    if Path(name).suffix in (*_SPACES, *_TEXTS, ".json"):
        return  # reading says so
    near = [each.name for each in Path(name).parent.glob("*.y*ml")]
    hint = did_you_mean_file(name, near)
    hint = hint or f"; if it is a checkpoint of the hub, {_with_text(behind, name)}"
    raise LagsearchError(f"{name}: no such file{hint}")


def check_checkpoint_and_texts(checkpoint: str, texts: Sequence[str]) -> None:
    """Check that a checkpoint comes first and texts behind it; what is not here is on the hub.

    Raises:
        LagsearchError: They are something else.
    """
    if "://" in checkpoint:
        message = "is an address: give the name that the hub has for it, owner/name"
        raise LagsearchError(f"{checkpoint} {message}")
    match argument_kind(checkpoint):
        case "inside":
            folder = path_of(checkpoint).parent
            message = f"is a file of a checkpoint: give its folder, {folder}"
            raise LagsearchError(f"{checkpoint} {message}")
        case "space":
            command = _command("run", checkpoint)
            raise LagsearchError(f"{checkpoint} is a space file: run it alone, {command}")
        case "text" | "unknown":
            message = "is a file: first comes the checkpoint's folder, then the text"
            raise LagsearchError(f"{checkpoint} {message}")
        case "missing" if is_path(checkpoint):
            path = path_of(checkpoint)
            near = [each.name for each in path.parent.glob("*") if each.is_dir()]
            hint = did_you_mean_file(path.name, near)
            raise LagsearchError(f"{checkpoint}: there is no such folder{hint}")
    if not texts:
        raise LagsearchError(_with_text("init", checkpoint))
    for text in texts:
        _check_text(text, len(texts))


def _check_text(name: str, count: int) -> None:
    if "://" in name:
        raise LagsearchError(f"{name} is an address: fetch the text first, and give its file")
    match argument_kind(name):
        case "checkpoint":
            raise LagsearchError(f"{name} is a checkpoint, not a text: the checkpoint comes first")
        case "inside":
            raise LagsearchError(f"{name} is a file of a checkpoint, not a text")
        case "space" if path_of(name).suffix in _SPACES:
            raise LagsearchError(f"{name} is a space file, not a text; with it, give nothing else")
        case "missing" if count > 1 or not is_hub_name(name):
            raise LagsearchError(
                f"{name}: no such file or folder; give text files (.txt, .jsonl, .parquet, .gz), "
                f"folders of them, one dataset of the hub (owner/name), or {STDLIB}"
            )


def is_hub_name(name: str) -> bool:
    """Return whether a name can be that of a dataset on the hub, and not of a file that is gone."""
    is_file = Path(name).suffix in _TEXTS or Path(name).parent.is_dir()
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not is_file


def check_hours(hours: float | None) -> None:
    """Check the hours that a search may take.

    Raises:
        LagsearchError: They are no time.
    """
    if hours is not None and not 0 < hours < inf:
        raise LagsearchError(f"--hours {hours:g}: give a number above 0, e.g. 0.5")


def check_out(out: Path | None) -> None:
    """Check that a space file that is to be written is not there.

    Raises:
        LagsearchError: It is, or is a folder.
    """
    if out is not None and out.is_dir():
        message = f"is a folder: name a file in it, --out {out / 'space.yaml'}"
        raise LagsearchError(f"--out {out}: {message}")
    if out is not None and out.exists():
        message = "is there already: give another name with --out, or remove it"
        raise LagsearchError(f"{out} {message}")
