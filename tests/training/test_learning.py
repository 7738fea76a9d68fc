"""Operators in training: their loss falls, what they cost is charged, and runs can be resumed."""

import io
import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from reported import without_times

import lagsearch
from lagsearch.display.watch import PlainWatch, Watch
from lagsearch.errors import CandidateFailed, OperatorError
from lagsearch.grow import GrowRequest, find_growth
from lagsearch.models.build import tensors_of
from lagsearch.planning.flops import operator_flops
from lagsearch.planning.memory import learning_bytes
from lagsearch.records.curve import read_curve
from lagsearch.running.workers.serial import open_serial
from lagsearch.storage.files import file_digest
from lagsearch.training import learning, loop
from lagsearch.training.growth import build, grow_job
from lagsearch.training.loop import train
from lagsearch.training.optimizer import make_optimizer, state_tensors

pytestmark = pytest.mark.usefixtures("trained")

DEPTH = "  - {operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}\n"
LIGO = (DEPTH, "  - {operator: ligo, steps: 20}\n  - {operator: stack}\n")
BOTH = (
    "target: {num_hidden_layers: 4}",
    "target: {num_hidden_layers: 4, hidden_size: 32, num_attention_heads: 4,\n"
    "         num_key_value_heads: 2, intermediate_size: 64}",
)
ALONE = (DEPTH, "  - {operator: ligo, steps: 20}\n")
LONGER = ("      steps: 20\n", "      steps: 150\n")


def run(path, folder, **options):
    options.setdefault("watch", Watch())
    return lagsearch.run(path, out=folder, serial=True, **options)


def entry(result, name):
    return next(each for each in result.report["candidates"] if each["name"] == name)


@pytest.fixture
def jobs(write_space, tmp_path, monkeypatch):
    """Return a function that gives a space's jobs, before any of them is trained."""

    def find(*replacements):
        found = {}

        def stop(jobs, until, watch, finished):
            if jobs[0].name == "small":
                with open_serial() as train_source:
                    return train_source(jobs, until, watch, finished)
            found.update({job.name: job for job in jobs})
            raise KeyboardInterrupt

        monkeypatch.setattr("lagsearch.running.run.open_serial", lambda: nullcontext(stop))
        with pytest.raises(KeyboardInterrupt):
            without = ["search.baselines=[]"]
            run(write_space(*replacements), tmp_path / "jobs", overrides=without)
        monkeypatch.undo()
        return found

    return find


def grown(job):
    model = build(job)
    optimizer = make_optimizer(model, job.training.optimizer)
    growing = grow_job(job, model, optimizer)
    steps = []
    while True:
        try:
            steps.append(next(growing))
        except StopIteration as end:
            learned = job.plan.learned
            assert steps == list(range(learned.steps if learned else 0))
            return model, optimizer, end.value


def test_a_run_with_ligo(write_space, tmp_path):
    result = run(write_space(LIGO, LONGER), tmp_path / "run")
    learned, stacked = entry(result, "ligo-steps20"), entry(result, "stack")
    what = learned["learned"]
    assert what["loss_after"] < what["loss_before"]
    assert what["loss_after"] == pytest.approx(learned["val_loss"]["0"], abs=1e-5)
    # 9 weights of a layer, 4 target layers, 3 source layers
    assert (what["steps"], what["parameters"]) == (20, 9 * 4 * 3)
    assert "learned" not in stacked
    plans = json.loads((result.folder / "plans.json").read_text())["candidates"]
    plan = next(each for each in plans if each["name"] == "ligo-steps20")
    size = 2 * 16 * 16 + 2 * 8 * 16 + 3 * 16 * 32 + 2 * 16
    forming = 2 * 4 * 3 * size
    assert plan["operator_flops"] == 20 * (plan["flops_per_step"] + 3 * forming)
    assert learned["flops"] == plan["operator_flops"] + 10 * plan["flops_per_step"]
    first = result.curves.query("candidate == 'ligo-steps20' and step == 0")
    assert first["flops"].item() == plan["operator_flops"]
    cost = result.report["cost"]
    assert cost["search_flops"] == plan["operator_flops"] + 20 * plan["flops_per_step"]
    assert cost["oracle_flops"] == plan["operator_flops"] + 48 * plan["flops_per_step"]
    planned = lagsearch.plan(write_space(LIGO, LONGER))
    assert planned.stages[0].flops(10) == cost["search_flops"]


