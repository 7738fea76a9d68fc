"""A space's tokenizer, and what models must know of its vocabulary."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lagsearch.data.objectives.registry import add_tokens, tokens_of
from lagsearch.data.text.corpora import Opener, check_corpora
from lagsearch.data.tokens.boundaries import boundaries_of
from lagsearch.data.tokens.tokenizers import (
    TRAINED_SPECIAL,
    bare,
    byte_tokenizer,
    comes_from_text,
    differing_part,
    make_tokenizer,
    tokenizer_in,
    vocabulary_size,
)
from lagsearch.errors import DataError, ModelError, OperatorError, SpaceError
from lagsearch.models.files import check_config, locate_checkpoint
from lagsearch.models.tabled_configs import config_of, with_vocabulary
from lagsearch.operators import find_operator
from lagsearch.planning.brought import brought_config
from lagsearch.planning.names import check_names
from lagsearch.space import Space, StageFile, TrainBpe, expand
from lagsearch.storage.files import is_path

SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Configuration keys that name special tokens."""


@dataclass(frozen=True)
class Vocabulary:
    """What a model must know of its tokenizer.

    Attributes:
        size: Rows that an embedding needs.
        special: Configuration keys that name special tokens.
        added: How many of the tokens, the last ones, the objective added.
        documents: What stands between documents, in a sentence.
    """

    size: int
    special: Mapping[str, int | None] = field(default_factory=dict)
    added: int = 0
    documents: str = ""


def vocabulary_of(tokenizer: Any, space: Space) -> Vocabulary:
    """Return what a model must know of a space's tokenizer."""
    added = set(tokens_of(space.objective, space.data.sequence_length))
    own = max(number for token, number in tokenizer.get_vocab().items() if token not in added)
    size = vocabulary_size(tokenizer)
    special = {role: getattr(tokenizer, role) for role in SPECIAL}
    words = boundaries_of(tokenizer, space.data.separators).words
    return Vocabulary(size, special, max(0, size - own - 1), words)


def find_tokenizer(
    file: StageFile, *, fetch: bool = True, opener: Opener | None = None, is_bare: bool = False
) -> Any:
    """Load the space's tokenizer; the corpus is read only where the vocabulary comes from it.

    Args:
        file: The space.
        fetch: Whether the hub may be asked.
        opener: Opens the corpus, and is told what there is to wait for.
        is_bare: Whether it need only say what a plan asks for.

    Raises:
        SpaceError: It or the corpus it needs is missing.
    """
    check_names(file)
    space, opener = file.space, opener or Opener()
    try:
        check_corpora(space)
        text = opener.training_text(space) if comes_from_text(space.tokenizer) else None
        tokenizer = make_tokenizer(
            space.tokenizer, text, fetch=fetch, tell=opener.tell, is_bare=is_bare
        )
        boundaries_of(tokenizer, space.data.separators)
        own = tokenizer.get_vocab()
        add_tokens(tokenizer, space.objective, space.data.sequence_length)
        _check_tokenizers(file, own, tokenizer, fetch=fetch, is_bare=is_bare)
        return tokenizer
    except DataError as error:
        _check_checkpoints(file, fetch=fetch)  # where the tokenizer should have come from, perhaps
        if error.at == ("data", "tokenizer") and space.data.tokenizer is None:
            _check_first(file, fetch=fetch)
        raise file.error(error.at, str(error)) from None


def check_files(file: StageFile) -> None:
    """Check that what is named is there, as far as that is a matter of files.

    Raises:
        SpaceError: It is not.
    """
    check_names(file)
    try:
        check_corpora(file.space)
    except DataError as error:
        raise file.error(error.at, str(error)) from None
    _check_checkpoints(file, fetch=False)
    for entry in {each.operator: each for each in expand(file.space)}.values():
        try:
            find_operator(entry.operator)
        except OperatorError as error:
            raise file.error((*entry.at, "operator"), str(error)) from None


def vocabulary_without_data(file: StageFile) -> tuple[Vocabulary | None, tuple[str, ...]]:
    """Find the vocabulary where text or tokenizer may not be here: a plan needs its size alone.

    Returns:
        The vocabulary, or None where configurations say its size; and what could not be had.

    Raises:
        SpaceError: Its size is nowhere to be found.
    """
    check_names(file)
    space = file.space
    pretrained = [each.pretrain or each.before for each in space.sources]
    is_sized = all(each is not None and "vocab_size" in each.config for each in pretrained)
    if isinstance(space.tokenizer, TrainBpe) or (is_sized and space.tokenizer == "characters"):
        return _unseen(space), _missing_texts(file)
    try:
        found = find_tokenizer(file, fetch=not is_sized, is_bare=True)
        return vocabulary_of(found, space), ()
    except SpaceError as error:
        if not is_sized:
            raise
        return None, (f"Planned without its data: {error}",)


def _unseen(space: Space) -> Vocabulary | None:
    """Return what is known of a vocabulary that is still to be found in the text."""
    if not isinstance(space.tokenizer, TrainBpe):
        return None
    added = len(tokens_of(space.objective, space.data.sequence_length))
    numbers = dict(zip(SPECIAL, TRAINED_SPECIAL, strict=True))
    # tokenizers that are made here have the same special tokens, and add none themselves
    words = boundaries_of(byte_tokenizer(bare), space.data.separators).words
    return Vocabulary(space.tokenizer.train_bpe + added, numbers, added, words)


