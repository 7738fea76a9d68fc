"""The program: one verb is called, and every error of ours is one line and an exit code."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

import typer

from lagsearch.cli.commands import app
from lagsearch.display.screen import (
    NOBODY_READS,
    NobodyReads,
    silence,
    write,
)
from lagsearch.errors import (
    LagsearchError,
    brief,
    in_short,
    is_out_of_memory,
    words_of,
)
from lagsearch.running import interrupts


def main() -> None:
    """Run the command line; every error of ours is one line on stderr."""
    _prepare()
    try:
        _call()
    except LagsearchError as error:
        _stop(str(error), error.exit_code)
    except (NobodyReads, BrokenPipeError):
        interrupts.ignore()
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        raise SystemExit(NOBODY_READS) from None
    except OSError as error:  # no permission, no space on the disk
        _stop(words_of(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        _stop("interrupted", 130)
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong command line, as click says it
            if not (message := error.format_message()):  # the help was shown instead
                raise SystemExit(2) from None
            _stop(message + _example(error), 2)
        if is_out_of_memory(error):
            _stop(f"not enough memory on this machine: {brief(error)}", 2)
        raise


def _prepare() -> None:
    interrupts.heed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show
    # threads that wait must not starve those that work: by default they spin for so long that two
    # threads on a busy machine are many times slower than one; without any, two threads on an idle
    # one take twice as long for a small model
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # the same bits again on a GPU


def _call() -> None:
    """Call the verb; what it wrote must be out before it counts as done."""
    try:
        code = app(standalone_mode=False)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # how click takes it
            raise NobodyReads from None
        raise
    if code == 130:  # how typer hands on a Ctrl-C
        raise KeyboardInterrupt
    sys.stdout.flush()
    interrupts.ignore()


def _stop(line: str, code: int) -> NoReturn:
    interrupts.ignore()
    with suppress(NobodyReads, OSError):
        write(f"lagsearch: {in_short(line)}", sys.stderr)
    raise SystemExit(code)


def _example(error: Any) -> str:
    """Return a command line that has what another one lacks, or a value that an option takes."""
    from lagsearch.space.arguments import VALUES, example_command

    name = getattr(getattr(error, "param", None), "name", None)
    if type(error).__name__ == "BadParameter" and name in VALUES:
        return f"; e.g. --{name} {VALUES[name]}"
    if type(error).__name__ != "MissingParameter" or error.ctx is None:
        return ""
    found = example_command(error.ctx.info_name, error.ctx.params)
    return f" E.g. {found}" if found else ""


def _flush(stream: TextIO) -> None:
    """Have nothing left that Python would complain of when it ends."""
    try:
        stream.flush()
    except OSError:
        silence(stream)
