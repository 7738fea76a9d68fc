"""Runs a command, and ends it with all that it started as soon as nobody waits for it any more.

A program of its own that needs Python's standard library alone: whoever starts it holds the other
end of its standard input, which the system closes, however that process ends. Then, and when the
command itself is over, no process of it is left: not those either that have sessions of their own,
as the workers of `torchrun` have.

    python guard.py GRACE_S PROGRAM ARGUMENT...
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

_BECOME_SUBREAPER = 36  # of Linux's prctl: orphans among the descendants become children
_POLL_S = 0.05


def run_guarded(grace_s: float, words: list[str]) -> int:
    """Run a command until it is over or nobody waits; return its exit code.

    Args:
        grace_s: Seconds from the wish to end to the end.
        words: Program and arguments.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # who waits for it decides
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_heed_signals,
        )
    except OSError as error:
        sys.stderr.write(f"cannot run {words[0]}: {error.strerror}\n")
        return 127
    code: int | None = None
    is_waited_for = True
    while code is None and is_waited_for:
        is_waited_for = not select.select([sys.stdin], [], [], _POLL_S)[0]
        code = child.poll()
    _end(child, grace_s if code is None else 0.0)
    code = child.wait()
    return code if code >= 0 else 128 - code


def _heed_signals() -> None:
    """Let the command heed what this process does not: what is ignored is inherited."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask the command to end, and kill what is left of it."""
    if grace_s:
        _signal(child.pid, signal.SIGTERM)
        until = time.monotonic() + grace_s
        while child.poll() is None and time.monotonic() < until:
            time.sleep(_POLL_S)
    _signal(child.pid, signal.SIGKILL)
    while left := _descendants(os.getpid()):
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        _reap(child)
        time.sleep(_POLL_S)


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Take note of what has ended: `child` first, whose code is kept."""
    if child.poll() is not None:
        with suppress(OSError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _signal(group: int, number: int) -> None:
    with suppress(OSError):
        os.killpg(group, number)


def _descendants(of: int) -> list[int]:
    """Return the processes below one, as Linux lists them; none where there is no such list."""
    parents: dict[int, int] = {}
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdecimal():
                with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
    found = [of]
    for pid in found:
        found += [each for each, parent in parents.items() if parent == pid]
    return found[1:]


if __name__ == "__main__":
    raise SystemExit(run_guarded(float(sys.argv[1]), sys.argv[2:]))
