"""`lagsearch grow` file to file: what is written, byte by byte against numpy's own assembly."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from checkpoints import LLAMA
from hypothesis import given
from hypothesis import strategies as st
from processes import in_one_process
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from lagsearch.errors import LagsearchError, ModelError
from lagsearch.grow import GrowRequest, find_growth, grow, shards
from lagsearch.grow.shards import WrittenTensor, write_shards
from lagsearch.grow.values import with_factors
from lagsearch.models.headers import make_header, read_header
from lagsearch.models.tabled import open_tabled
from lagsearch.operators import all_operators
from lagsearch.operators.plan.slices import Slice, Slices

TIED = {**LLAMA, "tie_word_embeddings": True}
GPT2 = {"model_type": "gpt2", "n_layer": 3, "n_embd": 16, "n_head": 2, "vocab_size": 259}
QWEN2 = {**LLAMA, "model_type": "qwen2"}
OLMO2 = {**LLAMA, "model_type": "olmo2"}
BERT = {
    **{"model_type": "bert", "num_hidden_layers": 3, "hidden_size": 16, "vocab_size": 259},
    **{"intermediate_size": 24, "num_attention_heads": 2},
}
CLOSING = {
    "llama": ("self_attn.o_proj.weight", "mlp.down_proj.weight"),
    "qwen2": ("self_attn.o_proj.weight", "mlp.down_proj.weight"),
    "gpt2": ("attn.c_proj.weight", "attn.c_proj.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"),
    "olmo2": ("post_attention_layernorm.weight", "post_feedforward_layernorm.weight"),
}
"""What lets a layer add nothing, written down by hand."""

GROWTHS = {
    "stack": ({"factor": 2}, [0, 1, 2, 0, 1, 2], ()),
    "interleave": ({"factor": 2}, [0, 0, 1, 1, 2, 2], ()),
    "identity": ({"factor": 2}, [0, 0, 1, 1, 2, 2], (1, 3, 5)),
    "last": ({"depth": 5}, [0, 1, 2, 1, 2], ()),
    "middle": ({"depth": 4}, [0, 1, 1, 2], ()),
    "solar": ({"depth": 4}, [0, 1, 1, 2], ()),
    "layers": ({"layers": [0, 2, 2, 0, 1]}, [0, 2, 2, 0, 1], ()),
    "lag": (
        {"factor": 2, "index": 0, "block_size": 1, "init": "duplicate"},
        [0, 0, 1, 1, 2, 2],
        (),
    ),
}
"""Settings, the layers that are written, and which of them add nothing."""


def raw(folder):
    """Read all tensors of a checkpoint without anybody's library: type, shape, bytes."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        start = 8 + int(np.frombuffer(data[:8], "<u8")[0])
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        for name, each in header.items():
            begin, end = (start + offset for offset in each["data_offsets"])
            found[name] = each["dtype"], tuple(each["shape"]), data[begin:end]
    return found


def assembled(source, layers, zeroed, closing):
    """Put the target together from the source's bytes."""
    made = {}
    for name, (dtype, shape, data) in raw(source).items():
        match = re.fullmatch(r"(.*\.)(\d+)(\..+)", name)
        if match is None:
            made[name] = dtype, shape, data
            continue
        for place, layer in enumerate(layers):
            if layer == int(match[2]):
                is_zero = place in zeroed and match[3][1:] in closing
                value = bytes(len(data)) if is_zero else data
                made[f"{match[1]}{place}{match[3]}"] = dtype, shape, value
    return made


def request_for(source, name, settings):
    settings = dict(settings)
    target = {"num_hidden_layers": settings.pop("depth")} if "depth" in settings else {}
    return GrowRequest((str(source),), name, settings, target)