def test_a_run_in_width_and_depth_killed_and_resumed(write_space, tmp_path):
    path = write_space(ALONE, BOTH)
    whole = run(path, tmp_path / "whole")

    class Interrupt(Watch):
        def __init__(self, left):
            self.left = left

        def progress(self, progress):
            self.left -= progress.name == "ligo-steps20"
            if self.left < 0:
                raise KeyboardInterrupt

    for left in (0, 2, 5):
        with pytest.raises(KeyboardInterrupt):
            lagsearch.run(path, out=tmp_path / "cut", serial=True, watch=Interrupt(left))
    resumed = run(path, tmp_path / "cut")
    assert without_times(resumed.report) == without_times(whole.report)
    assert entry(resumed, "ligo-steps20")["learned"]["loss_before"] > 0


def test_the_loss_falls_and_nothing_else_changes(jobs):
    [job] = jobs(ALONE, BOTH, LONGER).values()
    before = [file_digest(path) for path in job.sources]
    random_before = torch.get_rng_state()
    model, optimizer, seconds = grown(job)
    first = json.loads(job.operator_record.read_text())
    assert first["loss_after"] < first["loss_before"] - 0.01
    assert seconds > 0
    torch.manual_seed(99)  # the global state must not matter
    again, _, _ = grown(job)
    for name, tensor in tensors_of(model).items():
        assert torch.equal(tensor, tensors_of(again)[name]), name
    assert json.loads(job.operator_record.read_text()) == first
    assert [file_digest(path) for path in job.sources] == before
    torch.set_rng_state(random_before)
    grown(job)
    assert torch.equal(torch.get_rng_state(), random_before)
    # what is learned has no moments to copy: all begin at zero
    assert not any(tensor.any() for tensor in state_tensors(optimizer, model).values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_seconds_of_learning_are_charged(jobs, monkeypatch):
    [job] = jobs((DEPTH, "  - {operator: ligo, steps: 1}\n")).values()

    def slow(*given):
        return (yield from grow_job(*given)) + 100.0

    monkeypatch.setattr(loop, "grow_job", slow)
    list(train(job, 1))
    assert [each.wall_s >= 100.0 for each in read_curve(job.curve).evaluations] == [True, True]
    list(train(job, 2))  # from its state, without growing again
    assert 100.0 < read_curve(job.curve).evaluations[-1].wall_s < 200.0


def test_copied_layers_keep_their_moments(jobs):
    [job] = jobs((DEPTH, "  - {operator: stack-ligo, steps: 2}\n")).values()
    model, optimizer, _ = grown(job)
    moments = state_tensors(optimizer, model)
    name = "exp_avg.model.layers.{}.mlp.up_proj.weight"
    assert moments[name.format(0)].any()
    assert not moments[name.format(3)].any()


def test_every_candidate_sees_the_same_batches_after_learning(jobs, monkeypatch):
    found = jobs(LIGO)
    streams = []
    real = learning.Examples

    class Watched(real):
        def __init__(self, job, stream):
            streams.append(stream)
            super().__init__(job, stream)

    monkeypatch.setattr(learning, "Examples", Watched)
    grown(found["ligo-steps20"])
    assert streams == ["growth operator"]
    assert {job.text.stream for job in found.values()} == {"growth"}
    own = real(found["ligo-steps20"], "growth operator")(0).inputs
    assert not torch.equal(own, real(found["stack"], "growth")(0).inputs)


def test_dropout_while_learning_is_seeded(jobs):
    gpt2 = (
        "{model_type: llama, num_hidden_layers: 3, hidden_size: 16, intermediate_size: 32,\n"
        "                num_attention_heads: 2, num_key_value_heads: 1, "
        "max_position_embeddings: 32}",
        "{model_type: gpt2, n_layer: 3, n_embd: 16, n_head: 2, n_positions: 32}",
    )
    [job] = jobs((DEPTH, "  - {operator: ligo, steps: 3}\n"), gpt2).values()
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(tensors_of(grown(job)[0]))
    assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())


def test_a_loss_that_is_not_finite_fails_the_candidate(jobs, monkeypatch):
    [job] = jobs((DEPTH, "  - {operator: ligo, steps: 2}\n")).values()

    def nan(self, logits_of, inputs, labels):
        return logits_of(inputs).sum() * float("nan")

    monkeypatch.setattr(learning.Loss, "__call__", nan)
    with pytest.raises(CandidateFailed, match="step 0: the loss of learning the operator is nan"):
        list(train(job, 1))
    assert json.loads(job.curve.read_text())["failed"].startswith("the loss of learning")


