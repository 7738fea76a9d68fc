"""Runs a command in a pseudo-terminal, as a person does: what it shows, and how it ends."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

LAGSEARCH = (sys.executable, "-m", "lagsearch.cli")


@dataclass(frozen=True)
class Shown:
    """What a command left: its exit code, all that its terminal was sent, and when first.

    Attributes:
        code: Its exit code.
        text: All that it wrote, control sequences included.
        first_s: Seconds until the first character.
    """

    code: int
    text: str
    first_s: float


def in_terminal(
    *words: str | Path,
    columns: int = 100,
    rows: int = 40,
    interrupt_at: str | None = None,
    command: tuple[str, ...] = LAGSEARCH,
    **environment: str,
) -> Shown:
    """Run a command with its input and both outputs in a terminal.

    Args:
        words: What follows the command.
        columns: Of the terminal.
        rows: Of the terminal.
        interrupt_at: Press Ctrl-C as soon as this was shown.
        command: The program.
        environment: Further variables.
    """
    own, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    unset = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CI"}
    inherited = {key: value for key, value in os.environ.items() if key not in unset}
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, *map(str, words)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**inherited, "TERM": "xterm-256color", **environment},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    shown, first = b"", None
    while True:
        ready, _, _ = select.select([own], [], [], 1.0)
        if not ready:
            if process.poll() is not None:
                break
            continue
        try:
            piece = os.read(own, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        first = first or time.monotonic() - began
        shown += piece
        if interrupt_at is not None and interrupt_at.encode() in shown:
            os.write(own, b"\x03")
            interrupt_at = None
    process.wait(timeout=60)
    os.close(own)
    code = process.returncode
    return Shown(code if code >= 0 else 128 - code, shown.decode(), first or float("inf"))
