"""What is wrong with a checkpoint is one line, the same with torch and without it."""

import json
import shutil

import pytest
from checkpoints import LLAMA, save
from processes import in_one_process
from safetensors.torch import load_file, save_file


def written(folder, name, change):
    path = folder / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def config(**keys):
    return lambda folder: written(folder, "config.json", lambda whole: whole | keys)


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")


def without(*names):
    def take(folder):
        for name in names:
            (folder / name).unlink()

    return take


def indexed(**where):
    """Divide the weights into two files, with an index that says something else of them."""

    def divide(folder):
        whole = load_file(folder / "model.safetensors")
        names = sorted(whole)
        (folder / "model.safetensors").unlink()
        parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
        for file, some in parts.items():
            save_file({name: whole[name] for name in some}, folder / file)
        listed = {name: file for file, some in parts.items() for name in some} | where
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": listed}))

    return divide


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


HEAD = "lm_head.weight"
DAMAGES = {
    "a folder that is gone": (shutil.rmtree, "there is no such folder"),
    "no configuration": (without("config.json"), "has no config.json"),
    "no JSON": (text("config.json", "{"), "not a valid JSON"),
    "a type that is unknown": (config(model_type="lama"), "'lama' is unknown to this version"),
    "no weights": (without("model.safetensors"), "has no *.safetensors"),
    "half a file": (cut, "and its header speaks of"),
    "no file": (text("model.safetensors", "none"), "not a readable safetensors file"),
    "a pointer": (pointer, "is a Git LFS pointer"),
    "a file that is gone": (indexed(other="c.safetensors"), "lists c.safetensors, which is not"),
    "a tensor that is gone": (indexed(**{HEAD: "b.safetensors"}), "lacks lm_head.weight, which"),
    "an index of nothing": (
        lambda folder: (indexed()(folder), text("model.safetensors.index.json", "{}")(folder)),
        "not a readable index",
    ),
    "another width": (config(intermediate_size=23), "but config.json makes it (23, 16)"),
    "another vocabulary": (config(vocab_size=260), "but config.json makes it (260, 16)"),
    "too few positions": (config(max_position_embeddings=8), "has room for 8 tokens, less than"),
    "no tokenizer": (
        without("tokenizer.json", "tokenizer_config.json"),
        "has no tokenizer; set data.tokenizer",
    ),
    "no tokenizer that can be read": (text("tokenizer.json", "{"), "tokenizer "),
    "quantized weights": (config(quantization_config={"quant_method": "gptq"}), "is quantized"),
}  # fmt: skip
"""What happens to a checkpoint, and what a plan says of it."""


@pytest.fixture
def spaces(write_space, tmp_path):
    """Write a space over a checkpoint for each damage."""
    sound = save(tmp_path / "sound", LLAMA)
    found = []
    for number, (damage, _) in enumerate(DAMAGES.values()):
        folder = shutil.copytree(sound, tmp_path / f"damaged-{number}")
        damage(folder)
        path = write_space(("  tokenizer: bytes\n", ""), name=f"{number}.yaml")
        head, rest = path.read_text().split("sources:\n")
        rest = rest[rest.index("target:") :]
        path.write_text(f"{head}sources: [{{name: mine, checkpoint: {folder}}}]\n{rest}")
        found.append(path)
    return found


@pytest.mark.slow
def test_damages_are_told_alike_with_torch_and_without_it(spaces):
    commands = [("plan", path) for path in spaces]
    without_it = in_one_process(
        *commands,
        first="import sys; sys.modules['torch'] = None\n",
        TRANSFORMERS_NO_ADVISORY_WARNINGS="1",  # it says that there is no torch
    )
    for ended, (name, (_, message)) in zip(without_it, DAMAGES.items(), strict=True):
        assert (ended.code, ended.out) == (2, ""), name
        assert message in ended.err, name
        assert len(ended.err.splitlines()) == 1, name
    with_it = in_one_process(*commands)
    assert [each.err for each in with_it] == [each.err for each in without_it]
    assert {each.code for each in with_it} == {2}
