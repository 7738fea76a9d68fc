"""Tokenizers as Hugging Face objects, so that a winner's folder carries its own."""

import json
from collections.abc import Callable, Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lagsearch.data.text.corpora import Documents
from lagsearch.data.tokens.stored import BareTokenizer, stored_tokenizer
from lagsearch.errors import DataError, HubError, ModelError, and_then, brief, did_you_mean
from lagsearch.models.configs import quiet
from lagsearch.models.files import TOKENIZER
from lagsearch.models.hub_files import check_known, hub_folder
from lagsearch.space import TrainBpe
from lagsearch.storage.files import (
    alone,
    cache_root,
    digest,
    is_path,
    path_of,
    write_json,
    write_text,
)

SEPARATOR, PAD, MASK, UNKNOWN = "<|endoftext|>", "<pad>", "<mask>", "<unk>"

TRAINED_SPECIAL = (0, 0, 1)
"""Numbers of the first, the last and the padding token of a tokenizer that is trained here."""

_AT = ("data", "tokenizer")

Wrap = Callable[..., Any]
"""From a backend, its special tokens and the token of each further role to a tokenizer."""


def comes_from_text(wanted: str | TrainBpe) -> bool:
    """Return whether a tokenizer's vocabulary comes from the training text."""
    return wanted == "characters" or isinstance(wanted, TrainBpe)


def wrapped(backend: Any, special: list[str], **roles: str) -> Any:
    """Return a tokenizer of transformers, which can be saved with a model."""
    from transformers import PreTrainedTokenizerFast

    backend.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=SEPARATOR,
        eos_token=SEPARATOR,
        pad_token=PAD,
        mask_token=MASK,
        clean_up_tokenization_spaces=False,
        **roles,
    )


def bare(backend: Any, special: list[str], **roles: str) -> BareTokenizer:
    """Return a tokenizer as far as a plan asks for it, without transformers."""
    backend.add_special_tokens(special)
    return BareTokenizer(backend, {"bos": SEPARATOR, "eos": SEPARATOR, "pad": PAD, "mask": MASK})


def make_tokenizer(
    wanted: str | TrainBpe,
    text: Documents | None,
    *,
    fetch: bool = True,
    tell: Callable[[str], None] = lambda line: None,
    is_bare: bool = False,
) -> Any:
    """Return the tokenizer of a space.

    Args:
        wanted: As in the space file.
        text: The training corpus; read only where the vocabulary comes from it.
        fetch: Whether the hub may be asked.
        tell: Is told in a line when there is something to wait for.
        is_bare: Whether it need only say what a plan asks for.

    Raises:
        DataError: A folder or hub name does not lead to a tokenizer, or the text is too short for
            as many tokens.
    """
    wrap: Wrap = bare if is_bare else wrapped
    if wanted == "bytes":
        return byte_tokenizer(wrap)
    if isinstance(wanted, str) and wanted != "characters":
        return _pretrained(wanted, fetch=fetch, is_bare=is_bare)
    assert text is not None, wanted
    if isinstance(wanted, TrainBpe):
        return _trained(wanted.train_bpe, text, tell)
    return character_tokenizer(_characters(text, tell), wrap)


def byte_tokenizer(wrap: Wrap = wrapped) -> Any:
    """Return a tokenizer whose token b is byte b of the UTF-8 text; 256 and up are special."""
    import tokenizers as hf

    backend = hf.Tokenizer(hf.models.BPE(vocab=byte_symbols(), merges=[]))
    backend.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = hf.decoders.ByteLevel()
    return wrap(backend, [SEPARATOR, PAD, MASK])


