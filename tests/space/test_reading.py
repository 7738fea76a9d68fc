import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lagsearch.data.objectives.ul2 import make_ul2, sizes_too_small
from lagsearch.data.tokens.tokenizers import byte_tokenizer
from lagsearch.errors import SpaceError
from lagsearch.planning.names import check_names
from lagsearch.planning.run import plan
from lagsearch.space import (
    Corpus,
    Data,
    Objective,
    Pretrain,
    Source,
    Space,
    Training,
    dump_space,
    evaluated_rows,
    evaluation_steps,
    expand,
    first_batches,
    load_space,
    log_ladder,
    opened,
    thinned_steps,
)
from lagsearch.space.schema import Ul2Weights

BYTES = byte_tokenizer()


def line_of(path, text):
    lines = path.read_text().splitlines()
    return 1 + next(number for number, line in enumerate(lines) if text in line)


MISTAKES = [
    ("seed: 3", "sead: 3", "sead", "unknown key; did you mean 'seed'"),
    ("  steps: 24", "  stesp: 24", "training.stesp 24", "did you mean 'steps'"),
    ("  steps: 24", "  steps: many", 'training.steps "many"', "must be a valid integer"),
    ("  steps: 24", "  steps: '24'", 'training.steps "24"', "must be a valid integer"),
    ("  steps: 24", "  steps: 0", "training.steps 0", "must be greater than or equal to 1"),
    ("seed: 3", "seed: true", "seed true", "must be a valid integer"),
    ("lr: 3e-3", "lr: -1", "training.optimizer.lr -1", "must be greater than 0"),
    ("name: cosine", "name: cosin", 'schedule.name "cosin"', "'constant', 'linear', 'cosine'"),
    ("name: cosine", "name: cosine, decay_steps: 3", "decay_steps 3", "has no effect"),
    ("name: cosine", "name: cosine, total_steps: 23", "total_steps 23", "less than the 24 steps"),
    (
        "name: cosine",
        "name: cosine, continue: true, total_steps: 43",
        "total_steps 43",
        "less than the 44 steps",
    ),
    ("name: cosine", "name: cosine, continue: 20", "continue 20", "true or false"),
    ("name: cosine", "name: cosine, continued: true", "continued", "did you mean 'continue'"),
    ("name: tiny", "name: ../up", 'name "../up"', "use letters, digits"),
    ("fraction: 0.2", "fraction: 1.5", "data.validation.fraction 1.5", "must be less than 1"),
    ("{lag: 10}", "{lag: 25}", "search.lag 25", "beyond the final step, training.steps 24"),
    ("warmup_steps: 2", "warmup_steps: 99", "warmup_steps 99", "beyond the final step"),
    ("batches: 4", "batches: 4, steps: [1, 50]", "evaluation.steps[1] 50", "beyond the final step"),
    ("index: [0, 2]", "index: []", "candidates[0].index []", "would give no candidate"),
    ("operator: lag, ", "", "candidates[0]", "operator is required"),
    ("model_type: llama, ", "", "sources[0].pretrain.config", "model_type is required"),
    ("{fraction: 0.2}", "{}", "data.validation {}", "exactly one of corpus, files, hub, mixture"),
    ("name: cosine", "name: constant, final_fraction: 0", "final_fraction 0", "has no effect"),
    ("fraction: 0.2", "fraction: 0.2, split: dev", "validation.split", "belongs to a hub dataset"),
    ("fraction: 0.2", "fraction: 0.2, column: x", "validation.column", "hub dataset or files"),
    ("fraction: 0.2", "fraction: 0.2, streaming: true", "streaming", "belongs to a hub dataset"),
    ("fraction: 0.2", "fraction: 0.2, revision: v1", "revision", "belongs to a hub dataset"),
    ("fraction: 0.2", "hub: a/b, documents: lines", "validation.documents", "belongs to files"),
    ("fraction: 0.2", "files: [a], documents: words", "documents", "'files' or 'lines'"),
    ("tokenizer: bytes", "tokenizer: {train_bpe: 259}", "train_bpe 259", "greater than or equal"),
    ("tokenizer: bytes", "tokenizer: {train_bpe: big}", 'train_bpe "big"', "valid integer"),
    ("tokenizer: bytes", "tokenizer: {bpe: 300}", "tokenizer.bpe", "known: train_bpe"),
    ("tokenizer: bytes", "tokenizer: {}", "data.tokenizer.train_bpe", "is required"),
    ("tokenizer: bytes", "tokenizer: 3", "data.tokenizer 3", "string or must be a mapping"),
    (
        "      steps: 20",
        "      corpus: {}\n      steps: 20",
        "pretrain.corpus {}",
        "exactly one of",
    ),
    (
        "      steps: 20",
        "      corpus: {mixture: [{weight: 1, split: x}]}\n      steps: 20",
        "pretrain.corpus.mixture[0]",
        "exactly one of corpus, files, hub",
    ),
    ("{fraction: 0.2}", "{mixture: []}", "data.validation.mixture []", "must list at least 1"),
    (
        "{fraction: 0.2}",
        "{mixture: [{weight: 0, files: [a]}]}",
        "data.validation.mixture[0].weight 0",
        "must be greater than 0",
    ),
    (
        "{fraction: 0.2}",
        "{mixture: [{files: [a]}]}",
        "data.validation.mixture[0].weight",
        "is required",
    ),
    (
        "{fraction: 0.2}",
        "{mixture: [{weight: 1, files: [a]}, {weight: 1e-9, files: [b]}]}",
        "data.validation.mixture[1].weight 1e-09",
        "less than a thousandth of all weights, 1",
    ),
    (
        "{fraction: 0.2}",
        "{mixture: [{weight: 1, files: [a], hub: b/c}]}",
        "data.validation.mixture[0]",
        "exactly one of corpus, files, hub",
    ),
    (
        "{fraction: 0.2}",
        "{mixture: [{weight: 1, mixture: []}]}",
        "data.validation.mixture[0].mixture []",
        "unknown key; known: corpus, files, documents, hub",
    ),
]