def _missing_texts(file: StageFile) -> tuple[str, ...]:
    """Return what a plan says where a text is not here."""
    try:
        check_corpora(file.space)
    except DataError as error:
        return (f"Planned without its data: {file.error(error.at, str(error))}",)
    return ()


def _check_tokenizers(
    file: StageFile, own: dict[str, int], tokenizer: Any, *, fetch: bool, is_bare: bool
) -> None:
    """Check that every checkpoint's tokenizer, if it has one, is that of the space.

    Args:
        file: The space.
        own: The vocabulary of the space's tokenizer.
        tokenizer: It, with the tokens that the objective adds.
        fetch: Whether the hub may be asked; what is not here is then not looked at.
        is_bare: Whether they need only say what a plan asks for.

    Raises:
        SpaceError: One cannot be loaded, or makes other tokens.
    """
    sources = file.space.sources
    given = file.space.data.tokenizer
    first = next((each for each in sources if each.checkpoint), None)
    for index, source in enumerate(sources):
        if source.checkpoint is None or source.checkpoint == file.space.tokenizer:
            continue
        try:
            folder = locate_checkpoint(source.checkpoint, fetch=fetch, weights=False)
            found = tokenizer_in(folder, source.checkpoint, is_bare=is_bare)
        except ModelError as error:
            if not fetch and not is_path(source.checkpoint):
                continue
            raise file.error(("sources", index, "checkpoint"), str(error)) from None
        if found is None or (difference := _difference(own, tokenizer, found)) is None:
            continue
        if given is None and first is not None:
            message = f"has another tokenizer than source {first.name}: {difference}"
            raise file.error(("sources", index, "checkpoint"), message)
        message = f"is not the tokenizer of source {source.name}: {difference}"
        raise file.error(("data", "tokenizer"), f"{message}; leave it out to take the source's")


def _difference(own: dict[str, int], tokenizer: Any, found: Any) -> str | None:
    """Say in what two tokenizers differ, the first with or without what the objective adds."""
    other: dict[str, int] = found.get_vocab()
    if other in (own, tokenizer.get_vocab()):
        part = differing_part(tokenizer, found)
        return f"the same vocabulary, but another {part} in tokenizer.json" if part else None
    if len(own) != len(other):
        return f"{len(own):,} tokens here, {len(other):,} there"
    token = min(key for key in {*own, *other} if own.get(key) != other.get(key))
    return f"{token!r} is token {own.get(token)} here, {other.get(token)} there"


def _check_checkpoints(file: StageFile, *, fetch: bool) -> None:
    """Check that all checkpoints are to be had, but for their weights.

    Args:
        file: The space.
        fetch: Whether the hub may be asked; what is not here is then not looked at.

    Raises:
        SpaceError: One is not.
    """
    for index, source in enumerate(file.space.sources):
        try:
            if source.checkpoint is not None:
                found = locate_checkpoint(source.checkpoint, fetch=fetch, weights=False)
                check_config(found)
        except ModelError as error:
            if not fetch and not is_path(source.checkpoint or ""):
                continue
            raise file.error(("sources", index, "checkpoint"), str(error)) from None


def _check_first(file: StageFile, *, fetch: bool) -> None:
    """Check the checkpoint that the tokenizer is to come from.

    Raises:
        SpaceError: It is not to be had, or is none.
    """
    for index, source in enumerate(file.space.sources):
        if source.checkpoint is not None:
            try:
                brought_config(source.checkpoint, fetch=fetch)
            except ModelError as error:
                raise file.error(("sources", index, "checkpoint"), str(error)) from None
            return


def complete_config(keys: dict[str, Any], vocabulary: Vocabulary | None) -> Any:
    """Build a configuration, with what it leaves out of the vocabulary."""
    known = config_of(keys, is_written=True).to_dict()
    if vocabulary is None:  # special tokens of the family's own vocabulary may not be there
        found: dict[str, Any] = dict.fromkeys(SPECIAL)
    else:
        found = {"vocab_size": vocabulary.size, **vocabulary.special}
    missing = {key: value for key, value in found.items() if key in known and key not in keys}
    return config_of({**keys, **missing}, is_written=True)


def make_room(config: Any, vocabulary: Vocabulary | None) -> tuple[Any, int | None]:
    """Give a checkpoint's configuration rows for tokens that the objective adds.

    Returns:
        The configuration, and its rows where they are more than the checkpoint has.
    """
    if vocabulary is None or config.vocab_size >= vocabulary.size:
        return config, None
    if config.vocab_size < vocabulary.size - vocabulary.added:
        return config, None  # it is too small for the text's own tokens, which is an error
    return with_vocabulary(config, vocabulary.size), vocabulary.size


def check_vocabulary(config: Any, vocabulary: Vocabulary) -> None:
    """Check that the embedding has a row for every token.

    Raises:
        ModelError: The model is too small for the tokenizer.
    """
    if config.vocab_size < vocabulary.size:
        raise ModelError(
            f"vocab_size {config.vocab_size} is less than the tokenizer's {vocabulary.size} tokens"
        )
