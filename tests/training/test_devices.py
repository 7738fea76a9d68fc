"""One model trained by several processes, against the same training in one."""
# ruff: noqa: F811  (fixtures of another file)

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from terminals import descendants
from test_loop import BERT, GPT2, LLAMA, grown_from, job_of, texts  # noqa: F401
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import CandidateFailed
from lagsearch.models.tensors import TensorFile
from lagsearch.records.curve import read_curve
from lagsearch.records.folder import RunFolder
from lagsearch.running.run import prepared
from lagsearch.running.stage import StageRun
from lagsearch.running.workers import team as teams
from lagsearch.running.workers.team import dismiss, train_together
from lagsearch.space import Optimizer, load_space
from lagsearch.training.examples import Examples
from lagsearch.training.loop import train

WAYS = ("ddp", "fsdp")


@pytest.fixture(scope="module", autouse=True)
def team():
    """Let processes that are started wait for the next test."""
    yield
    dismiss()


def on_devices(job, parallel, count=2):
    """Return a job for several processes, with files of its own."""
    name = f"{job.name}-{parallel}-{count}"
    return replace(
        job,
        name=name,
        compute=replace(job.compute, devices=count, parallel=parallel),
        curve=job.curve.with_name(f"{name}.jsonl"),
        state=job.state.with_name(f"{name}.safetensors"),
    )


def team_of(job):
    """Return the processes that wait for jobs like this one."""
    return [each.process for each in teams._team_for(job).ranks]


def losses(job):
    """Return the losses of all batches of all evaluations."""
    return np.array([each.val_loss_batches for each in read_curve(job.curve).evaluations])


def tensors(path):
    """Return what a state holds."""
    file = TensorFile(path)
    file.check()
    return {name: file[name] for name in file}


def run(job, until=None):
    """Train a job to its end, or to a step."""
    way = train if job.compute.devices == 1 else train_together
    return list(way(job, until or job.training.steps))


def check_equal(job, parallel, count=2, tolerance=1e-5):
    """Train a job in one process and in several; compare all losses, and weights and moments."""
    together = on_devices(job, parallel, count)
    passes = job.training.gradient_accumulation * count
    alone = replace(job, training=job.training.model_copy(update={"gradient_accumulation": passes}))
    run(alone if job.config["model_type"] == "gpt2" else job)
    run(together)
    assert losses(job) == pytest.approx(losses(together), abs=tolerance)
    if tolerance > 1e-5:  # then weights differ where losses hardly do
        return together
    one, several = tensors(job.state), tensors(together.state)
    assert one.keys() == several.keys()
    for name, value in one.items():
        torch.testing.assert_close(several[name], value, rtol=1e-3, atol=1e-4)
    return together


MOSTLY = {"steps": 6, "gradient_clip": 0.5}
TRAININGS = {
    "masked": ("masked", BERT, {}),
    "passes": ("ul2", LLAMA, {"gradient_accumulation": 2}),
    "dropout": ("causal", GPT2, {"batch_size": 8}),  # tied
    "uneven": ("uneven", LLAMA, {}),
    "average": ("causal", LLAMA, {"ema": 0.9}),
    "checkpointing": ("causal", LLAMA, {"gradient_checkpointing": True}),
    "sgd": ("causal", LLAMA, {"optimizer": Optimizer(name="sgd", lr=0.1)}),
    "adam": ("causal", LLAMA, {"optimizer": Optimizer(name="adam")}),
}


def some(names, by_default):
    """Return parameters of a test: those that are not tested by default are slow."""
    slow = pytest.mark.slow
    return [each if each in by_default else pytest.param(each, marks=slow) for each in names]


BOTH = [(name, parallel) for name in TRAININGS for parallel in WAYS]
BY_DEFAULT = [("masked", "ddp"), ("passes", "fsdp"), ("uneven", "fsdp"), ("average", "fsdp")]


@pytest.mark.parametrize("case", some(BOTH, BY_DEFAULT), ids="-".join)
def test_a_training_by_two_processes_is_that_of_one(job_of, case):
    name, parallel = case
    objective, keys, more = TRAININGS[name]
    job = job_of(objective, keys, **{**MOSTLY, **more})
    check_equal(job, parallel)


