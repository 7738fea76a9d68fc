"""Checkpoints and tokenizers that are named on the hub, from its cache and from a stand-in."""

import io
import json
import sys

import huggingface_hub
import pytest
import torch
from checkpoints import LLAMA, save
from hubs import in_hub_cache, served
from huggingface_hub.utils import are_progress_bars_disabled
from processes import in_one_process
from safetensors.torch import load_file, save_file

from lagsearch.data.tokens.tokenizers import make_tokenizer
from lagsearch.errors import DataError, ModelError
from lagsearch.models import hub_files
from lagsearch.models.files import locate_checkpoint

HEAVY = {"torch", "transformers"}
LARGE = {**LLAMA, "hidden_size": 128, "intermediate_size": 256}
"""More than the 100 kB that the hub's library reads of a file to see its header."""


def space_of(write_space, checkpoint, title, tokenizer=None):
    """Return a space that grows a checkpoint, whose tokenizer it takes or names."""
    path = write_space(name=f"{title}.yaml")
    head, rest = path.read_text().split("sources:\n")
    words = f"  tokenizer: {tokenizer}\n" if tokenizer else ""
    head = head.replace("  tokenizer: bytes\n", words)
    source = f"sources: [{{name: mine, checkpoint: {checkpoint}}}]\n"
    path.write_text(head + source + rest[rest.index("target:") :])
    return path


def environment(address, folder):
    """Return the variables with which the hub's library asks a stand-in."""
    return {
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": address,
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }


def plan_in(ended, *folders):
    """Return a plan from JSON, but for the words that name the checkpoint."""
    assert ended.code == 0, ended.err
    text = ended.out
    for folder in folders:
        text = text.replace(str(folder), "FOLDER")
    plan = json.loads(text)
    assert [each.pop("checkpoint") for each in plan["sources"]] != [None]
    return plan


@pytest.mark.parametrize("name", ["some/model", "model"])
def test_a_model_in_the_hubs_cache_is_planned_as_a_folder_is(write_space, tmp_path, name):
    """As the checkpoint, as the tokenizer, and as both: without torch and transformers."""
    folder = save(tmp_path / "own", dtype=torch.bfloat16)
    there = in_hub_cache(tmp_path / "hub", name, folder)
    spaces = [
        space_of(write_space, folder, "space"),
        space_of(write_space, name, "named"),
        space_of(write_space, name, "both", name),
        space_of(write_space, folder, "tokenizer", name),
    ]
    commands = [("plan", each, "--json") for each in spaces]
    commands.append(("plan", spaces[1], "--budget", "0.6"))
    *found, budgeted = in_one_process(*commands, HF_HUB_CACHE=str(tmp_path / "hub"))
    own, *others = (plan_in(each, folder, there) for each in found)
    assert "is in bfloat16" in " ".join(own["notes"])
    assert others == [own, own, own]
    assert budgeted.code == 0, budgeted.err
    assert not budgeted.modules & HEAVY


def test_a_plan_fetches_no_weights_from_the_hub_and_a_run_does(write_space, tmp_path):
    folder = save(tmp_path / "own", LARGE)
    size = (folder / "model.safetensors").stat().st_size
    own, named = space_of(write_space, folder, "own"), space_of(write_space, "some/model", "named")
    with served("some/model", folder) as (address, asked):
        online = environment(address, tmp_path)
        found = in_one_process(
            *(("plan", each, "--json") for each in (own, named, named)), **online
        )
        first, second, third = (plan_in(each, folder) for each in found)
        assert first == second == third
        assert not found[-1].modules & HEAVY
        files = [name for name, _ in asked]
        assert sorted(files) == sorted({*files})  # each of them once
        assert [each.err for each in found] == [""] * 3  # and without a bar
        read = dict(asked)["model.safetensors"]
        assert read < size / 2
        out = tmp_path / "grown"
        words = ("grow", "--space", named, "--candidate", first["candidates"][0]["name"])
        [grown] = in_one_process((*words, "--out", out, "--no-measure"), **online)
    assert grown.code == 0, grown.err
    assert "files:" not in grown.err
    assert asked[-1] == ("model.safetensors", size)
    assert (out / "model.safetensors").is_file()


