from dataclasses import dataclass
from pathlib import Path

from lagsearch.records.curve import Evaluation, append
from lagsearch.running.states import BestStatesOnly, let_go


@dataclass
class Finished:
    """What a finished job is to `BestStatesOnly`."""

    name: str
    folder: Path
    loss: float

    def __post_init__(self):
        append(self.curve, Evaluation(10, self.loss, (self.loss,), 0.0, 0))
        self.state.write_bytes(b"weights")

    @property
    def curve(self):
        return self.folder / f"{self.name}.jsonl"

    @property
    def state(self):
        return self.folder / f"{self.name}.safetensors"


def test_the_best_stays_and_those_that_are_asked_for(tmp_path):
    losses = {"a": 3.0, "b": 2.0, "c": 2.5, "d": 1.0, "e": 4.0}
    keep = BestStatesOnly(losses.get, but={"b", "e"})
    for name, loss in losses.items():
        keep.finished(Finished(name, tmp_path, loss))
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {"b", "d", "e"}


def test_so_many_of_the_best_stay_and_of_equal_ones_the_first(tmp_path):
    losses = {"a": 3.0, "b": 2.0, "c": 2.0, "d": 2.0, "e": 4.0}
    keep = BestStatesOnly(losses.get, count=2)
    for name, loss in losses.items():
        keep.finished(Finished(name, tmp_path, loss))
        assert len(list(tmp_path.glob("*.safetensors"))) <= 2
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {"b", "c"}


def test_other_seeds_are_let_go_and_what_is_not_known_stays(tmp_path):
    known = {"a": 2.0, "b": 3.0}
    keep = BestStatesOnly(known.get, others={"a@1", "c@1"})
    for name in ("a@1", "c@1", "c", "a", "b"):
        keep.finished(Finished(name, tmp_path, 0.0))
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {"a", "c"}


def test_a_baseline_is_no_candidate_and_stays(tmp_path):
    losses = {"a": 3.0, "continue": 1.0, "b": 2.0}
    keep = BestStatesOnly(losses.get, unjudged={"continue"})
    for name, loss in losses.items():
        keep.finished(Finished(name, tmp_path, loss))
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {"b", "continue"}


def trained(folder, *names):
    (folder / "curves").mkdir()
    for name in names:
        (folder / "curves" / name).touch()


def test_let_go_leaves_what_is_asked_for_and_no_empty_folder(tmp_path):
    states = tmp_path / "states"
    let_go(states)  # there is none: nothing to do
    states.mkdir()
    trained(tmp_path, "a.jsonl", "b.c.jsonl.gz", "d.jsonl")
    for name in ("a", "b.c"):
        (states / f"{name}.safetensors").write_bytes(b"")
    (states / ".a.safetensors.abcdefg_.tmp").write_bytes(b"")
    let_go(states, but={"b.c", "unknown"})
    assert [path.name for path in states.iterdir()] == ["b.c.safetensors"]
    let_go(states)
    assert not states.exists()


def test_what_the_run_did_not_write_stays(tmp_path):
    """A folder elsewhere that `states` links to, with files of other people in it."""
    elsewhere, states = tmp_path / "elsewhere", tmp_path / "run" / "states"
    elsewhere.mkdir()
    states.parent.mkdir()
    states.symlink_to(elsewhere)
    trained(states.parent, "a.jsonl")
    others = ("thesis.pdf", "z.safetensors", ".a.safetensors.tmp", "a.safetensors.bak")
    for name in (*others, "a.safetensors"):
        (elsewhere / name).write_bytes(b"x")
    (elsewhere / "folder").mkdir()
    let_go(states)
    assert {path.name for path in elsewhere.iterdir()} == {*others, "folder"}
    assert states.is_symlink()


def test_an_empty_folder_that_is_linked_to_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "states").symlink_to(tmp_path / "elsewhere")
    let_go(tmp_path / "states")
    assert (tmp_path / "states").is_symlink()
    assert (tmp_path / "elsewhere").is_dir()
