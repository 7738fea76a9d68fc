"""The model card beside a checkpoint: words for people, and what the hub reads of it."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lagsearch.storage.files import path_of, write_text

CARD = "README.md"
OURS = (
    "<!-- lagsearch writes this card anew with each report; delete this line to keep your own -->"
)
_TAKEN_OVER = ("license", "license_name", "license_link", "language")
"""What a grown model has of its source's card: the licence goes with the weights."""
_METADATA = re.compile(r"\s*---\n(.*?)\n---[ \t]*(?:\n|$)", re.DOTALL)
_HEADS = {"ForCausalLM": "text-generation", "LMHeadModel": "text-generation"}
_HEADS |= {"ForMaskedLM": "fill-mask", "ForPreTraining": "fill-mask"}


@dataclass(frozen=True)
class SourceCard:
    """What is known of a checkpoint that was grown.

    Attributes:
        name: Its name on the hub, or that of its folder alone.
        is_on_hub: Whether it is a name on the hub.
        metadata: What its own card says of licence and language.
        has_licence_file: Whether a file with its licence lies in its folder.
    """

    name: str
    is_on_hub: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    has_licence_file: bool = False

    @property
    def link(self) -> str:
        """Its name in Markdown."""
        shown = f"`{self.name}`"
        return f"[{shown}](https://huggingface.co/{self.name})" if self.is_on_hub else shown

    @property
    def licence(self) -> str:
        """What is known of its licence, in a sentence."""
        said = self.metadata.get("license")
        if isinstance(said, str) and said != "other":
            return f"{self.link} is licensed under {_plain(said)}."
        if said is not None or self.has_licence_file:
            named = _plain(str(self.metadata.get("license_name") or ""))
            more = named or "in the files beside this card"
            return f"{self.link} has a licence of its own: {more}."
        return f"The licence of {self.link} is not known here: see its origin."


def _plain(words: str) -> str:
    """Return another's words without what Markdown or HTML would read as more than words."""
    return re.sub(r"[^\w .,:+()-]", "", words)


def source_card(checkpoint: str) -> SourceCard:
    """Return what a checkpoint's folder says, or the cache of the hub; the hub is not asked.

    Args:
        checkpoint: A folder, or a name on the hub.
    """
    folder = path_of(checkpoint)
    if folder.is_dir():
        files = [path.name for path in sorted(folder.iterdir())]
        has_file = any(name.startswith(("LICENSE", "LICENCE", "COPYING")) for name in files)
        name = folder.absolute().name
        return SourceCard(name, False, _metadata(folder / CARD), has_file)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(checkpoint, CARD)
    except HFValidationError:  # a folder that is gone
        return SourceCard(Path(checkpoint).name, False)
    return SourceCard(checkpoint, True, _metadata(Path(found)) if isinstance(found, str) else {})


def write_card(
    folder: Path,
    body: str,
    sources: Sequence[SourceCard],
    *,
    datasets: Sequence[str] = (),
    is_renewed: bool = True,
) -> bool:
    """Write a checkpoint's card; one that somebody else wrote or made their own stays.

    Args:
        folder: The checkpoint.
        body: The card's words, Markdown.
        sources: What it was grown from.
        datasets: Names on the hub of what it was trained on.
        is_renewed: Whether a later report writes it anew.

    Returns:
        Whether it was written.
    """
    from huggingface_hub.repocard_data import ModelCardData  # without the hub's client

    path = folder / CARD
    if path.exists() and OURS not in path.read_text(encoding="utf-8", errors="replace"):
        return False
    known = _common(sources) or _only(_metadata(path), _TAKEN_OVER)
    metadata = ModelCardData(
        base_model=[each.name for each in sources if each.is_on_hub] or None,
        datasets=sorted({*datasets}) or None,
        library_name="transformers",
        pipeline_tag=_task(folder),
        tags=["lagsearch", "model-growth"],
        **known,
    )
    words = f"{OURS}\n\n{body.strip()}" if is_renewed else body.strip()
    write_text(path, f"---\n{metadata.to_yaml()}\n---\n\n{words}\n")
    return True


def _common(sources: Sequence[SourceCard]) -> dict[str, Any]:
    """Return what all sources say alike; nothing where they have different licences."""
    if not sources or any(each.metadata != sources[0].metadata for each in sources):
        return {}
    found = dict(sources[0].metadata)
    if "license" not in found and sources[0].has_licence_file:
        found |= {"license": "other"}
    return found


def _metadata(path: Path) -> dict[str, Any]:
    """Return what is taken over of a card's metadata; nothing where there is none to be read."""
    if not path.is_file():
        return {}
    found = None
    with suppress(Exception):  # whatever is wrong with the card of somebody else
        block = _METADATA.match(path.read_text(encoding="utf-8-sig"))
        found = YAML(typ="safe").load(block[1]) if block else None
    return _only(found, _TAKEN_OVER) if isinstance(found, dict) else {}


def _only(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    def is_text(value: Any) -> bool:
        return isinstance(value, str) or (
            isinstance(value, list) and all(isinstance(each, str) for each in value)
        )

    return {key: values[key] for key in keys if is_text(values.get(key))}


def _task(folder: Path) -> str | None:
    """Return the hub's name of what a checkpoint's class is for, where it is known."""
    with suppress(OSError, ValueError, TypeError, LookupError):
        [name] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
        return next((task for head, task in _HEADS.items() if name.endswith(head)), None)
    return None
