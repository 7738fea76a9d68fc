"""A whole run with the UL2 objective, from a checkpoint that lacks its tokens."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import SpaceError
from lagsearch.models.build import fresh_model
from lagsearch.models.configs import build_config

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 3,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "vocab_size": 260,
}


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_checkpoint_gets_rows_for_new_tokens(write_space, tmp_path, is_tied):
    model = fresh_model(build_config({**LLAMA, "tie_word_embeddings": is_tied}), "causal", 0)
    model.save_pretrained(tmp_path / "small")
    space = lagsearch.load_space(
        write_space(),
        [
            f"sources=[{{name: small, checkpoint: {tmp_path / 'small'}}}]",
            "data.tokenizer=bytes",
            "objective={name: ul2}",
            "training.batch_size=5",
            "candidates=[{operator: lag, index: 2, block_size: 1, init: [duplicate, random]}]",
        ],
    )
    plan = lagsearch.plan(space)
    tokens = 259 + 3 + 2  # bytes and special ones; modes; sentinels
    assert plan.sources[0].config.vocab_size == plan.sources[0].n_tokens == tokens
    result = lagsearch.run(space, out=tmp_path / "run", serial=True, watch=Watch())
    winner = AutoModelForCausalLM.from_pretrained(result.checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(result.checkpoint)
    assert winner.get_input_embeddings().weight.shape[0] == tokens
    assert tokenizer.convert_tokens_to_ids(["[NLG]", "<extra_id_1>"]) == [259, 263]
    for each in result.report["candidates"]:
        for step, loss in each["val_loss"].items():
            parts = {name: losses[step] for name, losses in each["val_loss_parts"].items()}
            whole = 0.6 * parts["causal"] + 0.2 * parts["prefix"] + 0.2 * parts["span"]
            assert loss == pytest.approx(whole, rel=1e-6)
    assert "## The parts of the objective" in (result.folder / "report.md").read_text()


def test_new_rows_are_the_mean_of_the_old(tmp_path):
    from lagsearch.models.checkpoints import load_checkpoint

    model = fresh_model(build_config({**LLAMA, "tie_word_embeddings": False}), "causal", 0)
    model.save_pretrained(tmp_path / "small")
    larger = load_checkpoint(tmp_path / "small", "causal", 264)
    for name, tensor in larger.state_dict().items():
        old = model.state_dict()[name]
        assert torch.equal(tensor[: len(old)], old), name
        if tensor.shape != old.shape:
            assert torch.allclose(tensor[len(old) :], old.mean(dim=0).expand(4, -1)), name
    assert larger.config.vocab_size == 264
    inputs = torch.arange(20)[None]
    with torch.no_grad():
        logits = [each.eval()(inputs).logits for each in (model, larger)]
    assert torch.equal(logits[0], logits[1][..., :260])


def test_batches_must_hold_every_part(write_space):
    with pytest.raises(SpaceError, match=r"training\.batch_size 2: is too small"):
        lagsearch.plan(write_space(), overrides=["objective={name: ul2}", "training.batch_size=2"])
