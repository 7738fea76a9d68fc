"""What is refused before anything is trained, with its place in the space file."""

import json

import pytest
import torch
from finished import finished

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import ResourceError, RunFolderError, SpaceError
from lagsearch.models.build import fresh_model
from lagsearch.models.configs import build_config
from lagsearch.planning.vocabulary import (
    find_tokenizer,
    vocabulary_of,
    vocabulary_without_data,
)
from lagsearch.report.words.verdict import judge
from lagsearch.running import run

CONFIG = "sources.0.pretrain.config="
ROBERTA = (
    "{model_type: roberta, num_hidden_layers: 3, hidden_size: 16, intermediate_size: 32, "
    "num_attention_heads: 2, max_position_embeddings: %d}"
)
KNOWN_VOCABULARY = (
    "{model_type: llama, vocab_size: 259, num_hidden_layers: 3, hidden_size: 16, "
    "intermediate_size: 32, num_attention_heads: 2, num_key_value_heads: 1, "
    "max_position_embeddings: 32}"
)
MODERNBERT = (
    "{model_type: modernbert, num_hidden_layers: 3, hidden_size: 16, intermediate_size: 32, "
    "num_attention_heads: 2}"
)


def planned(write_space, *overrides):
    return lagsearch.plan(lagsearch.load_space(write_space(), overrides))


def test_room_for_a_sequence_is_counted_as_the_model_counts_it(write_space):
    masked = "objective.name=masked"
    pad = 257  # of the byte tokenizer: RoBERTa begins to count behind it
    fits = planned(write_space, masked, CONFIG + ROBERTA % (pad + 1 + 16))
    assert fits.candidates[0].cost.parameters > 0
    with pytest.raises(SpaceError, match=r"has room for 15 tokens, less than data.sequence_length"):
        planned(write_space, masked, CONFIG + ROBERTA % (pad + 16))


def test_a_target_with_too_few_positions_is_refused(write_space):
    with pytest.raises(SpaceError, match=r"candidates\[0\].*has room for 8 tokens"):
        planned(
            write_space,
            "target={num_hidden_layers: 4, max_position_embeddings: 8}",
            "candidates=[{operator: scratch}]",
        )


def test_layers_that_differ_are_refused_with_the_tensor(write_space):
    with pytest.raises(SpaceError, match=r"candidates\[0\].*attn_norm\.weight has no .* to copy"):
        planned(write_space, "objective.name=masked", CONFIG + MODERNBERT)


def test_a_missing_corpus_is_found_by_the_plan(write_space):
    for part in ("train", "validation"):
        with pytest.raises(SpaceError, match=rf"data\.{part}.*nowhere\.txt: no such file"):
            planned(write_space, f"data.{part}={{files: [nowhere.txt]}}")


@pytest.mark.parametrize("at", ["training", "sources.0.pretrain"])
def test_an_optimizer_that_torch_lacks_is_refused_at_its_key(write_space, monkeypatch, at):
    monkeypatch.delattr(torch.optim, "Lion", raising=False)
    key = at.replace(".", r"\.").replace(r"\.0", r"\[0\]")
    with pytest.raises(SpaceError, match=rf'{key}\.optimizer\.name "lion": torch .* has no Lion'):
        planned(write_space, f"{at}.optimizer={{name: lion}}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sources.0.pretrain.config.model_type=[llama]", "model_type is required"),
        ("training.optimizer.lr=.inf", "finite number"),
        ("resources.gpus_per_candidate=1.5", "must then be a whole number"),
    ],
)
def test_values_that_make_no_sense(write_space, override, message):
    with pytest.raises(SpaceError, match=message):
        planned(write_space, override)


