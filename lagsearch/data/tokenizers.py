"""Tokenizers as Hugging Face objects, so that a winner's folder carries its own."""

from collections.abc import Iterable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from lagsearch.errors import DataError

SEPARATOR, PAD, MASK, UNKNOWN = "<|endoftext|>", "<pad>", "<mask>", "<unk>"

_AT = ("data", "tokenizer")


def make_tokenizer(name: str, texts: Iterable[str]) -> Any:
    """Return the tokenizer of a space: `bytes`, `characters`, or a Hugging Face one.

    Args:
        name: As in the space file.
        texts: The training corpus; read only where the vocabulary comes from it.

    Raises:
        DataError: A folder or hub name does not lead to a tokenizer.
    """
    if name == "bytes":
        return byte_tokenizer()
    if name == "characters":
        return character_tokenizer(sorted(set().union(*map(set, texts))))
    return _pretrained(name)


def byte_tokenizer() -> Any:
    """Return a tokenizer whose token b is byte b of the UTF-8 text; 256 and up are special."""
    import tokenizers as hf

    backend = hf.Tokenizer(hf.models.BPE(vocab=_byte_symbols(), merges=[]))
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


def vocabulary_size(tokenizer: Any) -> int:
    """Return the rows that an embedding needs."""
    return int(max(tokenizer.get_vocab().values())) + 1


def encode(tokenizer: Any, texts: list[str]) -> list[Any]:
    """Turn texts into rows of token numbers.

    Special tokens are neither added nor found: what looks like one in a text is text. Bytes are
    taken as they are, which is what the byte tokenizer's own work would give, later.
    """
    if is_bytes(tokenizer):
        return [np.frombuffer(text.encode(), np.uint8) for text in texts]
    backend = copy(tokenizer.backend_tokenizer)
    backend.encode_special_tokens = True
    encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
    return [np.array(encoding.ids) for encoding in encodings]


def is_bytes(tokenizer: Any) -> bool:
    """Return whether a tokenizer is `byte_tokenizer`'s."""
    return bool(tokenizer.backend_tokenizer.to_str() == byte_tokenizer().backend_tokenizer.to_str())


def _byte_symbols() -> dict[str, int]:
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


def _pretrained(name: str) -> Any:
    from transformers import AutoTokenizer

    from lagsearch.models.build import quiet

    quiet()
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if is_path and not Path(name).expanduser().is_dir():
        raise DataError(f"there is no tokenizer folder {name!r}; built in: bytes, characters", _AT)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name,
            use_fast=True,
            trust_remote_code=False,
        )
    except Exception as error:  # transformers and the hub raise many types here
        first = (str(error).strip() or repr(error)).splitlines()[0][:160]
        raise DataError(
            f"tokenizer {name!r} is none of bytes, characters, a folder or a hub name that can be "
            f"fetched ({first}); give a local folder, or set HF_HOME to a cache that has it",
            _AT,
        ) from error
    if len(tokenizer) < 2:  # transformers makes an empty one where there is none
        message = f"{name!r} has no tokenizer; set data.tokenizer to bytes, characters or a folder"
        raise DataError(message, _AT)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise DataError(f"tokenizer {name!r} has no fast (tokenizers) version", _AT)
    return tokenizer
