"""A step of training: what it does not wait for, and that this changes no loss."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lagsearch.data.objectives.base import IGNORED
from lagsearch.errors import ModelError
from lagsearch.models.attention import leave_out_masks
from lagsearch.models.build import empty_model, fresh_model, n_parameters
from lagsearch.models.configs import build_config, plain_config
from lagsearch.models.layers import find_layers, recomputed_layers
from lagsearch.planning.activations import activation_bytes
from lagsearch.planning.memory import training_bytes
from lagsearch.training.examples import Ahead, Batch, Pass
from lagsearch.training.ranks import Ranks

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import function_preservation
from test_families import ENCODERS, MODELS

LENGTH = 16
TOKENS = torch.arange(2 * LENGTH).reshape(2, LENGTH) * 7 % 40
KEYS = {
    **function_preservation.FAMILIES,
    **{name: {"model_type": kind, **keys} for name, (kind, keys, _) in MODELS.items()},
}
CAUSAL = [name for name, keys in KEYS.items() if keys["model_type"] not in ENCODERS]
OWN_ATTENTION = ("gemma2", "stablelm", "falcon", "falcon-one-key", "falcon-new")
"""Soft caps; code that knows of no attention but its own."""


class Looks(TorchDispatchMode):
    """Counts how often a value is looked at: on a GPU each waits until all before is done."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += function.overloadpacket.__name__ in self.NAMES
        return function(*args, **(kwargs or {}))


def computed(model, tokens=TOKENS):
    """Return logits, gradients and the looks at values of a forward pass, dropout included."""
    model.zero_grad()
    torch.manual_seed(1)
    with Looks() as looks:
        logits = model(tokens, use_cache=False).logits
    logits.square().mean().backward()
    return logits.detach(), {n: p.grad for n, p in model.named_parameters()}, looks.number


@pytest.mark.parametrize("name", CAUSAL)
def test_without_masks_every_family_computes_the_same_bits_and_looks_at_no_value(name):
    model = fresh_model(build_config(KEYS[name]), "causal", 0).train()
    before, gradients, looks = computed(model)
    has_window = (model.config.to_dict().get("sliding_window") or LENGTH + 1) <= LENGTH
    is_left_out = leave_out_masks(model, LENGTH)
    assert is_left_out == (name not in OWN_ATTENTION and not has_window)
    after, found, looks_now = computed(model)
    assert torch.equal(after, before)
    assert all(torch.equal(each, found[key]) for key, each in gradients.items())
    assert looks_now == (0 if is_left_out else looks)


def test_transformers_own_masks_look_at_values():
    """Else the test above would say nothing."""
    assert computed(fresh_model(build_config(KEYS["llama"]), "causal", 0))[2] > 0


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_keep_their_attention(name):
    model = fresh_model(build_config(KEYS[name]), "masked", 0)
    assert not leave_out_masks(model, LENGTH)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("window", "is_left_out"), [(8, False), (16, False), (17, True)])
@pytest.mark.parametrize("name", ["mistral", "gemma3_text"])
def test_windows_that_leave_something_out_keep_their_masks(name, window, is_left_out):
    model = fresh_model(build_config({**KEYS[name], "sliding_window": window}), "causal", 0).eval()
    before = computed(model)[0]
    assert leave_out_masks(model, LENGTH) == is_left_out
    assert torch.equal(computed(model)[0], before)
    whole = fresh_model(build_config({**KEYS[name], "sliding_window": 64}), "causal", 0).eval()
    assert torch.equal(computed(whole)[0], before) == (window >= LENGTH)


def test_a_checkpoint_says_nothing_of_it(tmp_path):
    model = fresh_model(build_config(KEYS["llama"]), "causal", 0)
    before = plain_config(model.config)
    assert leave_out_masks(model, LENGTH)
    model.save_pretrained(tmp_path)
    assert "lagsearch" not in (tmp_path / "config.json").read_text()
    assert plain_config(model.config) == before


# Memory


