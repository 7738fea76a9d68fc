"""The errors a user can meet: each is one line, and each has an exit code."""

import traceback
from pathlib import Path


class LagsearchError(Exception):
    """Base of every error that is reported to the user as one line.

    Attributes:
        exit_code: What the process returns: 2 the input is wrong, 3 no candidate survived, 130
            interrupted.
    """

    exit_code = 2


class InterruptedRunError(LagsearchError):
    """A run was interrupted, and can be continued."""

    exit_code = 130


class SpaceError(LagsearchError):
    """The space file, or an override of it, is wrong."""


class OperatorError(LagsearchError):
    """An operator is unknown, or its settings do not fit source and target.

    Args:
        message: What is wrong, in one line.
        setting: The setting that is wrong, where it is one.
    """

    def __init__(self, message: str, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


class MistakeError(OperatorError):
    """An operator or a setting is written wrongly: it would fit no source and no target."""


class PluginError(LagsearchError):
    """What a package adds to lagsearch cannot be had, or has the name of something else."""


class ModelError(LagsearchError):
    """A model cannot be built, read, or grown."""


class DataError(LagsearchError):
    """A corpus or a tokenizer is missing or does not fit.

    Args:
        message: What is wrong, in one line.
        at: The key of the space file that is wrong.
    """

    def __init__(self, message: str, at: tuple[str | int, ...] = ("data",)) -> None:
        super().__init__(message)
        self.at = at


class ResourceError(LagsearchError):
    """This machine has not what a candidate is to use.

    Args:
        message: What is wrong, in one line.
        at: The key of the space file that asks for it.
    """

    def __init__(self, message: str, at: tuple[str, ...]) -> None:
        super().__init__(message)
        self.at = at


class HarnessError(LagsearchError):
    """A downstream task is not to be had, or could not be evaluated.

    Args:
        message: What is wrong, in one line.
        at: The key of the space file that is wrong.
    """

    def __init__(self, message: str, at: tuple[str | int, ...] = ("evaluation", "harness")) -> None:
        super().__init__(message)
        self.at = at


class LoggerError(LagsearchError):
    """A logger is unknown, lacks its library, or could not be sent a run."""


class HubError(LagsearchError):
    """The Hugging Face hub cannot be reached, or refuses what it is sent."""


class TrainerError(LagsearchError):
    """A trainer of the user's own fails, or leaves what cannot be used."""


class RunFolderError(LagsearchError):
    """A run folder is in use, belongs to another space, or is incomplete."""


class CurvesError(LagsearchError):
    """A file of curves cannot be read, or says too little."""


class NoSurvivorError(LagsearchError):
    """Every candidate failed."""

    exit_code = 3


class CandidateFailed(LagsearchError):
    """One candidate cannot go on: its loss is not finite, or its growth is not sound.

    Args:
        step: The step after growth at which it failed.
        reason: What happened, in one line.
    """

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"step {step}: {reason}")
        self.step = step
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        """Let it come from another process as it was."""
        return type(self), (self.step, self.reason)


def did_you_mean(word: str, known: list[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest known word, or an empty string."""
    import difflib

    begun = [each for each in known if word and each.startswith(word)]
    nearest = difflib.get_close_matches(word, known, n=1) or begun[:1]
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def did_you_mean_file(name: str, known: list[str]) -> str:
    """Return `"; did you mean 'x.yaml'?"` for the file nearest in name, endings aside."""
    import difflib

    stems = {Path(each).stem: each for each in known}
    nearest = difflib.get_close_matches(Path(name).stem, stems, n=1)
    return f"; did you mean {stems[nearest[0]]!r}?" if nearest else ""


def counted(number: int, noun: str) -> str:
    """Return a number of things, e.g. `1 run`, `2 batches`, `3,000 entries`."""
    endings = {"y": f"{noun[:-1]}ies", "h": f"{noun}es"}
    several = endings.get(noun[-1], f"{noun}s")
    return f"{number:,} {noun if number == 1 else several}"


def and_then(message: str, more: str) -> str:
    """Join two parts of a message: by a semicolon, but not behind a question."""
    return f"{message} {more}" if message.endswith("?") else f"{message}; {more}"


def words_of(error: OSError) -> str:
    """Return what the operating system says in the order of all errors: where, then what."""
    if error.filename is None or not error.strerror:
        return brief(error)
    return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory was not to be had: Python's own error, or torch's in words."""
    said = ("can't allocate memory", "out of memory", "Unable to allocate")
    return isinstance(error, MemoryError) or any(each in str(error) for each in said)


def in_short(message: str) -> str:
    """Return lines that a person can read: of one that a value of theirs makes long, both ends."""
    return "\n".join(
        line if len(line) <= 2 * _END else f"{line[:_END]} ... {line[-_END:]}"
        for line in message.split("\n")
    )


_END = 500
"""Characters of each end of a line that is too long."""


def brief(error: Exception | str, width: int = 200) -> str:
    """Return an error's message, or words, in one line, cut between words where it is long."""
    words = (str(error).strip() or repr(error)).split()
    line = ""
    for word in words:
        word = word if len(word) <= width else f"{word[:width]}..."
        if line and len(line) + len(word) >= width:
            return f"{line} ..."
        line = f"{line} {word}".lstrip()
    return line


def reason_of(error: BaseException) -> str:
    """Say in one line why a candidate failed; what is not foreseen names its place in the code."""
    if isinstance(error, LagsearchError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}{place}"
