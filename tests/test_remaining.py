"""What a run still trains after a phase: by hand, and as a whole run then really trains it."""

import io
import json
import time
from contextlib import nullcontext
from dataclasses import fields
from itertools import pairwise
from types import SimpleNamespace

import pytest
from safetensors.numpy import save_file
from test_trainer import RESUME, trainer

import lagsearch
from lagsearch.display.time_left import Later
from lagsearch.display.watch import PlainWatch, Watch
from lagsearch.planning.stage import recorded
from lagsearch.records.curve import Evaluation, Failure, append
from lagsearch.records.folder import RunFolder
from lagsearch.records.strategy_input import search_settings
from lagsearch.running.phases import Phases
from lagsearch.running.remaining import Remaining
from lagsearch.running.search import Searching
from lagsearch.running.trainers import TrainerJob, advance
from lagsearch.running.workers.serial import Outcome
from lagsearch.running.workers.slots import Slots
from lagsearch.storage.files import write_json
from lagsearch.training.job import Compute, Job

pytestmark = pytest.mark.usefixtures("trained")

PLAIN = "search: {lag: 10}"
LISTED = ("evaluation: {batches: 4}", "evaluation: {batches: 4, steps: [6, 10, 16]}")
ONE = Slots(1, 0.0, 1)
LONG = "baselines: [{operator: continue, steps: 40}]"
SCRATCH = (
    "candidates:\n",
    "candidates:\n  - {operator: scratch, steps: 30}\n",
)


class Made:
    """A run's plan and jobs without tokens, and a folder to put curves and states into."""

    def __init__(self, path, folder, slots=ONE, **given):
        self.plan, self.folder = lagsearch.plan(path).stages[0], RunFolder(folder)
        self.space = self.plan.space
        self.settings = search_settings(self.space)
        (folder / "curves").mkdir(parents=True)
        (folder / "states").mkdir()
        planned = (*self.plan.candidates, *self.plan.baselines)
        names = [(each, trial) for each in planned for trial in self.space.trials(each.name)]
        self.jobs = {name: self._job(each, name) for each, name in names}
        longer = [each for each in self.plan.candidates if each.steps > self.space.training.steps]
        self.further = [each.name for each in (*longer, *self.plan.baselines)]
        self.names = [each.name for each in self.plan.candidates if each not in longer]
        self.unit = sum(job.flops_per_step for job in self.jobs.values()) / len(self.jobs)
        self.of = Remaining(
            self.plan, self.folder, slots, given.get("has_stages", False), self.further
        )

    def _job(self, planned, name):
        known = {each.name: None for each in fields(Job) if each.default is each.default_factory}
        known |= {
            "name": name,
            "training": self.space.training.model_copy(update={"steps": planned.steps}),
            "compute": Compute(),
            "text": SimpleNamespace(seed=int(name.partition("@")[2] or self.space.seeds[0])),
            "evaluate_at": tuple(sorted({*self.plan.steps, planned.steps})),
            "curve": self.folder.curve_file(name),
            "state": self.folder.state_file(name),
            "flops_per_step": planned.cost.flops_per_step,
        }
        if self.space.trainer is None:
            return Job(**known)
        return TrainerJob(**known, trainer=self.space.trainer)

    def train(self, step, *names, saved=True):
        """Leave what a training to a step leaves."""
        for name in names:
            job = self.jobs[name]
            for each in sorted({step, *(each for each in job.evaluate_at if each < step)}):
                append(job.curve, Evaluation(each, 1.0, (1.0,) * 4, 1.0, each))
            words = {"step": str(step), "wall_s": "1.0"}
            if saved:
                save_file({}, job.state, words)
            if saved and isinstance(job, TrainerJob):
                job.path_at(step).mkdir(parents=True)

    def fail(self, name, *, again=False):
        append(self.jobs[name].curve, Failure(5, "its loss is no number", again=again))

    def after(self, step, missing=None, **given):
        """Return what comes after a search to a step, by default of all."""
        missing = self.jobs if missing is None else missing
        jobs = [self.jobs[name] for name in missing]
        return self.of.after_search(step, self.settings, self.jobs, jobs, **given)

    def alone(self, name, until, then):
        return self.of.after(self.jobs[name], until, then, self.jobs)

    def later(self, name, begin, end, evaluations, unit=None):
        """Return the training of one, as it is at the pace of the search."""
        share = self.jobs[name].flops_per_step / (unit or self.unit)
        return Later(1, pytest.approx((end - begin) * share), evaluations)


