"""A command of the user's: started without a shell, and over when lagsearch is, however it ends."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lagsearch.storage.files import naming

GUARD = Path(__file__).with_name("guard.py")
GRACE_S = 10.0
"""Seconds that a trainer has to end when it is asked to."""

_NOT_SAYING = set("=-*#~+ ")


@contextmanager
def running_command(
    words: Sequence[str], output: Path, where: Path, more: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for as long as a block lasts; behind it no process of the command is left.

    Args:
        words: Program and arguments.
        output: What it prints is added to this file, behind the command itself.
        where: The folder it is run in.
        more: Variables of its environment.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    environment = {"PYTHONUNBUFFERED": "1", **os.environ, **(more or {})}
    with naming(output), output.open("ab") as file:
        file.write(f"$ {' '.join(words)}\n".encode())
        file.flush()
        guarded = [sys.executable, "-I", "-S", str(GUARD), str(GRACE_S), *words]
        process = subprocess.Popen(
            guarded,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=where,
            env=environment,
            start_new_session=True,  # a Ctrl-C is for lagsearch, which ends the command
        )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def last_words(output: Path) -> str:
    """Return the line that says best why a command ended: its last error, or its last line."""
    text = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if set(line) - _NOT_SAYING and not line.startswith("$ ")]
    errors = [
        line
        for line in lines[-40:]
        if line.split(":")[0].split(".")[-1].endswith(("Error", "Exception"))
    ]
    return (errors or lines or ["it printed nothing"])[-1]
