"""A winner on its way to the Hugging Face hub: what would be sent, and then the sending."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.errors import HubError, RunFolderError, brief
from lagsearch.hub.card import CARD
from lagsearch.records.folder import RunFolder


@dataclass(frozen=True)
class Upload:
    """What is to be sent.

    Attributes:
        repo: The repository, `name` or `owner/name`.
        is_private: Whether nobody else may see it.
        folder: The checkpoint.
        files: Names from the folder, and bytes of each.
    """

    repo: str
    is_private: bool
    folder: Path
    files: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.files)

    @property
    def card(self) -> str:
        """The model card; empty where there is none."""
        path = self.folder / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def plan_upload(run: Path, repo: str, *, is_private: bool) -> Upload:
    """Return what of a finished run would be sent; the hub is not asked.

    Args:
        run: The run folder.
        repo: `name` or `owner/name`.
        is_private: Whether nobody else may see it.

    Raises:
        RunFolderError: It is none, or of a run that is not finished, or has no checkpoint.
        HubError: A repository cannot have this name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise HubError(f"--repo {repo}: {brief(error)}") from None
    folder = RunFolder(run)
    folder.file()
    if not folder.environment().get("end"):
        message = "the run is not finished; `lagsearch run` with the same --out goes on"
        raise RunFolderError(f"{run}: {message}")
    if not any(folder.winner.glob("*.safetensors")):
        raise RunFolderError(f"{folder.winner}: there is no checkpoint of the winner")
    found = []
    for path in sorted(folder.winner.rglob("*")):
        name = path.relative_to(folder.winner).as_posix()
        if path.is_symlink():
            raise RunFolderError(f"{path}: a link, and what it leads to is not this run's")
        if path.is_file():
            found.append((name, path.stat().st_size))
    return Upload(repo, is_private, folder.winner, tuple(found))


def upload(asked: Upload, api: Any = None) -> str:
    """Send it, all files in one commit; return the address.

    Args:
        asked: What to send.
        api: A `huggingface_hub.HfApi`.

    Raises:
        HubError: The hub cannot be reached or refuses it, or the repository is there and public
            although a private one is asked for.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = api or HfApi()
    operations = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=asked.folder / name)
        for name, _ in asked.files
    ]
    try:
        made = api.create_repo(asked.repo, private=asked.is_private, exist_ok=True)
        repo = made.repo_id
        if asked.is_private and not api.repo_info(repo).private:
            message = "is there already and is public; nothing was sent"
            raise HubError(f"--repo {repo}: {message}")
        message = "Upload the winner of a lagsearch run"
        return str(api.create_commit(repo, operations, commit_message=message).commit_url)
    except HubError:
        raise
    except Exception as error:  # the hub's library raises many types
        raise HubError(f"--repo {asked.repo}: {brief(error)}") from error
