"""Runs that several tests begin with: each is made once in a process, and copied."""

import json
import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import lagsearch
from lagsearch.display.watch import Watch

HOME = TemporaryDirectory(prefix="lagsearch-tests-")


def finished(space, folder, **options):
    """Run a space without Ray, as if nobody had run it before; return the result.

    The cache of the test then holds what the run left there. It is no place to look at figures,
    or at what training does: that happened perhaps in another test.
    """
    made = _made(Path(space).read_text(), tuple(sorted(options.items())))
    shutil.copytree(made / "run", folder)
    shutil.copytree(made / "cache", os.environ["LAGSEARCH_CACHE"], dirs_exist_ok=True)
    report = json.loads((Path(folder) / "report.json").read_text())
    return lagsearch.RunResult(Path(folder), report)


@cache
def _made(text, options):
    home = Path(mkdtemp(prefix="run-", dir=HOME.name))
    space = home / "space.yaml"
    space.write_text(text)
    before = os.environ["LAGSEARCH_CACHE"]
    os.environ["LAGSEARCH_CACHE"] = str(home / "cache")
    try:
        lagsearch.run(space, out=home / "run", serial=True, watch=Watch(), **dict(options))
    finally:
        os.environ["LAGSEARCH_CACHE"] = before
    return home