@pytest.fixture
def make(write_space, tmp_path):
    """Make a space's plan and jobs: its search in words, a trainer of the user's own."""

    def made(search="", *replacements, own="", **given):
        search = f"search: {{lag: 10, {search}}}\n{own}".replace(", }", "}")
        path = write_space((f"{PLAIN}\n", search), LISTED, *replacements)
        return Made(path, tmp_path / "run", **given)

    return made


def test_winner_and_baselines_come_after_k(make):
    made = make(LONG)
    winner, (name,) = made.names[0], made.further
    rest = [made.later(winner, 10, 24, 2), made.later(name, 10, 40, 3)]
    assert [*made.after(10)] == rest
    assert [*made.alone(winner, 24, made.further)] == [
        # without a state it begins anew
        made.later(name, 0, 40, 5, made.jobs[winner].flops_per_step)
    ]
    made.train(10, name)
    [last] = made.alone(winner, 24, made.further)
    assert last == made.later(name, 10, 40, 3, made.jobs[winner].flops_per_step)
    assert made.alone(name, 40, []) == ()


def test_with_an_oracle_only_what_is_longer_comes(make):
    made = make(f"oracle: true, {LONG}")
    assert [*made.after(24)] == [made.later(*made.further, 24, 40, 1)]
    # to K alone, where checkpoints are kept: the others go on from there
    first, *others = made.names
    made.train(24, first)
    made.train(10, *others)
    on, last = made.after(10, made.further)
    dear = sum(made.jobs[name].flops_per_step for name in (*others, *made.further))
    assert on == Later(len(others) + 1, pytest.approx(14 * dear / made.unit / on.models), 2)
    assert last == made.later(*made.further, 24, 40, 1)