@pytest.mark.parametrize(("old", "new", "key", "message"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_a_mistake_names_file_line_key_value_and_what_is_allowed(
    write_space, old, new, key, message
):
    path = write_space((old, new))
    with pytest.raises(SpaceError, match=re.escape(key)) as caught:
        load_space(path)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    line = int(re.match(re.escape(str(path)) + r":(\d+): ", text)[1])
    key_line = line_of(path, new.split("\n")[0] or "index:")
    if "model_type is required" in message:
        key_line = line_of(path, "config:")
    assert line == key_line


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.sequence_length=4"], r"data\.sequence_length 4: is too short: ul2 needs 5 tokens"),
        # of 2 rows the causal part has 1.2, the others 0.4 each: 1, 1 and 0
        (["training.batch_size=2"], r"training\.batch_size 2: is too small: .* be of ul2's span"),
        (
            ["sources.0.pretrain.batch_size=2"],
            r"sources\[0\]\.pretrain\.batch_size 2: is too small: .* be of ul2's span",
        ),
        (["evaluation.batch_size=2"], r"evaluation\.batch_size 2: is too small: .*span"),
        (["evaluation.tokens=99"], r"evaluation\.tokens 99: is too small: .* be of ul2's"),
        (
            ["objective.weights={causal: 98, prefix: 1, span: 1}", "training.batch_size=32"],
            r"training\.batch_size 32: is too small: .* be of ul2's prefix",
        ),
    ],
)
def test_sizes_too_small_for_ul2_are_refused(write_space, overrides, message):
    path = write_space()
    with pytest.raises(SpaceError, match=message):
        check_names(load_space(path, ["objective.name=ul2", *overrides]))


@given(st.lists(st.integers(1, 20), min_size=3, max_size=3), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=40)
def test_ul2_is_refused_where_a_part_would_have_no_validation_row(weights, rows, source_rows):
    """The rule says what the objective would do."""
    parts = dict(zip(("causal", "prefix", "span"), map(float, weights), strict=True))
    pretrain = Pretrain(config={"model_type": "llama"}, steps=1, batch_size=source_rows)
    objective = Objective(name="ul2", weights=Ul2Weights(**parts))
    space = Space(
        name="tiny",
        data=Data(train=Corpus(corpus="python-stdlib")),
        objective=objective,
        sources=(Source(name="small", pretrain=pretrain),),
        target={"num_hidden_layers": 4},
        candidates=({"operator": "stack"},),
        training=Training(steps=1, batch_size=rows),
    )
    made = make_ul2(objective, BYTES, 0, 16)
    are_there = [
        np.bincount(made.parts_of(each, 0, exact=True), minlength=3).min() > 0
        for each in (rows, source_rows)
    ]
    refused = {at for at, _ in sizes_too_small(space)}
    assert (("training", "batch_size") in refused) == (not are_there[0])
    assert (("sources", 0, "pretrain", "batch_size") in refused) == (not are_there[1])


