"""The best checkpoints at K, kept with their optimizer's moments."""

import os
import re
from pathlib import Path

import pytest
import torch
from finished import finished
from reported import without_times
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

import lagsearch
from lagsearch.data.tokens.batches import validation_rows
from lagsearch.data.tokens.store import TokenStore
from lagsearch.display.watch import Watch
from lagsearch.space import load_space

pytestmark = pytest.mark.usefixtures("trained")


class Lines(Watch):
    """Keeps what is said, and stops the run where a phase begins."""

    def __init__(self, stop="nothing"):
        self.lines, self.stop = [], stop

    def say(self, line):
        self.lines.append(line)

    def begin(self, phase, ends):
        if phase.startswith(self.stop):
            raise KeyboardInterrupt


class Steps(Lines):
    """Keeps the steps that each training is seen at, too."""

    def __init__(self):
        super().__init__()
        self.steps = {}

    def progress(self, progress):
        self.steps.setdefault(progress.name, []).append(progress.step)


def run(space, out, watch=None, **how):
    return lagsearch.run(space, out=out, serial=True, watch=watch or Watch(), **how)


def losses_of(folder):
    """Measure a checkpoint on the validation batches, as transformers loads it."""
    [store] = [
        TokenStore(each) for each in (Path(os.environ["LAGSEARCH_CACHE"]) / "tokens").iterdir()
    ]
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    losses = []
    for rows in validation_rows([(store.tokens("validation"), 1.0)], 16, 4, 4):
        with torch.no_grad():
            logits = model(torch.from_numpy(rows[:, :-1])).logits
        losses.append(
            cross_entropy(logits.flatten(0, 1), torch.from_numpy(rows[:, 1:]).flatten()).item()
        )
    return sum(losses) / len(losses)


def kept_in(folder):
    return {path.name for path in (folder / "kept").glob("*")}


def tensors_in(folder):
    return {
        path.relative_to(folder).as_posix(): load_file(path)
        for path in sorted(folder.glob("**/*.safetensors"))
    }


def same(one, other):
    assert one.keys() == other.keys()
    for file in one:
        assert one[file].keys() == other[file].keys()
        assert all(torch.equal(one[file][name], other[file][name]) for name in one[file])


def test_the_best_at_lag_are_there_as_they_were_at_lag(write_space, tmp_path):
    result = finished(write_space(), tmp_path / "run", keep=2)
    best = [each.name for each in result.candidates[:2]]
    assert kept_in(result.folder) == set(best)
    for each in result.candidates[:2]:
        folder = result.folder / "kept" / each.name
        assert losses_of(folder) == pytest.approx(each.val_loss[10], abs=1e-5)
        assert AutoTokenizer.from_pretrained(folder).decode([100, 101]) is not None
    assert not (result.folder / "states").exists()
    plain = finished(write_space(), tmp_path / "plain")
    assert without_times(result.report) == without_times(plain.report)
    assert kept_in(plain.folder) == set()


def test_with_an_oracle_nothing_is_trained_twice(write_space, tmp_path):
    """Finalists are kept; those that were stopped go on for the scores from where they are."""
    search = "search: {lag: 10, cut: 5, strategy: finalists, keep: 2, oracle: true}"
    watch = Steps()
    result = run(write_space(("search: {lag: 10}", search)), tmp_path / "run", watch, keep=2)
    assert len(kept_in(result.folder)) == 2
    assert not [line for line in watch.lines if line.startswith("kept: not")]
    for each in result.candidates:
        seen = [step for step in watch.steps[each.name] if step]  # 0 is told when a process begins
        assert seen == sorted(seen), each.name


def test_moments_are_those_of_the_state(write_space, tmp_path):
    """The run is stopped where the winner is to be trained on: the states are those at K."""
    with pytest.raises(KeyboardInterrupt):
        run(write_space(), tmp_path / "run", Lines("winner"), keep=3)
    kept = kept_in(tmp_path / "run")
    assert len(kept) == 3
    for name in kept:
        folder = tmp_path / "run/kept" / name
        state = load_file(tmp_path / f"run/states/{name}.safetensors")
        moments = load_file(folder / "training/optimizer.safetensors")
        with safe_open(folder / "training/optimizer.safetensors", "pt") as file:
            assert file.metadata()["step"] == "10"
        assert moments and all(torch.equal(state[key], moments[key]) for key in moments)
        model = AutoModelForCausalLM.from_pretrained(folder)
        for key, parameter in model.named_parameters():
            assert torch.equal(parameter, state[f"weight.{key}"])
            for moment in ("exp_avg", "exp_avg_sq"):
                assert moments[f"{moment}.{key}"].shape == parameter.shape
    before = tensors_in(tmp_path / "run/kept")
    watch = Lines()
    run(write_space(), tmp_path / "run", watch, keep=3)  # goes on, and keeps what is kept
    same(before, tensors_in(tmp_path / "run/kept"))
    assert not [line for line in watch.lines if line.startswith("kept")]


