"""One line for what machines say."""

import errno

import pytest

from lagsearch.errors import and_then, brief, did_you_mean, in_short, is_out_of_memory, words_of


def test_the_path_comes_first():
    assert words_of(OSError(errno.ENOSPC, "No space left on device", "/a/b")) == (
        "/a/b: no space left on device"
    )
    assert words_of(OSError("something\nelse")) == "something else"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("shapes do not fit"), False),
    ],
)
def test_memory_that_is_not_to_be_had_is_told_from_faults(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_question_ends_before_what_follows():
    assert and_then("unknown" + did_you_mean("lemo", ["lemon"]), "known: lemon") == (
        "unknown; did you mean 'lemon'? known: lemon"
    )
    assert and_then("unknown" + did_you_mean("x", ["lemon"]), "known: lemon") == (
        "unknown; known: lemon"
    )


def test_long_words_are_cut():
    assert brief("9" * 5000) == "9" * 200 + "..."
    assert brief("one two", width=5) == "one ..."
    assert in_short("short") == "short"
    assert in_short("a" * 600 + "b" * 5000 + "c" * 600) == "a" * 500 + " ... " + "c" * 500
