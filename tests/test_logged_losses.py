"""Losses in the forms of other trainers, as these write them."""

import json
import math
import os
import sys

import pytest

from lagsearch.callbacks.curve_file import CurveFile
from lagsearch.errors import CurvesError
from lagsearch.records.logged_losses import LoggedLosses
from lagsearch.running.trainers.process import running_command
from lagsearch.space import TrainerLosses


def read(folder, form, **keys):
    return LoggedLosses(TrainerLosses(format=form, **keys), folder, folder / "log").read()


def test_the_newest_trainer_state_counts(tmp_path):
    for step in (10, 20):
        history = [{"step": 10, "loss": 3.0}, {"step": 10, "eval_loss": 2.5}]
        history += [{"step": 20, "eval_loss": 2.25}] * (step == 20)
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    assert read(tmp_path, "trainer_state").losses == {10: 2.5, 20: 2.25}
    assert read(tmp_path, "trainer_state", key="loss").losses == {10: 3.0}
    missing = read(tmp_path, "trainer_state", key="val")
    assert missing.lacking() == "'val' was not logged, but loss, eval_loss"


def test_a_line_that_is_not_whole_waits(tmp_path):
    path = tmp_path / "losses.jsonl"
    path.write_text('{"step": 1, "val_loss": 3}\n{"step": 2, "val_loss": NaN}\n{"step": 3, "val')
    found = read(tmp_path, "jsonl")
    assert found.losses[1] == 3.0
    assert math.isnan(found.losses[2])
    assert (found.last, found.broken[0]) == (2, 2)


def test_a_later_line_of_a_step_counts(tmp_path):
    rows = [{"iter": 5, "a/b": 2.0}, {"iter": 5, "a/b": 1.0}, {"iter": 6, "other": 1}]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(tmp_path, "jsonl", path="{out}/x.jsonl", key="a/b", step="iter")
    assert found.losses == {5: 1.0}


def test_empty_cells_are_no_losses(tmp_path):
    """As Lightning's CSVLogger writes training and validation into rows of their own."""
    text = "epoch,step,train_loss,val_loss\n0,9,2.5,\n0,9,,2.25\n0,19,2.0,\n0,19,,2.125\n0,29,1.9"
    (tmp_path / "losses.csv").write_text(text)
    assert read(tmp_path, "csv").losses == {9: 2.25, 19: 2.125}


def test_a_row_that_is_longer_than_its_head(tmp_path):
    (tmp_path / "losses.csv").write_text("step,loss\n5,2.5,9\n")
    assert read(tmp_path, "csv", key="loss").losses == {5: 2.5}
    assert read(tmp_path, "csv").lacking() == "'val_loss' was not logged, but loss"


def test_of_several_files_the_newest_counts(tmp_path):
    """By their ages: by name, run-10 comes before run-9."""
    for number in (9, 10):
        path = tmp_path / f"run-{number}.jsonl"
        path.write_text(json.dumps({"step": 5, "val_loss": number}) + "\n")
        os.utime(path, (number, number))
    assert read(tmp_path, "jsonl", path="{out}").losses == {5: 10}


MEGATRON = """\
 iteration       10/     500 | consumed samples: 80 | lm loss: 6.912345E+00 | loss scale: 1.0 |
 validation loss at iteration 10 | lm loss value: 6.543210E+00 | lm loss PPL: 6.94E+02 |
 iteration       20/     500 | consumed samples: 160 | lm loss: 5.5E+00 | loss scale: 1.0 |
"""


def test_megatrons_validation_comes_before_its_training(tmp_path):
    (tmp_path / "log").write_text(MEGATRON)
    assert read(tmp_path, "megatron_log").losses == {10: 6.54321}
    trained = [line for line in MEGATRON.splitlines(keepends=True) if "validation" not in line]
    (tmp_path / "log").write_text("".join(trained))
    assert read(tmp_path, "megatron_log").losses == {10: 6.912345, 20: 5.5}


