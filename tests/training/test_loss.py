"""The loss where logits are formed a part of the tokens at a time, against all at once."""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.func import functional_call

from lagsearch.data.objectives.base import IGNORED
from lagsearch.models.build import fresh_model
from lagsearch.models.configs import build_config
from lagsearch.training import loss as module
from lagsearch.training.loss import Loss

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import function_preservation
from test_families import ENCODERS, MODELS

LENGTH = 16
TOKENS = torch.arange(6 * LENGTH).reshape(6, LENGTH) * 7 % 40
SMALL = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50},
    **{"intermediate_size": 20, "pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 2},
}
KEYS = {
    **function_preservation.FAMILIES,
    **{name: {"model_type": kind, **keys} for name, (kind, keys, _) in MODELS.items()},
    "untied": {"model_type": "llama", **SMALL, "tie_word_embeddings": False},
    "tied": {"model_type": "llama", **SMALL, "tie_word_embeddings": True},
    "head-with-bias": {"model_type": "phi", **SMALL},
    "soft-cap": {"model_type": "gemma2", **SMALL, "head_dim": 8, "final_logit_softcapping": 0.5,
                 "num_key_value_heads": 1},
    "divided-logits": {"model_type": "granite", **SMALL, "logits_scaling": 3.0},
    "scaled-logits": {"model_type": "cohere", **SMALL, "logit_scale": 0.25},
    "experts": {"model_type": "mixtral", **SMALL, "num_local_experts": 2,
                "num_key_value_heads": 1},
}  # fmt: skip
HIDDEN = torch.arange(6 * LENGTH).reshape(6, LENGTH) % 5 == 0
GIVEN = torch.tensor([[0], [7], [12], [0], [15], [3]])
LABELS = {
    "causal": TOKENS.roll(-1, 1),
    "masked": TOKENS.where(HIDDEN, IGNORED),
    "ul2": TOKENS.where(
        torch.arange(LENGTH) >= torch.tensor([[0], [7], [12], [0], [15], [3]]), IGNORED
    ),
}


def kind_of(name):
    return "masked" if KEYS[name]["model_type"] in ENCODERS else "causal"


def seeded(model, tokens):
    torch.manual_seed(1)  # for dropout
    return model(tokens).logits


def computed(model, labels, logits_of=None):
    """Return loss and gradients, and the most logits that were formed at once."""
    model.zero_grad()
    sizes = []

    def seen(head, args, output):
        sizes.append(output.numel())

    hook = model.get_output_embeddings().register_forward_hook(seen)
    loss = Loss(model)(logits_of or partial(seeded, model), TOKENS, labels)
    loss.backward()
    hook.remove()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters()
                           if p.grad is not None}, max(sizes)  # fmt: skip


def assert_close(found, expected):
    assert found[0].item() == pytest.approx(expected[0].item(), abs=1e-6)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-6, msg=name)
    assert any(each.abs().max() > 1e-3 for each in expected[1].values())


@pytest.mark.parametrize("name", KEYS)
def test_parts_give_the_loss_and_the_gradients_of_the_whole(name, monkeypatch):
    model = fresh_model(build_config(KEYS[name]), kind_of(name), 0).train()
    labels = LABELS["causal" if kind_of(name) == "causal" else "masked"]
    whole = computed(model, labels)
    monkeypatch.setattr(module, "MOST_LOGITS", whole[2] * 5 // 24)
    parts = computed(model, labels)
    assert parts[2] <= module.MOST_LOGITS < whole[2] / 4
    assert_close(parts, whole)


@pytest.mark.parametrize("objective", LABELS)
@pytest.mark.parametrize("n_parts", [2, 7, 8])
def test_every_objective_by_hand(objective, n_parts, monkeypatch):
    """Parts without a predicted token included; in double precision, of whole logits."""
    model = fresh_model(build_config(KEYS["soft-cap"]), "causal", 0).train()
    labels = LABELS[objective]
    logits = model(TOKENS).logits.double()
    places = labels != IGNORED
    told = logits[places].log_softmax(-1).gather(1, labels[places][:, None])
    loss = -told.sum() / places.sum()
    loss.backward()
    expected = loss, {name: each.grad.clone() for name, each in model.named_parameters()}
    monkeypatch.setattr(module, "MOST_LOGITS", -(-TOKENS.numel() // n_parts) * 50)
    assert_close(computed(model, labels), expected)


def test_with_weights_that_are_put_in_for_the_call(monkeypatch):
    """As an operator is learned: gradients by tensors that the model does not hold."""
    model = fresh_model(build_config(KEYS["tied"]), "causal", 0).train()
    leaves = {n: (1.5 * p.detach()).requires_grad_() for n, p in model.named_parameters()}

    def logits_of(tokens):
        return functional_call(model, leaves, (tokens,), {"use_cache": False}).logits

    def found():
        loss = Loss(model)(logits_of, TOKENS, LABELS["ul2"])
        return loss.detach(), dict(
            zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)
        )

    whole = found()
    monkeypatch.setattr(module, "MOST_LOGITS", 200)
    assert_close(found(), whole)
    assert all(each.grad is None for each in model.parameters())


def test_in_evaluation_and_in_bf16(monkeypatch):
    model = fresh_model(build_config(KEYS["llama"]), "causal", 0).eval()
    loss_of = partial(Loss(model), partial(seeded, model), TOKENS, LABELS["causal"])
    with torch.inference_mode():
        whole = loss_of()
        with torch.autocast("cpu", torch.bfloat16):
            rough = loss_of()
        monkeypatch.setattr(module, "MOST_LOGITS", 500)
        assert loss_of().item() == pytest.approx(whole.item(), abs=1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            assert loss_of().item() == pytest.approx(rough.item(), abs=1e-6)
    assert abs(whole - rough) > 1e-5


def test_a_model_whose_logits_see_other_tokens_is_not_divided(monkeypatch):
    model = fresh_model(build_config(KEYS["llama"]), "causal", 0).train()
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda head, args, output: output.cumsum(dim=1))
    whole = computed(model, LABELS["causal"])
    monkeypatch.setattr(module, "MOST_LOGITS", 100)
    again = computed(model, LABELS["causal"])
    assert torch.equal(again[0], whole[0])
    assert again[2] == whole[2]


def test_small_passes_are_what_they_were(monkeypatch):
    """The model is called once, and cross-entropy sees all of its logits."""
    model = fresh_model(build_config(KEYS["llama"]), "causal", 0)
    monkeypatch.setattr(module, "MOST_LOGITS", TOKENS.numel() * model.config.vocab_size)
    calls = []

    def logits_of(tokens):
        calls.append(tokens.shape)
        return model(tokens).logits

    loss = Loss(model)(logits_of, TOKENS, LABELS["ul2"])
    expected = torch.nn.functional.cross_entropy(
        model(TOKENS).logits.flatten(0, 1), LABELS["ul2"].flatten(), ignore_index=IGNORED
    )
    assert torch.equal(loss, expected)
    assert calls == [TOKENS.shape]