def test_what_tables_do_not_say_is_fetched_and_planned_by_models(write_space, tmp_path):
    """A head of its own in spite of what the configuration says: its values must be seen."""
    folder = save(tmp_path / "own", LARGE)
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    own, named = space_of(write_space, folder, "own"), space_of(write_space, "some/model", "named")
    with served("some/model", folder) as (address, asked):
        found = in_one_process(
            *(("plan", each, "--json") for each in (own, named)),
            **environment(address, tmp_path),
        )
    [snapshot] = (tmp_path / "hub").glob("hub/models--*/snapshots/*")
    first, second = (plan_in(each, folder, snapshot) for each in found)
    assert first == second and "has a head of its own" in " ".join(first["notes"])
    assert ("model.safetensors", (folder / "model.safetensors").stat().st_size) in asked


def test_a_mistyped_path_does_not_wait_for_the_hub(write_space, tmp_path, monkeypatch):
    """One whose folder is here is looked for in the hub's cache alone."""
    asked = []

    def download(name, **keys):
        asked.append((name, keys["local_files_only"]))
        raise huggingface_hub.errors.LocalEntryNotFoundError("none")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for name in (
        "./model",
        "/models/model",
        "~/model",
        "a/b/model",
        "nobody/model",
        "models/modle",
    ):
        with pytest.raises(ModelError, match=r"there is no such folder|cannot be fetched") as told:
            locate_checkpoint(name)
        assert ("hf download" in str(told.value)) == (name == "models/modle")
        with pytest.raises(DataError, match="tokenizer"):
            make_tokenizer(name, None)
    assert asked == [("nobody/model", False)] * 2 + [("models/modle", True)] * 2


def without_weights(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"0" * 300_000)
    (folder / "other.safetensors").write_bytes(b"0" * 300_000)


def damaged(folder):
    (folder / "model.safetensors").write_bytes(b"\x10" + b"0" * 300_000)


@pytest.mark.parametrize(
    ("change", "refused", "words"),
    [
        (
            None,
            ("model.safetensors",),
            ("cannot be read on the hub (403", "hf download some/model"),
        ),
        (damaged, (), ("cannot be read on the hub (Failed to parse", "hf download some/model")),
        (without_weights, (), ("has no model.safetensors", "other.safetensors is not read")),
    ],
    ids=["for those alone who were let in", "damaged", "pickles and another file"],
)
def test_weights_that_a_plan_cannot_look_at_are_not_fetched(
    write_space, tmp_path, change, refused, words
):
    """It says in one line that there are none, or why they cannot be looked at."""
    folder = save(tmp_path / "own", LARGE)
    if change is not None:
        change(folder)
    with served("some/model", folder, refused) as (address, asked):
        space = space_of(write_space, "some/model", "named")
        [ended] = in_one_process(("plan", space), **environment(address, tmp_path))
    assert ended.code == 2 and not ended.out
    line = ended.err.strip()
    assert "\n" not in line and "sources[0].checkpoint" in line
    assert all(each in line for each in words), line
    assert max(size for _, size in asked) < 200_000


def test_a_run_that_is_refused_fetches_no_weights(write_space, tmp_path):
    """Nor does `init`, whatever it says, or a growth of a candidate that is none."""
    folder = save(tmp_path / "own", LARGE)
    size = (folder / "model.safetensors").stat().st_size
    space = space_of(write_space, "some/model", "named")
    shallow = ("--set", "target.num_hidden_layers=2")
    with served("some/model", folder) as (address, asked):
        found = in_one_process(
            ("run", space, *shallow, "--out", tmp_path / "run"),
            ("run", space, "--set", "training.batch_size=100000000", "--out", tmp_path / "run"),
            ("grow", "--space", space, "--candidate", "none", "--out", tmp_path / "grown"),
            ("init", "some/model", tmp_path / "gone.txt"),
            ("init", "some/model", __file__, "--layers", "2"),
            **environment(address, tmp_path),
        )
    words = (
        "shallower than the source",
        "one candidate needs",
        "no candidate",
        "gone.txt",
        "--layers",
    )
    for ended, each in zip(found, words, strict=True):
        assert ended.code == 2 and each in ended.err, ended.err
    assert asked and ("model.safetensors", size) not in asked
    assert not (tmp_path / "run").exists()


