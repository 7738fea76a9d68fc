"""A tiny benchmark, made once."""

import shutil
from contextlib import contextmanager

import pytest
from tiny_benchmark import DESIGNS, GROWTHS

from lagsearch.bench import spaces, texts
from lagsearch.bench.make import make
from lagsearch.display.watch import Watch


@contextmanager
def tiny_spaces():
    """Let the design's spaces be small, and know the tests' text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(texts.PUBLIC, "corpus", texts.Public({"corpus.txt": ""}, "the tests", "none"))
        patch.setattr(spaces, "VALIDATION_TOKENS", 256)
        patch.setattr(spaces, "depth_growths", lambda design: GROWTHS)
        yield


@pytest.fixture
def known():
    with tiny_spaces():
        yield


@pytest.fixture(scope="session")
def given(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("files")
    shutil.copy(corpus, folder / "corpus.txt")
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory, given):
    """A benchmark of the three runs; nobody may change it."""
    folder = tmp_path_factory.mktemp("bench")
    with tiny_spaces(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAGSEARCH_CACHE", str(tmp_path_factory.mktemp("bench-cache")))
        make(folder, DESIGNS, given, Watch(), serial=True)
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """The same, to be changed, without the run folders."""
    shutil.copytree(made, tmp_path / "bench", ignore=shutil.ignore_patterns("runs", "texts"))
    return tmp_path / "bench"
