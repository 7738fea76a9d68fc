"""Hugging Face checkpoints that users bring: found, read without pickle, and identified."""

import copy
from pathlib import Path
from typing import Any

from lagsearch.errors import ModelError, brief
from lagsearch.models.build import auto_class, fresh_model, quiet, tensors_of
from lagsearch.storage import digest, file_digest, path_of


def locate_checkpoint(name: str, *, allow_pickle: bool = False, fetch: bool = True) -> Path:
    """Return the local folder of a checkpoint, fetching a hub name when it is not a folder.

    Args:
        name: The folder or the name.
        allow_pickle: Fetch pickled weights, too.
        fetch: Whether the hub may be asked.

    Raises:
        ModelError: It is neither, or it cannot be fetched.
    """
    folder = path_of(name)
    if folder.is_dir():
        return folder
    if is_path(name):
        raise ModelError("there is no such folder")
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
        patterns += ["pytorch_model*.bin"] if allow_pickle else []
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=not fetch))
    except Exception as error:  # the hub raises many types; all mean: not to be had
        raise ModelError(
            f"is no folder here and cannot be fetched from the hub ({brief(error)}); give a local "
            "path, or set HF_HOME to a cache that has it, and HF_HUB_OFFLINE=1 where there is no "
            "network"
        ) from error


def is_path(name: str) -> bool:
    """Return whether a name is that of a folder, here or not, and cannot be one of the hub."""
    is_written_so = name.startswith((".", "/", "~")) or name.count("/") > 1
    return is_written_so or path_of(name).is_dir()


def load_config(folder: Path, *, allow_pickle: bool = False) -> Any:
    """Read a checkpoint's configuration.

    Raises:
        ModelError: There is no readable `config.json` of a known model type, or no safetensors.
    """
    quiet()
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json: not a Hugging Face checkpoint")
    has_pickle = allow_pickle and any(folder.glob("pytorch_model*.bin"))
    if not has_pickle and not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder} has no *.safetensors; pickled weights are not read")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises many types here
        raise ModelError(f"{folder}/config.json: {' '.join(str(error).split())[:200]}") from error
    if getattr(config, "quantization_config", None):
        raise ModelError(f"{folder} is quantized; bring the weights it was made from")
    return config


def load_checkpoint(folder: Path, kind: str, n_tokens: int | None = None) -> Any:
    """Load a checkpoint's model in fp32, from safetensors only.

    Args:
        folder: Where it is.
        kind: `causal` or `masked`.
        n_tokens: Rows of the embedding, where more are wanted than it has: new ones are the mean
            of its own, and so are those of the head.

    Raises:
        ModelError: The weights are missing, not safetensors, or do not fit the configuration.
    """
    import torch

    quiet()
    try:
        model, info = auto_class(kind).from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many types here
        raise ModelError(f"{folder}: {' '.join(str(error).split())[:200]}") from error
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{folder} lacks {len(missing)} tensors of a {kind} model, e.g. {missing[0]}"
        )
    return model if n_tokens is None else _with_rows(model, kind, n_tokens)


def _with_rows(model: Any, kind: str, n_tokens: int) -> Any:
    """Return a model with more tokens."""
    import torch

    config = copy.deepcopy(model.config)
    config.vocab_size = n_tokens
    larger = fresh_model(config, kind, 0)
    own = tensors_of(model)
    with torch.no_grad():
        for name, tensor in tensors_of(larger).items():
            if tensor.shape != own[name].shape:  # embedding and head, with bias
                tensor.copy_(own[name].mean(dim=0).expand_as(tensor))
            tensor[: len(own[name])].copy_(own[name])
    return larger


def checkpoint_digest(folder: Path) -> str:
    """Return a hash of the configuration and the weights of a checkpoint."""
    files = sorted([folder / "config.json", *folder.glob("*.safetensors")])
    return digest([[path.name, file_digest(path)] for path in files])
