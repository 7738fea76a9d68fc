"""A trainer of the user's own: the same search, curves and states, whoever trains."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from finished import finished
from safetensors.torch import load_file

from lagsearch.records.curve import read_curve
from lagsearch.running.trainers import TrainerJob
from lagsearch.running.trainers.advance import _Elsewhere
from lagsearch.running.trainers.process import running_command
from lagsearch.space import Trainer

pytestmark = pytest.mark.usefixtures("trained")

TRAINER = Path(__file__).with_name("small_trainer.py")
COMMAND = (
    f"{{python}} {TRAINER} --init {{checkpoint}} --out {{out}} --steps {{steps}} --seed {{seed}} "
    "--name {name} --total {total_steps}"
)
RESUME = COMMAND + " --last {last} --done {step}"
LOSSES = "  losses: {format: jsonl, key: loss}\n"


def trainer(more="", command=COMMAND, resume=RESUME):
    text = f"trainer:\n  command: '{command}'\n"
    text += f"  resume: '{resume}'\n" if resume else ""
    return text + LOSSES + more


@pytest.fixture
def write(write_space):
    """Write the tiny space with a trainer, two candidates and no baselines."""

    def written(more="", *replacements, **keys):
        text = "search: {lag: 10, baselines: []}\n" + trainer(more, **keys)
        two = ("init: [duplicate, random]", "init: duplicate")
        return write_space(("search: {lag: 10}\n", text), two, *replacements)

    return written


def curve(folder, name="lag-i0-b1-duplicate"):
    return read_curve(folder / "curves" / f"{name}.jsonl")


def says(out, pattern):
    assert re.search(pattern, out), out


# ---- a whole search ----


@pytest.fixture
def ran(write, tmp_path):
    return finished(write(), tmp_path / "run").folder


def test_curves_states_and_the_winner_are_those_of_a_run(ran, call):
    folder = ran
    report = json.loads((folder / "report.json").read_text())
    winner, loser = (each["name"] for each in report["candidates"])
    assert [each.step for each in curve(folder, winner).evaluations] == [0, 10, 24]
    assert [each.step for each in curve(folder, loser).evaluations] == [0, 10]
    assert len(curve(folder, winner).at(24).val_loss_batches) == 4
    assert report["batches"] == 4
    assert not (folder / "states").exists(), "states and the trainer's files are let go"
    log = (folder / "curves" / f"{winner}.log").read_text()
    assert "--steps 24 --seed 3" in log and "--done 10" in log, "the winner is resumed from K"
    assert call("replay", folder)[0] == 2, "as without an oracle"
    code, out, _ = call("report", folder)
    assert code == 0
    says(out, "paired t-test")


def test_the_winner_is_what_the_trainer_left(call, write, tmp_path):
    space = write(command=f"{COMMAND} --keep {tmp_path / 'seen'}")
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 0, error
    winner = json.loads((tmp_path / "run" / "report.json").read_text())["winner"]["name"]
    weights = load_file(tmp_path / "run" / "winner" / "model.safetensors")
    grown = load_file(tmp_path / "seen" / winner / "model.safetensors")
    # the small trainer adds 0.01 a step to one weight
    expected = grown["model.norm.weight"] + 0.24
    torch.testing.assert_close(weights["model.norm.weight"], expected, atol=1e-5, rtol=0)
    assert all(torch.equal(weights[name], grown[name]) for name in grown if "norm.w" not in name)
    assert (tmp_path / "run" / "winner" / "tokenizer.json").is_file()


def test_the_loss_at_step_0_is_that_of_lagsearch(ran, call, write_space, tmp_path):
    folder = ran
    two = ("init: [duplicate, random]", "init: duplicate")
    space = write_space(("search: {lag: 10}\n", "search: {lag: 10, baselines: []}\n"), two)
    assert call("run", space, "--serial", "--out", tmp_path / "own")[0] == 0
    for name in ("lag-i0-b1-duplicate", "lag-i2-b1-duplicate"):
        own = curve(tmp_path / "own", name).at(0).val_loss_batches
        assert curve(folder, name).at(0).val_loss_batches == own


def test_a_second_call_trains_nothing(ran, call, write, tmp_path, monkeypatch):
    folder = ran
    monkeypatch.setattr("lagsearch.running.trainers.advance.running_command", None)
    assert call("run", write(), "--serial", "--out", folder)[0] == 0


@pytest.mark.ray
@pytest.mark.slow
def test_rays_slots_come_to_the_same(ran, call, write, tmp_path):
    folder = ran
    code, _, error = call("run", write(), "--out", tmp_path / "ray")
    assert code == 0, error
    for name in ("lag-i0-b1-duplicate", "lag-i2-b1-duplicate"):
        one, other = curve(folder, name), curve(tmp_path / "ray", name)
        assert [(each.step, each.val_loss_batches) for each in one.evaluations] == [
            (each.step, each.val_loss_batches) for each in other.evaluations
        ]


def test_moments_are_grown_beside_the_weights(call, write, tmp_path):
    space = write(command=COMMAND + " --keep " + str(tmp_path / "seen"))
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 0, error
    for name in ("lag-i0-b1-duplicate", "lag-i2-b1-duplicate"):
        moments = load_file(tmp_path / "seen" / name / "training" / "optimizer.safetensors")
        weights = load_file(tmp_path / "seen" / name / "model.safetensors")
        first = moments["exp_avg.model.layers.0.mlp.up_proj.weight"]
        assert first.shape == weights["model.layers.0.mlp.up_proj.weight"].shape
        assert torch.count_nonzero(first)
        assert moments["step.model.norm.weight"].item() == 20, "the source's steps"


# ---- losses that the trainer measures ----


def test_the_trainers_own_losses_are_ranked(call, write, tmp_path):
    code, _, error = call(
        "run", write("  evaluate: trainer\n"), "--serial", "--out", tmp_path / "r"
    )
    assert code == 0, error
    found = curve(tmp_path / "r")
    assert found.evaluations[0].step == 10
    assert all(len(each.val_loss_batches) == 1 for each in found.evaluations)
    assert found.at(10).val_loss == pytest.approx(5.0 / 11)


def test_a_step_that_was_not_logged_is_named(call, write, tmp_path):
    more = "  evaluate: trainer\n"
    space = write(
        more,
        ("evaluation: {batches: 4}", "evaluation: {batches: 4, steps: [3]}"),
        command=COMMAND + " --every 5",
    )
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "r")
    assert code == 3
    says(error, r"logged no loss at step 3: it has losses at 5, 10")


# ---- what goes wrong ----

MISHAPS = [
    ("--exit 3", r"ended with exit code 3: RuntimeError: as asked \(.*lag-i0-b1-duplicate\.log\)"),
    ("--writes nothing", r"wrote no checkpoint .*checkpoint-10 \(.*\.log\)"),
    ("--stops 6", r"ended before step 10: its last checkpoint is 6"),
    ("--nan 4", r"step 4: the trainer logged a loss of nan"),
    ("--writes other", r"checkpoint of step 10 cannot be read: .*lacks"),
    ("--writes nan", r"checkpoint of step 10 cannot be read: .* values are NaN"),
]


@pytest.mark.parametrize(("option", "message"), MISHAPS, ids=[each for each, _ in MISHAPS])
def test_a_mishap_is_one_line(call, write, tmp_path, option, message):
    code, _, error = call(
        "run", write(command=f"{COMMAND} {option}"), "--serial", "--out", tmp_path / "run"
    )
    assert code == 3
    assert error.splitlines()[-1].startswith("lagsearch: ")
    says(error.splitlines()[-1], message)


@pytest.mark.slow
def test_another_try_may_end_otherwise(call, write, tmp_path):
    """A command that failed is tried again by the next call; a NaN is for good."""
    broken = tmp_path / "broken"
    broken.touch()
    space = write(command=f"{COMMAND} --exit-while {broken} --name-only lag-i2-b1-duplicate")
    code, _, _ = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 0
    assert curve(tmp_path / "run", "lag-i2-b1-duplicate").failure.again
    broken.unlink()
    assert call("run", space, "--serial", "--out", tmp_path / "run")[0] == 0
    assert curve(tmp_path / "run", "lag-i2-b1-duplicate").at(10)


def test_without_resume_the_command_begins_anew(call, write, tmp_path):
    code, _, error = call("run", write(resume=None), "--serial", "--out", tmp_path / "run")
    assert code == 0, error
    log = (tmp_path / "run" / "curves" / "lag-i0-b1-duplicate.log").read_text()
    other = (tmp_path / "run" / "curves" / "lag-i2-b1-duplicate.log").read_text()
    assert ("--steps 24" in log) != ("--steps 24" in other)
    assert "--done" not in log + other


@pytest.mark.slow
def test_a_wrong_flag_is_mended_in_the_same_folder(call, write, tmp_path):
    """A loss that is not found is none that counts as trained; the mended space goes on."""
    more, run = "  evaluate: trainer\n", ("--serial", "--out", tmp_path / "run")
    wrong = write(more, ("key: loss}", "key: los}"))
    code, _, error = call("run", wrong, *run)
    assert code == 3
    says(error, "logged no loss at step 10: 'los' was not logged, but loss")
    code, _, error = call("run", write(more, command=COMMAND + " --every 5"), *run)
    assert code == 0, error
    noted = json.loads((tmp_path / "run" / "environment.json").read_text())["trainers"]
    assert [each["trainer"]["losses"]["key"] for each in noted] == ["los"]
    assert curve(tmp_path / "run").at(10).val_loss == pytest.approx(5.0 / 11)
    code, _, error = call("run", write("  evaluate: lagsearch\n"), *run)
    assert code == 2
    says(error, r"holds another run: trainer\.evaluate")


def test_the_device_is_free_before_the_next_command(call, write, tmp_path, monkeypatch):
    from lagsearch.running.trainers import advance

    own, models = advance.measure, []

    def measured(job, model, *others):
        models.append(model)
        return own(job, model, *others)

    monkeypatch.setattr(advance, "measure", measured)
    assert call("run", write(), "--serial", "--out", tmp_path / "run")[0] == 0
    assert len(models) == 5
    assert {each.device.type for model in models for each in model.parameters()} == {"meta"}


# ---- one checkpoint for all steps, and exports ----


@pytest.mark.slow
def test_a_checkpoint_without_a_step_is_exported(call, write, tmp_path):
    export = f"{{python}} {TRAINER} --export {{path}} --hf {{hf}} --init {{checkpoint}}"
    more = f"  checkpoints: {{path: '{{out}}/ckpt.pt', export: '{export}'}}\n"
    space = write(more, command=COMMAND + " --writes pt", resume=RESUME + " --writes pt")
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 0, error
    assert [each.step for each in curve(tmp_path / "run").evaluations][:2] == [0, 10]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["oracle", "listed"])
def test_one_checkpoint_for_all_steps_is_measured_at_each(call, write, tmp_path, how):
    """What is measured at a step is of that step, as with a checkpoint for each."""
    export = f"{{python}} {TRAINER} --export {{path}} --hf {{hf}} --init {{checkpoint}}"
    more = f"  checkpoints: {{path: '{{out}}/ckpt.pt', export: '{export}'}}\n"
    listed = ("evaluation: {batches: 4}", "evaluation: {batches: 4, steps: [4]}")
    one = {"command": COMMAND + " --writes pt", "resume": RESUME + " --writes pt"}
    options = ["--oracle"] if how == "oracle" else []
    for out, asked in (("one", (more, one)), ("each", ("", {}))):
        space = write(asked[0], listed, **asked[1])
        code, _, error = call("run", space, "--serial", "--out", tmp_path / out, *options)
        assert code == 0, error
    for name in ("lag-i0-b1-duplicate", "lag-i2-b1-duplicate"):
        found, expected = (
            {each.step: each.val_loss_batches for each in curve(tmp_path / out, name).evaluations}
            for out in ("one", "each")
        )
        assert found == expected
        assert {0, 4, 10} <= found.keys()
        assert found[4] != found[10]


def test_one_checkpoint_and_no_resume_cannot_be_measured_in_between(call, write):
    more = "  checkpoints: {path: '{out}/ckpt.pt'}\n"
    listed = ("evaluation: {batches: 4}", "evaluation: {batches: 4, steps: [4]}")
    code, _, error = call("plan", write(more, listed, resume=None))
    assert code == 2
    says(error, r"evaluation\.steps .*step 4 needs a checkpoint of its own: give trainer\.resume")


@pytest.mark.slow
def test_a_checkpoint_that_was_being_written_is_not_gone_on_from(call, write, tmp_path):
    """The winner's trainer dies, and leaves half of the one checkpoint that all steps share."""
    export = f"{{python}} {TRAINER} --export {{path}} --hf {{hf}} --init {{checkpoint}}"
    more = f"  checkpoints: {{path: '{{out}}/ckpt.pt', export: '{export}'}}\n"
    broken, options = tmp_path / "broken", " --writes pt"
    resume = f"{RESUME}{options} --spoils-while {broken}"
    seen = f" --keep {tmp_path / 'seen'}"
    space = write(more, command=COMMAND + options + seen, resume=resume)
    broken.touch()
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 2
    says(error, r"winner lag-i\d-b1-duplicate: .* ended with exit code 1: .*; mended, the same")
    broken.unlink()
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 0, error
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    winner = report["winner"]["name"]
    weights = load_file(tmp_path / "run" / "winner" / "model.safetensors")["model.norm.weight"]
    source = load_file(tmp_path / "seen" / winner / "model.safetensors")["model.norm.weight"]
    torch.testing.assert_close(weights, source + 0.24, atol=1e-5, rtol=0)