def test_steps_of_zero_leave_the_start(jobs):
    plain, learned = jobs(
        (DEPTH, "  - {operator: stack}\n  - {operator: ligo, steps: 0, noise: 0.0}\n")
    ).values()
    expected = tensors_of(grown(plain)[0])
    for name, tensor in tensors_of(grown(learned)[0]).items():
        assert torch.equal(tensor, expected[name]), name
    assert replace(learned, plan=plain.plan).operator_flops == 0


def test_several_sources_are_mixed(write_space, tmp_path):
    config = (
        "{model_type: llama, num_hidden_layers: 2, hidden_size: 16, intermediate_size: 32,\n"
        "                num_attention_heads: 2, num_key_value_heads: 1, "
        "max_position_embeddings: 32}"
    )
    path = write_space(
        ("num_hidden_layers: 3", "num_hidden_layers: 2"),
        (
            "target:",
            f"  - name: other\n    pretrain:\n      config: {config}\n      steps: 20\ntarget:",
        ),
        (DEPTH, "  - {operator: multi-ligo, order: small other, steps: 10}\n"),
    )
    result = run(path, tmp_path / "run")
    names = {each["operator"]: each for each in result.report["candidates"]}
    assert set(names) == {"multi-ligo", "ligo"}  # the control is there
    learned = names["multi-ligo"]["learned"]
    # 9 weights mix 4 layers of 4; embedding, final norm and head mix two
    assert learned["parameters"] == 9 * 4 * 4 + 3 * 2
    assert learned["loss_after"] < learned["loss_before"]


def test_flops_of_learning():
    assert operator_flops(steps=7, forming=10, step_flops=1000) == 7 * 1030


def test_growing_on_disk_refuses_what_must_be_learned(write_space, tmp_path):
    checkpoint = run(write_space(), tmp_path / "run").checkpoint
    request = GrowRequest(
        sources=(str(checkpoint),), operator="ligo", target={"num_hidden_layers": 6}
    )
    with pytest.raises(OperatorError, match="learned needs training: use `lagsearch run`"):
        find_growth(request)


def test_signs_of_learning(write_space, tmp_path, monkeypatch):
    """While an operator is learned a run says so, and no longer when it trains."""
    monkeypatch.setattr(loop, "_TELL_EVERY_S", 0.0)
    seen = []

    class Listen(Watch):
        def progress(self, progress):
            if progress.name == "ligo-steps20":
                seen.append((progress.learned, progress.step))

    run(write_space(LIGO, LONGER), tmp_path / "run", watch=Listen())
    learning = [learned for learned, _ in seen if learned is not None]
    assert learning == list(range(20))
    assert (None, 0) in seen[len(learning) :] and seen[-1][0] is None


def test_what_a_line_says_while_learning():
    stream = io.StringIO()
    watch = PlainWatch(stream)
    watch.begin("search", {"a": 10, "b": 10})
    watch.wrote = -1e9
    watch.progress(loop.Progress("a", 0, None, 0.0, 37))
    assert "a, step 0 (learning, 37)" in stream.getvalue()
    watch.wrote = -1e9
    watch.progress(loop.Progress("a", 0, 3.0, 0.0))
    assert "a, step 0, val loss 3.0000" in stream.getvalue()


def test_trainings_of_several_lengths_have_no_ranks_and_their_own_ends():
    stream = io.StringIO()
    watch = PlainWatch(stream)
    watch.begin("stages", {"a": 10, "b": 40})
    for name, loss, end in (("a", 3.0, 10), ("b", 2.0, 40)):
        watch.progress(loop.Progress(name, end, loss, 0.0))
        watch.finished(name)
    assert stream.getvalue().splitlines() == [
        "stages: 2 trainings to steps 10 to 40",
        "  [1/2] a, step 10, val loss 3.0000",
        "  [2/2] b, step 40, val loss 2.0000",
    ]


def test_memory_of_learning_by_hand():
    # training: weights, gradients, two moments of 10 parameters, and 1000 bytes of activations
    assert learning_bytes(160 + 1000, 10, 6, 2, 2) == 1000 + 4 * (30 + 6 + 8)