def test_the_documented_way_to_load_moments(write_space, tmp_path):
    """A step of torch's AdamW from there is one by hand from the moments that were kept."""
    result = finished(write_space(), tmp_path / "run", keep=1)
    folder = result.folder / "kept" / result.winner
    page = Path(__file__).parents[1] / "docs" / "tutorial" / "own-checkpoint.md"
    [code] = re.findall(r"```python\n(.*?exp_avg.*?)```", page.read_text(), re.S)
    found = {}
    exec(code.replace('"kept-two/kept/NAME"', repr(str(folder))), found)
    model, optimizer = found["model"], found["optimizer"]
    tokens = torch.arange(16)[None]
    model(tokens, labels=tokens).loss.backward()
    moments = load_file(folder / "training/optimizer.safetensors")
    expected = {}
    for name, parameter in model.named_parameters():
        first = 0.9 * moments[f"exp_avg.{name}"] + 0.1 * parameter.grad
        second = 0.999 * moments[f"exp_avg_sq.{name}"] + 0.001 * parameter.grad**2
        moved = (first / (1 - 0.9**11)) / ((second / (1 - 0.999**11)).sqrt() + 1e-8)
        expected[name] = parameter.detach() * (1 - 3e-4 * 0.01) - 3e-4 * moved
    optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-5, atol=1e-7)


def test_an_oracle_keeps_the_same_and_measures_the_same(write_space, tmp_path):
    first = finished(write_space(), tmp_path / "first", keep=2)
    oracle = run(write_space(), tmp_path / "oracle", keep=2, oracle=True)
    same(tensors_in(first.folder / "kept"), tensors_in(oracle.folder / "kept"))
    plain = finished(write_space(), tmp_path / "plain", oracle=True)
    assert without_times(plain.report) == without_times(oracle.report)


@pytest.mark.slow
def test_a_race_and_a_sampled_search_keep_theirs(write_space, tmp_path):
    race = "search: {lag: auto, min_lag: 5, strategy: race, keep_checkpoints: 2}"
    found = run(write_space(("search: {lag: 10}", race)), tmp_path / "race")
    lag = found.report["lag"]
    ranked = [each for each in found.candidates if each.status == "ok"][:2]
    assert kept_in(found.folder) == {each.name for each in ranked}
    for each in ranked:
        measured = losses_of(found.folder / "kept" / each.name)
        assert measured == pytest.approx(each.val_loss[lag], abs=1e-5)
    sampled = (
        "search: {lag: 10, strategy: optuna, candidates: 3, at_a_time: 1, keep_checkpoints: 2}"
    )
    found = run(write_space(("search: {lag: 10}", sampled)), tmp_path / "sampled")
    assert kept_in(found.folder) == {each.name for each in found.candidates[:2]}


def test_stages_keep_those_of_each_stage(write_stages, tmp_path):
    found = run(write_stages(), tmp_path / "run", keep=1)
    for stage in found.stages:
        assert kept_in(stage.folder) == {stage.winner}


def test_what_was_asked_for_too_late_is_told(write_space, tmp_path):
    finished(write_space(), tmp_path / "run")
    watch = Lines()
    result = run(write_space(), tmp_path / "run", watch, keep=2)
    assert kept_in(result.folder) == set()
    told = [line for line in watch.lines if line.startswith("kept: ")]
    assert told == [
        f"kept: not {each.name}, its weights of step 10 are gone" for each in result.candidates[:2]
    ]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("keep_checkpoints: 0", "search.keep_checkpoints 0: "),
        (
            "keep_checkpoints: 2, oracle: true, strategy: optuna, candidates: 3",
            "search.keep_checkpoints 2: cannot be with",
        ),
    ],
)
def test_wrong_values_are_one_line(call, write_space, search, message):
    space = write_space(("search: {lag: 10}", f"search: {{lag: 10, {search}}}"))
    code, _, err = call("plan", space)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1


def test_the_option_is_the_key(call, write_space, tmp_path):
    code, _, err = call(
        *("run", write_space(), "--serial", "--out", tmp_path / "run", "--keep", "1")
    )
    assert code == 0, err
    assert load_space(tmp_path / "run/space.yaml").space.search.keep_checkpoints == 1
    assert len(kept_in(tmp_path / "run")) == 1
