"""Plans by tables, without torch and transformers, against the models that transformers builds."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import transformers
from processes import in_one_process

import lagsearch
from lagsearch.cli.plan_json import plain_plan
from lagsearch.models import tabled_configs
from lagsearch.models.build import empty_model
from lagsearch.models.configs import build_config, plain_config
from lagsearch.models.families.anatomy import MODEL_TYPES
from lagsearch.models.families.kept import KEPT
from lagsearch.models.tabled_configs import TabledConfig, completed
from lagsearch.planning import cost
from lagsearch.planning.activations import activation_bytes
from lagsearch.planning.sizes import sizes_by_tables
from lagsearch.planning.sizes_of_model import sizes_of_model

SPACES = Path(__file__).parents[1] / "search_spaces"
SIZES = {
    "num_hidden_layers": 3,
    "hidden_size": 48,
    "intermediate_size": 40,
    "hidden_dim": 40,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 67,
    "max_position_embeddings": 29,
    "type_vocab_size": 3,
    "pad_token_id": 1,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VARIANTS = (
    {},
    {"num_hidden_layers": 7, "eos_token_id": None},
    {"tie_word_embeddings": True, "initializer_range": 0.5},
    {"attention_bias": True, "mlp_bias": True, "use_bias": False, "head_dim": 8},
    {"attention_dropout": 0.1, "attn_pdrop": 0.0, "attention_probs_dropout_prob": 0.0},
    {"hidden_dropout_prob": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "dropout": 0.0},
    {"hidden_dropout": 0.1, "residual_dropout": 0.2, "embedding_dropout": 0.1},
)


def keys_of(model_type, changes):
    known = transformers.AutoConfig.for_model(model_type)
    names = {*known.to_dict(), *known.attribute_map}
    keys = {key: value for key, value in {**SIZES, **changes}.items() if key in names}
    return {"model_type": model_type, **keys}


CASES = [(name, changes) for name in MODEL_TYPES for changes in VARIANTS]


@pytest.mark.parametrize(("model_type", "changes"), CASES)
def test_a_completed_configuration_is_transformers_own(model_type, changes):
    keys = keys_of(model_type, changes)
    found = completed(keys)
    assert plain_config(found) == plain_config(build_config(keys))
    again = completed(plain_config(found))
    assert again == found
    assert found.hidden_size == 48
    assert found.attribute_map == build_config(keys).attribute_map


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_defaults_are_those_of_transformers(model_type):
    config = transformers.AutoConfig.for_model(model_type)
    defaults = tabled_configs._defaults()[model_type]
    cycled = {
        key: [cycle[n % len(cycle)] for n in range(config.num_hidden_layers)]
        for key, cycle in defaults.cycles.items()
    }
    plain = {key: value for key, value in plain_config(config).items() if key != "model_type"}
    assert {**defaults.shared, **defaults.keys, **cycled} == plain


def test_what_follows_from_the_widths():
    keys = {**keys_of("llama", {}), "num_key_value_heads": None, "head_dim": None}
    assert plain_config(completed(keys)) == plain_config(build_config(keys))
    as_json = json.loads(json.dumps(plain_config(completed(keys))))
    assert completed(as_json) == completed(keys)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 50},
        {"hidden_size": "wide"},
        {"num_hidden_layers": 0},
        {"num_key_value_heads": 3},
        {"pad_token_id": 67},
        {"hidden_act": "swooosh"},
        {"rope_theta": 5000.0},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}},
        {"id2label": {"0": "spam"}},
        {"layers": 3},
        {"vocab_size": None},
    ],
)
def test_what_is_unusual_or_wrong_is_left_to_transformers(changes):
    assert completed({**keys_of("llama", {}), **changes}) is None


def test_names_that_say_one_thing_twice_are_left_to_transformers():
    assert completed({"model_type": "gpt2", "n_embd": 16, "hidden_size": 32, "n_head": 2}) is None


def kinds(model_type):
    return sorted({"masked" if "MaskedLM" in each else "causal" for each in MODEL_TYPES[
        model_type].classes})  # fmt: skip


@pytest.mark.parametrize("kind", ["causal", "masked"])
@pytest.mark.parametrize(("model_type", "changes"), CASES)
def test_sizes_are_those_of_the_model(model_type, changes, kind):
    config = completed(keys_of(model_type, changes))
    found = sizes_by_tables(config, kind, (2, 12))
    if model_type not in KEPT or kind not in kinds(model_type):
        assert found is None
        return
    wanted = sizes_of_model(config, kind, (2, 12))
    assert (found.parameters, found.matrices, found.positions) == (
        wanted.parameters, wanted.matrices, wanted.positions)  # fmt: skip
    assert found.tensors.items() == wanted.tensors.items()
    assert found.stack.prefix == wanted.stack.prefix
    assert found.stack.family == wanted.stack.family


@pytest.mark.parametrize("model_type", KEPT)
def test_what_is_kept_is_what_autograd_keeps(model_type):
    """In other sizes than those it was counted in; scores that dropout keeps are apart."""
    rng = random.Random(model_type)
    for kind in kinds(model_type):
        for _ in range(6):
            groups, head = rng.choice([1, 2, 3]), rng.choice([8, 16, 24])
            sizes = {
                "num_hidden_layers": rng.choice([1, 4, 7]),
                "num_key_value_heads": groups,
                "num_attention_heads": groups * 2,
                "hidden_size": groups * 2 * head,
                "intermediate_size": rng.choice([28, 72]),
                "vocab_size": rng.choice([71, 90]),
                "max_position_embeddings": rng.choice([30, 40]),
                "head_dim": head + rng.choice([0, 8]),
            }
            has_scores = bool(KEPT[model_type].scores)  # then autograd's are counted, too
            drops = rng.choice([0.0, 0.1]) if has_scores else 0.0
            off = dict.fromkeys((KEPT[model_type].attention_dropout,), drops)
            dropouts = {key: rng.choice([0.0, 0.2]) for key in KEPT[model_type].dropped}
            config = completed(keys_of(model_type, {**sizes, **off, **dropouts}))
            batch = (rng.choice([1, 3]), rng.choice([8, 20]))
            found = sizes_by_tables(config, kind, batch).activation_bytes
            model = empty_model(build_config(plain_config(config)), kind)
            assert found == activation_bytes(model, batch, kind), (kind, sizes, dropouts)


@pytest.mark.parametrize("model_type", ["gpt2", "bert", "llama"])
def test_dropout_in_attention_keeps_scores(model_type):
    key = KEPT[model_type].attention_dropout
    kind = kinds(model_type)[-1]
    without, dropped = (
        sizes_by_tables(completed(keys_of(model_type, {key: value})), kind, (2, 10))
        for value in (0.0, 0.1)
    )
    assert dropped.activation_bytes - without.activation_bytes == 3 * 4 * (2 * 10 * 10) * 12


def test_attention_keeps_no_matrix_of_scores():
    """Four times the tokens in a sequence keep four times the bytes, not sixteen."""
    model = empty_model(build_config(keys_of("llama", {"max_position_embeddings": 512})), "causal")
    short, long = (activation_bytes(model, (1, length), "causal") for length in (100, 400))
    assert long == 4 * short
    assert model.config._attn_implementation == "sdpa"


PLANNED = ("quickstart", "adaptive_bert_laptop", "lag_ul2_12to16", "mingpt_multi", "lag_13b",
           "shakespeare_depth_width", "survey_multi_3", "gstack_1b_operators")  # fmt: skip
"""Spaces that are planned both ways by default: each family, objective and kind of growth."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(each, id=each.stem, marks=() if each.stem in PLANNED else pytest.mark.slow)
        for each in sorted(SPACES.glob("*.yaml"))
    ],
)
def test_a_plan_by_tables_is_that_by_models(path, monkeypatch):
    """All that `plan` says is the same but for the memory of scores that dropout keeps on a CPU."""
    quick = lagsearch.plan(path)
    assert all(isinstance(each.config, TabledConfig) for each in quick.sources)
    monkeypatch.setattr(tabled_configs, "completed", lambda keys: None)
    monkeypatch.setattr(cost, "sizes_by_tables", lambda *_: None)
    slow = lagsearch.plan(path)
    assert not any(isinstance(each.config, TabledConfig) for each in slow.sources)
    drops = any(each.config.get(KEPT[each.config["model_type"]].attention_dropout)
                for each in slow.candidates)  # fmt: skip

    def said(plan):
        costs = [each.cost for each in (*plan.candidates, *plan.baselines, *plan.sources)]
        return [asdict(replace(each, memory_bytes=0) if drops else each) for each in costs]

    assert said(quick) == said(slow)
    assert [each.config for each in quick.candidates] == [each.config for each in slow.candidates]
    if not drops:
        assert plain_plan(quick) == plain_plan(slow)


@pytest.mark.parametrize("torch_name", ["AdamW", "SGD", "Adafactor"])
def test_an_optimizer_is_found_without_importing_torch(torch_name):
    from lagsearch.planning.names import _has_module

    assert _has_module(torch_name)
    assert hasattr(torch.optim, torch_name)
    assert not _has_module("Lion")


HEAVY = ["torch", "transformers", "datasets", "ray", "matplotlib", "scipy", "pandas"]


UNNEEDED = {
    "quickstart": [*HEAVY, "huggingface_hub"],
    "quickstart_optuna": [*HEAVY, "huggingface_hub"],
    "adaptive_bert_laptop": HEAVY,
    "lag_ul2_12to16": HEAVY,
    "mingpt_multi": HEAVY,
    "shakespeare_width": HEAVY,
    "survey_multi_3": HEAVY,
}
"""What is not imported to plan a space. All are planned in one process, in this order."""


def test_plan_imports_neither_torch_nor_transformers():
    found = in_one_process(("cd", SPACES), *(("plan", f"{each}.yaml") for each in UNNEEDED))
    for (space, unneeded), ended in zip(UNNEEDED.items(), found, strict=True):
        assert ended.code == 0, ended.err
        assert not ended.modules & {*unneeded}, space
