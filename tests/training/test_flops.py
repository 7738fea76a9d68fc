import json
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lagsearch.errors import ModelError
from lagsearch.models.build import empty_model
from lagsearch.models.configs import build_config
from lagsearch.planning.flops import (
    check_countable,
    flops_per_token,
    matrix_parameters,
    training_flops,
)

LENGTH = 12  # T, and not a width of any model below
GPT2 = {
    "model_type": "gpt2",
    "n_layer": 3,
    "n_embd": 64,
    "n_head": 4,
    "n_positions": 16,
    "vocab_size": 96,
}
LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 3,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 16,
    "vocab_size": 96,
}
GQA = {**LLAMA, "num_key_value_heads": 2}
WIDE_HEADS = {**GQA, "head_dim": 32}  # 4 heads of 32 in a model 64 wide
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 3,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
    "vocab_size": 96,
}
MODELS = {
    "gpt2": (GPT2, "causal"),
    "gpt2-untied": ({**GPT2, "tie_word_embeddings": False}, "causal"),
    "llama": (LLAMA, "causal"),
    "llama-gqa": (GQA, "causal"),
    "llama-gqa-tied": ({**GQA, "tie_word_embeddings": True}, "causal"),
    "llama-wide-heads": (WIDE_HEADS, "causal"),
    "bert": (BERT, "masked"),
    "bert-untied": ({**BERT, "tie_word_embeddings": False}, "masked"),
}
# calflops also counts 5 for each element of a LayerNorm, and 1 for each score (of the softmax, and
# where a mask is added) and activation. For a token that is at most 5 x 8 norms x 64 + 3 layers x
# (2 x 4 heads x 12 + 4 x 64). Less than any term of the closed form: attention is 9,216, the head
# 12,288, a matrix of 64 x 64 in one layer 8,192.
CALFLOPS_EXCESS = 5 * 8 * 64 + 3 * (2 * 4 * LENGTH + 4 * 64)


def closed_form(name):
    keys, kind = MODELS[name]
    config = build_config(keys)
    return flops_per_token(config, matrix_parameters(empty_model(config, kind)), LENGTH)


def counted(name, n_sequences=2):
    keys, kind = MODELS[name]
    config = build_config(keys)
    model = empty_model(config, kind, attention="eager").eval()
    tokens = torch.zeros(n_sequences, LENGTH, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=tokens)  # a mask would be asked for its values
    return counter.get_total_flops() / (n_sequences * LENGTH)


@pytest.mark.parametrize("name", MODELS)
def test_against_torchs_counter(name):
    assert closed_form(name) == counted(name)


def test_gpt2_by_hand():
    d, length, n_layers, n_vocabulary = 64, LENGTH, 3, 96
    weights = n_layers * (3 * d * d + d * d + 4 * d * d + 4 * d * d) + d * n_vocabulary
    attention = n_layers * 2 * length * d  # scores and values, multiply-adds
    assert closed_form("gpt2") == 2 * (weights + attention)


def test_grouped_heads_by_hand():
    d, f, n_layers, n_vocabulary = 64, 160, 3, 96
    weights = n_layers * (d * d + 2 * d * 32 + d * d + 3 * d * f) + d * n_vocabulary
    attention = n_layers * 2 * LENGTH * 4 * 16  # every query head attends, grouped or not
    assert closed_form("llama-gqa") == 2 * (weights + attention)


def test_wide_heads_by_hand():
    d, f, n_layers, n_vocabulary = 64, 160, 3, 96
    weights = n_layers * (d * 128 + 2 * d * 64 + 128 * d + 3 * d * f) + d * n_vocabulary
    attention = n_layers * 2 * LENGTH * 4 * 32
    assert closed_form("llama-wide-heads") == 2 * (weights + attention)