def planned_bytes(n_layers, *, recomputed):
    config = build_config({**KEYS["llama"], "num_hidden_layers": n_layers})
    model = empty_model(config, "causal")
    layers = recomputed_layers(model, find_layers(model, config)) if recomputed else ()
    kept = activation_bytes(model, (4, LENGTH), "causal", layers)
    return training_bytes(n_parameters(model), kept, 2), 4 * 4 * n_parameters(model)


def test_recomputed_layers_are_planned_to_keep_their_inputs_alone():
    """A further layer takes its weights and B x T x D numbers; one is there in full."""
    plain, few, more = (
        planned_bytes(n_layers, recomputed=recomputed)
        for n_layers, recomputed in ((5, False), (4, True), (5, True))
    )
    width = KEYS["llama"]["hidden_size"]
    assert more[0] - few[0] == more[1] - few[1] + 4 * (4 * LENGTH * width)
    assert plain[0] - more[0] > 3 * 4 * (4 * LENGTH * width)
    alone, one = (planned_bytes(1, recomputed=each)[0] for each in (False, True))
    assert one == alone


def test_a_model_type_without_it_is_refused():
    config = build_config(KEYS["llama"])
    model = empty_model(config, "causal")
    model.supports_gradient_checkpointing = False
    with pytest.raises(ModelError, match="model_type llama has no gradient checkpointing"):
        recomputed_layers(model, find_layers(model, config))


# Batches


def test_what_is_ahead_is_what_would_have_been_made_then():
    made, threads = [], set()

    def make(step):
        made.append(step)
        threads.add(threading.get_ident())
        return step * 10

    ahead = Ahead(make)
    assert [ahead(step) for step in (3, 4, 9, 10, 4, 5)] == [30, 40, 90, 100, 40, 50]
    ahead(6, is_last=True)
    assert ahead(7, is_last=True) == 70
    assert made == [3, 4, 5, 9, 10, 11, 4, 5, 6, 7]  # nothing behind the last
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_what_cannot_be_made_ahead_fails_at_its_own_step():
    def make(step):
        if step == 2:
            raise OSError("the disk is gone")
        return step

    ahead = Ahead(make)
    assert [ahead(0), ahead(1)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        ahead(2)


def test_the_thread_ends_with_what_it_was_made_for():
    before = threading.enumerate()
    ahead = Ahead(lambda step: step)
    ahead(0)
    [thread] = (each for each in threading.enumerate() if each not in before)
    del ahead
    thread.join(10)
    assert not thread.is_alive()


def test_shares_of_passes_are_those_of_predicted_tokens():
    predicted = np.array([4, 0, 2, 2, 8])
    batch = Batch(torch.arange(5)[:, None], torch.arange(5)[:, None] + 10, predicted)
    found = list(batch.passes(2))
    assert [each.inputs.flatten().tolist() for each in found] == [[0, 1, 2], [3, 4]]
    assert [each.labels.flatten().tolist() for each in found] == [[10, 11, 12], [13, 14]]
    assert [each.share for each in found] == [6 / 16, 10 / 16]


def test_processes_divide_a_batch_and_fill_up_to_the_same_size():
    """Sequences that are filled up count nothing; one without a predicted token is a number."""
    predicted = np.array([4, 0, 2, 2, 8])
    batch = Batch(torch.arange(5)[:, None], torch.arange(5)[:, None] + 10, predicted)
    found = []
    for number in range(2):
        ranks = Ranks()
        ranks.number, ranks.count = number, 2
        found += list(batch.passes(2, ranks))
    assert [each.number for each in found] == [0, 1, 2, 3]
    assert [each.inputs.flatten().tolist() for each in found] == [[0, 1], [2, 0], [3, 0], [4, 0]]
    assert [each.labels.flatten().tolist() for each in found] == [
        [10, 11], [12, IGNORED], [13, IGNORED], [14, IGNORED]
    ]  # fmt: skip
    assert [each.share for each in found] == [4 / 16, 2 / 16, 2 / 16, 8 / 16]
    nothing = Pass(0, torch.zeros(1, 2), torch.full((1, 2), IGNORED), 0.0)
    assert nothing.filled_up(torch.zeros(1, 2)).labels.tolist() == [[0, IGNORED]]
