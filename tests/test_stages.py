"""Runs of several stages: what they leave, that they repeat bit for bit, resume, and baselines."""

import csv
import json
import math
import re

import numpy as np
import pytest
import torch
from finished import finished
from reported import without_times
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import lagsearch
from lagsearch.cli.commands import app
from lagsearch.data.tokens.batches import training_rows
from lagsearch.data.tokens.store import TokenStore
from lagsearch.display.watch import Watch
from lagsearch.errors import HarnessError, RunFolderError, SpaceError
from lagsearch.replay.replay import replay_runs
from lagsearch.report.write import write_report
from lagsearch.running.baselines import (
    at_once,
    baseline_courses,
    doubled,
)
from lagsearch.running.evaluation import downstream
from lagsearch.training import examples, loop


def run(path, folder, watch=None, **options):
    return lagsearch.run(path, out=folder, serial=True, watch=watch or Watch(), **options)


def curve(report, folder="adaptive"):
    course = next(each for each in report["courses"] if each["folder"] == folder)
    return [(step, loss) for step, _, _, loss in course["curve"]]


def chosen(report, folder="adaptive"):
    course = next(each for each in report["courses"] if each["folder"] == folder)
    return [each["winner"] for each in course["stages"]]


def stage_curve(folder, stage, name):
    text = (folder / "adaptive" / f"stage-{stage}" / "curves" / f"{name}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def whole(write_stages, tmp_path):
    return finished(write_stages(), tmp_path / "whole")


def test_a_run_chooses_by_the_loss_at_k_in_every_stage(whole):
    folder, report = whole.folder, whole.report
    assert report["kind"] == "stages"
    assert [each["depth"] for each in report["courses"][0]["stages"]] == [1, 2, 3]
    assert [each["candidates"] for each in report["courses"][0]["stages"]] == [1, 2, 4]
    for stage, winner in enumerate(chosen(report), 1):
        files = (folder / "adaptive" / f"stage-{stage}" / "curves").glob("*.jsonl")
        at_lag = {}
        for path in files:
            entries = [json.loads(line) for line in path.read_text().splitlines()]
            at_lag[path.stem] = next(e["val_loss"] for e in entries if e["step"] == 10)
        assert winner == min(at_lag, key=at_lag.get)
    last = stage_curve(folder, 3, chosen(report)[-1])[-1]
    assert report["winner"]["val_loss"] == {"64": last["val_loss"]}
    assert not any(folder.glob("*/stage-*/states"))
    assert [len(each.candidates) for each in whole.stages] == [2, 4]
    assert [each.winner for each in whole.stages] == chosen(report)[1:]


def test_the_report_reads_alone(whole):
    page, text = ((whole.folder / name).read_text() for name in ("report.html", "report.md"))
    for each in ("loss", "loss_and_flops", "depth", "genealogy"):
        assert f"figures/{each}.png" in text
        assert (whole.folder / "figures" / f"{each}.png").is_file()
    bare = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert bare.count("<svg") == 1  # the genealogy; all else is drawn by the scripts
    assert re.findall(r'id="chart-(\w+)"', bare) == ["loss", "loss_and_flops", "depth"]
    assert not re.search(r"(src|href)=.(?!data:|#)", bare)
    for stage in whole.report["courses"][0]["stages"]:
        assert f"`{stage['winner']}`" in text
        assert stage["winner"] in page
    rows = list(csv.DictReader((whole.folder / "tables" / "loss.csv").open()))
    assert [float(each["val_loss"]) for each in rows] == [loss for _, loss in curve(whole.report)]


def test_a_stage_has_a_report_like_any_run(whole):
    first = write_report(whole.folder / "adaptive" / "stage-1")
    assert first["winner"]["name"] == "scratch"
    last = json.loads((whole.folder / "adaptive" / "stage-3" / "report.json").read_text())
    assert last["sources"][0]["kind"] == "stage"
    assert last["sources"][0]["steps"] == 40


def test_the_search_costs_what_the_paper_says(whole):
    # stages x (candidates - 1) x K: (2 - 1) x 10 and (4 - 1) x 10
    report = whole.report
    assert report["cost"]["extra_steps"] == 40
    assert report["cost"]["steps"] == 64
    per_step = {}
    for stage in (1, 2, 3):
        plans = json.loads((whole.folder / f"adaptive/stage-{stage}/plans.json").read_text())
        per_step[stage] = plans["candidates"][0]["flops_per_step"]
    assert report["cost"]["search_flops"] == 10 * per_step[2] + 30 * per_step[3]
    expected = 20 * per_step[1] + 20 * per_step[2] + 24 * per_step[3]
    assert report["cost"]["training_flops"] == expected


def test_a_schedule_repeats_the_run_bit_for_bit_without_search(whole, tmp_path):
    again = run(whole.folder / "schedule.yaml", tmp_path / "again")
    assert curve(again.report) == curve(whole.report)
    assert again.report["cost"]["extra_steps"] == 0
    weights = [load_file(each.checkpoint / "model.safetensors") for each in (whole, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    once_more = run(again.folder / "schedule.yaml", tmp_path / "once-more")
    assert curve(once_more.report) == curve(whole.report)


def test_the_model_is_the_one_that_was_measured(whole):
    model = AutoModelForCausalLM.from_pretrained(whole.checkpoint)
    assert model.config.num_hidden_layers == 3
    assert whole.checkpoint == whole.folder / "winner"


class Seen:
    """Notes what training sees, in the order in which it sees it."""

    def __init__(self, monkeypatch):
        self.batches, self.rates = [], []
        look, rate = examples.Examples.__call__, loop.learning_rate

        def called(own, step, **options):
            batch = look(own, step, **options)
            self.batches.append(batch.inputs.numpy().copy())
            return batch

        def rated(*arguments):
            self.rates.append(rate(*arguments))
            return self.rates[-1]

        monkeypatch.setattr(examples.Examples, "__call__", called)
        monkeypatch.setattr(loop, "learning_rate", rated)


def test_data_and_rate_run_on_across_stages(whole, tmp_path, cache, monkeypatch):
    seen = Seen(monkeypatch)
    run(whole.folder / "schedule.yaml", tmp_path / "again")
    (store,) = cache.rglob("train.bin")
    rows = training_rows([(TokenStore(store.parent).tokens("train"), 1.0)], 16, 4, 3, "growth")
    assert len(seen.batches) == 64
    for step, batch in enumerate(seen.batches):
        np.testing.assert_array_equal(batch, rows(step)[:, :-1])
    expected = []
    for step in range(64):
        share = 0.5 * (1 - math.cos(math.pi * (64 - step) / 62))
        rate = 3e-3 * (0.1 + 0.9 * share) if step >= 2 else 3e-3 * (step + 1) / 2
        since = step - max(begin for begin in (0, 20, 40) if begin <= step)
        expected.append(rate / 2 if step >= 20 and since == 0 else rate)
    np.testing.assert_allclose(seen.rates, expected, rtol=1e-12)


class Interrupt(Watch):
    """Stops a run at a sign of life of a kind, once."""

    def __init__(self, is_it):
        self.is_it, self.stage, self.phase = is_it, "", ""

    def say(self, line):
        if line.startswith("adaptive stage-"):
            self.stage = line.split()[1].rstrip(":")

    def begin(self, phase, ends):
        self.phase = phase
        if phase == "stages":
            self.stage = next(iter(ends)).split()[1].rstrip(":")

    def progress(self, progress):
        if self.is_it(self.stage, self.phase, progress):
            raise KeyboardInterrupt


MOMENTS = [
    lambda stage, phase, sign: stage == "stage-1" and sign.step >= 10,
    lambda stage, phase, sign: stage == "stage-2" and phase == "search" and sign.step >= 5,
    lambda stage, phase, sign: (
        stage == "stage-2" and phase.startswith("winner") and sign.step >= 15
    ),
    lambda stage, phase, sign: (
        stage == "stage-3" and phase == "search" and "i1" in sign.name and sign.step >= 5
    ),
    lambda stage, phase, sign: (
        stage == "stage-3" and phase.startswith("winner") and sign.step >= 20
    ),
]


def test_interrupted_in_every_stage_it_comes_to_the_same_end(whole, write_stages, tmp_path):
    path, folder = write_stages(), tmp_path / "interrupted"
    for is_it in MOMENTS:
        with pytest.raises(KeyboardInterrupt):
            lagsearch.run(path, out=folder, serial=True, watch=Interrupt(is_it))
        assert not (folder / "report.json").exists()
    assert without_times(run(path, folder).report) == without_times(whole.report)


def test_what_is_finished_is_not_done_again(whole, write_stages, monkeypatch):
    trained = []
    monkeypatch.setattr(loop._Run, "train", lambda own, until: trained.append(until))
    again = run(write_stages(), whole.folder)
    assert not trained
    assert without_times(again.report) == without_times(whole.report)


def test_a_folder_of_other_stages_is_refused(whole, write_stages):
    with pytest.raises(RunFolderError, match=r"stages.*is .* there and .* here"):
        run(write_stages(("[20, 20, 24]", "[20, 20, 25]")), whole.folder)


def test_a_run_with_stages_is_compared_replayed_and_tabled_as_any_other(write_stages, tmp_path):
    result = run(write_stages(), tmp_path / "run", oracle=True)
    assert [(each.stage, each.rank) for each in result.candidates] == [
        *[(2, rank) for rank in (1, 2)],
        *[(3, rank) for rank in (1, 2, 3, 4)],
    ]
    curves = result.curves
    assert list(curves.columns)[:3] == ["course", "stage", "candidate"]
    for number, stage in enumerate(result.stages, 2):
        own = curves[(curves["course"] == "adaptive") & (curves["stage"] == number)]
        table = stage.curves
        assert list(own["val_loss"]) == list(table["val_loss"])
        grown = own[~own["is_baseline"]]
        assert set(grown["candidate"]) == {each.name for each in stage.candidates}
    shown = CliRunner().invoke(app, ["compare", str(result.folder)])
    assert shown.exit_code == 0, shown.output
    assert "tiny-stages-2" in shown.output and "tiny-stages-3" in shown.output
    replayed = replay_runs([result.folder])
    assert set(replayed["run"]) == {"tiny-stages-2", "tiny-stages-3"}
    alone = replay_runs([stage.folder for stage in result.stages])
    assert replayed.equals(alone)
    assert lagsearch.load_space(result.folder / "space.yaml").has_stages


def test_an_oracle_cannot_be_added_to_finished_stages(whole, write_stages):
    before = {path: path.stat().st_mtime_ns for path in whole.folder.rglob("*")}
    with pytest.raises(RunFolderError, match=r"without an oracle.*give --oracle another --out"):
        run(write_stages(), whole.folder, oracle=True)
    assert {path: path.stat().st_mtime_ns for path in whole.folder.rglob("*")} == before


def test_baselines_share_what_is_the_same_training(write_stages, tmp_path, monkeypatch):
    result = finished(write_stages(), tmp_path / "run", baselines=True)
    report = result.report
    assert [row["course"] for row in report["table"]] == [
        *("adaptive", "last", "middle", "doubling", "one-hop", "random", "scratch", "continue"),
    ]
    by_name = {each["name"]: each for each in report["courses"]}
    assert all(each["steps"] == 64 for each in report["courses"])
    depths = {
        name: [each["depth"] for each in course["stages"]] for name, course in by_name.items()
    }
    assert depths["last"] == depths["middle"] == depths["random"] == [1, 2, 3]
    assert depths["doubling"] == [1, 2, 3]
    assert depths["one-hop"] == [1, 3]
    assert (depths["scratch"], depths["continue"]) == ([3], [1])
    assert [each["steps"] for each in by_name["one-hop"]["stages"]] == [20, 44]
    trained_at = {
        name: course["stages"][0]["folder"]
        for name, course in by_name.items()
        if name not in ("scratch", "continue")
    }
    assert set(trained_at.values()) == {"adaptive/stage-1"}
    assert not list((tmp_path / "run" / "last" / "stage-1").glob("curves/*"))
    # from 1 layer to 2 there is one copy: last, middle and doubling are one training there
    assert by_name["middle"]["stages"][1]["folder"] == by_name["last"]["stages"][1]["folder"]
    last = by_name["last"]["stages"]
    assert [each["layer_map"] for each in last] == ["R", "0 0*", "0 1 1*"]
    adaptive = by_name["adaptive"]
    for name in ("last", "scratch", "continue"):
        row = next(row for row in report["table"] if row["course"] == name)
        behind = by_name[name]["val_loss"] - adaptive["val_loss"]
        assert row["behind"]["value"] == pytest.approx(behind)
        equal = by_name[name]["at_equal_flops"]
        whole_cost = adaptive["flops"] + adaptive["search_flops"]
        assert equal["flops"] == min(whole_cost, by_name[name]["flops"])


class Look(Watch):
    """Looks at which folders have weights when a phase begins."""

    def __init__(self, folder):
        self.folder, self.seen = folder, []

    def begin(self, phase, ends):
        found = {each.parent.parent for each in self.folder.rglob("states/*.safetensors")}
        places = sorted(str(each.relative_to(self.folder)) for each in found)
        self.seen.append((phase, sorted({each.split("/")[0] for each in ends}), places))


@pytest.mark.slow
def test_weights_go_when_no_course_goes_on_from_them(write_stages, tmp_path):
    look = Look(tmp_path / "run")
    run(write_stages(), look.folder, baselines=True, watch=look)
    places = [places for _, _, places in look.seen]
    assert places[0] == []
    assert places[1] == ["adaptive/stage-1"]  # the search of stage 2, all begin from it
    assert not any("stage-1" in place for place in places[-1])
    assert any("stage-2" in place for place in places[-1])
    assert not list(look.folder.rglob("states"))


def test_baselines_alone_come_to_what_they_come_to_beside_others(write_stages, tmp_path):
    result = finished(write_stages(), tmp_path / "run", baselines=True)
    path = write_stages(
        (
            "{operator: lag, index: every, block_size: 1, init: [duplicate, random]}",
            "{operator: last}",
        ),
        name="last.yaml",
    )
    alone = run(path, tmp_path / "alone")
    assert curve(alone.report) == curve(result.report, "last")


def test_each_seed_has_a_procedure_of_its_own_on_the_same_validation_batches(
    write_stages, tmp_path
):
    seeds = ("{lag: 10}", "{lag: 10, seeds: [3, 5]}")
    masked = ("{name: causal}", "{name: masked}")
    bert = (
        "{model_type: llama, hidden_size: 16, intermediate_size: 32,\n"
        "          num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}",
        "{model_type: bert, hidden_size: 16, intermediate_size: 32, num_attention_heads: 2,\n"
        "          max_position_embeddings: 32}",
    )
    result = run(write_stages(seeds, masked, bert), tmp_path / "run")
    report = result.report
    assert [each["folder"] for each in report["courses"]] == ["adaptive", "adaptive@5"]
    losses = [each["val_loss"] for each in report["courses"]]
    assert losses[0] != losses[1]
    row = report["table"][0]["val_loss"]
    assert row["value"] == pytest.approx(sum(losses) / 2)
    # Student's 97.5 % quantile with one degree of freedom is 12.7062
    assert row["high"] - row["value"] == pytest.approx(
        12.7062 * abs(losses[0] - losses[1]) / 2, rel=1e-4
    )
    again = run(result.folder / "schedule@5.yaml", tmp_path / "again")
    assert curve(again.report) == curve(report, "adaptive@5")


def test_what_cannot_be_in_a_stage_is_refused_before_training(write_stages, tmp_path):
    cases = [
        (("{num_hidden_layers: 3}", "{num_hidden_layers: 2}"), 16, "stage 3: is not above the 2"),
        (
            (
                "index: every, block_size: 1, init: [duplicate, random]}]\n    steps: 24",
                "index: [0, 2], block_size: 1, init: duplicate}]\n    steps: 24",
            ),
            17,
            "stage 3: index 2 is outside of 0..1",
        ),
        (("steps: 24", "steps: 9"), 24, "stage 3: is beyond the final step"),
    ]
    for replacement, line, message in cases:
        path = write_stages(replacement, listed=True)
        with pytest.raises(SpaceError, match=message) as refused:
            run(path, tmp_path / "run")
        assert str(refused.value).startswith(f"{path}:{line}: ")
        assert not (tmp_path / "run").exists()


def test_the_space_of_a_stage_is_run_with_all_stages(whole, tmp_path):
    with pytest.raises(SpaceError, match="is what a stage begins with"):
        run(whole.folder / "adaptive" / "stage-2" / "space.yaml", tmp_path / "alone")


def test_baselines_belong_to_stages(write_space, tmp_path):
    with pytest.raises(SpaceError, match="--baselines belongs to a space with stages"):
        run(write_space(), tmp_path / "run", baselines=True)


@pytest.mark.slow
def test_a_stage_may_sample_its_candidates(write_stages, tmp_path):
    third = "{num_hidden_layers: 3}\n    candidates: [{operator: lag, index: "
    sampled = "steps: 24\n    search: {strategy: optuna, candidates: 3, sampler: random}"
    changes = [("steps: 24", sampled), (f"{third}every", f"{third}[0, 1]")]
    result = run(write_stages(*changes, listed=True), tmp_path / "run")
    assert [each["candidates"] for each in result.report["courses"][0]["stages"]] == [1, 2, 3]
    again = run(result.folder / "schedule.yaml", tmp_path / "again")
    assert curve(again.report) == curve(result.report)


@pytest.mark.parametrize(
    ("depths", "before", "expected"),
    [
        ([4, 8, 12, 16, 20, 24], 4, [4, 8, 8, 16, 16, 24]),
        ([2, 4, 6, 8], 2, [2, 4, 4, 8]),
        ([6, 8, 12], 4, [8, 8, 12]),  # a source is grown at once: nothing trains it on
        ([3], 3, [3]),
    ],
)
def test_doubling_is_never_deeper_but_where_it_must(depths, before, expected):
    assert doubled(depths, before) == expected


def test_one_hop_grows_once():
    assert at_once([2, 4, 6, 8], 2) == [2, 8, 8, 8]
    assert at_once([6, 8], 4) == [8, 8]


def test_the_plan_shows_every_stage(write_stages):
    result = CliRunner().invoke(app, ["plan", str(write_stages())])
    assert result.exit_code == 0, result.output
    for line in (
        "Stage 1: 20 steps; nothing to choose",
        "Stage 2: 20 steps; 2 candidates, K = 10",
        "Stage 3: 24 steps; 4 candidates, K = 10",
        "lag-i1-b1-random",
        "0 1 1*",
        "Training: 64 steps",
        "Search: 40 more steps",
    ):
        assert line in result.output


SOURCES = """\
sources:
  - name: a
    pretrain:
      config: {model_type: llama, num_hidden_layers: 2, hidden_size: 16, intermediate_size: 32,
               num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}
      steps: 6
  - name: b
    pretrain:
      config: {model_type: llama, num_hidden_layers: 2, hidden_size: 16, intermediate_size: 32,
               num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}
      steps: 6
      part: 1/2
stages:
  - target: {num_hidden_layers: 4}
    candidates: [{operator: multi-stack, order: a b}]
    steps: 20
  - target: {num_hidden_layers: 4, hidden_size: 32, num_attention_heads: 4, num_key_value_heads: 2,
             intermediate_size: 64}
    candidates: [{operator: net2net}]
    steps: 20
  - target: {num_hidden_layers: 6}
    candidates: [{operator: lag, index: even, block_size: [1, 2], init: duplicate}]
    steps: 20
"""


@pytest.mark.slow
def test_several_sources_first_then_wider_then_deeper(write_stages, tmp_path):
    path = write_stages()
    text = path.read_text()
    begin, end = text.index("stages:"), text.index("training:")
    path.write_text(text[:begin] + SOURCES + text[end:])
    result = run(path, tmp_path / "run")
    stages = result.report["courses"][0]["stages"]
    assert [each["depth"] for each in stages] == [4, 4, 6]
    assert [each["candidates"] for each in stages] == [2, 1, 4]  # the first with its control
    sources, cost = lagsearch.plan(path).stages[0].source_flops(), result.report["cost"]
    assert cost["source_flops"] == sources > 0
    course = result.report["courses"][0]
    _, trained, spent, _ = course["curve"][-1]
    assert spent - trained == sources + cost["search_flops"]
    assert "training of the sources" in (result.folder / "report.md").read_text()
    line = result.report["courses"][0]["genealogy"][0]
    is_multi = stages[0]["operator"] == "multi-stack"
    assert [each["source"] for each in line] == ([0, 0, 1, 1] if is_multi else [0] * 4)
    model = AutoModelForCausalLM.from_pretrained(result.checkpoint)
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (6, 32)
    again = run(result.folder / "schedule.yaml", tmp_path / "again")
    assert curve(again.report) == curve(result.report)


def refused_baselines(path):
    plan = lagsearch.plan(path)
    return baseline_courses(plan, plan.file.seed, plan.file.seed, None)[1]


def test_stages_that_cannot_be_one_are_not_merged(write_stages):
    own = ("steps: 24", "steps: 24\n    training: {batch_size: 8}")
    refused = refused_baselines(write_stages(own, listed=True))
    assert set(refused) == {"doubling", "one-hop", "scratch", "continue"}
    assert "differ in their training" in refused["one-hop"]
    wider = "target: {hidden_size: 32, num_attention_heads: 4, num_key_value_heads: 2}"
    text = write_stages(listed=True).read_text()
    candidates = text[text.index("candidates:") :].split("\n")[0]
    wider_stage = [
        (
            "target: {num_hidden_layers: 2}\n    " + candidates,
            wider + "\n    candidates: [{operator: net2net}]",
        ),
        ("target: {num_hidden_layers: 3}", "target: {num_hidden_layers: 2}"),
    ]
    refused = refused_baselines(write_stages(*wider_stage, listed=True))
    assert set(refused) == {"last", "middle", "doubling", "one-hop"}


def test_a_list_of_layers_can_be_drawn(write_stages):
    entry = "{operator: lag, index: every, block_size: 1, init: [duplicate, random]}"
    shorthand = (entry, "{operator: layers, layers: any}")
    strategy = ("{lag: 10}", "{lag: 10, strategy: optuna, candidates: 2}")
    assert refused_baselines(write_stages(shorthand, strategy)) == {}


def test_downstream_tasks_are_checked_before_the_first_stage_trains(
    write_stages, tmp_path, cache, monkeypatch
):
    """The last stage alone evaluates them, hours later."""

    def refuse(harness, tell):
        raise HarnessError("unheard_of_task: unknown")

    monkeypatch.setattr(downstream, "open_tasks", refuse)
    asked = "evaluation: {batches: 4, harness: {tasks: [unheard_of_task]}}"
    path = write_stages(("evaluation: {batches: 4}", asked))
    with pytest.raises(SpaceError, match=r"stages.yaml:\d+: .*unheard_of_task: unknown"):
        run(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not any(cache.rglob("*.safetensors"))


def test_a_stage_does_not_begin_with_damaged_weights(write_stages, tmp_path):
    class Stop(Watch):
        def say(self, line):
            if line.startswith("adaptive stage-2: "):
                raise KeyboardInterrupt

    path, folder = write_stages(), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(path, folder, Stop())
    (state,) = (folder / "adaptive" / "stage-1" / "states").iterdir()
    content = bytearray(state.read_bytes())
    content[-1000] ^= 1
    state.write_bytes(content)
    message = rf"{re.escape(str(state))}: damaged or gone; delete {folder}/adaptive, and"
    with pytest.raises(RunFolderError, match=message):
        run(path, folder)
