"""Whether texts can be long enough, by the bytes of their files: none is read."""

from lagsearch.data.text.corpora import own_parts, parts_of
from lagsearch.data.tokens.store import FEWEST
from lagsearch.errors import DataError
from lagsearch.space import Space, StageFile


def check_texts(file: StageFile) -> None:
    """Check that texts can fill sequences to train on and the fewest that losses are measured on.

    Raises:
        SpaceError: One cannot; the message has the line.
    """
    try:
        _check(file.space)
    except DataError as error:
        raise file.error(error.at, str(error)) from None


def _check(space: Space) -> None:
    data, length = space.data, space.data.sequence_length
    rows, least = min(space.evaluation.batches, FEWEST), 2 * length + 1
    trained = f"{least:,} tokens are needed to train on sequences of {length}"
    measured = f"{rows * length + 1:,} to measure losses on"
    train = parts_of(data.train, ("data", "train")) if data.train else ()
    held_out = parts_of(data.validation, ("data", "validation"))
    for part in train:
        if held_out or len(train) > 1:
            part.check_size(least, trained)
        else:
            part.check_size(least + rows * length + 1, f"{trained} and {measured}")
    for part in (each for parts in own_parts(space.sources).values() for each in parts):
        part.check_size(least, trained)
    for part in held_out:
        part.check_size(rows * length + 1 if len(held_out) == 1 else 1, f"at least {measured}")
