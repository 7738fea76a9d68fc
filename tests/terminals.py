"""Runs a command in a pseudo-terminal, as a person does: what it shows, and how it ends."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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


@dataclass
class Terminal:
    """A command's terminal while the command runs.

    Attributes:
        pid: The command's process.
        own: This side of the terminal.
        is_closed: Whether it was closed.
    """

    pid: int
    own: int
    is_closed: bool = False


def in_terminal(
    *words: str | Path,
    columns: int = 100,
    rows: int = 40,
    then: tuple[str, Callable[["Terminal"], None]] | None = None,
    stdout: BinaryIO | None = None,
    stderr: BinaryIO | None = None,
    command: tuple[str, ...] = LAGSEARCH,
    **environment: str,
) -> Shown:
    """Run a command with its input and its outputs in a terminal.

    Args:
        words: What follows the command.
        columns: Of the terminal.
        rows: Of the terminal.
        then: What is done as soon as a text was shown, e.g. `("search", press_ctrl_c)`.
        stdout: A file for it, in place of the terminal.
        stderr: A file for it, in place of the terminal.
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
        stdout=stdout or theirs,
        stderr=stderr or theirs,
        env={**inherited, "TERM": "xterm-256color", **environment},
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    terminal = Terminal(process.pid, own)
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
        if then is not None and then[0].encode() in shown:
            then[1](terminal)
            then = None
            if terminal.is_closed:
                break
    process.wait(timeout=60)
    if not terminal.is_closed:
        os.close(own)
    code = process.returncode
    return Shown(code if code >= 0 else 128 - code, shown.decode(), first or float("inf"))


def _take_terminal() -> None:
    """Make the terminal the process's own, and Ctrl-C something that ends it, as a shell does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def press_ctrl_c(terminal: "Terminal") -> None:
    """Press Ctrl-C four times, as an impatient person does."""
    for _ in range(4):
        os.write(terminal.own, b"\x03")
        time.sleep(0.2)


def terminate(terminal: "Terminal") -> None:
    """Ask the process to end, as a batch system does."""
    os.kill(terminal.pid, signal.SIGTERM)


def hang_up(terminal: "Terminal") -> None:
    """Close the terminal's window."""
    os.close(terminal.own)
    terminal.is_closed = True


def processes_with(name: str, value: str) -> list[int]:
    """Return the processes that have a variable of this value in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{name}={value}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it ended, or is another user's
            continue
    return found


def listening(pids: list[int]) -> set[str]:
    """Return the addresses on which processes listen, as /proc writes them."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(link))
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {
        row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes
    }


def descendants(pid: int) -> list[int]:
    """Return a process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return []
    return [pid, *(each for child in children for each in descendants(int(child)))]


def command_of(pid: int) -> bytes:
    """Return what a process was started as; of one that is gone, nothing."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