def test_new_parameters_need_some_beside_the_sources_own(write_space):
    """All that sources put side by side have is their own; `scratch` has nothing of any."""
    asked = "training.new_parameters={lr_scale: 0.5}"
    message = "training.new_parameters.*: changes nothing: no candidate has new parameters beside"
    whole = "candidates=[{operator: multi-stack, order: a b}, {operator: scratch}]"
    config = "{model_type: llama, num_hidden_layers: 3, hidden_size: 16, num_attention_heads: 2}"
    pretrain = f"{{config: {config}, steps: 4}}"
    sources = [
        f"sources=[{', '.join(f'{{name: {each}, pretrain: {pretrain}}}' for each in 'ab')}]",
        "target={num_hidden_layers: 6}",
        "search.single_model_control=false",
    ]
    with pytest.raises(SpaceError, match=message):
        planned(write_space, asked, whole, *sources)
    planned(write_space, whole, *sources)
    planned(write_space, asked, "candidates=[{operator: scratch}]")
    planned(write_space, asked, "candidates=[{operator: scratch}, {operator: stack}]",
            "target={num_hidden_layers: 6}")  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 3", "seed: !odd 3", r"space\.yaml:2: tags"),
        ("seed: 3", "seed: 3\nbase: &b {steps: 1}\nmore:\n  <<: *b", r"space\.yaml:4: merge keys"),
        ("seed: 3", "seed: 3\x07", r"space\.yaml:1: not valid YAML"),
        ("seed: 3", "seed: 3\nseed: 4", r"space\.yaml:3: found duplicate key"),
    ],
)
def test_yaml_that_a_space_has_no_use_for(write_space, old, new, message):
    with pytest.raises(SpaceError, match=message) as caught:
        lagsearch.load_space(write_space((old, new)))
    assert "\n" not in str(caught.value)


def test_a_broken_checkpoint_is_refused_before_the_folder_is_made(write_space, tmp_path):
    first = finished(write_space(), tmp_path / "first")
    weights = first.checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    overrides = [
        f"sources=[{{name: mine, checkpoint: {first.checkpoint}}}]",
        "target={num_hidden_layers: 5}",
        "data.tokenizer=bytes",
    ]
    space = lagsearch.load_space(write_space(), overrides)
    with pytest.raises(SpaceError, match=r"sources\[0\]\.checkpoint"):
        lagsearch.run(space, out=tmp_path / "second", serial=True, watch=Watch())
    assert not (tmp_path / "second").exists()


def test_a_source_that_diverges_is_named(write_space, tmp_path):
    space = lagsearch.load_space(
        write_space(), ["sources.0.pretrain.optimizer={name: adamw, lr: 1.0e+30}"]
    )
    from lagsearch.errors import ModelError

    with pytest.raises(ModelError, match=r"source small cannot be trained: step \d+: .* loss is"):
        lagsearch.run(space, out=tmp_path / "run", serial=True, watch=Watch())


class Stop(Watch):
    def __init__(self, at):
        self.left = at

    def progress(self, progress):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_report_of_an_unfinished_search_is_refused(write_space, tmp_path):
    from lagsearch.report.write import write_report

    with pytest.raises(KeyboardInterrupt):
        lagsearch.run(write_space(), out=tmp_path / "run", serial=True, watch=Stop(25))
    with pytest.raises(RunFolderError, match=r"\d of 4 candidates (has|have) not reached step 10"):
        write_report(tmp_path / "run")


def test_a_report_without_weights_names_no_checkpoint(write_space, tmp_path):
    from lagsearch.report.write import write_report

    result = finished(write_space(), tmp_path / "run")
    assert result.report["winner"]["checkpoint"] == "winner"
    (result.checkpoint / "model.safetensors").unlink()
    assert write_report(result.folder)["winner"]["checkpoint"] is None


def test_a_curve_with_a_foreign_line_is_refused(write_space, tmp_path):
    from lagsearch.report.write import write_report

    result = finished(write_space(), tmp_path / "run")
    path = result.folder / "curves" / f"{result.winner}.jsonl"
    path.write_text(path.read_text() + json.dumps({"step": 3, "loss": 1.0}) + "\n")
    with pytest.raises(RunFolderError, match=r"\.jsonl:\d+: neither an evaluation nor a failure"):
        write_report(result.folder)


WIDER = "target={hidden_size: 24, num_attention_heads: 3, intermediate_size: 40}"


def test_a_wider_target_is_planned_with_its_eps(write_space):
    plan = planned(
        write_space, WIDER, "candidates=[{operator: lemon}, {operator: net2net}, {operator: zero}]"
    )
    eps = [each.config["rms_norm_eps"] for each in plan.candidates]
    assert eps == [pytest.approx(1e-6 * 2 / 3), 1e-6, pytest.approx(1e-6 * 2 / 3)]
    assert plan.candidates[0].layer_map.startswith("0 1 2 [residual 16-24, ")
    assert len({each.cost.parameters for each in plan.candidates}) == 1


def test_heads_that_would_change_their_size_are_refused(write_space):
    gpt2 = "{model_type: gpt2, n_layer: 2, n_embd: 16, n_head: 2, n_positions: 32}"
    with pytest.raises(SpaceError, match=r"candidates\[0\].*set n_head to 4"):
        planned(
            write_space,
            CONFIG + gpt2,
            "target={n_embd: 32}",
            "candidates=[{operator: net2net}]",
        )


