"""Models on the Hugging Face hub: folders in its cache, fetched as far as they are needed."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from logging import ERROR, getLogger
from pathlib import Path

from lagsearch.errors import HubError, brief
from lagsearch.models.headers import StoredTensor, stored_tensor
from lagsearch.storage.files import path_of


def quiet_hub() -> None:
    """Keep what the hub's library says out of the output, and its progress bars.

    Where the environment has HF_HUB_DISABLE_PROGRESS_BARS, that decides about bars.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    getLogger("huggingface_hub").setLevel(ERROR)
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        disable_progress_bars()


@contextmanager
def _progress_bars(*, are_wanted: bool) -> Iterator[None]:
    """Show the library's progress bars inside, in a terminal where nothing else is drawn."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import enable_progress_bars

    is_free = sys.stderr is sys.__stderr__ and sys.stderr is not None and sys.stderr.isatty()
    if are_wanted and is_free and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        enable_progress_bars()
    try:
        yield
    finally:
        quiet_hub()


def hub_folder(
    name: str,
    patterns: Sequence[str],
    *,
    fetch: bool,
    revision: str | None = None,
    has_bars: bool = False,
) -> Path:
    """Return where the hub's cache has a model, with those of its files that patterns name.

    Where a folder is here that the name would be in, the hub is not asked.

    Args:
        name: On the hub.
        patterns: Names of files, with `*`.
        fetch: Whether the hub may be asked.
        revision: The commit; the newest one when left out.
        has_bars: Whether it takes so long that one wants to see how far it is.

    Raises:
        HubError: It is not to be had; the message says why.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    quiet_hub()
    is_asked = fetch and not _is_like_path(name)
    try:
        with _progress_bars(are_wanted=has_bars):
            found = snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(patterns),
                local_files_only=not is_asked,
            )
    except LocalEntryNotFoundError as error:
        has_part = hasattr(error, "snapshot_path")
        kept = (
            f"the cache has {_a_part_of(name)}" if has_part else "the cache has none of that name"
        )
        if _is_like_path(name):
            here = path_of(name).parent
            reason = f"it is not asked, as there is a folder {here}: mend the path, or run "
            raise HubError(f"{reason}`hf download {name}` first") from error
        raise HubError(f"it cannot be reached, and {kept}" if is_asked else kept) from error
    except Exception as error:  # the hub's library raises many types; all mean: not to be had
        raise HubError(brief(error)) from error
    return Path(found)


def _a_part_of(name: str) -> str:
    return f"only a part of it, `hf download {name}` fetches the rest"


def _is_like_path(name: str) -> bool:
    """Return whether a name is in a folder that is here, and so more likely mistyped."""
    return "/" in name and path_of(name).parent.is_dir()


def hub_list(name: str, folder: Path) -> Mapping[str, int] | None:
    """Return the files that a model has on the hub and their bytes, as the cache knows them.

    Args:
        name: On the hub.
        folder: What is here of the revision that is meant; it has the revision's name.

    Returns:
        Bytes by name, of files that are in no folder; None where the hub was never asked for them.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        files = get_cached_repo_tree(name, revision=folder.name)
    except CachedRepoTreeNotFoundError:
        return None
    return {each.path: each.size for each in files if "/" not in each.path}


def check_known(name: str, folder: Path) -> None:
    """Check that what a folder of the cache lacks is not on the hub either.

    Raises:
        HubError: It may be there.
    """
    if hub_list(name, folder) is None:
        raise HubError(f"the cache may have {_a_part_of(name)}")


@cache
def hub_headers(name: str, paths: tuple[Path, ...]) -> Mapping[Path, Mapping[str, StoredTensor]]:
    """Return the tensors of files that stay on the hub, by their names.

    Where their values begin is counted from the first of a file.

    Args:
        name: The model.
        paths: Where the files would be in the cache; the folder has the revision's name.

    Raises:
        HubError: They cannot be asked, or are no safetensors.
    """
    from huggingface_hub import parse_safetensors_file_metadata

    def header(path: Path) -> dict[str, StoredTensor]:
        found = parse_safetensors_file_metadata(name, path.name, revision=path.parent.name)
        words = found.tensors.items()
        return {each: stored_tensor(path, each, vars(info), 0) for each, info in words}

    quiet_hub()
    if _is_like_path(name):
        raise HubError(f"it is not asked, as there is a folder {path_of(name).parent}")
    try:
        with ThreadPoolExecutor(max_workers=8) as pool:  # as many as the hub's library takes
            return dict(zip(paths, pool.map(header, paths), strict=True))
    except Exception as error:  # the hub's library raises many types
        raise HubError(brief(error)) from error