def test_one_that_ends_early_is_found_by_its_losses(call, write, tmp_path):
    export = f"{{python}} {TRAINER} --export {{path}} --hf {{hf}} --init {{checkpoint}}"
    more = f"  checkpoints: {{path: '{{out}}/ckpt.pt', export: '{export}'}}\n"
    space = write(more, command=COMMAND + " --writes pt --stops 6")
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 3
    says(error, r"ended before step 10: its last loss is of step 6")


def test_an_export_that_fails_is_named(call, write, tmp_path):
    more = "  checkpoints: {export: \"{python} -c 'raise SystemExit(4)' {path} {hf}\"}\n"
    code, _, error = call("run", write(more), "--serial", "--out", tmp_path / "run")
    assert code == 3
    says(error, r"checkpoints\.export ended with exit code 4")


# ---- a function ----

FUNCTION = """
from small_trainer import train


def run(call):
    yield from train(call.last or call.checkpoint, call.out, call.step, call.steps)


def wrong(call):
    yield "no step"


def lists(call):
    for step, loss in run(call):
        yield step, [loss - 1, loss, loss + 1]


def raises(call):
    yield 1, 2.0
    open("/no/such/file")


def stops(call):
    call.out.mkdir(exist_ok=True)
    yield from train(call.checkpoint, call.out, 0, 6, writes="pt")
"""


