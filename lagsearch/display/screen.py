"""What is written: nothing in it steers a terminal, and a command ends where nobody reads."""

import os
import re
import sys
from typing import NoReturn, TextIO

NOBODY_READS = 141
"""The exit code of a command whose output nobody reads on: what a shell gives for SIGPIPE."""

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but for tab and new line, turns of the writing's direction, broken text."""


class NobodyReads(BaseException):
    """Whoever read the output has gone. No `Exception`: nothing on the way may take it for its own.

    The run ends in order, as an interrupted one does, and without a word.
    """


def printable(text: str) -> str:
    """Return a text in which what would steer a terminal is spelt out, e.g. an escape."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def write(text: str, stream: TextIO | None = None) -> None:
    """Write lines at once.

    Args:
        text: Without the last line's end.
        stream: Standard output when left out.

    Raises:
        NobodyReads: The other end is closed.
    """
    stream = stream or sys.stdout
    try:
        stream.write(printable(text) + "\n")
        stream.flush()
    except BrokenPipeError:
        leave(stream)


def leave(stream: TextIO) -> NoReturn:
    """Write to nowhere from now on, where the other end of a stream is closed.

    Raises:
        NobodyReads: Always.
    """
    silence(stream)
    raise NobodyReads


def silence(stream: TextIO) -> None:
    """Let what is still written to a stream go nowhere: its pipe or terminal is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