@pytest.mark.parametrize("name", GROWTHS)
@pytest.mark.parametrize("keys", [LLAMA, TIED, GPT2, QWEN2, OLMO2], ids=lambda keys: str(len(keys)))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("is_tabled", [True, False])
def test_every_byte_is_the_sources(checkpoint, tmp_path, monkeypatch, name, keys, dtype, is_tabled):
    """By tables, and as the model that transformers builds needs it."""
    source, out = checkpoint(keys, dtype=dtype), tmp_path / "out"
    if not is_tabled:
        monkeypatch.setattr("lagsearch.grow.request.open_tabled", lambda folder: None)
    monkeypatch.setattr(shards, "SHARD_BYTES", 9000)
    monkeypatch.setattr(shards, "_CHUNK", 1000)
    settings, layers, zeroed = GROWTHS[name]
    growth = find_growth(request_for(source, name, settings))
    assert (growth.entries is not None) == is_tabled
    grow(growth, out, measure=False)
    assert len(list(out.glob("*.safetensors"))) > 1
    assert raw(out) == assembled(source, layers, zeroed, CLOSING[keys["model_type"]])
    config = AutoConfig.from_pretrained(out)
    own = AutoConfig.from_pretrained(source).to_dict()
    changed = {key for key, value in config.to_dict().items() if value != own[key]}
    changed -= {"_name_or_path"}
    depth = "n_layer" if keys is GPT2 else "num_hidden_layers"
    assert changed == {depth} | ({"layer_types"} if keys is QWEN2 else set())
    assert config.num_hidden_layers == len(layers)


GEMMA3 = {**LLAMA, "model_type": "gemma3_text", "head_dim": 8}
DOUBLED = {
    "units": ["intermediate_size", "n_inner"],
    "all": [
        *("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"),
        *("n_embd", "n_inner", "n_head"),
    ],
}
"""Keys of what grows to twice its size."""

WIDTHS = {
    "net2net": {},
    "duplicate-halves": {},
    "lemon": {},
    "aki": {},
    "zero": {},
    "combined": {"width": "lemon", "depth": "identity"},
    "stack": {"noise": 0.1},
}


def both_ways(request, folder, monkeypatch):
    """Return what tables and what transformers' own model make of a growth.

    Each is the tensors, the configuration as transformers reads it, and the growth; or what is said
    against it.
    """
    found = []
    for way in ("tables", "models"):
        with monkeypatch.context() as patch:
            if way == "models":
                patch.setattr("lagsearch.grow.request.open_tabled", lambda folder: None)
            try:
                growth = find_growth(request)
            except LagsearchError as refused:
                found.append((str(refused), None, None))
                continue
            if way == "models":
                assert growth.entries is None
            grow(growth, folder / way, measure=False, seed=5)
        config = AutoConfig.from_pretrained(folder / way).to_dict()
        found.append((raw(folder / way), {**config, "_name_or_path": ""}, growth))
    return found


MADE = [
    pytest.param(
        name,
        keys,
        grows,
        id=f"{name}-{keys['model_type']}-{grows}",
        marks=[] if grows == "all" and keys in (TIED, GPT2) else pytest.mark.slow,
    )
    for name in WIDTHS
    for keys in (TIED, GPT2, QWEN2, OLMO2, BERT, GEMMA3)
    for grows in DOUBLED
]


@pytest.mark.parametrize(("name", "keys", "grows"), MADE)
def test_what_is_made_is_what_transformers_models_are_filled_with(
    checkpoint, tmp_path, monkeypatch, name, keys, grows
):
    """By tables and with their own model, to the bit; both refuse the same."""
    keys = {**keys, "n_inner": 64} if keys is GPT2 else keys
    source = checkpoint(keys, "masked" if keys is BERT else "causal", dtype=torch.bfloat16)
    target = {key: 2 * keys[key] for key in DOUBLED[grows] if key in keys}
    if name in ("combined", "stack"):
        depth = "n_layer" if "n_layer" in keys else "num_hidden_layers"
        target = {**(target if name == "combined" else {}), depth: 6}
    tables, models = both_ways(
        GrowRequest((str(source),), name, WIDTHS[name], target), tmp_path, monkeypatch
    )
    assert tables[:2] == models[:2]
    assert isinstance(tables[0], str) == (keys is BERT and name == "combined")  # no identity there
    width = tables[2].plan.width if tables[2] else None
    is_random = width is not None and width.has_random  # drawn as a fresh model's
    if tables[2]:
        assert (tables[2].entries is not None) is not is_random


