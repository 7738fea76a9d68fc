"""Tokenizers of checkpoints without transformers, against those that transformers makes."""

import json

import pytest
import tokenizers as hf
import transformers
from checkpoints import small_vocabulary
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import (
    MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS,
    TOKENIZER_MAPPING_NAMES,
)

from lagsearch.data.tokens.boundaries import boundaries_of
from lagsearch.data.tokens.stored import _WHATEVER_IS_SAID, OF_TYPES, ROLES, stored_tokenizer
from lagsearch.data.tokens.tokenizers import (
    byte_tokenizer,
    character_tokenizer,
    differing_part,
    tokenizer_in,
)
from lagsearch.errors import DataError
from lagsearch.models.families.anatomy import MODEL_TYPES

CLASSES = {
    "GPT2Tokenizer": "gpt2",
    "Qwen2Tokenizer": "qwen2",
    "GPTNeoXTokenizer": "gpt_neox",
    "LlamaTokenizer": "llama",
    "GemmaTokenizer": "gemma2",
    "BertTokenizer": "bert",
    "DistilBertTokenizer": "distilbert",
    "RobertaTokenizer": "roberta",
}


def saved(folder, name, model_type, **keys):
    """Save a tokenizer of a class beside the configuration of a model."""
    kind = "WordPiece" if "Bert" in name else "BPE"
    vocab, merges = small_vocabulary(kind)
    given = {"vocab": vocab, **({"merges": merges} if kind == "BPE" else {}), **keys}
    getattr(transformers, name)(**given).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


def plain(folder, model_type="llama", around=None, **keys):
    """Save a tokenizer that is as its file has it."""
    backend = hf.Tokenizer(hf.models.BPE(*small_vocabulary("BPE")))
    backend.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_special_tokens(["<s>", "</s>"])
    if around:
        numbers = [(each, backend.token_to_id(each)) for each in ("<s>", "</s>")]
        backend.post_processor = TemplateProcessing(single=around, special_tokens=numbers)
    PreTrainedTokenizerFast(tokenizer_object=backend, **keys).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


def asked(tokenizer):
    """Return all that a plan asks of a tokenizer, also with tokens of an objective."""
    found = {role: getattr(tokenizer, f"{role}_token_id") for role in ROLES}
    for separators in ("auto", "none", "bos", "eos", "both"):
        try:
            boundaries = boundaries_of(tokenizer, separators)
            found[separators] = (boundaries.before, boundaries.after, boundaries.words)
        except DataError as error:
            found[separators] = str(error)
    found["vocabulary"] = tokenizer.get_vocab()
    tokenizer.add_tokens(["<one>", "a", "<two>"], special_tokens=True)
    found["with more"] = tokenizer.get_vocab()
    return found


def assert_same(folder):
    found = stored_tokenizer(folder)
    assert found is not None
    assert asked(found) == asked(AutoTokenizer.from_pretrained(folder))


def change(folder, name="tokenizer_config.json", **keys):
    path = folder / name
    whole = json.loads(path.read_text()) if path.exists() else {}
    whole |= keys
    path.write_text(json.dumps({key: each for key, each in whole.items() if each != "gone"}))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_class_of_a_type_is_transformers_own(model_type):
    found = TOKENIZER_MAPPING_NAMES.get(model_type)
    same = {"MistralCommonBackend": "TokenizersBackend"}
    assert OF_TYPES.get(model_type) == same.get(found, found)
    is_incorrect = model_type in MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
    assert (model_type in _WHATEVER_IS_SAID) == is_incorrect


@pytest.mark.parametrize("name", CLASSES)
def test_a_saved_tokenizer_says_what_transformers_says(tmp_path, name):
    folder = saved(tmp_path, name, CLASSES[name])
    assert_same(folder)
    change(folder, bos_token="<s>", cls_token="<s>", sep_token="</s>", pad_token=None)
    if name != "Qwen2Tokenizer":
        assert_same(folder)


