"""The source trained on beside the growths: what it is, what it changes, and what comes of it."""

import json
import math
import shlex

import numpy as np
import pytest
import torch
from finished import finished
from safetensors.torch import load_file
from test_baselines import Interrupt, read, run
from test_keeping import Lines
from transformers import AutoConfig

import lagsearch
from lagsearch.errors import LagsearchError, OperatorError, SpaceError
from lagsearch.grow import GrowRequest, find_growth
from lagsearch.records.folder import RunFolder
from lagsearch.report.words.advice import advise
from lagsearch.report.write import write_report
from lagsearch.space import read_yaml
from lagsearch.storage.files import cache_root, write_json

pytestmark = pytest.mark.usefixtures("trained")

PLAIN = "search: {lag: 10}"
OFF = (PLAIN, "search: {lag: 10, baselines: []}")
LISTED = "candidates:\n"
TWO = (
    "sources:\n",
    "sources:\n  - name: deep\n    pretrain:\n      steps: 10\n"
    "      config: {model_type: llama, num_hidden_layers: 2, hidden_size: 16,\n"
    "               num_attention_heads: 2, num_key_value_heads: 1, intermediate_size: 32,\n"
    "               max_position_embeddings: 32}\n",
)


def search(words):
    return (PLAIN, f"search: {{lag: 10, {words}}}")


def baselines_of(result):
    return {each["name"]: each for each in result.report["growing"]["baselines"]}


def test_every_space_has_it_and_it_is_no_candidate(write_space, tmp_path):
    path = write_space()
    planned = lagsearch.plan(path)
    (ungrown,) = planned.baselines
    source, growth = planned.sources[0], planned.candidates[0]
    assert ungrown.name == "continue"
    assert ungrown.config["num_hidden_layers"] == 3
    assert ungrown.cost.parameters == source.cost.parameters < growth.cost.parameters
    assert planned.stages[0].baseline_flops() == 24 * source.cost.flops_per_step
    assert "continue" not in {each.name for each in planned.candidates}
    result = finished(path, tmp_path / "run")
    report = result.report
    own = baselines_of(result)["continue"]
    assert (own["rank"], own["source"], own["status"]) == (None, "small", "ok")
    assert own["layer_map"] == "0 1 2"
    assert max(map(int, own["val_loss"])) == 24 > report["lag"]
    assert {each["name"] for each in report["candidates"]} == {
        each.name for each in planned.candidates
    }
    assert report["cost"]["baseline_flops"] == planned.stages[0].baseline_flops()
    assert AutoConfig.from_pretrained(result.checkpoint).num_hidden_layers == 4
    assert not (result.folder / "states").exists()
    schedule, _ = read_yaml((result.folder / "schedule.yaml").read_text())
    assert schedule["search"]["baselines"] == []


def test_the_command_that_is_offered_trains_what_is_lacking_and_nothing_else(
    write_space, tmp_path, call
):
    result = finished(write_space(OFF), tmp_path / "run")
    curves = {each.name: each.read_bytes() for each in (result.folder / "curves").iterdir()}
    [advice] = advise(result.report, result.folder)[1:]
    code, written, error = call(*shlex.split(advice.command)[1:], "--serial")
    assert code == 0, error
    report = json.loads((result.folder / "report.json").read_text())
    assert [each["name"] for each in report["growing"]["baselines"]] == [
        "continue",
        "continue-matched",
    ]
    assert advise(report, result.folder)[1:] == []
    assert "\nAlso: " not in written
    for name, before in curves.items():
        assert (result.folder / "curves" / name).read_bytes() == before


