"""Checkpoints larger than memory are written shard by shard."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

SHARD_BYTES = 256 * 2**20


def write_shards(
    folder: Path,
    sizes: Mapping[str, int],
    make: Callable[[Sequence[str]], dict[str, torch.Tensor]],
    shard_bytes: int | None = None,
) -> Iterator[int]:
    """Write a checkpoint's weights in one or several safetensors files, and their index.

    Args:
        folder: Where to.
        sizes: Bytes of each tensor, by name, in the order in which they are to be written.
        make: Makes the tensors of one shard, by their names in the file.
        shard_bytes: Largest size of a shard of more than one tensor; `SHARD_BYTES` if left out.

    Yields:
        The bytes written so far, after each shard.
    """
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if shards[-1] and held + size > (shard_bytes or SHARD_BYTES):
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    index: dict[str, str] = {}
    written = 0
    for number, names in enumerate(shards, 1):
        is_alone = len(shards) == 1
        title = "model" if is_alone else f"model-{number:05}-of-{len(shards):05}"
        tensors = make(names)
        save_file(tensors, folder / f"{title}.safetensors", metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, f"{title}.safetensors")
        del tensors
        written += sum(sizes[name] for name in names)
        yield written
    if len(shards) > 1:
        text = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(text, indent=2) + "\n")