@pytest.mark.parametrize("name", CLASSES)
def test_as_older_versions_saved_it(tmp_path, name):
    """Tokens are written in a file of their own, or not at all."""
    folder = saved(tmp_path, name, CLASSES[name])
    whole = json.loads((folder / "tokenizer_config.json").read_text())
    tokens = {key: each for key, each in whole.items() if key.endswith("_token")}
    change(folder, added_tokens_decoder="gone", **dict.fromkeys(tokens, "gone"))
    assert_same(folder)
    tokens["bos_token"] = {"content": "<s>", "lstrip": False, "rstrip": False,
                           "normalized": True, "single_word": False}  # fmt: skip
    change(folder, "special_tokens_map.json", **tokens)
    assert_same(folder)
    change(folder, tokenizer_class=name + "Fast")
    assert_same(folder)


@pytest.mark.parametrize("around", [None, "$A", "<s> $A", "$A </s>", "<s> $A </s>"])
def test_what_is_around_a_text(tmp_path, around):
    assert_same(plain(tmp_path, around=around, bos_token="<s>", eos_token="</s>"))


@pytest.mark.parametrize("name", ["LlamaTokenizer", "GemmaTokenizer", "GPT2Tokenizer"])
def test_what_the_file_says_is_around_a_text(tmp_path, name):
    folder = saved(tmp_path, name, CLASSES[name])
    change(folder, add_bos_token=True, add_eos_token=True)
    assert_same(folder)
    number = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]["<s>"]
    template = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", number)])
    backend = hf.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.post_processor = template
    backend.save(str(folder / "tokenizer.json"))
    assert_same(folder)
    assert boundaries_of(stored_tokenizer(folder), "auto").before == (number,)


@pytest.mark.parametrize("model_type", [*MODEL_TYPES, None])
def test_built_in_tokenizers_beside_any_model(tmp_path, model_type):
    for make in (byte_tokenizer, lambda: character_tokenizer(list("abc"))):
        make().save_pretrained(tmp_path)
        if model_type:
            (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        if stored_tokenizer(tmp_path) is None:  # made by code that has not all of these tokens
            assert model_type == "qwen2"
        else:
            assert_same(tmp_path)


UNUSUAL = {
    "a token that is not in the vocabulary": {"eos_token": "<new>"},
    "one of a further role": {"image_token": "<new>"},
    "one of no role": {"additional_special_tokens": ["<new>"]},
    "another number": {"added_tokens_decoder": {"7": {"content": "<s>"}}},
    "code of its own": {"auto_map": {"AutoTokenizer": ["mine.Tokenizer", None]}},
    "another class": {"tokenizer_class": "XGLMTokenizer"},
    "a token that is none": {"eos_token": {"content": "</s>"}},
    "a number": {"eos_token": 2},
}


@pytest.mark.parametrize("keys", UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_unusual_is_left_to_transformers(tmp_path, keys):
    folder = plain(tmp_path, bos_token="<s>", eos_token="</s>")
    assert stored_tokenizer(folder) is not None
    change(folder, **keys)
    assert stored_tokenizer(folder) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"version": "1.0"}'])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_what_is_damaged_is_left_to_transformers(tmp_path, name, text):
    folder = plain(tmp_path, bos_token="<s>", eos_token="</s>")
    (folder / name).write_text(text)
    assert stored_tokenizer(folder) is None


def test_a_vocabulary_with_gaps_is_left_to_transformers(tmp_path):
    folder = saved(tmp_path, "GPT2Tokenizer", "gpt2")
    path = folder / "tokenizer.json"
    whole = json.loads(path.read_text())
    last = max(whole["model"]["vocab"], key=whole["model"]["vocab"].get)
    whole["model"]["vocab"][last] += 5
    path.write_text(json.dumps(whole))
    assert stored_tokenizer(folder) is None


def test_two_tokenizers_differ_where_transformers_says_so(tmp_path):
    one, same, cased = (
        saved(tmp_path / name, "BertTokenizer", "bert", do_lower_case=name != "cased")
        for name in ("one", "same", "cased")
    )
    change(same, model_max_length=77)
    for other, wanted in ((one, None), (same, None), (cased, "normalizer")):
        loaded = [tokenizer_in(one), tokenizer_in(other)]
        assert differing_part(*loaded) == wanted
        read = [tokenizer_in(each, is_bare=True) for each in (one, other)]
        assert differing_part(*read) == wanted
