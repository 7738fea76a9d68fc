"""The whole run on a tiny model: numbers, resuming, failing, and checkpoints in and out."""

import json
import math
import re
import shutil
import time

import numpy as np
import pytest
import torch
from finished import finished
from reported import without_times
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

import lagsearch
from lagsearch.data.objectives.masking import Masked, example_seed
from lagsearch.data.tokens.batches import validation_rows
from lagsearch.data.tokens.store import TokenStore
from lagsearch.display.watch import Watch
from lagsearch.errors import NoSurvivorError, RunFolderError, SpaceError
from lagsearch.records.curve import read_curve
from lagsearch.records.folder import PHASES
from lagsearch.space import Schedule
from lagsearch.training import loop
from lagsearch.training.optimizer import learning_rate

GPT2 = (
    "{model_type: llama, num_hidden_layers: 3, hidden_size: 16, intermediate_size: 32,\n"
    "                num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}",
    "{model_type: gpt2, n_layer: 3, n_embd: 16, n_head: 2, n_positions: 32}",
)
BERT = (
    GPT2[0],
    "{model_type: bert, num_hidden_layers: 3, hidden_size: 16, intermediate_size: 32,\n"
    "                num_attention_heads: 2, max_position_embeddings: 32}",
)
MASKED = ("{name: causal}", "{name: masked}")


def run(path, folder, **options):
    return lagsearch.run(path, out=folder, serial=True, watch=Watch(), **options)


class Interrupt(Watch):
    """Raises at a sign of life with a running number."""

    def __init__(self, at):
        self.left = at

    def progress(self, progress):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_run_leaves_what_the_design_says(write_space, tmp_path):
    result = finished(write_space(), tmp_path / "run")
    report = json.loads((result.folder / "report.json").read_text())
    names = {path.name for path in result.folder.iterdir()}
    assert names >= {
        "space.yaml",
        "environment.json",
        "plans.json",
        "curves",
        "report.json",
        "report.md",
        "report.html",
        "tables",
        "figures",
        "schedule.yaml",
        "winner",
    }
    assert not (result.folder / "states").exists()
    assert report["format"] == 1
    assert (report["lag"], report["steps"], report["seeds"]) == (10, 24, [3])
    assert report["oracle"] is None
    ranked = report["candidates"]
    losses = [each["val_loss"]["10"] for each in ranked]
    assert losses == sorted(losses)
    assert [each["rank"] for each in ranked] == [1, 2, 3, 4]
    assert report["winner"]["name"] == ranked[0]["name"]
    assert set(ranked[0]["val_loss"]) == {"0", "1", "2", "5", "10", "20", "24"}
    assert all(set(each["val_loss"]) == {"0", "1", "2", "5", "10"} for each in ranked[1:])
    plans = json.loads((result.folder / "plans.json").read_text())["candidates"]
    per_step = {each["name"]: each["flops_per_step"] for each in plans}
    assert all(each["flops"] == 10 * per_step[each["name"]] for each in ranked)
    cost = report["cost"]
    assert cost["search_flops"] == 10 * sum(per_step.values())
    assert cost["winner_flops"] == 14 * per_step[ranked[0]["name"]]
    assert cost["oracle_flops"] == 24 * sum(per_step.values())
    assert cost["source_flops"] > 0
    assert "figures/loss.png" in (result.folder / "report.md").read_text()
    assert result.checkpoint == result.folder / "winner"
    columns = ["candidate", "seed", "is_baseline", "step", "val_loss", "wall_s", "flops"]
    assert list(result.curves.columns) == columns
    assert len(result.curves.query("not is_baseline")) == 3 * 5 + 7


def test_training_helps_and_source_loss_is_kept_by_growth_with_random_layers_on_top(
    write_space, tmp_path
):
    result = run(write_space(("steps: 20", "steps: 200")), tmp_path / "run")
    source = json.loads((result.folder / "environment.json").read_text())["sources"][0]["val_loss"]
    curves = {each.name: each.val_loss for each in result.candidates}
    assert source < math.log(259) - 1.5
    # a fresh last layer of small weights hardly changes what the source computes
    assert curves["lag-i2-b1-random"][0] == pytest.approx(source, abs=0.1)
    assert all(losses[10] < losses[0] for losses in curves.values())