@pytest.fixture
def function(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FUNCTION)
    for place in (tmp_path, TRAINER.parent):
        monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, "mine", raising=False)


def by_function(write_space, name, more=""):
    text = "search: {lag: 10, baselines: []}\n"
    text += f"trainer:\n  python: '{name}'\n{more}"
    two = ("init: [duplicate, random]", "init: duplicate")
    return write_space(("search: {lag: 10}\n", text), two)


@pytest.mark.parametrize("evaluate", ["lagsearch", "trainer"])
def test_a_function_trains(call, write_space, tmp_path, function, evaluate):
    space = by_function(write_space, "mine:run", f"  evaluate: {evaluate}\n")
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 0, error
    assert curve(tmp_path / "run").at(10)
    if evaluate == "trainer":
        assert curve(tmp_path / "run").at(10).val_loss == pytest.approx(5.0 / 11)


def test_what_a_function_yields_is_checked(call, write_space, tmp_path, function):
    space = by_function(write_space, "mine:wrong")
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 3
    says(error, r"yielded 'no step', not a step and its losses")


def test_of_a_list_of_losses_the_mean_counts(call, write_space, tmp_path, function):
    space = by_function(write_space, "mine:lists", "  evaluate: trainer\n")
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 0, error
    found = curve(tmp_path / "run").at(10)
    assert (found.val_loss, len(found.val_loss_batches)) == (pytest.approx(5.0 / 11), 1)


