"""A checkpoint's tokenizer as far as a plan asks for it, from its files: without transformers.

transformers makes some tokenizers as `tokenizer.json` has them, and others of its vocabulary and
of code of their own: what a plan asks for is the same where the files are as such tokenizers are
saved. Whatever is not, or is wrong, is left to transformers. A test compares the two.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""What special tokens there may be one of each."""

_AROUND = "a"  # any text that is no token of a template


@dataclass(frozen=True)
class _Kind:
    """What a class of tokenizers has beside its files.

    Attributes:
        model: The kind of `tokenizer.json`'s model that it takes; None for any, as it is there.
        special: Tokens by their roles, where the files have none.
        around: What it puts around a text: that which `tokenizer.json` says, nothing at all, or
            the tokens of two roles.
    """

    model: str | None = None
    special: Mapping[str, str] = field(default_factory=dict)
    around: tuple[str, str] | tuple[()] | None = None


def _end(*roles: str, **others: str) -> dict[str, str]:
    return {**dict.fromkeys(roles, "<|endoftext|>"), **others}


_BERT = _Kind(
    "WordPiece",
    {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"},
    ("cls", "sep"),
)
_ROBERTA = {"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>"}
_GEMMA = {"unk": "<unk>", "bos": "<bos>", "eos": "<eos>", "pad": "<pad>", "mask": "<mask>"}
_AS_IT_IS = "TokenizersBackend"

_KINDS: Mapping[str, _Kind] = {
    _AS_IT_IS: _Kind(),
    "GPT2Tokenizer": _Kind("BPE", _end("unk", "bos", "eos")),
    "Qwen2Tokenizer": _Kind("BPE", _end("unk", "eos", "pad")),
    "GPTNeoXTokenizer": _Kind("BPE", _end("unk", "bos", "eos", pad="<|padding|>"), ()),
    "LlamaTokenizer": _Kind("BPE", {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}),
    "GemmaTokenizer": _Kind("BPE", _GEMMA),
    "BertTokenizer": _BERT,
    "DistilBertTokenizer": _BERT,
    "RobertaTokenizer": _Kind(
        "BPE", {**_ROBERTA, "pad": "<pad>", "mask": "<mask>"}, ("cls", "sep")
    ),
}

OF_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("gpt2", "phi", "starcoder2"), "GPT2Tokenizer"),
    **dict.fromkeys(("qwen2", "qwen3"), "Qwen2Tokenizer"),
    **dict.fromkeys(("gemma2", "gemma3_text"), "GemmaTokenizer"),
    **dict.fromkeys(("bert", "distilbert"), "BertTokenizer"),
    **dict.fromkeys(("granite", "mistral", "olmo2", "phi3"), _AS_IT_IS),
    "gpt_neox": "GPTNeoXTokenizer",
    "roberta": "RobertaTokenizer",
}
"""The class that transformers has for a type of model; types that are not here have none."""

_WHATEVER_IS_SAID = ("qwen2", "phi3")
"""Types for which it takes that class whatever the files say."""

_UNUSUAL = (
    *("auto_map", "fast_tokenizer_files", "from_slow", "gguf_file", "init_inputs"),
    *("tokenizer_object", "tokenizer_file", "post_processor", "model_specific_special_tokens"),
    *("fix_mistral_regex", "vocab", "merges"),
)
"""Keys of `tokenizer_config.json` that make something else of the files."""


class BareTokenizer:
    """A tokenizer as far as a plan asks for it: without transformers.

    Args:
        backend: Of the library `tokenizers`.
        special: Special tokens by their roles.
    """

    def __init__(self, backend: Any, special: Mapping[str, str]) -> None:
        self.backend_tokenizer = backend
        for role in ROLES:
            token = special.get(role)
            setattr(self, f"{role}_token_id", token and backend.token_to_id(token))

    def get_vocab(self) -> dict[str, int]:
        """Return the number of each token."""
        return dict(self.backend_tokenizer.get_vocab())

    def add_tokens(self, tokens: list[str], *, special_tokens: bool) -> None:
        """Add special tokens behind all others."""
        self.backend_tokenizer.add_special_tokens(tokens)

    def convert_ids_to_tokens(self, numbers: list[int]) -> list[str]:
        """Return tokens by their numbers."""
        return [self.backend_tokenizer.id_to_token(number) for number in numbers]


class StoredTokenizer(BareTokenizer):
    """One that is read from its files.

    Args:
        folder: Where it is.
        backend: As `tokenizer.json` has it, with what its class puts around a text.
        special: Special tokens by their roles.
        made_of: What decides its steps where its class has code for them: two are the same where
            this and `tokenizer.json` are. None where its steps are those of `tokenizer.json`.
    """

    def __init__(
        self, folder: Path, backend: Any, special: Mapping[str, str], made_of: object
    ) -> None:
        super().__init__(backend, special)
        self.folder, self.made_of = folder, made_of


def stored_tokenizer(folder: Path) -> StoredTokenizer | None:
    """Read a checkpoint's tokenizer, or return None where it is not as usual."""
    import tokenizers as hf

    try:
        file = (folder / "tokenizer.json").read_text(encoding="utf-8")
        whole, config = json.loads(file), _told(folder)
        name = _class_of(_read(folder, "config.json"), config, file)
        kind = _KINDS.get(name or "")
        if kind is None or (folder / "tekken.json").exists():
            return None
        special = _special(kind, config)
        if special is None or not _is_usual(whole, kind, config, special):
            return None
        backend = hf.Tokenizer.from_str(file)
        if not _has_all(backend, whole, config, special):
            return None
        if kind.around is not None:
            backend.post_processor = _template(backend, special, kind.around)
    except Exception:  # transformers says what is wrong with it; tokenizers raises many types
        return None
    made_of = None if kind.model is None else [name, config, special]
    return StoredTokenizer(folder, backend, special, made_of)