@pytest.mark.parametrize(
    ("replacements", "model_class"),
    [
        ([], AutoModelForCausalLM),
        ([GPT2], AutoModelForCausalLM),
        ([BERT, MASKED], AutoModelForMaskedLM),
    ],
    ids=["llama", "gpt2", "bert"],
)
def test_the_winner_loads_and_reproduces_its_loss(write_space, tmp_path, replacements, model_class):
    path = write_space(*replacements)
    result = finished(path, tmp_path / "run")
    model = model_class.from_pretrained(result.checkpoint).eval()
    assert model.config.num_hidden_layers == 4
    file = lagsearch.load_space(path)
    [store] = [TokenStore(each) for each in (tmp_path_cache() / "tokens").iterdir()]
    tokenizer = AutoTokenizer.from_pretrained(result.checkpoint)
    assert tokenizer.decode(tokenizer("the loss falls.")["input_ids"]) == "the loss falls."
    losses = []
    for number, rows in enumerate(validation_rows([(store.tokens("validation"), 1.0)], 16, 4, 4)):
        inputs, labels = rows[:, :-1], rows[:, 1:]
        if file.space.objective.name == "masked":
            masked = Masked(0.15, tokenizer.mask_token_id, 259)
            inputs, labels = masked.example(rows, example_seed(3, "validation", number))
        with torch.no_grad():
            logits = model(torch.from_numpy(inputs)).logits
        losses.append(cross_entropy(logits.flatten(0, 1), torch.from_numpy(labels).flatten()))
    reported = result.report["winner"]["val_loss"]["24"]
    assert float(torch.stack(losses).mean()) == pytest.approx(reported, abs=1e-5)


def tmp_path_cache():
    from lagsearch.storage.files import cache_root

    return cache_root()


def test_two_runs_are_bit_equal_and_dropout_is_seeded(write_space, tmp_path):
    path = write_space(GPT2)  # GPT-2 drops 0.1 everywhere
    torch.manual_seed(1)
    first = run(path, tmp_path / "first")
    before = torch.random.get_rng_state()
    torch.manual_seed(2)
    second = run(path, tmp_path / "second")
    assert without_times(first.report) == without_times(second.report)
    torch.manual_seed(2)
    assert torch.equal(torch.random.get_rng_state(), _state_after_seed(2))
    assert before.shape == torch.random.get_rng_state().shape


def _state_after_seed(seed):
    generator = torch.Generator().manual_seed(seed)
    return generator.get_state()


def test_another_seed_is_another_run(write_space, tmp_path):
    first = finished(write_space(), tmp_path / "first")
    second = run(write_space(("seed: 3", "seed: 4")), tmp_path / "second")
    assert without_times(first.report)["candidates"] != without_times(second.report)["candidates"]


def test_a_finished_run_is_not_run_again(write_space, tmp_path, monkeypatch):
    path = write_space()
    first = finished(path, tmp_path / "run")
    checkpoint = (first.checkpoint / "model.safetensors").stat().st_mtime_ns

    def train(job, until):
        raise AssertionError(f"{job.name} trains again")

    monkeypatch.setattr("lagsearch.running.workers.serial.advance", train)
    again = run(path, tmp_path / "run")
    assert without_times(again.report) == without_times(first.report)
    assert (first.checkpoint / "model.safetensors").stat().st_mtime_ns == checkpoint


MORE = [pytest.param(signs, marks=pytest.mark.slow) for signs in (0, 3, 7, 12, 20, 25, 30, 33)]


@pytest.mark.parametrize("signs", [6, 31, *MORE])
def test_an_interrupted_run_ends_as_if_it_had_not_been(write_space, tmp_path, cache, signs):
    path = write_space(GPT2)
    whole = finished(path, tmp_path / "whole").report
    shutil.rmtree(cache / "sources")
    watch = Interrupt(signs)
    with pytest.raises(KeyboardInterrupt):
        lagsearch.run(path, out=tmp_path / "cut", serial=True, watch=watch)
    resumed = run(path, tmp_path / "cut")
    assert without_times(resumed.report) == without_times(whole)