def test_finalists_and_baselines_come_under_every_seed(make):
    made = make(f"strategy: finalists, cut: 6, keep: half, seeds: [3, 5, 7], {LONG}")
    winner, (name,) = made.names[0], made.further
    count = -(-len(made.names) // 2)
    dear = count * made.jobs[winner].flops_per_step + made.jobs[name].flops_per_step
    finalists, *rest = made.after(6)
    share = dear / (count + 1) / made.unit
    assert finalists == Later(3 * (count + 1), pytest.approx(4 * share), 1)
    assert rest == [made.later(winner, 10, 24, 2), made.later(name, 10, 40, 3)]
    assert [*made.after(10, [*made.names[:count], name])] == rest


def test_what_failed_for_good_or_is_over_does_not_come(make):
    two = "baselines: [{operator: continue, steps: 40}, {operator: continue, steps: 30}]"
    made = make(f"strategy: finalists, cut: 6, keep: 3, {two}")
    winner, (first, second) = made.names[0], made.further
    made.fail(first)
    for name in made.names[2:]:
        made.fail(name)
    finalists, *rest = made.after(6, [*made.names[:2], second])
    assert finalists.models == 2 + 1, "the two that are left, and one baseline"
    assert rest == [made.later(winner, 10, 24, 2), made.later(second, 10, 30, 3)]
    made.train(30, second)
    assert [*made.after(10, made.names[:2])] == [made.later(winner, 10, 24, 2)]
    assert made.alone(winner, 24, made.further) == ()


def test_what_another_try_may_mend_comes(make):
    made = make(LONG)
    made.fail(*made.further, again=True)
    assert len(made.alone(made.names[0], 24, made.further)) == 1


def test_a_longer_winner_goes_on_behind_completion(make):
    two = "baselines: [{operator: continue, steps: 40}, {operator: continue, steps: 30}]"
    made = make(two, SCRATCH)
    scratch, first, second = made.further
    made.train(10, *made.further)
    unit = made.jobs[scratch].flops_per_step
    begins = ((scratch, 24, 30, 1), (first, 10, 40, 3), (second, 10, 30, 3))
    rest = [made.later(*each, unit) for each in begins]
    assert [*made.alone(scratch, 24, made.further)] == rest  # as the winner
    assert [*made.alone(scratch, 30, made.further[1:])] == rest[1:]
    named = made.after(10, [first, second], chosen=scratch)
    whole = [made.later(*each) for each in ((scratch, 10, 24, 2), *begins)]
    assert [*named] == whole


@pytest.mark.parametrize("resume", [True, False])
def test_a_trainer_that_cannot_go_on_begins_anew(make, resume):
    own = trainer() if resume else trainer(resume=None)
    made = make("strategy: finalists, cut: 6, keep: half, baselines: []", own=own)
    count = -(-len(made.names) // 2)
    cut, lag = (6, 10) if resume else (0, 0)
    finalists, winner = made.after(6)
    assert (finalists.models, finalists.steps) == (count, 10 - cut)
    assert (winner.models, winner.steps) == (1, 24 - lag)
    [last] = made.after(10, made.names[:count])
    assert last == winner
    made.train(10, *made.names)
    [known] = made.after(10, [], chosen=made.names[0])
    assert known == winner


def test_a_resumed_run_does_not_count_what_is_done(make):
    """All candidates are at K, and one is chosen; a baseline was added to the run."""
    made = make(LONG)
    first, second = made.names[:2]
    [name] = made.further
    made.train(10, *made.names)
    made.train(16, first)  # stopped on its way
    rest = made.later(name, 10, 40, 3)
    assert [*made.after(10, [name], chosen=first)] == [made.later(first, 16, 24, 1), rest]
    made.train(24, second)
    assert [*made.after(10, [name], chosen=second)] == [rest]


@pytest.mark.parametrize(
    ("search", "step"), [("", 10), ("strategy: finalists, cut: 6,", 6), ("oracle: true,", 24)]
)
def test_a_baseline_that_is_further_than_its_candidates_goes_on_from_there(make, search, step):
    made = make(f"{search} {LONG}")
    [name] = made.further
    made.train(32, name)
    assert made.after(step, made.names)[-1] == made.later(name, 32, 40, 1)


@pytest.mark.parametrize(
    ("slots", "more"),
    [
        (Slots(1, 0.5, 2), ""),
        (Slots(1, 0.125, 8), ""),
        (ONE, "resources: {winner: {devices: 2}}\n"),
    ],
)
def test_other_devices_than_the_candidates_tell_no_pace(make, slots, more):
    made = make(LONG, own=more, slots=slots)
    assert made.after(10) is None
    assert len(made.alone(made.names[0], 24, made.further)) == 1, "they are alike among themselves"


@pytest.mark.parametrize("slots", [Slots(1, 1.0, 2), Slots(1, 0.5, 1), Slots(2, 0.0, 4)])
def test_one_that_shares_no_gpu_is_as_fast_alone(make, slots):
    assert make(LONG, slots=slots).after(10)


def test_where_a_search_may_end_at_any_step_nothing_is_known_before(make):
    made = make(f"strategy: race, {LONG}")
    made.train(10, *made.names)
    assert made.after(6) is None
    assert len(made.after(10, made.further, chosen=made.names[0])) == 2


def test_of_a_run_with_stages_nothing_is_known_before(make):
    made = make(LONG, has_stages=True)
    assert made.after(10) is None
    assert made.alone(made.names[0], 24, made.further) is None


@pytest.mark.parametrize(("resume", "begin"), [(RESUME, 6), (None, 0)])
def test_one_finalist_is_the_winner_at_the_cut(make, resume, begin):
    own = trainer(resume=resume)
    made = make(f"strategy: finalists, cut: 6, keep: 1, {LONG}", own=own)
    [name] = made.further
    winner, last = made.after(6)
    assert (winner.models, winner.steps) == (
        1,
        pytest.approx((24 - begin) * made.jobs[made.names[0]].flops_per_step / made.unit),
    )
    assert last == made.later(name, begin, 40, 4 if begin else 5)


@pytest.mark.parametrize("is_resumed", [False, True])
def test_the_watch_is_told_what_comes_and_how_many_at_a_time(make, monkeypatch, is_resumed):
    made, begun = make(LONG, slots=Slots(1, 0.0, 4)), []
    write_json(made.folder.plans_file, recorded(made.plan))
    for method in ("spend", "note"):  # of a folder that a whole run has begun
        monkeypatch.setattr(RunFolder, method, lambda folder, *args, **what: None)
    winner, (name,) = made.names[0], made.further
    if is_resumed:  # a baseline was added when the run was over
        made.train(10, *made.names[1:])
        made.train(24, winner)

    class Told(Watch):
        def begin(self, phase, ends):
            begun.append((phase, set(ends), self.before.slots, self.before.later))

    def runner(jobs, until, watch, finished):
        made.train(until, *(job.name for job in jobs))
        return Outcome({}, time.monotonic(), 4)

    rest = made.of, frozenset(), frozenset(), frozenset(made.further)
    Searching(made.space, made.folder, made.jobs, runner, Told(), *rest).search()
    last = made.later(name, 10, 40, 3)
    if is_resumed:
        assert begun == [("search", {name}, 4, (last,))]
    else:
        later = (made.later(winner, 10, 24, 2), last)
        assert begun == [("search", {*made.names, name}, 4, later)]


def test_of_baselines_only_those_behind_it_come(make, monkeypatch):
    """The first one loses its worker: another call tries it again, this one does not."""
    made, begun = make("baselines: [{operator: continue, steps: 40}, continue]"), []
    monkeypatch.setattr(RunFolder, "spend", lambda *what: None)
    first, second = made.further

    class Told(Watch):
        def begin(self, phase, ends):
            begun.append((phase, self.before.later))

    def runner(jobs, until, watch, finished):
        return Outcome(dict.fromkeys((job.name for job in jobs), "it is gone"), 0.0, 1)

    own = {
        "plan": made.plan,
        "slots": ONE,
        "watch": Told(),
        "open_alone": lambda: nullcontext(runner),
    }
    own["make"] = SimpleNamespace(
        folder=made.folder, profile=lambda name: None, alone=lambda job: job
    )
    lacking = (each.name for each in fields(Phases) if each.default is each.default_factory)
    Phases(**dict.fromkeys(lacking) | own).baselines(made.jobs)
    unit = made.jobs[first].flops_per_step
    assert begun == [
        (f"baseline {first}", (made.later(second, 0, 24, 4, unit),)),
        (f"baseline {second}", ()),
    ]


# ---- a whole run ----


class Counted(PlainWatch):
    """Keeps the FLOPs that are said to come after each phase, and those trained by its end."""

    def __init__(self, folder, path):
        super().__init__(io.StringIO())
        self.folder, self.phases = folder, []
        plan = lagsearch.plan(path).stages[0]
        self.flops = {each.name: each.cost.flops_per_step for each in plan.candidates}
        self.flops |= {each.name: each.cost.flops_per_step for each in plan.baselines}

    def trained(self):
        """Return the FLOPs of all trainings so far, as the curves have them."""
        files = (self.folder / "curves").glob("*.jsonl")
        return sum(json.loads(file.read_text().splitlines()[-1])["flops"] for file in files)

    def begin(self, phase, ends):
        super().begin(phase, ends)
        name = phase.split()[-1]
        unit = self.flops.get(name) or sum(self.flops.values()) / len(self.flops)
        later = self.before.later
        self.phases.append([phase.split()[0], sum(e.models * e.steps for e in later) * unit])

    def end(self):
        if self.title:
            self.phases[-1].append(self.trained())
        super().end()


@pytest.mark.parametrize(
    "search",
    [
        "strategy: finalists, cut: 6, keep: half, seeds: [3, 5]",
        "seeds: [3, 5], oracle: true",
    ],
)
@pytest.mark.slow
def test_what_is_counted_is_what_is_then_trained(write_space, tmp_path, search):
    words = f"search: {{lag: 10, {search}, {LONG}}}"
    path = write_space((PLAIN, words), LISTED, SCRATCH, ("[duplicate, random]", "duplicate"))
    watch = Counted(tmp_path / "run", path)
    result = lagsearch.run(path, out=tmp_path / "run", serial=True, watch=watch)
    assert result.winner != "scratch"
    phases = ["search", "baseline", "baseline"]
    if "oracle" not in search:
        phases = ["search", "search", "winner", "baseline", "baseline"]
    assert [phase for phase, *_ in watch.phases] == phases
    end = watch.trained()
    for phase, counted, trained in watch.phases:
        assert counted == pytest.approx(end - trained), phase
    assert watch.phases[-1][1] == 0 < watch.phases[0][1]


@pytest.mark.slow
@pytest.mark.parametrize("resume", [RESUME, None])
def test_what_is_counted_is_what_a_trainer_is_then_asked_for(
    write_space, tmp_path, monkeypatch, resume
):
    words = "search: {lag: 10, cut: 6, strategy: finalists, keep: 2}\n"
    three = (
        "[0, 2], block_size: 1, init: [duplicate, random]",
        "[0, 1, 2], block_size: 1, init: duplicate",
    )
    path = write_space((f"{PLAIN}\n", words + trainer(resume=resume)), three)
    watch, asked = Counted(tmp_path / "run", path), []
    command = advance.running_command

    def running(line, *beside):
        given = dict(pairwise(line))
        steps = int(given["--steps"]) - int(given.get("--done", 0))
        asked.append(steps * watch.flops[given["--name"]])
        return command(line, *beside)

    monkeypatch.setattr(advance, "running_command", running)
    monkeypatch.setattr(watch, "trained", lambda: sum(asked))
    lagsearch.run(path, out=tmp_path / "run", serial=True, watch=watch)
    assert [phase for phase, *_ in watch.phases] == ["search", "search", "winner", "baseline"]
    for phase, counted, trained in watch.phases:
        assert counted == pytest.approx(sum(asked) - trained), phase