@pytest.mark.parametrize(
    "wider", [{"hidden_size": 32}, {"hidden_size": 32, "num_attention_heads": 8}]
)
def test_a_size_that_an_older_file_leaves_to_others_is_what_transformers_takes_it_for(
    checkpoint, tmp_path, monkeypatch, wider
):
    """Without `head_dim` the size of a head follows from the source's width, not the target's."""
    source = checkpoint()
    keys = json.loads((source / "config.json").read_text())
    del keys["head_dim"]
    (source / "config.json").write_text(json.dumps(keys))
    target = wider if len(wider) == 1 else {**wider, "num_key_value_heads": 4}
    request = GrowRequest((str(source),), "net2net", {}, target)
    tables, models = both_ways(request, tmp_path, monkeypatch)
    assert tables[:2] == models[:2]
    assert not isinstance(tables[0], str)


def test_a_post_norm_model_and_two_sources(checkpoint, tmp_path):
    one, two = (checkpoint(BERT, "masked", name, seed) for name, seed in (("a", 0), ("b", 1)))
    growth = find_growth(GrowRequest((str(one), str(two)), "multi-stack", {"order": "b a"}))
    assert growth.entries is not None
    grow(growth, tmp_path / "out")
    first, second, found = raw(one), raw(two), raw(tmp_path / "out")
    name = "bert.encoder.layer.{}.output.dense.weight"
    for place in range(6):
        own = first if place > 2 else second
        assert found[name.format(place)] == own[name.format(place % 3)]


@pytest.mark.parametrize("is_tabled", [True, False])
def test_two_sources_of_two_types_keep_theirs(checkpoint, tmp_path, monkeypatch, is_tabled):
    types = {"a": torch.bfloat16, "b": torch.float32}
    one, two = (
        checkpoint(LLAMA, "causal", name, seed, dtype=dtype)
        for seed, (name, dtype) in enumerate(types.items())
    )
    if not is_tabled:
        monkeypatch.setattr("lagsearch.grow.request.open_tabled", lambda folder: None)
    growth = find_growth(GrowRequest((str(one), str(two)), "multi-stack", {"order": "a b"}))
    grow(growth, tmp_path / "out", measure=False)
    found, name = raw(tmp_path / "out"), "model.layers.{}.mlp.down_proj.weight"
    for place in range(6):
        own = raw(one) if place < 3 else raw(two)
        assert found[name.format(place)] == own[name.format(place % 3)]


@pytest.mark.parametrize("file", ["../other/model.safetensors", "sub/model.safetensors", ".."])
def test_an_index_lists_files_of_its_folder_alone(checkpoint, file):
    source = checkpoint()
    (source / "model.safetensors").rename(source / "shard.safetensors")
    index = {"weight_map": {"model.norm.weight": "shard.safetensors", "lm_head.weight": file}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"index\.json lists .*, which is not in its folder"):
        find_growth(request_for(source, "stack", {"factor": 2}))


def test_all_that_copy_only_are_compared_above():
    from lagsearch.grow.entries import only_copies
    from lagsearch.models.configs import ModelShape
    from lagsearch.operators import make_candidate

    found = set()
    for each in all_operators():
        if each.grows != "depth" or each.takes != "one":
            continue
        settings = {**each.example, **({"init": "duplicate"} if each.name == "lag" else {})}
        source, target = (ModelShape(depth, {}, "llama") for depth in (4, 6))
        plan = make_candidate(each.name, settings, (source,), target).plan
        treatments = {layer.treatment for layer in plan.layers}
        if only_copies(plan) and treatments <= {"copy", "zero_output"}:
            found.add(each.name)
    assert found == set(GROWTHS)


def test_a_file_is_as_safetensors_writes_it(tmp_path):
    kinds = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32]
    kinds += [torch.int16, torch.int8, torch.uint8, torch.bool]
    tensors = {f"t{place}": torch.ones(3, 5).to(kind) for place, kind in enumerate(kinds)}
    tensors |= {"é": torch.zeros(2, 0), "scalar": torch.tensor(1.5)}
    path = tmp_path / "theirs.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    stored = read_header(path)
    header, places = make_header({name: (each.dtype, each.shape) for name, each in stored.items()})
    assert path.read_bytes().startswith(header)
    assert places == {name: each.begin for name, each in stored.items()}
    for name, tensor in tensors.items():
        assert stored[name].shape == tuple(tensor.shape)
        assert stored[name].size == tensor.numel() * tensor.element_size()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:40],
        lambda data: b"",
        lambda data: data.replace(b"[0,64]", b"[0,60]"),
        lambda data: data.replace(b"[64,96]", b"[60,96]"),
        lambda data: data.replace(b"[4,4]", b"[4,5]"),
        lambda data: data.replace(b"[8]", b"8.0"),
        lambda data: data.replace(b'"dtype"', b'"dtipe"'),
        lambda data: b"\xff" * 8 + data[8:],
    ],
)
def test_a_damaged_file_is_one_error(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(4, 4), "b": torch.ones(8)}, path)
    whole = path.read_bytes()
    assert damage(whole) != whole
    read_header(path)
    path.write_bytes(damage(whole))
    with pytest.raises(ModelError, match=r"model\.safetensors: not a readable safetensors file"):
        read_header(path)


TYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"}


def written(tmp_path, tensor, value=None):
    path, out = tmp_path / "source.safetensors", tmp_path / "out"
    save_file({"w": tensor}, path)
    out.mkdir(exist_ok=True)
    stored = read_header(path)["w"]
    list(write_shards(out, [[WrittenTensor("w", stored.dtype, stored.shape, stored, value)]]))
    return load_file(out / "model.safetensors")["w"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("place", [0, 300, 999])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, -np.nan])
def test_what_is_no_number_is_seen_wherever_it_is(tmp_path, monkeypatch, dtype, place, value):
    monkeypatch.setattr(shards, "_CHUNK", 256)
    tensor = torch.linspace(-9, 9, 1000).to(dtype)
    tensor[place] = value
    assert not torch.isfinite(tensor[place])
    with pytest.raises(ModelError, match="w: 1 of its 1,000 values are NaN or infinite"):
        written(tmp_path, tensor)
    zero = bytes(tensor.element_size())
    with pytest.raises(ModelError, match="w: 1 of its 1,000 values"):
        written(tmp_path, tensor, zero)  # where another value takes their place, too


@pytest.mark.parametrize("dtype", TYPES)
def test_the_largest_and_the_smallest_numbers_are_numbers(tmp_path, dtype):
    info = torch.finfo(dtype)
    edges = [info.max, info.min, info.tiny, -info.tiny, info.smallest_normal / 2, 0.0, -0.0]
    tensor = torch.tensor(edges, dtype=torch.float64).to(dtype)
    assert torch.isfinite(tensor).all()
    assert torch.equal(written(tmp_path, tensor), tensor)


def test_a_signalling_nan_is_seen(tmp_path):
    bits = torch.tensor([0x7F80_0001, -0x7F_FFFF], dtype=torch.int32)
    with pytest.raises(ModelError, match="w: 2 of its 2 values"):
        written(tmp_path, bits.view(torch.float32))


@pytest.mark.parametrize("dtype", TYPES)
def test_one_value_everywhere(tmp_path, dtype):
    value = torch.tensor([-1.0]).to(dtype)
    found = written(
        tmp_path, torch.ones(700, 1000).to(dtype), value.view(torch.uint8).numpy().tobytes()
    )
    assert torch.equal(found, value.expand(700, 1000))


def without(name):
    return lambda tensors, config: tensors.pop(name)


def set_key(**keys):
    return lambda tensors, config: config.update(keys)


def add(tensors, config):
    tensors["model.extra.weight"] = torch.ones(2)


def lacks(key):
    return lambda tensors, config: config.pop(key)


def widen(tensors, config):
    tensors["model.norm.weight"] = torch.ones(17)


@pytest.mark.parametrize(
    "change",
    [
        without("model.layers.1.mlp.up_proj.weight"),
        add,
        widen,
        set_key(architectures=["LlamaForSequenceClassification"]),
        set_key(architectures=None),
        set_key(model_type="mixtral"),
        set_key(quantization_config={"bits": 4}),
        set_key(num_hidden_layers=4),
        set_key(tie_word_embeddings=True),
        set_key(layer_types=["full_attention"] * 3),
        set_key(hidden_act="foo"),
        set_key(rope_parameters={"rope_type": "nonsense", "rope_theta": 1e4}),
        set_key(pad_token_id=259),
        set_key(max_position_embeddings="x"),
        set_key(attention_dropout="x"),
        set_key(attention_bias=""),
        set_key(dtype="floot"),
        set_key(text_config={"hidden_size": 16}),
        lacks("hidden_size"),
        lacks("model_type"),
    ],
)
def test_what_is_not_all_that_tables_say_is_left_to_transformers(checkpoint, change):
    source = checkpoint()
    assert open_tabled(source) is not None
    tensors, config = (
        load_file(source / "model.safetensors"),
        json.loads((source / "config.json").read_text()),
    )
    change(tensors, config)
    save_file(tensors, source / "model.safetensors")
    (source / "config.json").write_text(json.dumps(config))
    assert open_tabled(source) is None


