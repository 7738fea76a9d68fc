"""Ctrl-C, a wish to end, and a terminal that is closed: a command ends in order, and once."""

import atexit
import gc
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lagsearch.display.screen import NobodyReads, silence
from lagsearch.errors import InterruptedRunError

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""What asks a command to end."""


def heed() -> None:
    """Let each signal raise `KeyboardInterrupt`, but for those that come while one is dealt with.

    One that whoever started the process has switched off (`nohup`) stays so.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    atexit.register(_end)


def ignore() -> None:
    """Let no further signal disturb an end that has begun."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _heed_nothing)


@contextmanager
def continued_by_the_same_command() -> Iterator[None]:
    """End a command that may be called again as one that was interrupted.

    Raises:
        InterruptedRunError: It was.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        ignore()
        notes = getattr(interrupt, "__notes__", [])  # of the trainings that it came between
        go_on = f"the same command continues{'' if notes else ' where this stopped'}"
        raise InterruptedRunError("; ".join(["interrupted", *notes[:1], go_on])) from None


@contextmanager
def kept() -> Iterator[None]:
    """Have the same handlers after a block, whatever a library in it sets."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(ValueError):  # not the main thread: no library can have changed them
                signal.signal(number, handler)


def _interrupt(number: int, frame: Any) -> None:
    if number == getattr(signal, "SIGHUP", None):
        _silence_closed()
    if not _is_ending():
        raise KeyboardInterrupt


def _silence_closed() -> None:
    """Let nothing fail for writing to a terminal that is closed."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError):
            is_device = stream is not None and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
            if stream is not None and is_device and not stream.isatty():  # it is one no more
                silence(stream)


def _end() -> None:
    """Leave nothing to Python's own end, which would let a signal kill what has said its word.

    Nor a second of looking for garbage in all that was imported: it goes with the process.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()


def _heed_nothing(number: int, frame: Any) -> None:
    pass


def _is_ending() -> bool:
    """Return whether the code that the signal came into deals with an interrupt already."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt | NobodyReads):
        error = error.__context__
    return error is not None
