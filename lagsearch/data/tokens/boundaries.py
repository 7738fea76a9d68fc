"""What stands between documents: the tokens before and after each of them."""

from copy import copy
from dataclasses import dataclass
from typing import Any

from lagsearch.errors import DataError
from lagsearch.space import Separators

_AT = ("data", "separators")
_ROLES = {"bos": ("bos_token_id", "cls_token_id"), "eos": ("eos_token_id", "sep_token_id")}
_PROBE = "a"


@dataclass(frozen=True)
class Boundaries:
    """The tokens around one document.

    Attributes:
        before: Numbers of the tokens before it.
        after: Numbers of the tokens after it.
        words: Both, as a user reads it.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    words: str = ""


def boundaries_of(tokenizer: Any, wanted: Separators) -> Boundaries:
    """Return what stands around each document.

    `auto` is what the tokenizer itself puts around one text, for that is how whoever trained a
    model with it will have begun and ended documents. A tokenizer that adds nothing says nothing
    about documents: then it is its `eos_token`, if it has one.

    Args:
        tokenizer: As `make_tokenizer` makes it.
        wanted: As in the space file.

    Raises:
        DataError: A token is asked for that the tokenizer does not have.
    """
    before: tuple[int, ...]
    after: tuple[int, ...]
    if wanted != "auto":
        before = (_token(tokenizer, "bos"),) if wanted in ("bos", "both") else ()
        after = (_token(tokenizer, "eos"),) if wanted in ("eos", "both") else ()
        return Boundaries(before, after, _words(tokenizer, before, after, wanted))
    before, after = _added(tokenizer)
    reason = "auto: as the tokenizer itself adds"
    if not before and not after:
        reason = "auto: the tokenizer itself adds nothing"
        after = () if (end := tokenizer.eos_token_id) is None else (int(end),)
    return Boundaries(before, after, _words(tokenizer, before, after, reason))


def _added(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what the tokenizer itself puts before and after one text."""
    backend = copy(tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    plain = tuple(backend.encode(_PROBE, add_special_tokens=False).ids)
    whole = tuple(backend.encode(_PROBE, add_special_tokens=True).ids)
    for begin in range(len(whole) - len(plain) + 1):
        if whole[begin : begin + len(plain)] == plain:
            return whole[:begin], whole[begin + len(plain) :]
    return (), ()


def _token(tokenizer: Any, end: str) -> int:
    """Return the token that begins (`bos`) or ends (`eos`) a text."""
    for role in _ROLES[end]:
        if (found := getattr(tokenizer, role, None)) is not None:
            return int(found)
    name = {"bos": "beginning (bos_token)", "eos": "end (eos_token)"}[end]
    raise DataError(f"the tokenizer has no token for the {name} of a text: use none or auto", _AT)


def _words(tokenizer: Any, before: tuple[int, ...], after: tuple[int, ...], reason: str) -> str:
    parts = [
        f"{' '.join(map(str, tokenizer.convert_ids_to_tokens(list(tokens))))} {place} each"
        for tokens, place in ((before, "before"), (after, "after"))
        if tokens
    ]
    return f"Documents: {' and '.join(parts) or 'nothing between them'} (data.separators {reason})."