def character_tokenizer(characters: list[str], wrap: Wrap = wrapped) -> Any:
    """Return a tokenizer with one token for each given character; others are unknown."""
    import tokenizers as hf

    vocabulary = {character: number for number, character in enumerate(characters)}
    vocabulary[UNKNOWN] = len(vocabulary)
    backend = hf.Tokenizer(hf.models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = hf.pre_tokenizers.Split(hf.Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = hf.decoders.Fuse()
    return wrap(backend, [SEPARATOR, PAD, MASK], unk_token=UNKNOWN)


def _characters(text: Documents, tell: Callable[[str], None]) -> list[str]:
    """Return the characters of a text in their order, from the cache if they are there."""
    file = cache_root() / "tokenizers" / digest(["characters", text.digest]) / "characters.json"
    with alone(file.parent, tell):
        if not file.is_file():
            tell(f"looking for the characters of {text.name}")
            found: set[str] = set()
            for piece in text.read():
                found.update(piece)
            write_json(file, sorted(found))
    known: list[str] = json.loads(file.read_text(encoding="utf-8"))
    return known


def _trained(size: int, text: Documents, tell: Callable[[str], None]) -> Any:
    """Return the byte-pair tokenizer trained on a text, from the cache if it is there."""
    import tokenizers as hf

    made_of = ["bpe", size, text.digest, version("tokenizers")]
    file = cache_root() / "tokenizers" / digest(made_of) / "tokenizer.json"
    with alone(file.parent, tell):
        if not file.is_file():
            tell(f"training a tokenizer of {size:,} tokens on {text.name}")
            write_text(file, _train_bpe(size, text.read()).to_str())
    tokenizer = wrapped(hf.Tokenizer.from_file(str(file)), [SEPARATOR, PAD, MASK])
    if (found := vocabulary_size(tokenizer)) < size:
        message = f"{text.name} has pairs for {found} tokens only: ask for no more, or add text"
        raise DataError(message, (*_AT, "train_bpe"))
    return tokenizer


def _train_bpe(size: int, texts: Iterable[str]) -> Any:
    """Train byte pairs as GPT-2's were: on words with the space before them."""
    import tokenizers as hf

    backend = hf.Tokenizer(hf.models.BPE())
    backend.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = hf.decoders.ByteLevel()
    trainer = hf.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[SEPARATOR, PAD, MASK],
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def vocabulary_size(tokenizer: Any) -> int:
    """Return the rows that an embedding needs."""
    return int(max(tokenizer.get_vocab().values())) + 1


def tokenizer_in(folder: Path, name: str | None = None, *, is_bare: bool = False) -> Any | None:
    """Load a checkpoint's tokenizer; None where it has none.

    Args:
        folder: The checkpoint.
        name: Its name on the hub, where the folder is of the hub's cache.
        is_bare: Whether it need only say what a plan asks for.

    Raises:
        ModelError: It has one that cannot be loaded, or one that may still be on the hub.
    """
    if not _has_tokenizer(folder):
        if name is not None and not path_of(name).is_dir():
            try:
                check_known(name, folder)
            except HubError as error:
                raise ModelError(f"its tokenizer is not here: {error}") from None
        return None
    if is_bare and (found := stored_tokenizer(folder)) is not None:
        return found
    from transformers import AutoTokenizer

    quiet()
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises many types here
        reason = _lacking(folder) or brief(error)
        raise ModelError(f"{folder}: its tokenizer cannot be loaded ({reason})") from error


def differing_part(one: Any, other: Any) -> str | None:
    """Return which step of two tokenizers, before tokens get their numbers, is not the same.

    Tokens that are added, and settings that cut off or pad, do not count: what they do to texts is
    to be seen in the vocabularies, or is never used.
    """
    if not hasattr(one, "backend_tokenizer") or not hasattr(other, "backend_tokenizer"):
        return None
    parts = _steps(one), _steps(other)
    made_of = [getattr(each, "made_of", None) for each in (one, other)]
    if made_of != [None, None]:
        if parts[0] == parts[1] and made_of[0] == made_of[1]:
            return None
        parts = _steps(_loaded(one)), _steps(_loaded(other))
    return next((name for name in parts[0] if parts[0][name] != parts[1][name]), None)


def _loaded(tokenizer: Any) -> Any:
    """Return a tokenizer as transformers makes it, where its steps are not those of its file."""
    is_made = getattr(tokenizer, "made_of", None) is not None
    return tokenizer_in(tokenizer.folder) if is_made else tokenizer


def _steps(tokenizer: Any) -> dict[str, Any]:
    """Return what decides a text's tokens, but for those that are added."""
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    found = {key: whole[key] for key in ("normalizer", "pre_tokenizer", "model")}
    if isinstance(found["pre_tokenizer"], dict):  # where a token begins, which is never asked
        found["pre_tokenizer"].pop("trim_offsets", None)
    return found


def _has_tokenizer(folder: Path) -> bool:
    """Return whether there is a vocabulary; where there is none, transformers makes one up."""
    names = ("tokenizer.json", "vocab.json", "vocab.txt")
    return any((folder / name).is_file() for name in names) or any(folder.glob("*.model"))


def _lacking(folder: Path) -> str | None:
    """Return what a folder's tokenizer needs that is not installed, and how to get it."""
    models = sorted(path.name for path in folder.glob("*.model"))
    if not models or (folder / "tokenizer.json").is_file():
        return None
    packages = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
    lacking = [name for name, module in packages.items() if not _is_there(module)]
    if not lacking:
        return None
    return (
        f"it has {models[0]} and no tokenizer.json, and reading that needs more: "
        f"pip install {' '.join(lacking)}"
    )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that is not there either
        return False


def is_bytes(tokenizer: Any) -> bool:
    """Return whether a tokenizer is `byte_tokenizer`'s, with or without more special tokens."""
    added = json.loads(tokenizer.backend_tokenizer.to_str())["added_tokens"]
    if not all(token["special"] for token in added):  # others are found in a text
        return False
    return _steps(tokenizer) == _steps(byte_tokenizer())


def byte_symbols() -> dict[str, int]:
    """Return the printable symbol that byte-level tokenizers write for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {chr(byte): byte for byte in printable}
    symbols.update({chr(256 + place): byte for place, byte in enumerate(others)})
    return symbols


def _pretrained(name: str, *, fetch: bool, is_bare: bool) -> Any:
    folder = _folder_of(name, fetch=fetch)
    none_there = f"{name!r} has no tokenizer; set data.tokenizer to bytes, characters or a folder"
    if not _has_tokenizer(folder):
        raise DataError(none_there, _AT)
    if is_bare and (found := stored_tokenizer(folder)) is not None:
        return found
    from transformers import AutoTokenizer

    quiet()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many types here
        reason = _lacking(folder) or brief(error)
        raise DataError(f"tokenizer {name!r} cannot be loaded: {reason}", _AT) from error
    if len(tokenizer) < 2:  # transformers makes an empty one where there is none
        raise DataError(none_there, _AT)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise DataError(f"tokenizer {name!r} has no fast (tokenizers) version", _AT)
    return tokenizer


def _folder_of(name: str, *, fetch: bool) -> Path:
    """Return the folder of a tokenizer, fetched from the hub where it is not here.

    Raises:
        DataError: There is none.
    """
    folder = path_of(name)
    if folder.is_dir():
        return folder
    if is_path(name):
        raise DataError(f"there is no tokenizer folder {name!r}; built in: bytes, characters", _AT)
    try:
        folder = hub_folder(name, (*TOKENIZER, "config.json", "*.jinja"), fetch=fetch)
        if not _has_tokenizer(folder):
            check_known(name, folder)
        return folder
    except HubError as error:
        raise _not_there(name, str(error)) from error


def _not_there(name: str, reason: str) -> DataError:
    hint = did_you_mean(name, ["bytes", "characters"])
    return DataError(
        and_then(
            f"tokenizer {name!r} is none of bytes, characters, a folder or a hub name that can be "
            f"fetched ({reason}){hint}",
            "give a local folder, or set HF_HOME to a cache that has it, and HF_HUB_OFFLINE=1 "
            "where there is no network",
        ),
        _AT,
    )