def test_a_part_of_a_model_in_the_cache_is_said_to_be_a_part(write_space, tmp_path):
    """The hub was never asked for a list of its files, so that it may have more."""
    folder = save(tmp_path / "own")
    spaces = [space_of(write_space, f"some/{each}", each) for each in ("words", "weights", "both")]
    for name, lacking in (("words", "tokenizer.json"), ("weights", "model.safetensors")):
        there = in_hub_cache(tmp_path / "hub", f"some/{name}", folder)
        (there / lacking).unlink()
    in_hub_cache(tmp_path / "hub", "some/both", folder)
    first, second, third, init = in_one_process(
        *(("plan", each) for each in spaces),
        ("init", "some/words", __file__),
        HF_HUB_CACHE=str(tmp_path / "hub"),
        HF_HUB_OFFLINE="1",
    )
    assert third.code == 0, third.err
    for ended, name in ((first, "words"), (second, "weights"), (init, "words")):
        assert ended.code == 2
        part = f"only a part of it, `hf download some/{name}` fetches the rest"
        assert part in ended.err and ended.err.count("\n") == 1


def test_of_several_files_those_alone_count_that_the_index_names(write_space, tmp_path):
    """Others may hold the same tensors, and are not fetched."""
    folder = save(tmp_path / "own", LARGE, max_shard_size="200KB")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    parts = sorted({*index["weight_map"].values()})
    assert len(parts) > 2
    tensors = load_file(folder / parts[0])
    for name in ("consolidated.safetensors", "adapter_model.safetensors"):
        save_file({each: torch.zeros(7) for each in tensors}, folder / name)
    doubled = {**{each: torch.zeros(3) for each in tensors}, **load_file(folder / parts[-1])}
    save_file(doubled, folder / parts[-1])
    own, named = space_of(write_space, folder, "own"), space_of(write_space, "some/model", "named")
    with served("some/model", folder) as (address, asked):
        online = environment(address, tmp_path)
        first, second = in_one_process(
            *(("plan", each, "--json") for each in (own, named)), **online
        )
        assert plan_in(first, folder) == plan_in(second, folder)
        assert second.err == "" and not second.modules & HEAVY
        read = [name for name, _ in asked if name.endswith(".safetensors")]
        assert sorted(read) == parts
        words = ("grow", "some/model", "--operator", "stack", "--set", "factor=2", "--no-measure")
        [grown] = in_one_process((*words, "--out", tmp_path / "grown"), **online)
    assert grown.code == 0, grown.err
    assert {name for name, _ in asked if name.endswith(".safetensors")} == {*parts}


@pytest.mark.parametrize("damage", ["{", '{"weight_map": {"a": "../other.safetensors"}}'])
def test_what_is_wrong_with_an_index_is_said_of_a_part_too(tmp_path, monkeypatch, damage):
    there = in_hub_cache(tmp_path / "hub", "some/model", save(tmp_path / "own"))
    (there / "model.safetensors").unlink()
    (there / "model.safetensors.index.json").write_text(damage)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match=r"not a readable index|not in its folder"):
        locate_checkpoint("some/model", fetch=False)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_bars_are_in_a_terminal_where_nothing_else_is_drawn(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "__stderr__", terminal)
    for stream, is_free in ((io.StringIO(), False), (Terminal(), False), (terminal, True)):
        monkeypatch.setattr(sys, "stderr", stream)
        hub_files.quiet_hub()
        with hub_files._progress_bars(are_wanted=True):
            assert are_progress_bars_disabled() == (not is_free)
        assert are_progress_bars_disabled()
        with hub_files._progress_bars(are_wanted=False):
            assert are_progress_bars_disabled()