DEEPER = "num_hidden_layers: 6"
WIDER = "hidden_size: 32, intermediate_size: 64, num_attention_heads: 4, num_key_value_heads: 2"
GROWTHS = {
    "stack": (DEEPER, "{operator: stack, noise: 0.1}"),
    "identity": (DEEPER, "{operator: identity}"),
    "random": (DEEPER, "{operator: random, ramp_steps: 4}"),
    "net2net": (WIDER, "{operator: net2net, noise: 0.01}"),
    "zero": (WIDER, "{operator: zero}"),
    "random-width": (WIDER, "{operator: random-width, ramp_steps: 2}"),
    "combined": (f"{DEEPER}, {WIDER}", "{operator: combined, width: lemon, depth: interleave}"),
    "scratch": (DEEPER, "{operator: scratch}"),
    "aki": (WIDER, "{operator: aki}"),
    "duplicate-halves": (WIDER, "{operator: duplicate-halves}"),
    "solar": ("num_hidden_layers: 4", "{operator: solar}"),
    "mango": (f"{DEEPER}, {WIDER}", "{operator: mango, steps: 4}"),
    "stack-ligo": (DEEPER, "{operator: stack-ligo, steps: 4}"),
    "ligo": (f"{DEEPER}, {WIDER}", "{operator: ligo, steps: 4}"),
    "multi-stack": (DEEPER, "{operator: multi-stack, order: small other, boundary: average}"),
    "multi-interleave": (DEEPER, "{operator: multi-interleave, order: other small}"),
    "multi-combined": (
        f"{DEEPER}, {WIDER}",
        "{operator: multi-combined, width: zero, "
        "depth: {operator: multi-stack, order: small other}}",
    ),
    "multi-ligo": (DEEPER, "{operator: multi-ligo, order: small other, steps: 4}"),
}


def jobs_of(path, folder):
    """Return the jobs of a space's candidates, its sources trained, by name."""
    plan, shared = prepared(load_space(path), RunFolder(folder), Watch(), lambda _: {}, serial=True)
    stage = StageRun(plan.file.stages[0], None, RunFolder(folder), "", shared)
    stage.begin()
    return [replace(job, is_first_of_its_shape=False) for job in stage.jobs.values()]


@pytest.mark.parametrize("name", some(GROWTHS, ("ligo",)))
def test_a_growth_is_trained_alike(write_space, tmp_path, name):
    """All that is done with the optimizer's state, new parameters and decays is done here, too."""
    job = growth_job(write_space, tmp_path, name, 6)
    for parallel in ways_of(job):
        check_equal(job, parallel)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", GROWTHS)
def test_fifty_steps_of_a_growth(write_space, tmp_path, name, count):
    job = growth_job(write_space, tmp_path, name, 50)
    for parallel in ways_of(job):
        check_equal(job, parallel, count)


def growth_job(write_space, tmp_path, name, steps):
    """Return the job of a growth of `GROWTHS`."""
    target, growth = GROWTHS[name]
    settings = "" if name in LACKING else SETTINGS
    sources = SECOND if name.startswith("multi") else ""
    path = write_space(
        ("target: {num_hidden_layers: 4}", f"{sources}target: {{{target}}}"),
        ("{operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}", growth),
        ("steps: 24", f"steps: {steps}\n{settings}"),
        ("lr: 3e-3", "lr: 3e-3" + ", lr_tuned_for: source" * (WIDER in target)),
        ("search: {lag: 10}", "search: {lag: 4, baselines: [], signal: annealed}"),
        ("batches: 4", "batches: 4, ema: 0.9, annealed: {fraction: 0.5}"),
    )
    job, *_ = jobs_of(path, tmp_path / "run")  # behind it: one source alone, of several
    return job


def ways_of(job):
    """Return what a growth may be divided by: operators that learn need the whole model."""
    return WAYS if job.plan.learned is None else ("ddp",)


SECOND = """\
  - name: other
    pretrain:
      config: {model_type: llama, num_hidden_layers: 3, hidden_size: 16, intermediate_size: 32,
                num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}
      steps: 20
"""
# the source's own state, or anything but it
LACKING = ("scratch", "ligo", "mango", "stack-ligo", "multi-ligo")
SETTINGS = """\
  optimizer_state: reset_new
  new_parameters: {rewarm_steps: 2, freeze_source_steps: 1}
"""


@pytest.mark.parametrize("parallel", some(WAYS, ["fsdp"]))
def test_a_training_that_goes_on_is_bit_equal_and_its_file_that_of_any_number(job_of, parallel):
    """It goes on from a state of two processes, and one process goes on from it, too."""
    job = job_of(steps=6, gradient_clip=0.5)
    whole = on_devices(replace(job, name="whole"), parallel)
    run(whole)
    parts = on_devices(replace(job, name="parts"), parallel)
    run(parts, 3)
    alone = replace(job, state=job.state.with_name("copy.safetensors"))
    shutil.copy(parts.state, alone.state)
    shutil.copy(parts.curve, alone.curve)
    run(parts)
    assert (losses(parts) == losses(whole)).all()
    for name, value in tensors(whole.state).items():
        assert torch.equal(tensors(parts.state)[name], value), name
    run(alone)
    assert losses(alone) == pytest.approx(losses(whole), abs=1e-5)


def test_a_process_that_is_killed_is_replaced_and_nothing_is_lost(job_of):
    job = on_devices(job_of(steps=6), "fsdp")
    run(job)
    again = replace(job, curve=job.curve.with_name("a.jsonl"), state=job.state.with_name("a.st"))
    killed = []
    for sign in train_together(again, 6):
        if sign.step == 3 and not killed:
            killed = [each.pid for each in team_of(job)]
            os.kill(killed[1], signal.SIGKILL)
    assert (losses(again) == losses(job)).all()
    assert not any(Path(f"/proc/{pid}").exists() for pid in killed)


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_all_alike(job_of):
    job = on_devices(job_of(steps=6, optimizer=Optimizer(name="sgd", lr=1e30)), "fsdp")
    with pytest.raises(CandidateFailed, match=r"step \d: the (training|validation) loss is nan"):
        run(job)
    assert read_curve(job.curve).failure is not None


