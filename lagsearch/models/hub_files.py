"""Models on the Hugging Face hub: folders in its cache, fetched as far as they are needed."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from lagsearch.errors import HubError, brief
from lagsearch.models.headers import StoredTensor, stored_tensor
from lagsearch.storage.files import path_of


def hub_folder(name: str, patterns: Sequence[str], *, fetch: bool) -> Path:
    """Return where the hub's cache has a model, with those of its files that patterns name.

    Where a folder is here that the name would be in, the hub is not asked.

    Args:
        name: On the hub.
        patterns: Names of files, with `*`.
        fetch: Whether the hub may be asked.

    Raises:
        HubError: It is not to be had; the message says why.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call, unused-ignore]
    is_asked = fetch and not _is_like_path(name)
    try:
        found = snapshot_download(
            name, allow_patterns=list(patterns), local_files_only=not is_asked
        )
    except LocalEntryNotFoundError as error:
        kept = "only a part of it" if hasattr(error, "snapshot_path") else "none of that name"
        reason = "it cannot be reached, and the" if is_asked else "the"
        if _is_like_path(name):
            here = path_of(name).parent
            reason = f"it is not asked, as there is a folder {here}: mend the path, or run "
            raise HubError(f"{reason}`hf download {name}` first") from error
        raise HubError(f"{reason} cache has {kept}") from error
    except Exception as error:  # the hub's library raises many types; all mean: not to be had
        raise HubError(brief(error)) from error
    return Path(found)


def _is_like_path(name: str) -> bool:
    """Return whether a name is in a folder that is here, and so more likely mistyped."""
    return "/" in name and path_of(name).parent.is_dir()


@cache
def hub_tensors(name: str, folder: Path) -> Mapping[str, StoredTensor]:
    """Return the tensors of a model whose weights stay on the hub, by their names.

    Where their values begin is counted from the first of a file.

    Args:
        name: On the hub.
        folder: What is here of the revision that is meant; it has the revision's name.

    Raises:
        HubError: Its files cannot be asked, or are no safetensors.
    """
    from huggingface_hub import get_safetensors_metadata

    if _is_like_path(name):
        raise HubError(f"{name}: the hub is not asked, as there is a folder of that name here")
    try:
        files = get_safetensors_metadata(name, revision=folder.name).files_metadata
        return {
            each: stored_tensor(folder / file, each, vars(info), 0)
            for file, found in files.items()
            for each, info in found.tensors.items()
        }
    except Exception as error:  # the hub's library raises many types
        raise HubError(brief(error)) from error
