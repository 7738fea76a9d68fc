"""Whole runs on mixed text."""

import json

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

import lagsearch
from lagsearch.data.batches import mixed_validation_rows
from lagsearch.data.store import TokenStore
from lagsearch.errors import SpaceError
from lagsearch.progress import Watch


class Interrupt(Watch):
    """Raises at a sign of life with a running number."""

    def __init__(self, at):
        self.left = at

    def progress(self, progress):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture
def mixed(write_space, corpus, tmp_path):
    """The tiny space on a mixture of its text and another."""
    other = tmp_path / "other.txt"
    other.write_text("".join(f"{n} and {n * n} are a number and its square\n" for n in range(4000)))
    mixture = f"[{{weight: 3, files: [{corpus}]}}, {{weight: 1, files: [{other}]}}]"
    return lagsearch.load_space(write_space(), [f"data.train={{mixture: {mixture}}}"])


def run(space, folder):
    return lagsearch.run(space, out=folder, serial=True, watch=Watch())


def losses(result):
    return {each.name: each.val_loss for each in result.candidates}


def test_a_mixture_is_measured_by_its_shares_and_goes_on_as_if_never_interrupted(
    mixed, tmp_path, cache
):
    whole = run(mixed, tmp_path / "whole")
    folders = json.loads((tmp_path / "whole" / "environment.json").read_text())["inputs"]["tokens"]
    assert [weight for _, weight in folders["train"]] == [3.0, 1.0]
    model = AutoModelForCausalLM.from_pretrained(whole.checkpoint).eval()
    texts = [
        (TokenStore(cache / "tokens" / name).tokens("validation"), weight)
        for name, weight in folders["validation"]
    ]
    found = []
    for rows in mixed_validation_rows(texts, 16, 4, 4):
        tokens = torch.from_numpy(rows)
        assert [bool((row == ord("9")).any()) for row in tokens].count(True) <= 1
        with torch.no_grad():
            logits = model(tokens[:, :-1]).logits
        found.append(cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))
    reported = whole.report["winner"]["val_loss"]["24"]
    assert float(torch.stack(found).mean()) == pytest.approx(reported, abs=1e-5)
    with pytest.raises(KeyboardInterrupt):
        lagsearch.run(mixed, out=tmp_path / "cut", serial=True, watch=Interrupt(9))
    assert losses(run(mixed, tmp_path / "cut")) == losses(whole)


def test_a_mixture_of_one_text_is_that_text(write_space, corpus, tmp_path, cache):
    alone = run(lagsearch.load_space(write_space()), tmp_path / "alone")
    mixture = f"data.train={{mixture: [{{weight: 0.3, files: [{corpus}]}}]}}"
    one = run(lagsearch.load_space(write_space(), [mixture]), tmp_path / "one")
    assert losses(one) == losses(alone)
    assert len(list((cache / "tokens").iterdir())) == 1
    assert len(list((cache / "sources").iterdir())) == 1


def test_a_text_of_a_mixture_that_is_not_there_is_named_before_anything_runs(write_space, corpus):
    mixture = f"[{{weight: 3, files: [{corpus}]}}, {{weight: 1, files: [gone.txt]}}]"
    space = lagsearch.load_space(write_space(), [f"data.train={{mixture: {mixture}}}"])
    with pytest.raises(SpaceError, match=r"data\.train\.mixture\[1\].*gone\.txt: no such file"):
        lagsearch.plan(space)