OPTIMIZERS = ("adamw", "adam", "sgd", "adafactor", "muon", "lion")
USED = {
    "betas": ("[0.8, 0.7]", {"adamw", "adam", "lion", "muon"}),
    "eps": ("1e-5", {"adamw", "adam", "muon"}),
    "momentum": ("0.5", {"sgd", "muon"}),
    "weight_decay": ("0.3", set(OPTIMIZERS)),
}


@pytest.mark.parametrize("at", ["training.optimizer", "sources.0.pretrain.optimizer"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_settings_of_another_optimizer_are_refused(write_space, name, at):
    path = write_space()
    for key, (value, names) in USED.items():
        override = f"{at}={{name: {name}, {key}: {value}}}"
        if name in names:
            found = load_space(path, [override]).space
            part = found.training if at.startswith("training") else found.sources[0].pretrain
            assert part.optimizer.model_dump()[key] != type(part.optimizer)().model_dump()[key]
            continue
        message = rf"{key} {re.escape(value)}: has no effect with the optimizer {name}"
        with pytest.raises(SpaceError, match=message.replace("1e\\-5", "1e-05")):
            load_space(path, [override])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_for_the_sources_width_is_for_optimizers_whose_steps_have_its_size(
    write_space, name
):
    override = f"training.optimizer={{name: {name}, lr_tuned_for: source}}"
    if name in ("adamw", "adam", "lion"):
        assert load_space(write_space(), [override]).space.training.optimizer.lr_tuned_for
        return
    with pytest.raises(SpaceError, match=f"has no effect with the optimizer {name}"):
        load_space(write_space(), [override])


def test_a_rate_for_the_sources_width_is_for_wider_candidates(write_space):
    path = write_space(("lr: 3e-3", "lr: 3e-3, lr_tuned_for: source"))
    with pytest.raises(SpaceError, match=r"yaml:\d+: .*lr_tuned_for .* has no effect: no"):
        plan(path)


def test_a_rate_for_the_sources_width_is_no_sources_own(write_space):
    override = "sources[0].pretrain.optimizer={lr_tuned_for: source}"
    with pytest.raises(SpaceError, match=r"lr_tuned_for .*: has no effect on a source"):
        load_space(write_space(), [override])


def test_an_unknown_optimizer_lists_the_known(write_space):
    with pytest.raises(SpaceError, match="'sgd', 'adafactor', 'muon' or 'lion'"):
        load_space(write_space(), ["training.optimizer.name=adagrad"])


@pytest.mark.parametrize(
    ("name", "overrides", "key"),
    [
        ("causal", ["objective.mean_span=2.0"], "mean_span"),
        ("masked", ["objective.mean_span=2.0"], "mean_span"),
        ("masked", ["objective.weights={span: 0.5}"], "weights"),
        ("ul2", ["objective.whole_words=true"], "whole_words"),
        ("causal", ["objective.whole_words=true"], "whole_words"),
        ("causal", ["objective.mask_fraction=0.2"], "mask_fraction"),
    ],
)
def test_settings_of_another_objective_are_refused(write_space, name, overrides, key):
    message = rf"objective\.{key} .*: has no effect with the objective {name}"
    with pytest.raises(SpaceError, match=message):
        check_names(load_space(write_space(), [f"objective.name={name}", *overrides]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{}", r"new_parameters.*: changes nothing: give lr_scale, rewarm_steps or"),
        ("{lr_scale: 1.0}", r"new_parameters.*: changes nothing: give lr_scale, rewarm_steps or"),
        ("{lr_scale: 0}", r"lr_scale 0: must be greater than 0"),
        ("{rewarm_steps: 25}", r"rewarm_steps 25: is beyond the final step, training.steps 24"),
        ("{freeze_source_steps: 25}", r"freeze_source_steps 25: is beyond the final step"),
        ("{freeze: 5}", r"freeze 5: unknown"),
    ],
)
def test_what_new_parameters_cannot_be(write_space, value, message):
    with pytest.raises(SpaceError, match=message):
        load_space(write_space(), [f"training.new_parameters={value}"])


def test_new_parameters_are_not_written_where_nobody_asks(write_space):
    space = load_space(write_space()).space
    assert space.training.new_parameters is None
    assert "new_parameters" not in dump_space(space)
    asked = load_space(write_space(), ["training.new_parameters={freeze_source_steps: 24}"]).space
    assert "freeze_source_steps: 24" in dump_space(asked)


def test_an_empty_candidate_list_is_refused(write_space):
    path = write_space(
        ("candidates:\n  - {operator: lag, index: [0, 2], block_size: 1, ", "candidates: []\nx: {"),
    )
    with pytest.raises(SpaceError, match=r"candidates \[\]: must list at least 1"):
        load_space(path)


def test_a_missing_file_and_broken_yaml_are_one_line(tmp_path):
    with pytest.raises(SpaceError, match=r"none\.yaml: no such file"):
        load_space(tmp_path / "none.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("name: a\nseed: [1\n")
    with pytest.raises(SpaceError, match=r"broken\.yaml:3: expected"):
        load_space(path)
    path.write_text("name: a\nseed: 1\nseed: 2\n")
    with pytest.raises(SpaceError, match=r'broken\.yaml:3: found duplicate key "seed"'):
        load_space(path)
    path.write_text("- 1\n")
    with pytest.raises(SpaceError, match="a space file is a mapping"):
        load_space(path)


def test_two_sources_of_one_name_are_refused(write_space):
    more = "target:"
    path = write_space((more, "  - {name: small, checkpoint: here}\ntarget:"))
    with pytest.raises(SpaceError, match=r"sources\[1\]\.name \"small\": is the name of another"):
        load_space(path)


def test_overrides_win_and_errors_name_them(write_space):
    path = write_space()
    space = load_space(path, ["training.steps=50", "candidates.0.index=1", "seed=7"]).space
    assert (space.training.steps, space.candidates[0]["index"], space.seed) == (50, 1, 7)
    with pytest.raises(SpaceError, match=r"^--set training\.stesp=3: training\.stesp 3: unknown"):
        load_space(path, ["training.stesp=3"])
    with pytest.raises(SpaceError, match="write key=value"):
        load_space(path, ["training.steps"])
    with pytest.raises(SpaceError, match="'9' leads nowhere: a list of 1"):
        load_space(path, ["candidates.9.index=1"])
    with pytest.raises(SpaceError, match=r"^--lag 999: search\.lag 999: is beyond the final step"):
        opened(load_space(path), {"--lag 999": "search.lag=999"})


def test_flags_leave_the_loaded_space_as_it_was(write_space):
    file = load_space(write_space())
    assert opened(file, {"--lag 5": "search.lag=5"}).space.search.lag == 5
    assert file.space.search.lag == 10
    assert file.plain["search"] == {"lag": 10}


@pytest.mark.parametrize("override", ["training.gradient_clip=null", "seed=9", "search.lag=null"])
def test_a_dumped_space_reads_back_as_the_same(write_space, tmp_path, override):
    space = load_space(write_space(), [override]).space
    again = tmp_path / "again.yaml"
    again.write_text(dump_space(space))
    assert load_space(again).space == space


def test_a_list_of_values_means_one_candidate_each(write_space):
    entries = list(expand(load_space(write_space()).space))
    settings = [tuple(entry.settings.values()) for entry in entries]
    assert settings == [
        (0, 1, "duplicate"),
        (0, 1, "random"),
        (2, 1, "duplicate"),
        (2, 1, "random"),
    ]
    assert {entry.at for entry in entries} == {("candidates", 0)}


def test_the_ladder_holds_zero_k_and_completion(write_space):
    space = load_space(write_space(), ["training.steps=730", "search.lag=130"]).space
    steps = (0, 1, 2, 5, 10, 20, 50, 100, 130, 150, 200, 300, 500, 700, 730)
    assert evaluation_steps(space) == steps
    listed = load_space(write_space(), ["evaluation.steps=[3, 7]"]).space
    assert evaluation_steps(listed) == (0, 3, 7, 10, 24)
    assert log_ladder(3) == (0, 1, 2)


LADDER = ["training.steps=1000", "evaluation.batches=16"]


@pytest.mark.parametrize(
    ("more", "thinned"),
    [
        (["search.lag=200"], {1, 2, 5, 10, 20}),  # before 200 / 4
        (["search.lag=201"], {1, 2, 5, 10, 20, 50}),
        (["evaluation.thin=false"], set()),
        (["search.lag=auto"], set()),
        (["search.strategy=race"], set()),
        (["search.strategy=finalists"], {1, 2, 5, 10, 20}),
        (["search.signal=trend"], {1, 2, 5, 10, 20}),
        (["evaluation.annealed={at: [10, 200]}", "search.signal=annealed"], {1, 2, 5, 20}),
        (["evaluation.steps=[10, 40]"], {10}),  # 40 is the last up to half of K
        (["evaluation.steps=[50, 100]"], set()),
    ],
)
def test_early_steps_are_thinned_where_nothing_is_decided(write_space, more, thinned):
    path = write_space(("{lag: 10}", "{lag: 200}"))
    assert load_space(path, LADDER).space.search.lag == 200
    space = load_space(path, [*LADDER, *more]).space
    assert thinned_steps(space) == thinned


def test_a_quarter_of_the_batches_is_measured_but_four_at_least():
    assert [first_batches(n) for n in (1, 4, 7, 8, 16, 17, 32)] == [1, 4, 7, 4, 4, 5, 8]


def test_an_evaluation_takes_no_more_tokens_than_it_may(write_space):
    """Batches stay, and have fewer sequences: 4 batches of 16 tokens a sequence and 8 rows."""
    base = ["data.sequence_length=16", "training.batch_size=8", "evaluation.batches=4"]

    def rows(*more):
        return evaluated_rows(load_space(write_space(), [*base, *more]).space, 8)

    assert rows() == 8
    assert rows("evaluation.tokens=512") == 8
    assert rows("evaluation.tokens=511") == 7
    assert rows("evaluation.tokens=1") == 1
    assert rows("evaluation.batch_size=20") == 20
    assert rows("evaluation.batch_size=20", "evaluation.tokens=640") == 10


def test_the_tokenizer_left_out_is_the_checkpoints_own(write_space):
    path = write_space(("  tokenizer: bytes\n", ""))
    assert load_space(path).space.tokenizer == "bytes"
    space = load_space(path, ["sources=[{name: a, checkpoint: some/model}]"]).space
    assert space.tokenizer == "some/model"


def test_a_source_has_nothing_to_continue(write_space):
    path = write_space(
        ("      steps: 20\n", "      steps: 20\n      schedule: {continue: true}\n"),
    )
    message = r":15: sources\[0\]\.pretrain\.schedule\.continue true: belongs to training"
    with pytest.raises(SpaceError, match=message):
        load_space(path)


def test_a_schedule_of_its_own_beside_one_that_continues(write_space):
    path = write_space(
        ("      steps: 20\n", "      steps: 20\n      schedule: {name: linear}\n"),
        ("name: cosine", "name: cosine, continue: true"),
    )
    with pytest.raises(SpaceError, match=r"pretrain\.schedule .*leave it out"):
        load_space(path)


def test_continue_is_written_out_as_it_is_read(write_space):
    file = load_space(write_space(("name: cosine", "name: cosine, continue: true")))
    assert file.space.training.schedule.continued is True
    text = dump_space(file.space)
    assert "continue: true" in text and "continued" not in text


OWN = "sources.0.pretrain.corpus={files: [a.txt]}"
TWO = "sources=[{name: a, pretrain: {config: {model_type: x}, steps: 1, corpus: {files: [a]}}},"


def test_training_text_may_be_left_out_where_every_source_has_its_own(write_space):
    space = load_space(write_space(), ["data.train=null", OWN]).space
    assert space.data.train is None
    assert space.sources[0].pretrain.corpus.files == ("a.txt",)
    lost = [
        [],
        [f"{TWO} {{name: b, checkpoint: c}}]"],
        [f"{TWO} {{name: b, pretrain: {{config: {{model_type: x}}, steps: 1}}}}]"],
        ["sources=[{name: b, checkpoint: c}, {name: d, checkpoint: e}]"],
    ]
    for overrides, name in zip(lost, ["small", "b", "b", "b"], strict=True):
        message = rf"data\.train.*is required: source {name} has no pretrain\.corpus of its own"
        with pytest.raises(SpaceError, match=message):
            load_space(write_space(), ["data.train=null", *overrides])


def test_what_is_written_out_can_be_read_again(write_space, tmp_path):
    overrides = [
        "data.train={mixture: [{weight: 2, corpus: python-stdlib}, {weight: 1, hub: a/b}]}",
        "data.separators=false",
        OWN,
    ]
    space = load_space(write_space(), overrides).space
    again = tmp_path / "again.yaml"
    again.write_text(dump_space(space))
    assert load_space(again).space == space