def test_states_saved_in_between_are_used_and_change_nothing(write_space, tmp_path, monkeypatch):
    path = write_space(GPT2)
    whole = without_times(finished(path, tmp_path / "whole").report)
    real = loop.time.perf_counter
    ticks = iter(range(10**9))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: real() + 40.0 * next(ticks))
    steps = []
    real_load = loop.load_state

    def load_state(path, *into):
        steps.append(loop.saved_at(path).step)
        real_load(path, *into)

    monkeypatch.setattr(loop, "load_state", load_state)
    for signs in (15, 15, 15, 10):
        with pytest.raises(KeyboardInterrupt):
            lagsearch.run(path, out=tmp_path / "cut", serial=True, watch=Interrupt(signs))
    resumed = run(path, tmp_path / "cut")
    assert without_times(resumed.report) == whole
    assert any(step not in (0, 10, 20, 24) for step in steps), steps


def test_a_curve_cut_off_in_the_middle_of_a_line_is_mended(write_space, tmp_path):
    path = write_space()
    whole = finished(path, tmp_path / "run")
    curve = tmp_path / "run" / "curves" / f"{whole.candidates[2].name}.jsonl"
    curve.write_text(curve.read_text()[:-40])
    again = run(path, tmp_path / "run")
    assert without_times(again.report) == without_times(whole.report)


def test_an_oracle_on_top_of_a_run_agrees_with_it(write_space, tmp_path):
    path = write_space()
    plain = finished(path, tmp_path / "run")
    oracle = run(path, tmp_path / "run", oracle=True)
    assert oracle.winner == plain.winner
    assert oracle.report["winner"]["val_loss"] == plain.report["winner"]["val_loss"]
    finals = {each.name: each.val_loss[24] for each in oracle.candidates}
    best = min(finals, key=finals.get)
    span = max(finals.values()) - min(finals.values())
    scores = oracle.report["oracle"]
    assert scores["candidate"] == best
    lost = finals[oracle.winner] - finals[best]
    assert scores["regret"]["10"]["value"] == pytest.approx(lost)
    assert scores["relative_regret"]["10"]["value"] == pytest.approx(lost / span)
    assert scores["spearman"]["24"]["value"] == pytest.approx(1)
    rows = {row["name"]: row for row in oracle.report["baselines"]}
    assert set(rows) == {
        "oracle",
        "LAG@10",
        "best at initialization (LAG@0)",
        "last block on top",
        "random block on top",
    }
    assert rows["last block on top"]["candidate"] == "lag-i2-b1-duplicate"
    assert rows["random block on top"]["candidate"] == "lag-i2-b1-random"
    assert rows["oracle"]["regret"] == 0
    figures = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {
        "loss",
        "early_and_final",
        "recall_and_regret",
        "first_steps",
        "rank_correlation",
        "importance",
        "loss_and_flops",
    }
    # and the plain command afterwards neither loses the oracle nor trains again
    third = run(path, tmp_path / "run")
    assert without_times(third.report) == without_times(oracle.report)


def test_the_schedule_repeats_the_winner(write_space, tmp_path):
    whole = finished(write_space(), tmp_path / "run")
    replay = run(tmp_path / "run" / "schedule.yaml", tmp_path / "replay")
    assert [each.name for each in replay.candidates] == [whole.winner]
    assert replay.report["winner"]["val_loss"] == whole.report["winner"]["val_loss"]


def test_who_ended_best_can_be_trained_again_alone(write_space, tmp_path):
    folder = tmp_path / "run"
    whole = finished(write_space(("search: {lag: 10}", "search: {lag: 1}")), folder, oracle=True)
    best = min(whole.candidates, key=lambda each: each.val_loss[24])
    assert best.name != whole.winner
    assert "best.yaml" in (folder / "report.md").read_text()
    alone = run(folder / "best.yaml", tmp_path / "alone")
    assert [each.name for each in alone.candidates] == [best.name]
    assert alone.candidates[0].val_loss[24] == best.val_loss[24]
    assert (tmp_path / "alone" / "winner").is_dir()
    later = finished(write_space(("search: {lag: 10}", "search: {lag: 24}")), tmp_path / "later")
    assert later.winner == best.name
    assert not (tmp_path / "later" / "best.yaml").exists()


@pytest.mark.usefixtures("trained")
def test_the_resolved_space_repeats_the_run(write_space, tmp_path):
    first = run(write_space(), tmp_path / "first", lag=5)
    again = run(tmp_path / "first" / "space.yaml", tmp_path / "again")
    assert without_times(first.report) == without_times(again.report)


