"""A disk that is full, as the operating system says it: files may only grow to so many bytes."""

import resource
from contextlib import contextmanager

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lagsearch.models.tensors import save_checkpoint, write_tensors


@contextmanager
def files_of_at_most(n_bytes):
    """Let the operating system refuse what is beyond, as it does where no room is left."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def small_llama():
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=100, num_hidden_layers=2, **sizes))


def test_tensors_that_do_not_fit_leave_what_was_there(tmp_path):
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"a": torch.zeros(10)}, {})
    before = path.read_bytes()
    with files_of_at_most(10_000), pytest.raises(OSError, match="File too large") as caught:
        write_tensors(path, {"a": torch.zeros(100_000)}, {})
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_that_does_not_fit_says_so(tmp_path):
    with files_of_at_most(10_000), pytest.raises(OSError, match="File too large") as caught:
        save_checkpoint(small_llama(), tmp_path / "winner")
    assert caught.value.filename == str(tmp_path / "winner")


def test_weights_can_be_read_by_whom_the_configuration_can_be(tmp_path):
    save_checkpoint(small_llama(), tmp_path / "winner")
    modes = {each.name: each.stat().st_mode & 0o777 for each in (tmp_path / "winner").iterdir()}
    assert set(modes.values()) == {modes["config.json"]}
    assert "model.safetensors" in modes


def test_tokens_that_do_not_fit_are_made_the_next_time(call, write_space, tmp_path, cache):
    words = ("run", write_space(), "--serial", "--out", tmp_path / "run")
    with files_of_at_most(2_000):
        code, _, err = call(*words)
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith(f"lagsearch: {cache / 'tokens'}")
    assert last.endswith(": file too large")
    assert call(*words)[0] == 0


def test_a_growth_that_does_not_fit_leaves_nothing(grow, tmp_path):
    small_llama().save_pretrained(tmp_path / "source")
    words = ("--operator", "stack", "--target", "num_hidden_layers=4", "--out", tmp_path / "out")
    with files_of_at_most(10_000):
        code, _, err = grow(tmp_path / "source", *words)
    assert (code, err.splitlines()[-1].rpartition(": ")[2]) == (2, "file too large")
    assert [each.name for each in tmp_path.iterdir() if "out" in each.name] == []