def test_what_a_function_raises_is_one_line(call, write_space, tmp_path, function):
    """Also an OSError, which of lagsearch's own would end the search."""
    space = by_function(write_space, "mine:raises")
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 3
    says(error.splitlines()[-1], r"mine:raises failed: FileNotFoundError: .*\(mine\.py:\d+\)")
    for name in ("lag-i0-b1-duplicate", "lag-i2-b1-duplicate"):
        assert curve(tmp_path / "run", name).failure.again
        assert "Traceback" in (tmp_path / "run" / "curves" / f"{name}.log").read_text()


def test_a_function_that_stops_early_is_found_by_its_losses(call, write_space, tmp_path, function):
    space = by_function(write_space, "mine:stops", "  checkpoints: {path: '{out}/ckpt.pt'}\n")
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 3
    says(error, "ended before step 10: its last loss is of step 6")


@pytest.mark.parametrize("says_what", ["raise OSError('no card')", "raise SystemExit(3)"])
def test_a_module_that_fails_when_it_is_imported(
    call, write_space, tmp_path, monkeypatch, says_what
):
    (tmp_path / "ends.py").write_text(says_what + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    code, _, error = call("run", by_function(write_space, "ends:it"), "--out", tmp_path / "run")
    assert (code, len(error.splitlines())) == (2, 1)
    says(error, r"trainer\.python .ends:it.: cannot be imported: \w+: .*\(ends\.py:1\)")


def test_a_library_that_is_not_installed_is_found_first(call, write, tmp_path, monkeypatch):
    from lagsearch.records import logged_losses

    monkeypatch.setattr(logged_losses, "find_spec", lambda name: None)
    space = write("", ("format: jsonl", "format: wandb"))
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 2
    says(error, r"trainer\.losses\.format .wandb.: needs .*pip install 'lagsearch\[wandb\]'")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["nobody.has:it", "json:loadss"])