def test_a_changed_space_on_an_old_folder_is_refused(write_space, tmp_path):
    finished(write_space(), tmp_path / "run")
    before = (tmp_path / "run" / "space.yaml").read_text()
    changed = write_space(("steps: 24", "steps: 30"), name="changed.yaml")
    with pytest.raises(RunFolderError, match=r"training\.steps is 24 there and 30 here"):
        run(changed, tmp_path / "run")
    assert (tmp_path / "run" / "space.yaml").read_text() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="has files, but is no run folder"):
        run(write_space(), tmp_path / "other")


@pytest.mark.parametrize("write", ["write_space", "write_stages"])
def test_a_space_that_a_person_wrote_is_not_written_over(request, tmp_path, write):
    """Not even where it is the one that is run."""
    space = request.getfixturevalue(write)()
    own = tmp_path / "own"
    own.mkdir()
    mine = shutil.copy(space, own / "space.yaml")
    before = mine.read_bytes()
    with pytest.raises(RunFolderError, match=r"own: has a space\.yaml that no run wrote; choose"):
        lagsearch.run(mine, out=own, serial=True, watch=Watch())
    assert mine.read_bytes() == before
    assert {each.name for each in own.iterdir()} <= {"space.yaml", "run.lock"}


@pytest.mark.parametrize("write", ["write_space", "write_stages"])
def test_a_run_that_was_killed_behind_its_first_write_goes_on(request, tmp_path, write):
    from lagsearch.records.folder import RunFolder
    from lagsearch.space import dump_yaml, load_space

    file = load_space(request.getfixturevalue(write)())
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.space_file.write_text(dump_yaml(file.written_out()))
    assert folder.agree(file).written_out() == file.written_out()


def test_two_processes_do_not_share_a_folder(write_space, tmp_path):
    from lagsearch.records.folder import RunFolder

    finished(write_space(), tmp_path / "run")
    lock = RunFolder(tmp_path / "run").lock()
    with pytest.raises(RunFolderError, match="another process is running in it"):
        run(write_space(), tmp_path / "run")
    lock.release()
    run(write_space(), tmp_path / "run")


@pytest.mark.usefixtures("trained")
def test_a_diverged_candidate_is_ranked_last_and_named(write_space, tmp_path, monkeypatch):
    path = write_space()
    names = [each.name for each in lagsearch.plan(path).candidates]
    _poison(monkeypatch, {names[1]: 4})
    result = run(path, tmp_path / "run")
    last = result.report["candidates"][-1]
    assert (last["name"], last["status"], last["rank"]) == (names[1], "failed", 4)
    assert last["failure"] == "step 4: the training loss is nan"
    assert names[1] in (tmp_path / "run" / "report.md").read_text().split("## Ranking")[0]
    monkeypatch.undo()


@pytest.mark.usefixtures("trained")
def test_a_winner_that_diverges_after_k_gives_way_to_the_next(write_space, tmp_path, monkeypatch):
    path = write_space()
    order = [each.name for each in finished(path, tmp_path / "first").candidates]
    _poison(monkeypatch, {order[0]: 15})
    result = run(path, tmp_path / "second")
    assert result.winner == order[1]
    assert [each.name for each in result.candidates] == [*order[1:], order[0]]


@pytest.mark.usefixtures("trained")
def test_no_survivor_has_exit_code_3(write_space, tmp_path, monkeypatch):
    path = write_space()
    _poison(monkeypatch, {each.name: 2 for each in lagsearch.plan(path).candidates})
    with pytest.raises(
        NoSurvivorError, match=r"survived; lag-.*: step 2: the training loss is nan"
    ) as caught:
        run(path, tmp_path / "run")
    assert caught.value.exit_code == 3


def _poison(monkeypatch, steps):
    """Make a candidate's training loss NaN at a step."""
    real = loop._Run._update

    def update(self):
        real(self)
        if steps.get(self.job.name) == self.step - 1:
            self.losses.append(torch.tensor(math.nan))
            self.losses.pop(-2) if len(self.losses) > 1 else None

    monkeypatch.setattr(loop._Run, "_update", update)


def test_a_failing_loss_names_its_step(write_space, tmp_path):
    sane = "sources.0.pretrain.optimizer={name: adamw, lr: 3.0e-3}"
    space = lagsearch.load_space(write_space(("lr: 3e-3", "lr: 1.0e+30")), [sane])
    with pytest.raises(NoSurvivorError, match=r"step \d+: the \w+ loss is (nan|inf)"):
        run(space, tmp_path / "run")