def test_one_device_needs_no_part_of_torch_that_many_do():
    code = "import sys, lagsearch.training.loop, lagsearch.running.trainers.advance;"
    code += "print([name for name in sys.modules if 'training.group' in name or 'fsdp' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


FEW_LOGITS = """
import os
from pathlib import Path
from lagsearch.training import loss
loss.MOST_LOGITS = 2**12
whole = loss.Loss._of_parts
def of_parts(*given):
    Path(__file__).with_name(str(os.getpid())).touch()
    return whole(*given)
loss.Loss._of_parts = of_parts
"""


@pytest.mark.slow
@pytest.mark.parametrize("parallel", WAYS)
def test_logits_that_are_formed_in_parts(job_of, parallel, tmp_path, monkeypatch):
    """A model is called several times before one backward pass then."""
    (tmp_path / "sitecustomize.py").write_text(FEW_LOGITS)
    dismiss()
    job = job_of(steps=6, gradient_clip=0.5)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        together = check_equal(job, parallel)
        assert all((tmp_path / str(each.pid)).exists() for each in team_of(together))
    dismiss()


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("parallel", WAYS)
@pytest.mark.parametrize("objective", ["causal", "masked", "ul2"])
def test_fifty_steps(job_of, objective, parallel, count):
    keys = BERT if objective == "masked" else LLAMA
    check_equal(job_of(objective, keys, steps=50, gradient_clip=1.0, batch_size=8), parallel, count)


OPTIMIZERS = {
    "adamw": 3e-3,
    "adam": 3e-3,
    "sgd": 0.1,
    "lion": 1e-4,
    "adafactor": 3e-3,
    "muon": 3e-3,
}
WHOLE = ("adafactor", "muon")  # they need whole matrices


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps_of_an_optimizer(job_of, name, count):
    """Muon makes updates orthogonal, whatever their size, and rounding larger with them."""
    if name in ("lion", "muon") and not hasattr(torch.optim, name.capitalize()):
        pytest.skip(f"this torch has no {name.capitalize()}")
    optimizer = Optimizer(name=name, lr=OPTIMIZERS[name])
    job = job_of(steps=50, batch_size=8, optimizer=optimizer)
    for parallel in ("ddp",) if name in WHOLE else WAYS:
        check_equal(job, parallel, count, 1e-4 if name == "muon" else 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_is_ended(write_space, tmp_path, number):
    path = write_space(
        ("steps: 24", "steps: 100000"), ("search: {lag: 10}", "search: {lag: 99999}")
    )
    words = ["--serial", "--out", tmp_path / "run", "--set", "resources.devices_per_candidate=2"]
    command = [sys.executable, "-m", "lagsearch.cli", "run", path, *words]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    curves = tmp_path / "run" / "curves"
    deadline = time.monotonic() + 120
    while not list(curves.glob("*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.5)
    ranks = descendants(run.pid)[1:]
    assert len(ranks) == 2
    run.send_signal(number)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), said
    until = time.monotonic() + 30
    while any(map(is_running, ranks)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(is_running, ranks))


def is_running(pid):
    """Return whether a process runs; one that nobody has waited for has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_the_winner_of_a_run_of_two_processes_is_a_checkpoint_with_its_loss(write_space, tmp_path):
    """Its batches are looked up in the text, as one process sees them; transformers loads it."""
    path = write_space(("search: {lag: 10}", f"search: {{lag: 10}}\nresources: {TOGETHER}"))
    found = lagsearch.run(path, out=tmp_path / "run", serial=True, watch=Watch())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "winner").eval()
    [*_, job] = (job for job in jobs_of(path, tmp_path / "again") if job.name == found.winner)
    measured = []
    with torch.no_grad():
        for batch in Examples(job, job.text.stream).validation():
            logits = model(batch.inputs).logits.flatten(0, 1)
            measured.append(float(cross_entropy(logits, batch.labels.flatten())))
    [*_, last] = read_curve(tmp_path / "run" / "curves" / f"{job.name}.jsonl").evaluations
    assert last.step == 24
    assert measured == pytest.approx(last.val_loss_batches, abs=1e-5)


@pytest.mark.slow
@pytest.mark.ray
def test_a_candidate_of_two_processes_is_the_same_under_ray(write_space, tmp_path):
    path = write_space(("search: {lag: 10}", f"search: {{lag: 10}}\nresources: {TOGETHER}"))
    serial, by_ray = (
        lagsearch.run(path, out=tmp_path / str(way), serial=way, watch=Watch())
        for way in (True, False)
    )
    for each in serial.folder.glob("curves/*.jsonl"):
        found = read_curve(by_ray.folder / "curves" / each.name)
        assert [at.val_loss_batches for at in found.evaluations] == [
            at.val_loss_batches for at in read_curve(each).evaluations
        ]


TOGETHER = "{devices_per_candidate: 2, parallel: fsdp, sources: {devices: 1}}"
