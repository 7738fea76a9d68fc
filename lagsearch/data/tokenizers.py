"""Tokenizers as Hugging Face objects, so that a winner's folder carries its own."""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lagsearch.data.corpora import Documents
from lagsearch.errors import DataError, brief
from lagsearch.space import TrainBpe
from lagsearch.storage import alone, cache_root, digest, write_text

SEPARATOR, PAD, MASK, UNKNOWN = "<|endoftext|>", "<pad>", "<mask>", "<unk>"

_AT = ("data", "tokenizer")


def comes_from_text(wanted: str | TrainBpe) -> bool:
    """Return whether a tokenizer's vocabulary comes from the training text."""
    return wanted == "characters" or isinstance(wanted, TrainBpe)


def make_tokenizer(wanted: str | TrainBpe, text: Documents | None, *, fetch: bool = True) -> Any:
    """Return the tokenizer of a space.

    Args:
        wanted: As in the space file.
        text: The training corpus; read only where the vocabulary comes from it.
        fetch: Whether the hub may be asked.

    Raises:
        DataError: A folder or hub name does not lead to a tokenizer, or the text is too short for
            as many tokens.
    """
    if wanted == "bytes":
        return byte_tokenizer()
    if isinstance(wanted, str) and wanted != "characters":
        return _pretrained(wanted, fetch=fetch)
    assert text is not None, wanted
    if isinstance(wanted, TrainBpe):
        return _trained(wanted.train_bpe, text)
    return character_tokenizer(sorted(set().union(*map(set, text.read()))))


def byte_tokenizer() -> Any:
    """Return a tokenizer whose token b is byte b of the UTF-8 text; 256 and up are special."""
    import tokenizers as hf

    backend = hf.Tokenizer(hf.models.BPE(vocab=byte_symbols(), merges=[]))
    backend.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = hf.decoders.ByteLevel()
    return _wrapped(backend, [SEPARATOR, PAD, MASK])


def character_tokenizer(characters: list[str]) -> Any:
    """Return a tokenizer with one token for each given character; others are unknown."""
    import tokenizers as hf

    vocabulary = {character: number for number, character in enumerate(characters)}
    vocabulary[UNKNOWN] = len(vocabulary)
    backend = hf.Tokenizer(hf.models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = hf.pre_tokenizers.Split(hf.Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = hf.decoders.Fuse()
    return _wrapped(backend, [SEPARATOR, PAD, MASK], unk_token=UNKNOWN)


def _trained(size: int, text: Documents) -> Any:
    """Return the byte-pair tokenizer trained on a text, from the cache if it is there."""
    import tokenizers as hf

    made_of = ["bpe", size, text.digest, version("tokenizers")]
    file = cache_root() / "tokenizers" / digest(made_of) / "tokenizer.json"
    with alone(file.parent, lambda line: None):
        if not file.is_file():
            write_text(file, _train_bpe(size, text.read()).to_str())
    tokenizer = _wrapped(hf.Tokenizer.from_file(str(file)), [SEPARATOR, PAD, MASK])
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


def vocabulary_in(folder: Path) -> dict[str, int] | None:
    """Return the tokens of a checkpoint's tokenizer, or None where it has none to load."""
    from transformers import AutoTokenizer

    from lagsearch.models.build import quiet

    quiet()
    if not _has_tokenizer(folder):
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception:  # transformers raises many types here
        return None
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    return vocabulary


def _has_tokenizer(folder: Path) -> bool:
    """Return whether there is a vocabulary; where there is none, transformers makes one up."""
    names = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")
    return any((folder / name).is_file() for name in (*names, "sentencepiece.bpe.model"))


def is_bytes(tokenizer: Any) -> bool:
    """Return whether a tokenizer is `byte_tokenizer`'s."""
    return bool(tokenizer.backend_tokenizer.to_str() == byte_tokenizer().backend_tokenizer.to_str())


def byte_symbols() -> dict[str, int]:
    """Return the printable symbol that byte-level tokenizers write for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {chr(byte): byte for byte in printable}
    symbols.update({chr(256 + place): byte for place, byte in enumerate(others)})
    return symbols


def _wrapped(backend: Any, special: list[str], **roles: str) -> Any:
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


def _pretrained(name: str, *, fetch: bool) -> Any:
    from transformers import AutoTokenizer

    from lagsearch.models.build import quiet

    quiet()
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    folder = Path(name).expanduser()
    if is_path and not folder.is_dir():
        raise DataError(f"there is no tokenizer folder {name!r}; built in: bytes, characters", _AT)
    none_there = f"{name!r} has no tokenizer; set data.tokenizer to bytes, characters or a folder"
    if folder.is_dir() and not _has_tokenizer(folder):
        raise DataError(none_there, _AT)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder) if folder.is_dir() else name,
            use_fast=True,
            trust_remote_code=False,
            local_files_only=not fetch,
        )
    except Exception as error:  # transformers and the hub raise many types here
        raise DataError(
            f"tokenizer {name!r} is none of bytes, characters, a folder or a hub name that can be "
            f"fetched ({brief(error)}); give a local folder, or set HF_HOME to a cache that has it",
            _AT,
        ) from error
    if len(tokenizer) < 2:  # transformers makes an empty one where there is none
        raise DataError(none_there, _AT)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise DataError(f"tokenizer {name!r} has no fast (tokenizers) version", _AT)
    return tokenizer