def test_scratch_is_ranked_but_left_out_of_the_scores(write_space, tmp_path):
    path = write_space(("candidates:\n", "candidates:\n  - {operator: scratch}\n"))
    result = finished(path, tmp_path / "run", oracle=True)
    scratch = next(each for each in result.report["candidates"] if each["name"] == "scratch")
    assert scratch["is_baseline"]
    assert scratch["layer_map"] == "R R R R"
    assert scratch["val_loss"]["0"] == pytest.approx(math.log(259), abs=0.1)
    assert "scratch" not in result.report["oracle"]["scored"]
    assert len(result.report["oracle"]["scored"]) == 4


def test_a_brought_checkpoint_grows_with_its_own_tokenizer(write_space, tmp_path, capsys):
    first = finished(write_space(GPT2), tmp_path / "first")
    source = f"sources: [{{name: mine, checkpoint: {first.checkpoint}}}]\nunused: "
    path = write_space(name="second.yaml")
    text = path.read_text()
    head, rest = text.split("sources:\n")
    target = rest.index("target:")
    path.write_text(
        head.replace("  tokenizer: bytes\n", "")
        + source.removesuffix("unused: ")
        + rest[target:].replace("num_hidden_layers: 4", "n_layer: 5")
    )
    result = run(path, tmp_path / "second")
    model = AutoModelForCausalLM.from_pretrained(result.checkpoint)
    assert model.config.n_layer == 5
    assert result.report["cost"]["source_flops"] is None
    grown = {each.name: each.val_loss for each in result.candidates}
    final = first.report["winner"]["val_loss"]["24"]
    assert grown["lag-i2-b1-random"][0] == pytest.approx(final, abs=0.05)


def test_a_checkpoint_of_pickles_is_refused(write_space, tmp_path):
    folder = tmp_path / "pickled"
    folder.mkdir()
    config = '{"model_type": "gpt2", "n_layer": 3, "n_embd": 16, "n_head": 2, "vocab_size": 259}'
    (folder / "config.json").write_text(config)
    torch.save({}, folder / "pytorch_model.bin")
    path = write_space()
    with pytest.raises(SpaceError, match=r"no \*\.safetensors; pickled weights are not read"):
        lagsearch.run(
            lagsearch.load_space(
                path,
                [f"sources=[{{name: a, checkpoint: {folder}}}]", "data.tokenizer=bytes"],
            ),
            out=tmp_path / "run",
            serial=True,
            watch=Watch(),
        )
    assert not (tmp_path / "run").exists()