def test_a_function_that_is_not_there_is_found_first(call, write_space, tmp_path, name):
    space = by_function(write_space, name)
    code, _, error = call("run", space, "--serial", "--out", tmp_path / "run")
    assert code == 2
    says(error, rf"space\.yaml:\d+: trainer\.python .{name}.: cannot be imported")
    assert not (tmp_path / "run").exists()


# ---- checked when the space is loaded ----

WRONG = [
    (
        "{checkpoint}",
        "{checkpont}",
        r"trainer\.command: has the unknown placeholder \{checkpont\}; did you",
    ),
    ("--init {checkpoint}", "", r"trainer\.command: lacks \{checkpoint\}"),
    ("--out {out}", "", r"trainer\.command: lacks \{out\}"),
    ("{seed}", "{seed!r}", r"unknown placeholder \{seed!r\}"),
    ("{seed}", "{seed.real}", r"unknown placeholder \{seed\.real\}"),
    ("{seed}", "{seed", r"cannot be read \("),
    ("{python}", "{name}", r"begins with \{name\}; the first word is the program"),
    ("{python}", "no-such-program", r"no-such-program is no program that can be run here"),
]


@pytest.mark.parametrize(
    ("old", "new", "message"), WRONG, ids=[new or old for old, new, _ in WRONG]
)
def test_a_wrong_command_is_one_line(call, write, tmp_path, old, new, message):
    code, out, error = call(
        "run", write(command=COMMAND.replace(old, new)), "--serial", "--out", tmp_path / "run"
    )
    assert (code, out, len(error.splitlines())) == (2, "", 1)
    says(error, r"space\.yaml:\d+: ")
    says(error, message)
    assert not (tmp_path / "run").exists()


