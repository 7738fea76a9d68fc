"""What a checkpoint says of itself, and the targets that follow from it."""

import json

import pytest
from transformers import AutoConfig

from lagsearch.data.tokens.tokenizers import byte_tokenizer
from lagsearch.errors import ModelError
from lagsearch.init.checkpoint import inspect_checkpoint, rate_of
from lagsearch.init.draft import space_name, target_of
from lagsearch.models.build import fresh_model
from lagsearch.models.configs import build_config

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 5,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 259,
    "max_position_embeddings": 64,
}
GPT2 = {"model_type": "gpt2", "n_layer": 4, "n_embd": 32, "n_head": 4, "vocab_size": 259}
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "vocab_size": 259,
}
NO_TENSORS = (2).to_bytes(8, "little") + b"{}"


@pytest.fixture
def opened(tmp_path):
    def make(keys, kind="causal", name="mine"):
        folder = tmp_path / name
        fresh_model(build_config(keys), kind, 0).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        return inspect_checkpoint(str(folder))

    return make


@pytest.mark.parametrize(
    ("keys", "kind"), [(LLAMA, "causal"), (GPT2, "causal"), (BERT, "masked"), (BERT, "causal")]
)
def test_the_kind_is_that_of_the_saved_class(opened, keys, kind):
    # BertLMHeadModel is causal, though most BERT models are not
    keys = {**keys, "is_decoder": True} if keys is BERT and kind == "causal" else keys
    assert opened(keys, kind).kind == kind


def test_a_sequence_to_sequence_model_is_refused(tmp_path):
    config = AutoConfig.for_model("t5", num_layers=2, d_model=16, d_ff=16, vocab_size=259)
    config.architectures = ["T5ForConditionalGeneration"]
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"T5For.* neither a causal nor a masked language model"):
        inspect_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("ElectraForMaskedLM", "masked"),
        ("ElectraModel", "masked"),
        ("ElectraForPreTraining", None),
    ],
)
def test_a_discriminator_is_no_masked_language_model(tmp_path, architecture, kind):
    sizes = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 24}
    config = AutoConfig.for_model("electra", num_attention_heads=2, vocab_size=259, **sizes)
    config.architectures = [architecture]
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(NO_TENSORS)
    byte_tokenizer().save_pretrained(tmp_path)
    if kind is not None:
        assert inspect_checkpoint(str(tmp_path)).kind == kind
        return
    with pytest.raises(ModelError, match=r"ElectraForPreTraining is a discriminator.* bring its"):
        inspect_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("rates", "value", "words"),
    [
        ([0.0, 6e-4, 3e-4], 3e-4, "its last rate in trainer_state.json"),
        ([1e-5, 6e-4, 1e-9], 6e-5, "a tenth of its peak rate in trainer_state.json"),
    ],
)
def test_the_rate_is_that_of_the_trainer(opened, rates, value, words):
    checkpoint = opened(LLAMA)
    history = [{"learning_rate": rate, "step": step} for step, rate in enumerate(rates)]
    state = {"log_history": [*history, {"eval_loss": 2.0}], "global_step": len(rates)}
    (checkpoint.folder / "trainer_state.json").write_text(json.dumps(state))
    rate = rate_of(checkpoint)
    assert rate.value == pytest.approx(value)
    assert words in rate.why


@pytest.mark.parametrize("text", [None, "{", '{"log_history": []}', '{"log_history": [1]}', "[]"])
def test_without_a_trainers_state_it_is_a_tenth_of_the_usual_peak(opened, text):
    checkpoint = opened(LLAMA)
    if text is not None:
        (checkpoint.folder / "trainer_state.json").write_text(text)
    rate = rate_of(checkpoint)
    assert rate.value == pytest.approx(1e-4)  # Pythia's smallest models: 1e-3
    assert "0.001" in rate.why
    assert "2304.01373" in rate.why
    assert rate_of(opened(BERT, "masked", "bert")).value == pytest.approx(1e-5)


def test_the_usual_depth_is_half_as_many_more(opened):
    assert target_of(opened(LLAMA), None, None) == {"num_hidden_layers": 8}
    assert target_of(opened(GPT2, name="gpt2"), None, None) == {"n_layer": 6}
    assert target_of(opened(GPT2, name="other"), 7, None) == {"n_layer": 7}


def test_widths_grow_in_proportion(opened):
    checkpoint = opened(LLAMA)
    wide = {"hidden_size": 96, "num_attention_heads": 12, "num_key_value_heads": 6}
    assert target_of(checkpoint, None, 96) == {**wide, "intermediate_size": 258}
    both = {**target_of(checkpoint, None, 96), "num_hidden_layers": 6}
    assert target_of(checkpoint, 6, 96) == both
    assert space_name(checkpoint, {"hidden_size": 96}) == "mine-to-96"
    assert space_name(checkpoint, both) == "mine-to-6x96"
    assert target_of(opened(GPT2, name="gpt2"), None, 64) == {"n_embd": 64, "n_head": 8}


@pytest.mark.parametrize(
    ("layers", "hidden", "message"),
    [
        (5, None, "--layers 5: .* has 5 layers already; give more, e.g. 10"),
        (3, None, "--layers 3: .* has 5 layers already"),
        (5000, None, "--layers 5000: .* has 5 layers; give 80 at most, e.g. 10"),
        (None, 64, "--hidden 64: .* is 64 wide already; give more, e.g. 128"),
        (None, 65536, "--hidden 65536: .* is 64 wide; give 1024 at most, e.g. 128"),
        (None, 70, "--hidden 70: .*grows by 16 at a time; give 80"),
        (None, 90, "--hidden 90: .*grows by 16 at a time; give 80 or 96"),
    ],
)
def test_a_target_that_cannot_be_says_what_can(opened, layers, hidden, message):
    with pytest.raises(ModelError, match=message):
        target_of(opened(LLAMA), layers, hidden)