def test_a_wider_model_goes_on_where_its_source_ended(write_space, tmp_path):
    """Weights and moments are widened in the workers, too."""
    overrides = [WIDER, "candidates=[{operator: lemon}, {operator: zero}, {operator: aki}]"]
    space = lagsearch.load_space(write_space(), overrides)
    lagsearch.run(space, out=tmp_path / "run", serial=True, watch=Watch())
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    losses = {each["operator"]: each["val_loss"] for each in report["candidates"]}
    assert {each["status"] for each in report["candidates"]} == {"ok"}
    assert losses["lemon"]["0"] == pytest.approx(losses["zero"]["0"], abs=1e-5)
    assert abs(losses["aki"]["0"] - losses["zero"]["0"]) > 1e-4


CHECKPOINT = (
    "    pretrain:\n"
    "      config: {model_type: llama, num_hidden_layers: 3, hidden_size: 16, "
    "intermediate_size: 32,\n"
    "                num_attention_heads: 2, num_key_value_heads: 1, "
    "max_position_embeddings: 32}\n"
    "      steps: 20\n"
)


def test_a_checkpoint_that_is_not_there_is_named_at_its_place(write_space):
    path = write_space((CHECKPOINT, "    checkpoint: ./nowhere\n"), ("  tokenizer: bytes\n", ""))
    with pytest.raises(SpaceError, match=r"sources\[0\]\.checkpoint.*there is no such folder"):
        lagsearch.plan(path)


def test_a_home_that_nobody_has_is_no_folder(write_space):
    with pytest.raises(SpaceError, match=r"data\.tokenizer.*there is no tokenizer folder"):
        planned(write_space, "data.tokenizer=~nobodyx/t")
    path = write_space((CHECKPOINT, "    checkpoint: ~nobodyx/c\n"))
    with pytest.raises(SpaceError, match=r"sources\[0\]\.checkpoint.*there is no such folder"):
        lagsearch.plan(path)


def test_a_checkpoint_without_a_tokenizer_says_so(write_space, tmp_path):
    keys = {"model_type": "gpt2", "n_layer": 3, "n_embd": 16, "n_head": 2, "vocab_size": 300}
    fresh_model(build_config(keys), "causal", 0).save_pretrained(tmp_path / "bare")
    path = write_space(
        (CHECKPOINT, f"    checkpoint: {tmp_path / 'bare'}\n"), ("  tokenizer: bytes\n", "")
    )
    with pytest.raises(SpaceError, match=r"has no tokenizer; set data\.tokenizer"):
        lagsearch.plan(path)


def test_sizes_are_planned_without_text_and_tokenizer(write_space):
    known = planned(write_space)
    missing = planned(
        write_space,
        "data.train={hub: nobody/nothing}",
        "data.tokenizer=nobody/no-tokenizer",
        CONFIG + KNOWN_VOCABULARY,
    )
    assert len(missing.notes) == 1
    assert "no-tokenizer" in missing.notes[0]
    costs = [[each.cost for each in plan.candidates] for plan in (known, missing)]
    assert costs[0] == costs[1]


def test_a_tokenizer_that_is_trained_is_not_trained_for_a_plan(write_space, cache):
    plan = planned(write_space, "data.tokenizer={train_bpe: 300}", "objective={name: ul2}")
    assert plan.sources[0].config.vocab_size == 300 + 3 + 2  # modes, and two sentinels
    assert not list(cache.glob("tokenizers/*"))


def test_what_a_plan_knows_of_a_trained_vocabulary_is_what_it_will_be(write_space):
    overrides = ["data.tokenizer={train_bpe: 300}", "objective={name: ul2}"]
    space = lagsearch.load_space(write_space(), overrides)
    guessed, _ = vocabulary_without_data(space)
    assert guessed == vocabulary_of(find_tokenizer(space), space.space)
    assert guessed.added == 5


def test_a_plan_has_rows_for_what_is_added_to_a_trained_vocabulary(write_space, tmp_path):
    keys = {"model_type": "gpt2", "n_layer": 3, "n_embd": 16, "n_head": 2, "vocab_size": 300}
    fresh_model(build_config(keys), "causal", 0).save_pretrained(tmp_path / "bare")
    path = write_space((CHECKPOINT, f"    checkpoint: {tmp_path / 'bare'}\n"))
    overrides = ["data.tokenizer={train_bpe: 300}", "objective={name: ul2}"]
    plan = lagsearch.plan(lagsearch.load_space(path, overrides))
    assert plan.sources[0].n_tokens == 305