def test_event_files_of_tensorboard(tmp_path):
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(tmp_path / "tb")) as writer:
        for step, loss in ((5, 2.5), (10, 2.25)):
            writer.add_scalar("val/loss", loss, step)
            writer.add_scalar("lr", 0.1, step)
    assert read(tmp_path, "tensorboard", key="val/loss").losses == {5: 2.5, 10: 2.25}


LOGS = """
import sys, wandb
run = wandb.init(mode="offline", dir=sys.argv[1], project="x")
for step in range(1, 3000, 7):  # more than a block of the file
    run.log({"val/loss": 1.0 / step, "note": "x" * 40, "nested": {"loss": 2.0}}, step=step)
run.finish()
"""


def test_offline_runs_of_wandb(tmp_path, monkeypatch):
    """All is there when the trainer is over, whose end waits for the process of W&B."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    words = [sys.executable, "-c", LOGS, str(tmp_path)]
    with running_command(words, tmp_path / "printed", tmp_path) as process:
        assert process.wait() == 0
    found = read(tmp_path, "wandb", key="val/loss")
    assert found.losses == {step: pytest.approx(1.0 / step) for step in range(1, 3000, 7)}


def test_nothing_is_read_again_that_did_not_change(tmp_path, monkeypatch):
    path = tmp_path / "losses.jsonl"
    path.write_text('{"step": 1, "val_loss": 3}\n')
    losses = LoggedLosses(TrainerLosses(format="jsonl"), tmp_path, tmp_path / "log")
    assert losses.read() is losses.read()
    path.write_text('{"step": 1, "val_loss": 3}\n{"step": 2, "val_loss": 2}\n')
    assert losses.read().last == 2


def test_before_anything_is_written(tmp_path):
    for form in ("trainer_state", "jsonl", "csv", "tensorboard", "wandb", "megatron_log"):
        found = read(tmp_path, form)
        assert (found.last, found.broken, found.lacking()) == (0, None, "nothing was logged")


# ---- the callbacks ----


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_what_callbacks_write_is_read_and_reported(tmp_path, call, ending):
    path = tmp_path / f"losses.{ending}"
    for name, loss in (("=stack", 2.0), ("other", 2.5)):
        file = CurveFile(path, name.strip("="))
        for step in (0, 10, 20):
            file.append(step, loss - step / 100)
    assert read(tmp_path, ending).losses == {0: 2.5, 10: 2.4, 20: 2.3}
    code, _, error = call("report", path, "--lag", "10", "--out", tmp_path / "report")
    assert code == 0, error
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["winner"]["name"] == "stack"
    assert found["candidates"][1]["val_loss"] == {"0": 2.5, "10": 2.4, "20": 2.3}


def test_a_training_that_goes_on_writes_steps_again(tmp_path, call):
    path = tmp_path / "losses.jsonl"
    for seed in (1, 2):
        for name, loss in (("stack", 2.0), ("other", 2.5)):
            file = CurveFile(path, name, seed)
            for step, is_lost in ((0, 0), (10, 1), (20, 1), (10, 0), (20, 0)):
                file.append(step, loss - step / 100 + seed / 4 + is_lost)
    code, _, error = call("report", path, "--lag", "10", "--out", tmp_path / "report")
    assert code == 0, error
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["candidates"][0]["val_loss"] == {"0": 2.375, "10": 2.275, "20": 2.175}


def test_a_curve_file_has_a_known_ending():
    with pytest.raises(CurvesError, match=r"a curve file is a \.jsonl or a \.csv"):
        CurveFile("losses.txt", "x")


def test_lightnings_callback_writes(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    import torch

    from lagsearch.callbacks import LightningLagCallback

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def training_step(self, batch, number):
            return self.weight.square().sum()

        def validation_step(self, batch, number):
            self.log("val_loss", self.weight.square().sum())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    data = torch.utils.data.DataLoader(torch.zeros(8, 1))
    lightning.Trainer(
        max_steps=8,
        val_check_interval=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[LightningLagCallback(tmp_path / "losses.csv", "x")],
    ).fit(Model(), data, data)
    found = read(tmp_path, "csv").losses
    assert found == {4: pytest.approx(0.8**8), 8: pytest.approx(0.8**16)}
