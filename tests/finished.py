"""Runs that several tests begin with: each is made once in a session of tests, and copied."""

import json
import os
import shutil
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from filelock import FileLock

import lagsearch
from lagsearch.display.watch import Watch

HOME = Path()
"""The folder that the processes of a session share; `conftest` says which it is."""


def once(name, make):
    """Return a folder of all processes, which the first that asks for it fills; nobody changes it.

    Args:
        name: Of the folder; another name for everything that decides what is in it.
        make: Fills it.
    """
    folder = HOME / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


@contextmanager
def cache_at(folder):
    """Have what runs inside use a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAGSEARCH_CACHE", str(folder))
        yield


def finished(space, folder, **options):
    """Run a space without Ray, as if nobody had run it before; return the result.

    The cache of the test then holds what the run left there. It is no place to look at figures,
    or at what training does: that happened perhaps in another test.
    """
    made = made_run(Path(space).read_text(), **options)
    shutil.copytree(made / "run", folder)
    for page in (Path(folder) / "report.md", Path(folder) / "report.html"):
        if page.is_file():  # commands in it name their own folder
            page.write_text(page.read_text().replace(str(made / "run"), str(folder)))
    shutil.copytree(made / "cache", os.environ["LAGSEARCH_CACHE"], dirs_exist_ok=True)
    report = json.loads((Path(folder) / "report.json").read_text())
    return lagsearch.RunResult(Path(folder), report)


def made_run(text, **options):
    """Return the folder of a space of this text, with its `run` and its `cache`."""

    def make(folder):
        (folder / "space.yaml").write_text(text)
        with cache_at(folder / "cache"):
            space, out = folder / "space.yaml", folder / "run"
            lagsearch.run(space, out=out, serial=True, watch=Watch(), **options)

    named = repr((text, sorted(options.items())))
    return once(f"run-{sha256(named.encode()).hexdigest()[:20]}", make)
