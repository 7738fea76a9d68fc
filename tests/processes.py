"""Commands in a process of their own, several in one: to start Python and imports costs most."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

EACH = """
import contextlib, io, json, os, sys
found = []
for words in json.loads(sys.argv[1]):
    if words[0] in ("mv", "cd"):
        {"mv": os.rename, "cd": os.chdir}[words[0]](*words[1:])
        continue
    code, out, err = 0, io.StringIO(), io.StringIO()
    sys.argv = ["lagsearch", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            from lagsearch import cli
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
    modules = [name for name, module in sys.modules.items() if module and "." not in name]
    found.append((code, out.getvalue(), err.getvalue(), modules))
sys.__stdout__.write(json.dumps(found))
"""


@dataclass(frozen=True)
class Ended:
    """What became of a command.

    Attributes:
        code: Its exit code.
        out: What it wrote to its standard output.
        err: The same of its standard error.
        modules: The packages that were imported by then, also by the commands before it.
    """

    code: int
    out: str
    err: str
    modules: frozenset[str]


def in_one_process(*commands, first="", path=(), **environment):
    """Run commands of `lagsearch`, one after the other, in one new process.

    Args:
        commands: Their words; `mv` between them moves a file, and `cd` goes to a folder.
        first: What the process executes before them.
        path: Folders that it imports from, before all others.
        environment: Further variables.
    """
    tests = Path(__file__).parent
    paths = [*map(str, path), str(tests / "undrawn"), str(tests.parent)]
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", first + EACH, words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        check=True,
    )
    return [
        Ended(code, out, err, frozenset(mods)) for code, out, err, mods in json.loads(done.stdout)
    ]