KEYS = [
    ("trainer: {}\n", r"trainer .*give exactly one of command, python"),
    (
        "trainer: {python: 'a:b', resume: 'x {last} {out}'}\n",
        r"trainer\.resume .*belongs to command",
    ),
    ("trainer: {python: 'a'}\n", r"trainer\.python"),
    (
        "trainer: {command: 'x {checkpoint} {out}', evaluate: trainer}\n",
        r"trainer\.evaluate .*needs losses",
    ),
    (
        "trainer: {command: 'x {checkpoint} {out}', checkpoints: {path: '{out}/c'}}\n",
        r"trainer\.losses.*is required where checkpoints\.path has no",
    ),
    ("trainer: {comand: x}\n", r"unknown key; did you mean 'command'"),
    *(
        (
            "trainer: {command: 'x {checkpoint} {out}', " + where + "}\n",
            r"trainer\.\w+\.path .*: must begin with \{out\}/",
        )
        for where in (
            "checkpoints: {path: 'mine/run-{step}'}",
            "checkpoints: {path: '/home/run-{step}'}",
            "checkpoints: {path: '{out}-{step}'}",
            "checkpoints: {path: '{out}/../../run-{step}'}",
            "losses: {format: jsonl, path: losses.jsonl}",
        )
    ),
]


@pytest.mark.parametrize(("text", "message"), KEYS, ids=[each for each, _ in KEYS])
def test_wrong_keys_are_one_line(call, write_space, text, message):
    code, out, error = call(
        "plan", write_space(("search: {lag: 10}\n", "search: {lag: 10}\n" + text))
    )
    assert (code, out, len(error.splitlines())) == (2, "", 1)
    says(error, message)


def test_what_only_the_own_loop_heeds_is_refused(call, write):
    space = write("", ("evaluation: {batches: 4}", "evaluation: {batches: 4, ema: 0.9}"))
    says(call("plan", space)[2], r"evaluation\.ema 0\.9: has no effect with a trainer of your own")


# ---- interruption ----