@pytest.mark.parametrize("tokenizer", ["{train_bpe: 300}", "characters"])
def test_a_plan_says_what_text_is_missing_for_a_vocabulary(write_space, tokenizer):
    keys = [f"data.tokenizer={tokenizer}", CONFIG + KNOWN_VOCABULARY.replace("259", "300")]
    assert planned(write_space, *keys).notes == ()
    [note] = planned(write_space, *keys, "data.train={files: [gone.txt]}").notes
    assert "data.train" in note
    assert "gone.txt: no such file" in note


def test_a_moving_average_is_charged(write_space):
    learned = "candidates=[{operator: scratch}, {operator: ligo}]"
    plain = planned(write_space, learned)
    averaged = planned(write_space, learned, "evaluation.ema=0.9")
    assert [each.cost for each in averaged.sources] == [each.cost for each in plain.sources]
    for one, two in zip(plain.candidates, averaged.candidates, strict=True):
        assert two.cost.evaluation_flops == 2 * one.cost.evaluation_flops
        assert two.cost.flops_per_step == one.cost.flops_per_step
        assert two.cost.operator_flops == one.cost.operator_flops
    one, two = plain.candidates[0].cost, averaged.candidates[0].cost
    assert two.memory_bytes == one.memory_bytes + 8 * one.parameters


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        (["evaluation.annealed={fraction: 0.25}"], 4 * 3),  # a weight and two moments
        (["evaluation.annealed={fraction: 0.5}", "evaluation.ema=0.9"], 4 * (1 + 3)),  # in turn
        (["evaluation.annealed={fraction: 0.5}", "training.optimizer={name: sgd}"], 4 * 2),
        (["training.precision=bf16"], 2),
    ],
)
def test_what_is_set_aside_and_what_autocast_copies_is_in_the_memory(write_space, keys, numbers):
    plain = planned(write_space, *[each for each in keys if "optimizer" in each]).candidates[0].cost
    found = planned(write_space, *keys).candidates[0].cost
    assert found.memory_bytes == plain.memory_bytes + numbers * plain.parameters


def test_an_optimizer_that_torch_lacks_is_refused(write_space):
    with pytest.raises(SpaceError, match=r"training\.optimizer\.name.*has no Lion"):
        planned(write_space, "training.optimizer.name=lion")
    with pytest.raises(SpaceError, match=r"sources\[0\]\.pretrain\.optimizer\.name.*has no Lion"):
        planned(write_space, "sources.0.pretrain.optimizer={name: lion}")


def test_what_still_fades_in_at_k_is_said_in_plan_and_report(write_space, tmp_path):
    """The space's K is 10; one ramp ends there, one a step later."""
    ramps = "candidates:\n  - {operator: random, ramp_steps: [0, 10, 11]}\n"
    path = write_space(("candidates:\n", ramps))
    (line,) = lagsearch.plan(path).stages[0].remarks
    assert line == (
        "still fading in at K = 10, so that what is new does not count in full there yet: "
        "random-ramp11 (until step 11)."
    )
    report = finished(path, tmp_path / "run").report
    ends = {each["name"]: each.get("fades_until") for each in report["candidates"]}
    assert {name: end for name, end in ends.items() if end} == {
        "random-ramp10": 10,
        "random-ramp11": 11,
    }
    assert f"S{line[1:]}" in judge(report).lines


def test_how_layers_are_computed_is_said_and_counted(write_space):
    plain = planned(write_space)
    again = planned(write_space, "training.gradient_checkpointing=true", "training.compile=true")
    assert plain.stages[0].remarks == ()
    assert [line.partition(":")[0] for line in again.stages[0].remarks] == [
        "gradient checkpointing",
        "layers are compiled, but for candidates that fade something in.",
    ]
    for one, other in zip(plain.candidates, again.candidates, strict=True):
        assert other.cost.memory_bytes < one.cost.memory_bytes
        assert other.cost.flops_per_step == one.cost.flops_per_step


def test_a_compiler_that_is_not_there_is_said_before_anything_runs(
    write_space, tmp_path, monkeypatch
):
    def missing(device):
        raise ResourceError("torch.compile needs a C++ compiler here", ("training", "compile"))

    monkeypatch.setattr(run, "check_compiler", missing)
    path = write_space(("  batch_size: 4", "  batch_size: 4\n  compile: true"))
    with pytest.raises(SpaceError, match=r"space.yaml:\d+: training.compile.*C\+\+ compiler"):
        lagsearch.run(path, out=tmp_path / "run", serial=True, watch=Watch())
    assert not (tmp_path / "run" / "curves").exists()