def _read(folder: Path, name: str) -> dict[str, Any]:
    """Return what a file of a folder says; nothing where there is none.

    Raises:
        ValueError: It is not a table.
    """
    path = folder / name
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no table")
    return found


def _class_of(model: Mapping[str, Any], config: Mapping[str, Any], file: str) -> str | None:
    """Return the class that transformers takes; None where that is not known.

    Args:
        model: The model's configuration.
        config: The tokenizer's.
        file: The text of `tokenizer.json`.
    """
    model_type = model.get("model_type")
    written = config.get("tokenizer_class") or model.get("tokenizer_class")
    usual = OF_TYPES.get(str(model_type))
    if model_type is not None and not isinstance(model_type, str):
        return None
    if usual is not None and (model_type in _WHATEVER_IS_SAID or usual == _AS_IT_IS):
        return usual
    if written is None:
        return usual if model_type else None
    if not isinstance(written, str):
        return None
    if written in ("PreTrainedTokenizerFast", _AS_IT_IS):
        return _AS_IT_IS
    name = written.removesuffix("Fast")
    if name == "LlamaTokenizer" and '"ByteLevel"' in file:
        return _AS_IT_IS
    return name


def _told(folder: Path) -> dict[str, Any]:
    """Return what is said of a tokenizer beside `tokenizer.json`, also as older versions wrote it.

    Raises:
        ValueError: It is said in an unusual way.
    """
    config = _read(folder, "tokenizer_config.json")
    if any(isinstance(each, dict) and "content" in each and "__type" not in each
           for each in config.values()):  # fmt: skip
        raise ValueError("a token is not written as one")
    if "added_tokens_decoder" in config:
        return config
    if (folder / "added_tokens.json").exists():
        raise ValueError("added_tokens.json is from before tokenizer.json")
    return config | _read(folder, "special_tokens_map.json")


def _special(kind: _Kind, config: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the special tokens by their roles; None where one is written in an unusual way."""
    special: dict[str, str] = {}
    for role in ROLES:
        found = config.get(f"{role}_token", kind.special.get(role))
        found = found.get("content", "") if isinstance(found, dict) else found
        if found is not None and not (isinstance(found, str) and found):
            return None
        special |= {role: found} if found else {}
    return special


def _is_usual(
    whole: Mapping[str, Any], kind: _Kind, config: Mapping[str, Any], special: Mapping[str, str]
) -> bool:
    """Return whether `tokenizer.json` and the configuration are as they are saved."""
    model, added = whole["model"], whole["added_tokens"]
    if any(config.get(key) for key in _UNUSUAL):
        return False
    if whole.get("padding") is not None and "pad" not in special:
        return False
    if kind.around and not {*kind.around} <= special.keys():
        return False
    if kind.model is None:
        return True
    own = model["vocab"]
    behind = sorted(each["id"] for each in added if each["content"] not in own)
    return (
        model.get("type") == kind.model
        and isinstance(own, dict)
        and sorted(own.values()) == list(range(len(own)))
        and behind == list(range(len(own), len(own) + len(behind)))
        and _are_told(added, own, config)
    )


def _are_told(
    added: list[dict[str, Any]], own: Mapping[str, int], config: Mapping[str, Any]
) -> bool:
    """Return whether the configuration, where it lists tokens that are added, lists all of them."""
    listed = config.get("added_tokens_decoder")
    if listed is None:
        return True
    told = {each["content"] for each in listed.values()}
    return all(each["content"] in told for each in added if each["content"] not in own)


def _has_all(
    backend: Any, whole: Mapping[str, Any], config: Mapping[str, Any], special: Mapping[str, str]
) -> bool:
    """Return whether the vocabulary has all tokens that are spoken of, by their numbers."""
    known = backend.get_vocab()
    numbered = {each["content"]: each["id"] for each in whole["added_tokens"]}
    listed = config.get("added_tokens_decoder") or {}
    numbered |= {each["content"]: int(number) for number, each in listed.items()}
    named = [*special.values(), *_further(config)]
    encoded = backend.encode(_AROUND, add_special_tokens=False).ids
    return (
        len(known) > 1
        and all(known.get(token) == number for token, number in numbered.items())
        and all(token in known for token in named)
        and bool(encoded)
    )


def _further(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield special tokens that have no role of their own.

    Raises:
        ValueError: One is written in an unusual way.
    """
    for key, value in config.items():
        if key in ("additional_special_tokens", "extra_special_tokens"):
            values = list(value.values()) if isinstance(value, dict) else list(value or ())
        elif key.endswith("_token") and key.removesuffix("_token") not in ROLES:
            values = [value] if isinstance(value, str | dict) else []
        else:
            continue
        for each in values:
            found = each.get("content") if isinstance(each, dict) else each
            if not isinstance(found, str):
                raise ValueError(f"{key} holds {each!r}")
            yield found


def _template(backend: Any, special: Mapping[str, str], around: tuple[str, ...]) -> Any:
    """Return what puts the tokens of two roles, or nothing, around a text."""
    from tokenizers.processors import TemplateProcessing

    tokens = [special[role] for role in around]
    single = f"{tokens[0]}:0 $A:0 {tokens[1]}:0" if tokens else "$A:0"
    numbers = [(token, backend.token_to_id(token)) for token in dict.fromkeys(tokens)]
    return TemplateProcessing(single=single, special_tokens=numbers)