def alive(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def waited(is_so, seconds=60.0):
    until = time.monotonic() + seconds
    while not is_so() and time.monotonic() < until:
        time.sleep(0.05)
    return is_so()


FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_no_process_of_a_command_is_left(tmp_path):
    """Not that either which has a session of its own, as torchrun's workers have."""
    output = tmp_path / "log"
    program = tmp_path / "family.py"
    program.write_text(FAMILY)
    with running_command([sys.executable, str(program)], output, tmp_path):
        assert waited(lambda: output.read_text().count("\n") > 1)
        pid = int(output.read_text().splitlines()[1])
        assert alive(pid)
    assert waited(lambda: not alive(pid))


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL),
    ],
)
@pytest.mark.timeout(300)
def test_a_killed_search_leaves_no_process_and_goes_on(call, write, tmp_path, number):
    """The trainer is stopped in mid-search, behind its first checkpoint, and goes on from there."""
    hold, folder = tmp_path / "hold", tmp_path / "run"
    hold.touch()
    space = write(
        command=f"{COMMAND} --holds-at 6 --hold {hold} --every 2", resume=RESUME + " --every 2"
    )
    root = Path(__file__).parents[1]
    words = [
        sys.executable,
        "-m",
        "lagsearch.cli",
        "run",
        str(space),
        "--serial",
        "--out",
        str(folder),
    ]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    own = subprocess.Popen(
        words,
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = folder / "curves" / "lag-i0-b1-duplicate.log"
    assert waited(lambda: log.is_file() and "holding" in log.read_text(), 120)
    pid = int(re.search(r"holding (\d+)", log.read_text())[1])
    own.send_signal(number)
    error = own.communicate(timeout=60)[1]
    assert waited(lambda: not alive(pid), 30)
    if number != signal.SIGKILL:
        assert own.returncode == 130
        assert "the same command continues" in error
    hold.unlink()
    assert call("run", space, "--serial", "--out", folder)[0] == 0
    said = log.read_text()
    assert (
        "--last"
        in said.splitlines()[
            [i for i, line in enumerate(said.splitlines()) if line.startswith("$")][1]
        ]
    )
    assert "--done 4" in said, "the checkpoint of step 6 may be half written"
    assert [each.step for each in curve(folder).evaluations][:2] == [0, 10]


# ---- where checkpoints are ----


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{out}/checkpoint-{step}", ["checkpoint-5", "checkpoint-10", "checkpoint-x", "other-7"]),
        ("{out}/iter_{step:07d}", ["iter_0000005", "iter_0000010", "iter_7", "iter_00000007x"]),
        ("{out}/step-{step}/model", ["step-5/model", "step-10/model", "step-7/other"]),
        ("{out}/s{step}/ckpt-{step}.pt", ["s5/ckpt-5.pt", "s10/ckpt-10.pt", "s7/ckpt-8.pt"]),
    ],
)
def test_steps_are_read_off_the_names_of_checkpoints(tmp_path, pattern, names):
    folder = tmp_path / "run-1[x]" / "states"  # what would be a pattern, and a number
    job = object.__new__(TrainerJob)
    trainer = Trainer.model_validate({"command": "x", "checkpoints": {"path": pattern}})
    given = {"trainer": trainer, "state": folder / "a-1.safetensors", "where": tmp_path}
    for key, value in given.items():
        object.__setattr__(job, key, value)
    assert job.written() == []
    for name in names:
        (folder / "a-1.trainer" / "out" / name).mkdir(parents=True)
    assert job.written() == [5, 10]


@pytest.mark.parametrize(
    ("logged", "until", "resume", "step"),
    [
        ([], 30, True, 5),  # the last checkpoint may be half written
        ([5, 12], 30, True, 10),  # a later loss says that it is whole
        ([5, 12], 8, True, 5),  # it is to come no further than that
        ([5, 12], 30, False, 0),
    ],
)
def test_a_checkpoint_is_gone_on_from_where_it_is_surely_whole(
    tmp_path, logged, until, resume, step
):
    """By hand: `goes_on_from` is what the trainer gets, and what an interrupt says."""
    words = {"command": "x", "losses": {"format": "jsonl"}}
    words |= {"checkpoints": {"path": "{out}/checkpoint-{step}"}}
    words |= {"resume": "x {last}"} if resume else {}
    job = object.__new__(TrainerJob)
    given = {"trainer": Trainer.model_validate(words), "where": tmp_path}
    given |= {"state": tmp_path / "a.safetensors", "curve": tmp_path / "a.jsonl"}
    for key, value in given.items():
        object.__setattr__(job, key, value)
    out = tmp_path / "a.trainer" / "out"
    for each in (5, 10):
        (out / f"checkpoint-{each}").mkdir(parents=True)
    rows = [json.dumps({"step": each, "val_loss": 2.0}) for each in logged]
    (out / "losses.jsonl").write_text("".join(f"{row}\n" for row in rows))
    assert job.goes_on_from(until) == step
    begun = _Elsewhere(job)._begun(until, None)
    assert (begun.step, begun.path) == (step, out / f"checkpoint-{step}" if step else None)


def test_stages_have_no_trainer_of_their_own(call, write_stages):
    path = write_stages()
    path.write_text(path.read_text() + "\ntrainer: {command: 'x {checkpoint} {out}'}\n")
    code, out, error = call("plan", path)
    assert (code, out) == (2, "")
    says(error, r"stages\.yaml:\d+: trainer .*: does not go with stages")