def test_a_target_that_is_no_model_is_refused(checkpoint):
    request = GrowRequest((str(checkpoint()),), "net2net", {}, {"hidden_size": 34})
    with pytest.raises(
        ModelError, match=r"^llama: The hidden size \(34\) is not a multiple of the"
    ):
        find_growth(request)


def test_files_of_older_versions_are_grown_by_tables(checkpoint, tmp_path):
    """Without keys that came later, with `torch_dtype`, and with keys that nobody knows."""
    source, out = checkpoint(), tmp_path / "out"
    path = source / "config.json"
    config = json.loads(path.read_text())
    config["torch_dtype"], config["mine"] = config.pop("dtype"), {"a": 1}
    for key in ("mlp_bias", "attention_bias", "head_dim"):
        del config[key]
    path.write_text(json.dumps(config))
    growth = find_growth(request_for(source, "stack", {"factor": 2}))
    assert growth.entries is not None
    grow(growth, out)
    own, found = (AutoConfig.from_pretrained(each).to_dict() for each in (source, out))
    changed = {key for key in own if own[key] != found[key]} - {"_name_or_path"}
    assert changed == {"num_hidden_layers"}
    assert found["mine"] == {"a": 1}


NEOX = {
    **{"model_type": "gpt_neox", "num_hidden_layers": 3, "hidden_size": 16, "vocab_size": 259},
    **{"intermediate_size": 24, "num_attention_heads": 2},
}
PUBLISHED = {
    "gpt2": (GPT2, "transformer.", ["h.{}.attn.bias", "h.{}.attn.masked_bias"]),
    "pythia": (NEOX, "", ["gpt_neox.layers.{}.attention." + each for each in (
        "bias", "masked_bias", "rotary_emb.inv_freq")]),
    "llama": (LLAMA, "", ["model.layers.{}.self_attn.rotary_emb.inv_freq"]),
}  # fmt: skip
"""What files of the hub leave out of names, and what they have that is worked out again."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_grown_alike_by_tables_and_by_transformers(
    checkpoint, tmp_path, monkeypatch, name
):
    keys, body, tables = PUBLISHED[name]
    source = checkpoint(keys)
    path = source / "model.safetensors"
    tensors = {each.removeprefix(body): value for each, value in load_file(path).items()}
    tensors |= {
        each.format(n): torch.ones(1, dtype=torch.uint8) for each in tables for n in range(3)
    }
    save_file(tensors, path, metadata={"format": "pt"})
    stack = request_for(source, "stack", {"factor": 2})
    growth = find_growth(stack)
    assert growth.entries is not None
    grow(growth, tmp_path / "tables")
    monkeypatch.setattr("lagsearch.grow.request.open_tabled", lambda folder: None)
    grow(find_growth(stack), tmp_path / "transformers")
    found = raw(tmp_path / "tables")
    assert found == raw(tmp_path / "transformers")
    assert len(found) > 20 and not any("masked_bias" in each for each in found)
    assert ("embed_out.weight" in found) == (name == "pythia")


def test_two_names_for_one_tensor_are_left_to_transformers(checkpoint):
    source = checkpoint(NEOX)
    assert open_tabled(source) is not None
    path = source / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "lm_head.weight": tensors["embed_out.weight"].clone()}, path)
    assert open_tabled(source) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("stack",), "not measured: this growth does not claim to preserve it"),
        (("stack", "--measure"), "the function is NOT preserved"),
        (("identity",), "the function is preserved"),
        (("identity", "--no-measure"), "Function: not measured."),
    ],
)
def test_measuring_is_for_those_that_claim_much(checkpoint, call, tmp_path, options, words):
    source, (operator, *flags) = checkpoint(), options
    grown = ("grow", source, "--operator", operator, "--set", "factor=2", "--out", tmp_path / "out")
    code, text, error = call(*grown, *flags)
    assert code == 0, error
    assert words in text
    assert re.search(r"^Written: [\d,]+ MiB in \d+\.\d\d s$", text, re.MULTILINE)


def test_copying_needs_neither_torch_nor_transformers(checkpoint, tmp_path):
    source, growths = checkpoint(), [("stack",), ("identity", "--no-measure")]
    how = ("--set", "factor=2", "--out")
    found = in_one_process(
        *(("grow", source, "--operator", *each, *how, tmp_path / each[0]) for each in growths)
    )
    for (operator, *_), ended in zip(growths, found, strict=True):
        assert ended.code == 0, ended.err
        assert not {"torch", "transformers", "ray", "httpx2", "httpx"} & ended.modules, operator
        assert (tmp_path / operator / "model.safetensors").is_file()


WIDER = [f"{key}={2 * LLAMA[key]}" for key in DOUBLED["all"] if key in LLAMA]


def test_a_width_of_copies_needs_neither(checkpoint, tmp_path):
    how = ("--operator", "net2net", "--no-measure", *(f"--target={each}" for each in WIDER))
    [ended] = in_one_process(("grow", checkpoint(), *how, "--out", tmp_path / "wider"))
    assert ended.code == 0, ended.err
    assert not {"torch", "transformers", "ray"} & ended.modules


def test_what_differs_from_output_to_output_needs_torch_alone(checkpoint, tmp_path):
    how = ("--operator", "net2net", "--set", "split=uneven", "--target", WIDER[1])
    [ended] = in_one_process(
        ("grow", checkpoint(), *how, "--no-measure", "--out", tmp_path / "wider")
    )
    assert ended.code == 0, ended.err
    assert "torch" in ended.modules and not {"transformers", "ray"} & ended.modules


def test_a_feed_forward_width_in_rows_and_columns(checkpoint):
    size = LLAMA["intermediate_size"]
    wider = {"intermediate_size": 3 * size // 2}
    growth = find_growth(GrowRequest((str(checkpoint(LLAMA)),), "net2net", {}, wider))
    slices = {each.name: each.slices for each in growth.entries}
    first, rest = range(size // 2), range(size // 2, size)
    copied = (Slice(range(size)), Slice(first))
    assert slices["model.layers.0.mlp.up_proj.weight"] == Slices(copied)
    shared = (Slice(first, 0.5), Slice(rest), Slice(first, 0.5))
    rows = Slice(range(LLAMA["hidden_size"]))
    assert slices["model.layers.0.mlp.down_proj.weight"] == Slices((rows,), shared)
    assert slices["model.layers.0.self_attn.q_proj.weight"] == Slices()


@pytest.mark.parametrize("dtype", TYPES)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(1e-3, 3), of_row=st.sampled_from([1, 0.7]))
def test_factors_round_as_torch_does(dtype, seed, factor, of_row):
    generator = torch.Generator().manual_seed(seed)
    w_OI = (torch.randn(5, 7, generator=generator, dtype=torch.float64) * 1e-3).to(dtype)
    columns = (Slice(range(2, 6), factor), Slice(range(3), 0.0), Slice(range(7)))
    chunk = memoryview(w_OI.view(torch.uint8).numpy()).cast("B")
    made = bytearray(with_factors(chunk, TYPES[dtype], 7, columns, of_row))
    wide = torch.promote_types(dtype, torch.float32)
    factors = torch.tensor([factor] * 4 + [0.0] * 3 + [1.0] * 7, dtype=torch.float64) * of_row
    taken = w_OI[:, [2, 3, 4, 5, 0, 1, 2, *range(7)]].to(wide)
    expected = (taken * factors.to(wide)).to(dtype) + 0.0  # of the zeros, the one without a sign
    assert torch.equal(torch.frombuffer(made, dtype=dtype).reshape(5, 14), expected)


def test_a_disk_that_is_full_leaves_nothing(checkpoint, tmp_path):
    source, out = checkpoint({**LLAMA, "hidden_size": 64}), tmp_path / "out"
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "from lagsearch import cli; cli.main()"
    )
    grown = ["grow", source, "--operator", "stack", "--set", "factor=2", "--out", out]
    command = [sys.executable, "-c", code, *map(str, grown)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.search(r"model\.safetensors", done.stderr.splitlines()[-1]), done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source"]
