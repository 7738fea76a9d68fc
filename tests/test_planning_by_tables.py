"""Plans by tables, without torch and transformers, against the models that transformers builds."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import transformers
from checkpoints import LLAMA, small_vocabulary
from processes import in_one_process

import lagsearch
from lagsearch.cli.plan_json import plain_plan
from lagsearch.data.tokens import tokenizers
from lagsearch.data.tokens.tokenizers import byte_tokenizer
from lagsearch.models import tabled_configs
from lagsearch.models.build import empty_model, fresh_model
from lagsearch.models.configs import build_config, plain_config, read_config, rebuild_config
from lagsearch.models.families.anatomy import MODEL_TYPES
from lagsearch.models.families.kept import KEPT
from lagsearch.models.layers import find_layers, recomputed_layers
from lagsearch.models.tabled_configs import (
    TabledConfig,
    completed,
    stored_config,
    written_config,
)
from lagsearch.planning import brought, cost
from lagsearch.planning.activations import activation_bytes
from lagsearch.planning.sizes import sizes_by_tables
from lagsearch.planning.sizes_of_model import sizes_of_model

HEAVY = ["torch", "transformers", "datasets", "ray", "matplotlib", "scipy", "pandas"]
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
            layers = recomputed_layers(model, find_layers(model, model.config))
            found = sizes_by_tables(config, kind, batch, checkpointing=True).activation_bytes
            assert found == activation_bytes(model, batch, kind, layers), (kind, sizes, dropouts)


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
    assert_planned_alike(path, monkeypatch)


def assert_planned_alike(path, monkeypatch):
    """Plan a space by tables, and with them out of reach; return the first."""
    quick = lagsearch.plan(path)
    assert all(isinstance(each.config, TabledConfig) for each in quick.sources)
    with monkeypatch.context() as patch:
        patch.setattr(tabled_configs, "completed", lambda keys, **_: None)
        patch.setattr(cost, "sizes_by_tables", lambda *_, **__: None)
        for name in ("open_tabled", "read_tabled"):
            patch.setattr(brought, name, lambda *_: None)
        patch.setattr(tokenizers, "stored_tokenizer", lambda folder: None)
        patch.setattr(cost, "_known", {})
        slow = lagsearch.plan(path)
    assert not any(isinstance(each.config, TabledConfig) for each in slow.sources)
    drops = any(each.config.get(KEPT[each.config["model_type"]].attention_dropout)
                for each in slow.candidates)  # fmt: skip

    def said(plan):
        costs = [each.cost for each in (*plan.candidates, *plan.baselines, *plan.sources)]
        return [asdict(replace(each, memory_bytes=0) if drops else each) for each in costs]

    assert said(quick) == said(slow)
    assert [each.config for each in quick.candidates] == [each.config for each in slow.candidates]
    for one, other in zip(quick.sources, slow.sources, strict=True):
        assert plain_config(one.config) == plain_config(other.config)
        assert (one.n_tokens, one.notes) == (other.n_tokens, other.notes)
    if not drops:
        assert plain_plan(quick) == plain_plan(slow)
    return quick


TRAINED = {
    "llama": (LLAMA, "causal", None),
    "gpt2": (
        {"model_type": "gpt2", "n_layer": 3, "n_embd": 16, "n_head": 2, "n_positions": 64,
         "vocab_size": 300, "attn_pdrop": 0.0},
        "causal",
        "GPT2Tokenizer",
    ),
    "gemma2": (
        {**LLAMA, "model_type": "gemma2", "head_dim": 8, "vocab_size": 300},
        "causal",
        "GemmaTokenizer",
    ),
    "gemma3_text": ({**LLAMA, "model_type": "gemma3_text", "head_dim": 8}, "causal", None),
    "bert": (
        {"model_type": "bert", "num_hidden_layers": 3, "hidden_size": 16, "vocab_size": 300,
         "intermediate_size": 24, "num_attention_heads": 2, "max_position_embeddings": 64,
         "attention_probs_dropout_prob": 0.0},
        "masked",
        "BertTokenizer",
    ),
}  # fmt: skip


def train(folder, name, dtype=torch.float32, **saving):
    """Train a small model for a few steps, and save it as transformers does; return its folder."""
    keys, kind, tokenizer = TRAINED[name]
    model = fresh_model(build_config(keys), kind, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokens = torch.arange(96).reshape(4, 24) * 7 % 259
    for _ in range(3):
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.to(dtype).save_pretrained(folder, **saving)
    if tokenizer is None:
        byte_tokenizer().save_pretrained(folder)
    else:
        vocab, merges = small_vocabulary("WordPiece" if name == "bert" else "BPE")
        more = {} if name == "bert" else {"merges": merges}
        getattr(transformers, tokenizer)(vocab=vocab, **more).save_pretrained(folder)
    return folder


def space_of(write_space, folder, name, **replaced):
    """Return a space that grows a trained checkpoint."""
    path = write_space(name=f"{folder.name}.yaml")
    head, rest = path.read_text().split("sources:\n")
    rest = rest[rest.index("target:") :]
    depth = "n_layer" if name == "gpt2" else "num_hidden_layers"
    text = f"{head}sources: [{{name: mine, checkpoint: {folder}}}]\n{rest}"
    changes = {"num_hidden_layers": depth, "  tokenizer: bytes\n": "", **replaced}
    if TRAINED[name][1] == "masked":
        changes["{name: causal}"] = "{name: masked}"
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return path


LISTED = "  - {operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}\n"


@pytest.mark.parametrize("name", TRAINED)
def test_a_checkpoint_is_planned_by_tables_as_by_models(write_space, tmp_path, monkeypatch, name):
    """As one file, in several, and in another type; with more tokens than it has, too."""
    operators = ["stack", "interleave", "ligo", "mango", "random"]
    operators += [] if name == "bert" else ["identity"]
    listed = "".join(f"  - {{operator: {each}}}\n" for each in operators)
    folder = train(tmp_path / "one", name)
    path = space_of(write_space, folder, name, **{LISTED: LISTED + listed})
    plan = assert_planned_alike(path, monkeypatch)
    assert plan.documents and not plan.notes
    sharded = train(tmp_path / "several", name, torch.bfloat16, max_shard_size="20KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    plan = assert_planned_alike(space_of(write_space, sharded, name), monkeypatch)
    assert "is in bfloat16" in " ".join(plan.notes)
    if TRAINED[name][1] == "causal":
        ul2 = {"{name: causal}": "{name: ul2}", "batch_size: 4": "batch_size: 5"}
        plan = assert_planned_alike(space_of(write_space, folder, name, **ul2), monkeypatch)
        assert plan.sources[0].n_tokens == (264 if TRAINED[name][2] is None else 305)


def test_several_checkpoints_are_planned_by_tables_as_by_models(write_space, tmp_path, monkeypatch):
    one, other = (train(tmp_path / each, "gpt2") for each in ("one", "other"))
    both = f"checkpoint: {one}}}, {{name: too, checkpoint: {other}}}]"
    operators = "  - {operator: multi-stack, order: mine too}\n  - {operator: stack, source: too}\n"
    path = space_of(
        write_space, one, "gpt2", **{f"checkpoint: {one}}}]": both, LISTED: operators,
                                     "n_layer: 4": "n_layer: 6"}
    )  # fmt: skip
    assert_planned_alike(path, monkeypatch)


OLDER = {
    "a Llama": ("llama", {"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": None,
                          "torch_dtype": "float16", "dtype": None, "max_sequence_length": 64}),
    "another Llama": ("llama", {"rope_parameters": None, "rope_theta": 500000.0, "rope_scaling": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32, "rope_type": "llama3"}}),
    "a scaled Llama": ("llama", {"rope_parameters": None, "rope_theta": 10000,
                                 "rope_scaling": {"factor": 2.0, "type": "linear"}}),
    "a GPT-2": ("gpt2", {"n_ctx": 64, "task_specific_params": {"x": {"do_sample": True}},
                         "max_length": 50, "do_sample": True}),
    "a BERT": ("bert", {"gradient_checkpointing": False, "position_embedding_type": "absolute"}),
    "a Gemma 2": ("gemma2", {"rope_parameters": None, "rope_theta": 10000.0,
                             "cache_implementation": "hybrid", "layer_types": None}),
    "a Gemma 3": ("gemma3_text", {"rope_parameters": None, "rope_theta": 1000000,
                                  "rope_local_base_freq": 10000, "rope_scaling": None}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "changes"), OLDER.values(), ids=OLDER)
def test_configurations_of_other_versions_mean_what_transformers_makes_of_them(
    checkpoint, name, changes
):
    keys, kind, _ = TRAINED[name]
    folder = checkpoint(keys, kind)
    path = folder / "config.json"
    whole = json.loads(path.read_text()) | changes
    dropped = ("rope_parameters", "dtype", "layer_types")  # which they did not have yet
    whole = {key: each for key, each in whole.items() if each is not None or key not in dropped}
    path.write_text(json.dumps(whole))
    found = stored_config(written_config(whole))
    assert plain_config(found) == plain_config(read_config(folder))
    again = completed(plain_config(found), is_stored=True)
    assert plain_config(again) == plain_config(rebuild_config(plain_config(found)))
    assert again.architectures is None and found.architectures == whole["architectures"]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_saved_configuration_means_what_transformers_makes_of_it(model_type, tmp_path):
    for changes in VARIANTS:
        config = build_config(keys_of(model_type, changes))
        config.architectures = [MODEL_TYPES[model_type].classes[0]]
        config.save_pretrained(tmp_path)
        whole = json.loads((tmp_path / "config.json").read_text())
        found = stored_config(written_config(whole))
        assert plain_config(found) == plain_config(read_config(tmp_path))


ODD = (
    {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}},
    {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}},
    {"rope_parameters": None, "rope_theta": "wide"},
    {"rope_theta": 2e4, "rotary_emb_base": 1e4},
    {"partial_rotary_factor": 0.5},
    {"num_labels": 3},
    {"id2label": {"0": "spam"}},
    {"rms_norm_eps": 1},
    {"initializer_range": 1.5},
)


@pytest.mark.parametrize("changes", ODD)
def test_unusual_configurations_are_left_to_transformers(changes):
    whole = {**completed(keys_of("llama", {})).keys, **changes}
    whole |= {"architectures": ["LlamaForCausalLM"]}
    written = written_config(whole)
    assert written is None or stored_config(written) is None
    if not {"rope_parameters", "rope_theta", "partial_rotary_factor"} & changes.keys():
        assert completed({**keys_of("llama", {}), **changes}) is None


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "smollm3", "mistral", "phi3"])
def test_windows_are_those_of_transformers(model_type):
    for changes in ({"sliding_window": 9}, {"sliding_window": None}, {"use_sliding_window": True}):
        keys = keys_of(model_type, changes)
        found = completed(keys)
        if changes.keys() <= keys.keys() and keys.get("use_sliding_window"):
            assert found is None  # layers then are of several types
        else:
            assert plain_config(found) == plain_config(build_config(keys))


def test_a_checkpoint_is_planned_without_torch_and_transformers(write_space, tmp_path):
    spaces = [space_of(write_space, train(tmp_path / each, each), each) for each in TRAINED]
    commands = [("plan", space) for space in spaces]
    for space in spaces:
        commands += [("plan", space, "--budget", "0.6"), ("plan", space, "--json")]
    for ended in in_one_process(*commands):
        assert ended.code == 0, ended.err
        assert not ended.modules & {*HEAVY}


@pytest.mark.parametrize("torch_name", ["AdamW", "SGD", "Adafactor"])
def test_an_optimizer_is_found_without_importing_torch(torch_name):
    from lagsearch.planning.names import _has_module

    assert _has_module(torch_name)
    assert hasattr(torch.optim, torch_name)
    assert not _has_module("Lion")


def test_every_published_space_is_planned_without_torch_and_transformers():
    """All in one process, those first that need least: they do not look into the hub's cache."""
    first = ["quickstart", "quickstart_optuna"]
    spaces = [*first, *sorted({each.stem for each in SPACES.glob("*.yaml")} - {*first})]
    found = in_one_process(("cd", SPACES), *(("plan", f"{each}.yaml") for each in spaces))
    for space, ended in zip(spaces, found, strict=True):
        assert ended.code == 0, ended.err
        unneeded = {*HEAVY, "huggingface_hub"} if space in first else {*HEAVY}
        assert not ended.modules & unneeded, space