def test_characters_and_files_for_validation(write_space, tmp_path, corpus):
    other = tmp_path / "other.txt"
    other.write_text(corpus.read_text()[:9000] + "Ξ")  # a character that training never saw
    path = write_space(
        ("tokenizer: bytes", "tokenizer: characters"),
        ("{fraction: 0.2}", f"{{files: [{other}]}}"),
    )
    result = run(path, tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(result.checkpoint)
    characters = len(set(corpus.read_text()))
    assert len(tokenizer) == characters + 4  # unknown, separator, padding, mask
    assert tokenizer.decode(tokenizer("a step")["input_ids"]) == "a step"


@pytest.mark.usefixtures("trained")
def test_bf16_trains_in_bf16_and_is_measured_in_it_unless_fp32_is_asked_for(write_space, tmp_path):
    full = finished(write_space(), tmp_path / "full")
    path = write_space(("batch_size: 4", "batch_size: 4\n  precision: bf16"))
    half = run(path, tmp_path / "half")
    fine = run(path, tmp_path / "fine", overrides=["evaluation.precision=fp32"])
    assert _precisions(full) == ("fp32", None)
    assert _precisions(half) == ("bf16", "bf16")
    assert _precisions(fine) == ("bf16", None)
    exact = {each.name: each.val_loss for each in fine.candidates}
    for each in half.candidates:
        for step, loss in each.val_loss.items():
            assert loss == pytest.approx(exact[each.name][step], abs=2e-3)
        assert each.val_loss != exact[each.name]
    with pytest.raises(RunFolderError, match=r"evaluation\.precision is 'same' there and 'fp32'"):
        run(path, half.folder, overrides=["evaluation.precision=fp32"])
    # a folder of before evaluation had a precision of its own was measured in fp32
    environment = json.loads((half.folder / "environment.json").read_text())
    del environment["inputs"]["evaluation_precision"]
    (half.folder / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(RunFolderError, match="evaluation_precision is None there and 'bf16' here"):
        run(path, half.folder, oracle=True)
    losses = {each.name: each.val_loss for each in full.candidates}
    for each in half.candidates:
        assert each.val_loss[10] != losses[each.name][10]
        assert each.val_loss[10] == pytest.approx(losses[each.name][10], abs=0.05)
    model = AutoModelForCausalLM.from_pretrained(half.checkpoint)
    assert model.dtype == torch.float32


def _precisions(result):
    inputs = json.loads((result.folder / "environment.json").read_text())["inputs"]
    return inputs["precision"], inputs.get("evaluation_precision")


def test_early_steps_are_measured_on_fewer_batches(write_space, tmp_path):
    """K is 10: steps 1 and 2 of 0, 1, 2, 5, 10, 20, 24 have 4 of 8 batches, the same numbers."""
    path = write_space(("batches: 4", "batches: 8"))
    plan = lagsearch.plan(path).stages[0]
    assert plan.evaluations == {0: 8, 1: 4, 2: 4, 5: 8, 10: 8}
    thin = run(path, tmp_path / "thin")
    whole = run(path, tmp_path / "whole", overrides=["evaluation.thin=false"])
    for name in [each.name for each in thin.candidates] + ["continue"]:
        few, all_of_them = (
            read_curve(each.folder / "curves" / f"{name}.jsonl").evaluations
            for each in (thin, whole)
        )
        for one, other in zip(few, all_of_them, strict=True):
            size = 4 if one.step in (1, 2) else 8
            assert one.val_loss_batches == other.val_loss_batches[:size]
            assert len(other.val_loss_batches) == 8
            assert size == 4 or one.val_loss == other.val_loss
    ranked = [[each.name for each in result.candidates] for result in (thin, whole)]
    assert ranked[0] == ranked[1]
    told = [json.loads((each.folder / "report.json").read_text()) for each in (thin, whole)]
    assert told[0]["doubt"] == told[1]["doubt"]
    # 5 evaluations up to K, two of which take half of the batches
    spent = [each["cost"]["evaluation_flops"] for each in told]
    assert spent[0] == pytest.approx(spent[1] * 4 / 5)
    assert spent[0] == plan.evaluation_flops()
    one = json.loads((thin.folder / "plans.json").read_text())["candidates"]
    assert spent[1] == 5 * sum(each["evaluation_flops"] for each in one)


def test_a_folder_of_whole_evaluations_is_gone_on_with(write_space, tmp_path):
    """Its steps stay as they are; under a seed that is added early ones have fewer batches."""
    path = write_space(("batches: 4", "batches: 8"))
    run(path, tmp_path / "run", overrides=["evaluation.thin=false"])
    space = tmp_path / "run" / "space.yaml"
    before = re.sub(r"thin: false(, |\n *)", "", space.read_text())  # there was no such key
    assert before != space.read_text()
    space.write_text(before)
    result = run(path, tmp_path / "run", seeds=[3, 4])
    sizes = {
        file.name: [len(json.loads(line)["val_loss_batches"]) for line in file.open()][:4]
        for file in (result.folder / "curves").iterdir()
    }
    for name, found in sizes.items():
        assert found == ([8, 4, 4, 8] if "@4" in name else [8, 8, 8, 8])


def test_validation_batches_may_be_of_their_own_size(write_space, tmp_path):
    """4 batches of 16 tokens a sequence: 128 tokens are 2 rows, of the 4 of a training step."""
    path = write_space()
    small = run(path, tmp_path / "small", overrides=["evaluation.tokens=128"])
    named = run(path, tmp_path / "named", overrides=["evaluation.batch_size=2"])
    usual = finished(path, tmp_path / "usual")
    losses = [{each.name: each.val_loss for each in one.candidates} for one in (small, named)]
    assert losses[0] == losses[1] != {each.name: each.val_loss for each in usual.candidates}
    inputs = json.loads((small.folder / "environment.json").read_text())["inputs"]
    assert inputs["validation_batch_size"] == 2
    [one, two] = [
        json.loads((each.folder / "report.json").read_text())["cost"] for each in (small, usual)
    ]
    assert 2 * one["evaluation_flops"] == two["evaluation_flops"]
    assert one["search_flops"] == two["search_flops"]


@pytest.mark.usefixtures("trained")
def test_reset_starts_the_optimizer_anew(write_space, tmp_path):
    keep = finished(write_space(), tmp_path / "keep")
    reset = run(
        write_space(("batch_size: 4", "batch_size: 4\n  optimizer_state: reset")),
        tmp_path / "reset",
    )
    first = {each.name: each.val_loss for each in keep.candidates}
    second = {each.name: each.val_loss for each in reset.candidates}
    assert all(first[name][0] == second[name][0] for name in first)
    assert all(first[name][2] != second[name][2] for name in first)


def test_curves_hold_every_batch_and_its_mean(write_space, tmp_path):
    result = finished(write_space(), tmp_path / "run")
    for path in sorted((result.folder / "curves").iterdir()):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            assert len(entry["val_loss_batches"]) == 4
            assert entry["val_loss"] == pytest.approx(np.mean(entry["val_loss_batches"]))


def test_changed_text_under_the_same_space_is_refused(write_space, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("what was here before. " * 3000)
    space = lagsearch.load_space(write_space(), [f"data.train.files=[{text}]"])
    with pytest.raises(KeyboardInterrupt):
        lagsearch.run(space, out=tmp_path / "run", serial=True, watch=Interrupt(9))
    text.write_text("what is here now, after. " * 3000)
    with pytest.raises(RunFolderError, match=r"tokens is '.*' there and '.*' here"):
        run(space, tmp_path / "run")


def test_a_changed_checkpoint_under_the_same_name_is_refused(write_space, tmp_path):
    from safetensors.torch import load_file, save_file

    brought = finished(write_space(), tmp_path / "first").checkpoint
    overrides = [
        f"sources=[{{name: mine, checkpoint: {brought}}}]",
        "target={num_hidden_layers: 5}",
        "data.tokenizer=bytes",
    ]
    space = lagsearch.load_space(write_space(), overrides)
    with pytest.raises(KeyboardInterrupt):
        lagsearch.run(space, out=tmp_path / "run", serial=True, watch=Interrupt(9))
    weights = load_file(brought / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, brought / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunFolderError, match=r"source mine is '.*' there and '.*' here"):
        run(space, tmp_path / "run")


def test_an_interrupted_search_keeps_its_seconds(write_space, tmp_path):
    class InSearch(Interrupt):
        def progress(self, progress):
            if progress.name != "small":  # the source, where it is not in the cache
                super().progress(progress)

    with pytest.raises(KeyboardInterrupt):
        lagsearch.run(write_space(), out=tmp_path / "run", serial=True, watch=InSearch(12))
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["wall_s"]["search"] > 0


def test_no_second_is_counted_in_two_phases(write_space, tmp_path):
    began = time.monotonic()
    for _ in range(2):  # the second finds all there, and trains nothing
        lagsearch.run(write_space(), out=tmp_path / "run", serial=True, watch=Watch())
    elapsed = time.monotonic() - began
    spent = json.loads((tmp_path / "run" / "environment.json").read_text())["wall_s"]
    assert {*PHASES, "other"} <= {*spent}
    assert sum(spent.values()) <= elapsed
    assert spent["other"] > 0


def test_a_schedule_that_continues_over_source_and_candidates(write_space, tmp_path, monkeypatch):
    """The rates of source and candidate, one behind the other, are those of one schedule."""
    used = []

    def rate(step, completion, peak, schedule):
        found = learning_rate(step, completion, peak, schedule)
        used.append(found)
        return found

    monkeypatch.setattr(loop, "learning_rate", rate)
    space = write_space(("name: cosine", "name: cosine, continue: true"))
    run(space, tmp_path / "run", oracle=True)
    whole = Schedule(name="cosine", warmup_steps=2)
    expected = [learning_rate(step, 44, 3e-3, whole) for step in range(44)]
    assert used[:20] == expected[:20]
    # four candidates, which take turns at K = 10, and the source trained on
    assert len(used) == 20 + 5 * 24
    assert sorted(used[20:]) == sorted(expected[20:] * 5)
    assert used[20:30] == expected[20:30]
