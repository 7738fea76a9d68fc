"""A checkpoint's folder: where it is, and which of its files are read and which go along."""

import difflib
import fnmatch
import json
import shutil
from collections.abc import Collection
from pathlib import Path

from lagsearch.errors import HubError, ModelError
from lagsearch.models.hub_files import check_known, hub_folder, hub_list
from lagsearch.storage.files import is_path, path_of

INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
_PICKLES = "pytorch_model*.bin"

TOKENIZER = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
)
ALONG = (
    "chat_template*",
    "additional_chat_templates",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    *("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "USE_POLICY*"),
)
"""What belongs to a model beside its weights and its configuration; the tokenizer apart."""

_BESIDE = ("*.json", "*.txt", "*.model", "*.jinja", "README.md", *TOKENIZER, *ALONG)
"""What is fetched from the hub beside weights."""

_POINTER = b"version https://git-lfs.github.com/spec/"


def locate_checkpoint(
    name: str, *, allow_pickle: bool = False, fetch: bool = True, weights: bool = True
) -> Path:
    """Return the local folder of a checkpoint, fetching a hub name when it is not a folder.

    Args:
        name: The folder or the name.
        allow_pickle: Fetch pickled weights, too.
        fetch: Whether the hub may be asked.
        weights: Fetch the weights, too, and not only what is beside them.

    Raises:
        ModelError: It is neither, or it cannot be fetched.
    """
    folder = path_of(name)
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError("is a file: give the folder of a checkpoint")
    if is_path(name):
        raise ModelError("there is no such folder")
    try:
        folder = hub_folder(name, _BESIDE, fetch=fetch)
        if not (folder / "config.json").is_file():
            check_known(name, folder)
    except HubError as error:
        raise _not_fetched(name, error) from error
    if weights:
        fetch_weights(name, folder, allow_pickle=allow_pickle, fetch=fetch)
    return folder


def fetch_weights(
    name: str, folder: Path, *, allow_pickle: bool = False, fetch: bool = True
) -> None:
    """Fetch the weights of a checkpoint, those files alone that are read.

    Args:
        name: Its folder, where nothing is done, or its name on the hub.
        folder: Where it is; for a hub name, what `locate_checkpoint` returned.
        allow_pickle: Fetch pickled weights where there are no others.
        fetch: Whether the hub may be asked.

    Raises:
        ModelError: They are not to be had.
    """
    if path_of(name).is_dir():
        return
    listed = hub_list(name, folder)
    try:
        if listed is not None:
            files = weight_files(folder, allow_pickle=allow_pickle, listed=listed)
            names = [path.name for path in files]
            hub_folder(name, names, fetch=fetch, revision=folder.name, has_bars=True)
        elif _has_part(folder):
            check_known(name, folder)
        else:
            weight_files(folder, allow_pickle=allow_pickle)
    except HubError as error:
        raise _not_fetched(name, error) from error


def lacking_bytes(name: str, folder: Path) -> int:
    """Return the bytes of a checkpoint's weights that are still on the hub, as the cache knows it.

    Args:
        name: Its folder, or its name on the hub.
        folder: Where it is; for a hub name, what `locate_checkpoint` returned.

    Raises:
        ModelError: It has none that are read.
    """
    if path_of(name).is_dir() or (listed := hub_list(name, folder)) is None:
        return 0
    files = weight_files(folder, listed=listed)
    return sum(listed[path.name] for path in files if not path.is_file())


def _has_part(folder: Path) -> bool:
    """Return whether weights may be lacking in a folder of the cache: some, or all of them.

    Raises:
        ModelError: Its index cannot be read.
    """
    if (folder / INDEX).is_file():
        return not all(path.is_file() for path in _indexed(folder, None))
    return not any(any(folder.glob(pattern)) for pattern in ("*.safetensors", _PICKLES))


def _not_fetched(name: str, error: HubError) -> ModelError:
    return ModelError(
        f"is no folder here{_folder_like(name)} and cannot be fetched from the hub "
        f"({error}); give a local path, or set HF_HOME to a cache that has it, and "
        "HF_HUB_OFFLINE=1 where there is no network"
    )


def _folder_like(name: str) -> str:
    """Return ` (did you mean 'x'?)` for the folder here that is nearest in name."""
    here = [each.parent.name for each in Path().glob("*/config.json")]
    by_small = {each.lower(): each for each in here}
    nearest = difflib.get_close_matches(name.lower(), by_small, n=1)
    return f" (did you mean {by_small[nearest[0]]!r}?)" if nearest else ""


def check_config(folder: Path) -> None:
    """Check that a folder can be a checkpoint.

    Raises:
        ModelError: It has no `config.json`.
    """
    if (folder / "config.json").is_file():
        return
    way = ""
    if (folder / "adapter_config.json").is_file():
        way = "; an adapter must be merged into its model first"
    elif (folder / "winner" / "config.json").is_file():
        way = f"; it is a run folder: give {folder / 'winner'}"
    raise ModelError(f"{folder} has no config.json: not a Hugging Face checkpoint{way}")


def weight_files(
    folder: Path, *, allow_pickle: bool = False, listed: Collection[str] | None = None
) -> dict[Path, frozenset[str] | None]:
    """Return the files of weights, each with the names that the index has in it (None: all).

    They are `model.safetensors`, or what `model.safetensors.index.json` lists; other files of the
    folder may hold another model, an adapter, or an older copy.

    Args:
        folder: The checkpoint.
        allow_pickle: Take `pytorch_model*.bin` where there is no safetensors.
        listed: The names of all files, where some of them are still on the hub.

    Raises:
        ModelError: There are none, or not all that the index lists, or Git LFS has not fetched
            them.
    """
    names = listed
    if names is None:
        names = [each.name for each in folder.glob("*") if each.is_file()]
    files: dict[Path, frozenset[str] | None] = {}
    if _WHOLE in names:
        files[folder / _WHOLE] = None
    elif INDEX in names:
        files |= _indexed(folder, names)
    elif allow_pickle:
        files |= {folder / each: None for each in sorted(fnmatch.filter(names, _PICKLES))}
    if not files:
        raise ModelError(_none(folder, names))
    for path in files:
        if listed is None or path.is_file():
            check_fetched(path)
    return files


def check_fetched(path: Path) -> None:
    """Check that a file is itself, and not what Git LFS puts in its place.

    Raises:
        ModelError: It is not.
    """
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ModelError(
                f"{path} is a Git LFS pointer, not the file: run `git lfs pull` in its folder"
            )


def copy_along(source: Path, out: Path, patterns: tuple[str, ...] = (*TOKENIZER, *ALONG)) -> None:
    """Copy what belongs to a model beside weights and configuration, where it is not there yet."""
    for pattern in patterns:
        for path in sorted(source.glob(pattern)):
            if (out / path.name).exists():
                continue
            if path.is_dir():
                shutil.copytree(path, out / path.name)
            else:
                shutil.copy(path, out / path.name)


def _indexed(folder: Path, there: Collection[str] | None) -> dict[Path, frozenset[str] | None]:
    """Return what an index lists, all of which must be there, where that is known."""
    index = folder / INDEX
    check_fetched(index)
    try:
        where: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names: dict[Path, set[str]] = {}
        for name, file in where.items():
            names.setdefault(folder / file, set()).add(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: not a readable index ({type(error).__name__})") from None
    for path in names:
        if path.parent != folder or path.name in ("", ".."):
            raise ModelError(f"{index} lists {path}, which is not in its folder")
        if there is not None and path.name not in there:
            raise ModelError(f"{index} lists {path.name}, which is not there")
    return {path: frozenset(names[path]) for path in sorted(names)}


def _none(folder: Path, names: Collection[str]) -> str:
    """Say what a folder has in place of weights that are read."""
    others = sorted(fnmatch.filter(names, "*.safetensors"))
    if others:
        return (
            f"{folder} has no model.safetensors and no {INDEX}; {', '.join(others[:3])} is not "
            "read, for nothing says that it is this model's: rename it if it is"
        )
    way = "load the model with transformers and save it again, save_pretrained writes safetensors"
    return f"{folder} has no *.safetensors; pickled weights are not read: {way}"
