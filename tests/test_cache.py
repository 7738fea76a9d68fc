"""The cache: what is in it, whether it is whole, how it is emptied, and by whom it may be used."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from lagsearch.storage.cache import CacheEntry, clear, entries, holding, provide
from lagsearch.storage.files import write_json


def made(cache, kind="tokens", name="0123456789abcdef", content=b"abc", facts=None):
    """Make an entry by hand, and return it with what was said meanwhile."""
    entry, told = CacheEntry(cache / kind / name), []

    def build():
        (entry.folder / "sub").mkdir(parents=True, exist_ok=True)
        (entry.folder / "train.bin").write_bytes(content)
        (entry.folder / "sub" / "a.json").write_text("{}")
        write_json(entry.record, facts or {"corpus": {"name": "a text", "tokens": 1234}})

    provide(entry, build, told.append)
    return entry, told


def again(entry):
    """Provide it as another process would, which has not looked at it; return what was said."""
    code = (
        "import sys; from pathlib import Path;"
        "from lagsearch.storage.cache import CacheEntry, provide;"
        "provide(CacheEntry(Path(sys.argv[1])), lambda: print('built'), print)"
    )
    command = [sys.executable, "-c", code, str(entry.folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_entry_is_sealed_and_used_as_it_is(cache):
    entry, told = made(cache)
    recorded = json.loads(entry.seal.read_text())
    # printf abc | sha256sum
    assert recorded["train.bin"].startswith("ba7816bf8f01cfea414140de5dae2223")
    assert set(recorded) == {"train.bin", "sub/a.json", "store.json"}
    assert told == []
    assert again(entry) == ""


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train.bin", b"abd", "train.bin is not what was written"),
        ("train.bin", None, "train.bin is missing"),
        ("sub/a.json", b"{} ", "sub/a.json is not what was written"),
        ("store.json", b"{}", "store.json is not what was written"),
        ("seal.json", b"{", "seal.json cannot be read"),
        ("seal.json", b"[1]", "seal.json cannot be read"),
        ("seal.json", b"{}", "seal.json cannot be read"),
        ("seal.json", b"\xff", "seal.json cannot be read"),
    ],
)
def test_what_is_damaged_is_named_and_made_anew(cache, name, content, said):
    entry, _ = made(cache)
    path = entry.folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    _, told = made(cache)
    assert told == [f"cache: tokens/0123456789abcdef is damaged ({said}): it is made anew"]
    assert (entry.folder / "train.bin").read_bytes() == b"abc"
    assert entry.damage() is None


def test_one_without_a_seal_gets_it(cache):
    """It was made by an earlier version: what it holds now is what it shall hold."""
    entry, _ = made(cache)
    entry.seal.unlink()
    assert again(entry) == ""
    assert entry.seal.is_file()
    (entry.folder / "train.bin").write_bytes(b"abd")
    assert again(entry).startswith("cache: tokens/0123456789abcdef is damaged (train.bin")


def test_a_cache_that_can_only_be_read_will_do(cache, monkeypatch):
    entry, _ = made(cache)
    entry.seal.unlink()

    def refuse(*_, **__):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("lagsearch.storage.cache.alone", refuse)
    monkeypatch.setattr("lagsearch.storage.cache.write_json", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    _, told = made(cache)
    assert told == []
    assert not entry.seal.exists()


def test_what_an_interrupted_process_left_is_found_and_its_half_files_go(cache):
    entry = CacheEntry(cache / "sources" / "0123456789abcdef")
    entry.folder.mkdir(parents=True)
    (entry.folder / "curve.jsonl").write_text("left")
    (entry.folder / ".state.safetensors.abcdefgh.tmp").write_text("half")
    found = []

    def build():
        found.extend(sorted(each.name for each in entry.files))
        write_json(entry.record, {"kind": "checkpoint"})

    provide(entry, build, lambda line: None)
    assert found == ["curve.jsonl"]
    assert set(json.loads(entry.seal.read_text())) == {"curve.jsonl", "source.json"}


def test_what_was_left_of_sealing_an_entry_is_not_sealed_and_goes(cache):
    entry, _ = made(cache)
    sealed = json.loads(entry.seal.read_text())
    entry.seal.unlink()
    (entry.folder / ".seal.json.abcdefgh.tmp").write_text("half")
    assert CacheEntry(entry.folder).damage() is None
    provide(CacheEntry(entry.folder), lambda: pytest.fail("it is whole"), lambda line: None)
    assert json.loads(entry.seal.read_text()) == sealed
    assert not [*entry.folder.glob(".seal*")]


def test_list_shows_what_made_it_its_size_and_its_last_use(call, cache, monkeypatch):
    made(cache)
    config = {"model_type": "llama", "num_hidden_layers": 3, "hidden_size": 16}
    facts = {"kind": "pretrained", "steps": 2000, "made_of": {"config": config}}
    source, _ = made(cache, "sources", "fedcba9876543210", b"x" * 2_000_000, facts)
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = call("cache", "list")
    assert code == 0
    (tokens,) = [line for line in out.splitlines() if "tokens/0123456789abcdef" in line]
    (model,) = [line for line in out.splitlines() if "sources/fedcba9876543210" in line]
    assert "1,234 tokens of a text" in tokens
    assert "llama, 3 layers, 16 wide, 2,000 steps" in model
    assert "2.0 MB" in model
    assert f"{source.used_at.astimezone():%Y-%m-%d %H:%M}" in model
    assert out.splitlines()[-1].startswith("2 entries, 2.0 MB: ")


def test_an_empty_cache_is_listed(call, cache):
    assert call("cache", "list")[:2] == (0, f"0 entries, 0 B: {cache}\n")
    assert call("cache", "verify")[:2] == (0, "0 entries, all whole\n")
    assert call("cache", "clear")[:2] == (0, "Nothing to delete.\n")


def test_verify_names_what_is_damaged(call, cache):
    entry, _ = made(cache)
    made(cache, name="1" * 16)
    assert call("cache", "verify")[:2] == (0, "2 entries, all whole\n")
    (entry.folder / "train.bin").write_bytes(b"abcd")
    code, out, error = call("cache", "verify")
    assert code == 2
    assert out == ("tokens/0123456789abcdef: damaged, train.bin is not what was written\n")
    assert error.startswith("lagsearch: cache: 1 of 2 entries damaged; the next run ")
    assert call("cache", "clear", "--damaged", "--yes")[1] == "Deleted 1 of 1.\n"
    assert [each.name for each in entries()] == ["tokens/" + "1" * 16]


def test_clear_takes_a_kind_and_an_age(call, cache):
    old, _ = made(cache)
    young, _ = made(cache, name="1" * 16)
    source, _ = made(cache, "sources", "2" * 16)
    then = (datetime.now(UTC) - timedelta(days=10)).timestamp()
    for path in (*old.files, old.seal, *source.files, source.seal):
        os.utime(path, (then, then))
    code, out, _ = call("cache", "clear", "--kind", "tokens", "--older-than", "9", "--yes")
    assert (code, out) == (0, "Deleted 1 of 1.\n")
    assert {each.name for each in entries()} == {young.name, source.name}
    code, _, error = call("cache", "clear", "--kind", "models", "--yes")
    assert code == 2
    assert error == "lagsearch: --kind models: write sources or tokens\n"


def test_clear_asks(call, cache, monkeypatch):
    made(cache)
    code, _, error = call("cache", "clear")
    assert code == 2
    assert "nobody is there to be asked; give --yes. Delete 1 entry, " in error
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for answer, left in ((False, 1), (True, 0)):
        monkeypatch.setattr("typer.confirm", lambda question, answer=answer: answer)
        assert call("cache", "clear")[0] == 0
        assert len(entries()) == left


def test_what_is_in_use_or_being_made_stays(call, cache):
    """By another process: it holds the entry as long as it runs."""
    entry, _ = made(cache)
    with holding():
        assert entry.is_usable()
        code, out, _ = call("cache", "clear", "--yes")
        assert code == 0
        assert out == "Deleted 0 of 1.\ntokens/0123456789abcdef: in use, it stays\n"
        assert again(entry) == ""  # others may use it at the same time
    from filelock import FileLock

    with FileLock(entry.folder / "lock"):
        assert not clear(entry)
    assert clear(entry)
    assert entries() == []
