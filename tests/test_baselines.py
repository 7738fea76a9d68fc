"""The target from scratch with the compute of source and winner, and what growing saves."""

import json
import math

import pytest
from finished import finished
from interrupting import Interrupt

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import SpaceError

pytestmark = pytest.mark.usefixtures("trained")


def run(path, folder, watch=None, **options):
    return lagsearch.run(path, out=folder, serial=True, watch=watch or Watch(), **options)


def read(folder, name):
    lines = (folder / "curves" / f"{name}.jsonl").read_text().splitlines()
    return {entry["step"]: entry for entry in map(json.loads, lines)}


def space(write_space, tmp_path, candidate="{operator: scratch, steps: matched}"):
    text = write_space().read_text()
    place = text.index("candidates:\n") + len("candidates:\n")
    path = tmp_path / "with-baseline.yaml"
    path.write_text(f"{text[:place]}  - {candidate}\n{text[place:]}")
    return path


def test_it_has_the_compute_of_source_and_growth(write_space, tmp_path):
    path = space(write_space, tmp_path)
    planned = lagsearch.plan(path)
    source, scratch = planned.sources[0], planned.candidates[0]
    pretrain = source.source.pretrain
    extra = pretrain.steps * source.cost.flops_per_step
    assert scratch.name == "scratch-matched"
    assert scratch.steps == 24 + math.ceil(extra / scratch.cost.flops_per_step)
    further = (scratch.steps - 24) * scratch.cost.flops_per_step
    assert planned.stages[0].baseline_flops() == further + 24 * source.cost.flops_per_step
    result = finished(path, tmp_path / "run")
    assert max(read(result.folder, "scratch-matched")) == scratch.steps
    assert not (result.folder / "states").exists()
    others = [each["name"] for each in result.report["candidates"] if not each["is_baseline"]]
    assert max(max(read(result.folder, name)) for name in others) == 24
    assert result.report["cost"]["baseline_flops"] == planned.stages[0].baseline_flops()


def test_what_is_saved_is_counted_by_hand(write_space, tmp_path):
    result = finished(space(write_space, tmp_path), tmp_path / "run")
    report = result.report
    winner = report["winner"]["name"]
    entry = report["savings"]["growths"][winner]
    assert list(report["savings"]["growths"]) == [winner]  # no other one came to completion
    curves = {name: read(result.folder, name) for name in (winner, "scratch-matched")}
    last = {name: curve[max(curve)]["val_loss"] for name, curve in curves.items()}
    assert entry["val_loss"] == pytest.approx(max(last.values()), abs=0.05)
    flops = entry["flops"]
    source = report["cost"]["source_flops"]
    search = report["cost"]["search_flops"] - curves[winner][10]["flops"]
    assert flops["with_sources"] == pytest.approx(flops["growth"] + source)
    assert flops["with_search"] == pytest.approx(flops["growth"] + source + search)
    for way in ("growth", "with_sources", "with_search"):
        ratio = flops["baseline"] / flops[way]
        assert flops[f"{way}_speed_up"] == pytest.approx(ratio - 1)
        assert flops[f"{way}_saving"] == pytest.approx(1 - 1 / ratio)
    page = (result.folder / "report.md").read_text()
    assert "## Savings over training from scratch" in page
    assert "figures/loss_and_flops.png" in page
    assert (result.folder / "figures/loss_and_flops.png").is_file()


@pytest.mark.parametrize(
    "phase",
    ["baseline", *(pytest.param(each, marks=pytest.mark.slow) for each in ("search", "winner"))],
)
def test_it_goes_on_where_it_was_interrupted(write_space, tmp_path, phase):
    path = space(write_space, tmp_path)
    whole = finished(path, tmp_path / "whole", oracle=True)
    with pytest.raises(KeyboardInterrupt):
        run(
            path, tmp_path / "cut", Interrupt("search" if phase == "winner" else phase), oracle=True
        )
    again = run(path, tmp_path / "cut", oracle=True)
    for each in whole.report["candidates"]:
        losses = [
            {step: entry["val_loss_batches"] for step, entry in read(folder, each["name"]).items()}
            for folder in (whole.folder, again.folder)
        ]
        assert losses[0] == losses[1]


def test_steps_of_its_own(write_space, tmp_path):
    path = space(write_space, tmp_path, "{operator: scratch, steps: 30}")
    assert lagsearch.plan(path).candidates[0].steps == 30
    path = space(write_space, tmp_path, "{operator: scratch, steps: 23}")
    with pytest.raises(SpaceError, match=r"candidates\[0\]\.steps 23: is less than .* 24"):
        lagsearch.plan(path)


def test_its_schedule_is_its_own(write_space, tmp_path):
    """It ends where its own training ends, and does not go on where the source's stopped."""
    from lagsearch.planning.stage import make_plan
    from lagsearch.planning.vocabulary import find_tokenizer, vocabulary_of
    from lagsearch.records.folder import RunFolder
    from lagsearch.running.jobs import JobMaker
    from lagsearch.running.run import _open_data, _resources

    text = space(write_space, tmp_path).read_text()
    path = tmp_path / "cosine.yaml"
    path.write_text(text.replace("{name: cosine,", "{name: cosine, continue: true,"))
    file = lagsearch.load_space(path)
    tokenizer = find_tokenizer(file)
    plan = make_plan(file, vocabulary_of(tokenizer, file.space))
    store, objective = _open_data([file], tokenizer, Watch())
    compute, _ = _resources(file, [each.cost.memory_bytes for each in plan.candidates])
    make = JobMaker(plan, store, objective, RunFolder(tmp_path / "x"), compute, 1)
    jobs = make.candidates({file.space.seed: []})
    own, grown = (jobs[each.name].training for each in plan.candidates[:2])
    assert (own.steps, own.schedule.continued) == (plan.candidates[0].steps, False)
    assert (grown.steps, grown.schedule.continued) == (24, 20)