def test_masked_head_by_hand():
    d, f, n_layers, n_vocabulary = 64, 160, 3, 96
    weights = n_layers * (4 * d * d + 2 * d * f) + d * d + d * n_vocabulary
    attention = n_layers * 2 * LENGTH * d
    assert closed_form("bert") == 2 * (weights + attention)


@pytest.mark.parametrize(("tied", "untied"), [("gpt2", "gpt2-untied"), ("bert", "bert-untied")])
def test_a_tied_head_costs_as_much(tied, untied):
    assert closed_form(tied) == closed_form(untied)


def test_training_is_three_forward_passes():
    assert training_flops(7, 10) == 210


CALFLOPS = """
import json, os, sys
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
from calflops import calculate_flops
from lagsearch.models.build import fresh_model
from lagsearch.models.configs import build_config
length, models = json.loads(sys.argv[1])
found = {}
for name, (keys, kind) in models.items():
    model = fresh_model(build_config(keys), kind, 0).eval()
    model.set_attn_implementation("eager")
    tokens = torch.zeros(2, length, dtype=torch.long)
    flops, _, _ = calculate_flops(
        model, kwargs={"input_ids": tokens, "attention_mask": torch.ones_like(tokens)},
        print_results=False, output_as_string=False, include_backPropagation=False,
    )
    found[name] = flops / (2 * length)
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def by_calflops():
    """Count in a process of its own: calflops patches torch and may leave it so."""
    names = ("gpt2", "llama", "llama-gqa", "bert")
    asked = json.dumps([LENGTH, {name: MODELS[name] for name in names}])
    done = subprocess.run(
        [sys.executable, "-c", CALFLOPS, asked], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.rpartition("FOUND")[2])


@pytest.mark.parametrize("name", ["gpt2", "llama", "llama-gqa", "bert"])
def test_against_calflops(name, by_calflops):
    assert 0 <= by_calflops[name] - closed_form(name) <= CALFLOPS_EXCESS


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model_type": "mamba", "num_hidden_layers": 2, "hidden_size": 16}, "mamba: the FLOPs of"),
    ],
)
def test_what_the_closed_form_does_not_know_is_refused(keys, message):
    config = build_config({**keys, "vocab_size": 32})
    with pytest.raises(ModelError, match=message):
        check_countable(empty_model(config, "causal"), config)


@pytest.mark.parametrize(
    ("n_layers", "counting", "published"),
    [
        (8, "calflops", 1.497),
        (12, "calflops", 1.613),
        (16, "calflops", 1.729),
        (8, "full", 1.548),
        (12, "full", 1.690),
        (16, "full", 1.832),
    ],
)
def test_the_surveys_figures(n_layers, counting, published):
    """TFLOPs of a batch of 512 sequences of 64 tokens: 9 d^2 weights a layer, and a head.

    The same weights as a Llama: two heads as wide as the model (8 d^2), three matrices of d^2 / 3.
    """
    keys = {**LLAMA, "num_hidden_layers": n_layers, "hidden_size": 128, "intermediate_size": 43,
            "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 128,
            "vocab_size": 50257, "max_position_embeddings": 64}  # fmt: skip
    config = build_config(keys)
    matrices = matrix_parameters(empty_model(config, "causal"))
    forward = flops_per_token(config, matrices, 64, counting)
    per_batch = training_flops(forward, 512 * 64)
    assert per_batch / 1e12 == pytest.approx(published, abs=1e-3)


def test_counting_by_hand():
    config = build_config(GPT2)
    matrices = matrix_parameters(empty_model(config, "causal"))
    layers, head, attention = 3 * 12 * 64 * 64, 96 * 64, 3 * 2 * LENGTH * 64
    expected = {
        "full": 2 * (layers + head + attention),
        "causal": 2 * (layers + head) + attention,
        "calflops": 2 * (layers + head),
        "6nd": 2 * layers,
    }
    for counting, flops in expected.items():
        assert flops_per_token(config, matrices, LENGTH, counting) == flops