def test_it_begins_as_the_source_with_its_optimizer(write_space, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(write_space(), tmp_path / "run", Interrupt("baseline"))
    (source,) = (cache_root() / "sources").glob("*/state.safetensors")
    facts = json.loads((source.parent / "source.json").read_text())
    first = read(tmp_path / "run", "continue")[0]
    assert first["val_loss"] == facts["val_loss"]  # to the bit: weights and batches are the same
    from lagsearch.planning.stage import make_plan
    from lagsearch.planning.vocabulary import find_tokenizer, vocabulary_of
    from lagsearch.running.jobs import JobMaker
    from lagsearch.running.run import _open_data, _resources
    from lagsearch.training.loop import train

    file = lagsearch.load_space(write_space())
    tokenizer = find_tokenizer(file)
    plan = make_plan(file, vocabulary_of(tokenizer, file.space))
    store, objective = _open_data([file], tokenizer, Interrupt("never"))
    compute, _ = _resources(file, [0])
    make = JobMaker(plan, store, objective, RunFolder(tmp_path / "x"), compute, 1)
    job = make.candidates({3: [source]})["continue"]
    for _ in train(job, 0):
        pass
    kept, begun = load_file(source), load_file(job.state)
    assert set(kept) <= set(begun)
    assert any("exp_avg_sq" in name for name in kept)
    for name, tensor in kept.items():
        assert torch.equal(begun[name], tensor), name


def test_what_is_compared_is_counted_by_hand(write_space, tmp_path):
    result = run(
        write_space(search("baselines: [{operator: continue, steps: matched}]")), tmp_path / "run"
    )
    report = result.report
    (own,) = report["growing"]["baselines"]
    step_flops = {
        name: read(result.folder, name)[24]["flops"] / 24 for name in (own["name"], result.winner)
    }
    assert own["name"] == "continue-matched"
    assert own["steps"] == math.ceil(24 * step_flops[result.winner] / step_flops[own["name"]])
    comparison = {each["growth"]: each for each in report["growing"]["comparisons"]}
    assert list(comparison) == [each["name"] for each in report["candidates"]]
    for name, each in comparison.items():
        step = 24 if name == result.winner else 10
        grown, other = read(result.folder, name), read(result.folder, own["name"])
        point = each["equal_steps"]
        assert point["step"] == step
        assert point["val_loss"] == pytest.approx(grown[step]["val_loss"])
        assert point["baseline_val_loss"] == pytest.approx(other[step]["val_loss"])
        spent = each["equal_flops"]
        assert spent["flops"] == grown[step]["flops"]  # what the growth took in all
        known = [entry for entry in other.values() if entry["step"] > 0]
        expected = np.interp(
            np.log(spent["flops"]),
            np.log([entry["flops"] for entry in known]),
            [entry["val_loss"] for entry in known],
        )
        assert spent["baseline_val_loss"] == pytest.approx(expected)
        assert spent["val_loss"] == pytest.approx(grown[step]["val_loss"])
    # a cosine: its own schedule spans its own steps, so that equal steps are not alike
    assert not any(each["equal_steps"]["is_fair"] for each in comparison.values())
    assert comparison[result.winner]["equal_flops"]["is_fair"]
    others = [each for name, each in comparison.items() if name != result.winner]
    assert not any(each["equal_flops"]["is_fair"] for each in others)


def test_without_a_schedule_that_falls_all_comparisons_are_fair(write_space, tmp_path):
    constant = ("{name: cosine, warmup_steps: 2}", "{name: constant}")
    result = run(write_space(constant), tmp_path / "run", oracle=True)
    for each in result.report["growing"]["comparisons"]:
        assert each["equal_steps"]["step"] == 24
        assert each["equal_steps"]["is_fair"]
        assert each["equal_flops"]["is_fair"]
        assert each["equal_flops"]["flops"] == read(result.folder, "continue")[24]["flops"]
    page = (result.folder / "report.md").read_text()
    assert page.splitlines()[2].startswith("**Growing ")
    assert "## Does growing pay off?" in page
    assert "| source `small`, before growth | 0 |" in page
    assert "|  | `continue` (baseline) | 0 1 2 |" in page
    html = (result.folder / "report.html").read_text()
    assert "source small, before growth" in html
    assert '"name":"continue"' in html
    rows = (result.folder / "tables" / "growing.csv").read_text().splitlines()
    assert len(rows) == 1 + len(result.report["candidates"])
    assert '"continue",3,24,' in (result.folder / "tables" / "loss.csv").read_text()


def without_times(report):
    kept = {key: report[key] for key in ("candidates", "winner", "doubt", "phase_transition")}
    for each in kept["candidates"]:
        each.pop("wall_s")
    return kept


@pytest.mark.parametrize(
    "words",
    [
        "lag: 10",
        "lag: 10, strategy: race",
        pytest.param("lag: auto, min_lag: 5, max_lag: 10", marks=pytest.mark.slow),
    ],
)
def test_the_search_is_the_same_without_it(write_space, tmp_path, words):
    on = finished(write_space((PLAIN, f"search: {{{words}}}")), tmp_path / "on")
    off_words = f"search: {{{words}, baselines: []}}"
    off = run(write_space((PLAIN, off_words)), tmp_path / "off")
    assert without_times(on.report) == without_times(off.report)
    growing = off.report["growing"]
    assert (growing["baselines"], growing["comparisons"]) == ([], [])
    assert growing["sources"] == on.report["growing"]["sources"]  # the source's own curve tells it
    page = (tmp_path / "off" / "report.md").read_text()
    assert "Nothing was trained on without growing" in page


def test_a_folder_from_before_goes_on_and_gains_it(write_space, tmp_path):
    path = write_space(OFF)
    old = run(path, tmp_path / "run")
    folder = RunFolder(old.folder)
    text = folder.space_file.read_text()
    assert "  baselines: []\n" in text
    folder.space_file.write_text(text.replace("  baselines: []\n", ""))
    plans = folder.plans()
    plans.pop("baselines")
    write_json(folder.plans_file, plans)
    again = write_report(old.folder)
    again["cost"]["wall_s"] = old.report["cost"]["wall_s"]
    assert again == old.report
    new = run(write_space(), tmp_path / "run")
    assert list(baselines_of(new)) == ["continue"]
    assert without_times(new.report) == without_times(old.report)
    whole = finished(write_space(), tmp_path / "whole")
    assert baselines_of(new)["continue"]["val_loss"] == baselines_of(whole)["continue"]["val_loss"]
    once_more = run(path, tmp_path / "run")  # what was trained stays
    assert list(baselines_of(once_more)) == ["continue"]


def test_a_baseline_that_was_added_stays(write_space, tmp_path):
    """The first command, typed again, neither loses it nor trains it again."""
    added = search("baselines: [continue, {operator: continue, steps: matched}]")
    run(write_space(), tmp_path / "run")
    both = run(write_space(added, name="more.yaml"), tmp_path / "run")
    assert list(baselines_of(both)) == ["continue", "continue-matched"]
    watch = Lines()
    again = run(write_space(), tmp_path / "run", watch)
    assert [line for line in watch.lines if "baselines that were trained" in line]
    assert without_times(again.report) == without_times(both.report)
    assert "continue-matched" in (tmp_path / "run" / "report.md").read_text()


def test_of_several_sources_those_that_were_trained_on_stay(write_space, tmp_path):
    fit = ("init: [duplicate, random]}", "init: [duplicate, random]}\n  - {operator: stack}")
    two, none = (TWO, fit), search("skip_unfit: true, baselines: []")
    one = search("skip_unfit: true, baselines: [{operator: continue, source: deep}]")
    run(write_space(*two, one), tmp_path / "run")
    again = run(write_space(*two, none, name="none.yaml"), tmp_path / "run")
    assert list(baselines_of(again)) == ["continue-deep"]


def test_a_baseline_that_is_written_otherwise_is_the_same(write_space, tmp_path):
    first = run(write_space(), tmp_path / "run")
    other = search("baselines: [{operator: continue}]")
    again = run(write_space(other, name="other.yaml"), tmp_path / "run")
    assert without_times(again.report) == without_times(first.report)


def test_a_baseline_that_is_not_trained_yet_may_be_left_out(write_space, tmp_path):
    more = search("baselines: [continue, {operator: continue, steps: 90}]")
    with pytest.raises(KeyboardInterrupt):
        run(write_space(more, name="more.yaml"), tmp_path / "run", Interrupt("search"))
    assert list(baselines_of(run(write_space(), tmp_path / "run"))) == ["continue"]


@pytest.mark.parametrize("phase", ["search", "baseline"])
def test_it_goes_on_where_it_was_interrupted(write_space, tmp_path, phase):
    whole = finished(write_space(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(write_space(), tmp_path / "cut", Interrupt(phase))
    again = run(write_space(), tmp_path / "cut")
    losses = [
        {step: entry["val_loss_batches"] for step, entry in read(folder, "continue").items()}
        for folder in (whole.folder, again.folder)
    ]
    assert losses[0] == losses[1]
    assert max(losses[0]) == 24


def test_it_is_trained_under_all_seeds(write_space, tmp_path):
    result = run(write_space(search("seeds: [3, 5]")), tmp_path / "run")
    assert max(read(result.folder, "continue")) == 24
    assert max(read(result.folder, "continue@5")) == 10
    comparison = {each["growth"]: each for each in result.report["growing"]["comparisons"]}
    seeds = {name: each["equal_steps"]["seeds"] for name, each in comparison.items()}
    assert seeds == {name: 1 if name == result.winner else 2 for name in comparison}


@pytest.mark.slow
def test_a_masked_model_is_trained_on_too(write_space, tmp_path):
    masked = ("{name: causal}", "{name: masked}")
    bert = ("model_type: llama", "model_type: bert"), (", num_key_value_heads: 1", "")
    result = run(write_space(masked, *bert), tmp_path / "run")
    own = baselines_of(result)["continue"]
    assert own["val_loss"]["0"] == result.report["sources"][0]["val_loss"]


def test_sampled_candidates_have_it_too(write_space, tmp_path):
    path = write_space(search("strategy: optuna, candidates: 2"))
    result = run(path, tmp_path / "run")
    assert list(baselines_of(result)) == ["continue"]
    assert len(result.candidates) == 2
    assert {each["growth"] for each in result.report["growing"]["comparisons"]} == {
        each.name for each in result.candidates
    }


def test_each_source_is_trained_on_unless_one_is_named(write_space):
    one = ("index: [0, 2]", "index: 0")

    def names(words):
        space = write_space(TWO, one, search(words))
        return [each.name for each in lagsearch.plan(space).baselines]

    assert names("baselines: [continue]") == ["continue-deep", "continue-small"]
    assert names("baselines: [{operator: continue, source: small}]") == ["continue-small"]
    planned = lagsearch.plan(write_space(TWO, one)).baselines
    assert [each.config["num_hidden_layers"] for each in planned] == [2, 3]


def test_as_a_candidate_it_is_a_baseline_all_the_same(write_space):
    own = (LISTED, f"{LISTED}  - {{operator: continue, steps: [matched, 30]}}\n")
    planned = lagsearch.plan(write_space(own))
    assert [each.name for each in planned.baselines] == [
        "continue-matched",
        "continue-30",
        "continue",
    ]
    assert all(each.candidate.operator == "lag" for each in planned.candidates)
    plain = (LISTED, f"{LISTED}  - {{operator: continue}}\n")
    assert [each.name for each in lagsearch.plan(write_space(plain)).baselines] == ["continue"]


def test_scratch_beside_the_candidates_is_not_ranked(write_space, tmp_path):
    result = run(write_space(search("baselines: [continue, scratch]")), tmp_path / "run")
    assert list(baselines_of(result)) == ["continue", "scratch"]
    assert "scratch" not in {each.name for each in result.candidates}
    assert result.report["savings"]["baseline"] == "scratch"
    (source,) = result.report["sources"]
    rows = (result.folder / "tables" / "loss_and_flops.csv").read_text().splitlines()
    counted = {
        cells[0].strip('"'): (int(cells[2]), float(cells[3]))
        for cells in (row.split(",") for row in rows[1:])
        if cells[1] == "24"
    }
    assert counted["scratch"][1] - counted["scratch"][0] == 0
    assert counted["continue"][1] - counted["continue"][0] == source["flops"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("[lag]", r"search.baselines\[0\] \"lag\": lag is a growth: list it in candidates"),
        ("[contine]", r"baselines\[0\].operator: operator 'contine' is unknown; did you mean 'con"),
        ("[continue, continue]", r"baselines\[1\].*continue is there twice: list it once"),
        ("[{steps: 30}]", r"baselines\[0\].*operator is required, e.g. {operator: continue,"),
        ("[{operator: continue, steps: 23}]", r"steps 23: is less than training.steps 24"),
        ("[{operator: continue, steps: []}]", r"steps \[\]: is an empty list"),
        ("[{operator: continue, stepps: 30}]", r"no setting 'stepps'; did you mean 'steps'"),
        ("[3]", r"search.baselines\[0\] 3: must be "),
        ("continue", r"search.baselines \"continue\": must be "),
    ],
)
def test_what_cannot_be_a_baseline(write_space, words, message):
    with pytest.raises(SpaceError, match=message) as refused:
        lagsearch.plan(write_space(search(f"baselines: {words}")))
    assert "\n" not in str(refused.value)


def test_it_alone_leaves_nothing_to_rank(write_space):
    alone = ("{operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}",)
    path = write_space((*alone, "{operator: continue}"))
    with pytest.raises(SpaceError, match=r"candidates.*lists nothing to rank: continue grows noth"):
        lagsearch.plan(path)


def test_a_candidate_of_the_same_name_is_refused(write_space):
    twice = (LISTED, f"{LISTED}  - {{operator: scratch}}\n"), search("baselines: [scratch]")
    with pytest.raises(SpaceError, match=r"baselines\[0\] \"scratch\": scratch is there twice"):
        lagsearch.plan(write_space(*twice))


def test_it_is_no_growth_to_write(tmp_path):
    with pytest.raises(
        OperatorError, match="continue grows nothing: `lagsearch run` trains the ch"
    ):
        find_growth(GrowRequest(("anywhere",), "continue"))


def test_stages_have_baselines_of_their_own(write_stages):
    path = write_stages(("{lag: 10}", "{lag: 10, baselines: [continue]}"))
    with pytest.raises(
        SpaceError, match=r"search.baselines .*no effect with stages: `lagsearch run"
    ):
        lagsearch.plan(path)
    own = ("    steps: 24", "    steps: 24\n    search: {baselines: []}")
    with pytest.raises(
        LagsearchError, match=r"stages\[2\].search.baselines .*: stage 3: has no eff"
    ):
        lagsearch.plan(write_stages(own, listed=True))
    planned = lagsearch.plan(write_stages(("{lag: 10}", "{lag: 10, baselines: []}")))
    assert [each.baselines for each in planned.stages] == [()] * 3
