"""Curves as other tools write them: the same numbers whatever the form."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lagsearch.errors import CurvesError
from lagsearch.records.imported_curves import read_curves
from lagsearch.records.imported_rows import read_rows
from lagsearch.report.of_curves import report_curves
from lagsearch.report.words.verdict import judge
from lagsearch.report.write import curves_table

STEPS = (0, 10, 20, 40, 80)


def frame():
    rows = [(n, s, 3 - s / (90 + k)) for k, n in enumerate(("a b", "c", "d")) for s in STEPS]
    return pd.DataFrame(rows, columns=["candidate", "step", "val_loss"]).round(6)


def wide(table):
    """As Weights & Biases exports a chart."""
    found = table.pivot(index="step", columns="candidate", values="val_loss")
    named = {}
    for name in found:
        named[f"{name} - val/loss"] = found[name]
        named |= {f"{name} - val/loss__{end}": found[name] for end in ("MIN", "MAX")}
    return pd.DataFrame(named).rename_axis("Step").reset_index()


def of_tensorboard(table):
    names = {"candidate": "run", "step": "Step", "val_loss": "Value"}
    return table.assign(**{"Wall time": 1.5}).rename(columns=names)


FORMS = {
    "semicolons": lambda table: table.to_csv(index=False, sep=";"),
    "decimal commas": lambda table: table.to_csv(index=False, sep=";", decimal=","),
    "tabs": lambda table: table.to_csv(index=False, sep="\t"),
    "UTF-16": lambda table: table.to_csv(index=False).encode("utf-16"),
    "byte order mark": lambda table: table.to_csv(index=False).encode("utf-8-sig"),
    "blanks": lambda table: table.to_csv(index=False).replace(",", ", "),
    "CRLF": lambda table: table.to_csv(index=False, lineterminator="\r\n"),
    "pandas index": lambda table: table.to_csv(),
    "Weights & Biases": lambda table: wide(table).to_csv(index=False),
    "TensorBoard, several runs": lambda table: of_tensorboard(table).to_csv(index=False),
}


def written(path, form):
    made = FORMS[form](frame())
    path.write_bytes(made if isinstance(made, bytes) else made.encode())
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(tmp_path, form):
    found = read_rows(written(tmp_path / "curves.csv", form))
    rows = pd.DataFrame(
        {
            "candidate": [found.names[code] for code in found.candidate],
            "step": found.step,
            "val_loss": found.loss,
        }
    )
    pd.testing.assert_frame_equal(rows, frame())


def test_a_run_of_tensorboard_is_named_after_its_file(tmp_path):
    path = tmp_path / "my run.csv"
    path.write_text("Wall time,Step,Value\n1.0,0,3.0\n2.0,10,2.5\n")
    found = read_rows(path)
    assert found.names == ("my run",)
    assert found.ignored == ("Wall time",)
    assert found.loss.tolist() == [3.0, 2.5]


def test_further_columns_are_named_and_not_read(tmp_path):
    path = tmp_path / "curves.csv"
    frame().assign(train_loss=1.0, epoch=2).to_csv(path, index=False)
    _, report = report_curves(path)
    assert report["ignored"] == ["train_loss", "epoch"]
    assert "Columns that were not read: train_loss, epoch." in judge(report).lines
    frame().to_csv(path, index=False)
    assert not any("not read" in line for line in judge(report_curves(path)[1]).lines)


def test_of_several_metrics_that_of_validation_is_read(tmp_path):
    path = tmp_path / "curves.csv"
    table = wide(frame())
    table["c - train/loss"] = 0.5
    table.to_csv(path, index=False)
    found = read_rows(path)
    assert sorted(found.names) == ["a b", "c", "d"]
    assert "c - train/loss" in found.ignored
    assert 0.5 not in found.loss


def test_runs_that_are_logged_at_steps_of_their_own(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text('"Step","a - loss","b - loss"\n0,3.0,\n1,,3.1\n10,2.0,2.5\n20,NaN,2.4\n')
    found = read_rows(path)
    assert found.step.tolist() == [0, 10, 20, 1, 10, 20]
    assert [each.failure is not None for [each] in
            (read_curves_of(path, name) for name in ("a", "b"))] == [True, False]  # fmt: skip
    assert found.place(2) == f"{path}:5"
    path.write_text("Step,a - loss,b - loss\n0,3.0,x\n")
    with pytest.raises(Exception, match=r"curves\.csv:2: val_loss 'x': not a number"):
        read_rows(path)


def read_curves_of(path, name):
    return read_curves(path).by_seed[name]


def test_bytes_that_are_no_text_are_said_to_be(call, tmp_path):
    path = tmp_path / "curves.csv"
    path.write_bytes(b"candidate,step,val_loss\n\xff\xe9,1,2.0\n")
    code, _, error = call("report", path)
    assert code == 2
    assert error == (
        f"lagsearch: {path}: byte 25 is neither UTF-8 nor UTF-16 text: save it as UTF-8\n"
    )


def test_what_lagsearch_itself_writes_is_read(tmp_path):
    run = Path(__file__).parents[2] / "reports" / "quickstart-oracle"
    path = tmp_path / "curves.csv"
    for options in ({}, {"index": False}):
        table = curves_table(run)
        table.to_csv(path, **options)
        found = read_rows(path)
        assert found.ignored == ("wall_s", "flops")
        assert found.loss.tolist() == pytest.approx(table["val_loss"].tolist())
        assert np.isfinite(found.loss).all()
        baselines = set(table[table["is_baseline"]]["candidate"])
        assert set(found.baselines) == baselines and "continue" in baselines
    table.to_parquet(tmp_path / "curves.parquet")
    assert read_rows(tmp_path / "curves.parquet").ignored == ("wall_s", "flops")


def test_baselines_of_a_file_are_not_chosen_from(tmp_path):
    path = tmp_path / "curves.csv"
    losses = {"a": 2.0, "b": 2.1, "c": 2.2, "continue": 1.5}
    rows = [f"{n},{s},{x - s / 100},{n == 'continue'}" for n, x in losses.items() for s in (1, 2)]
    path.write_text("candidate,step,val_loss,is_baseline\n" + "\n".join(rows) + "\n")
    found = read_curves(path)
    assert found.terms.baselines == {"continue"} and "continue" not in found.complete_growths
    path.write_text(path.read_text().replace("False", "perhaps", 1))
    with pytest.raises(
        CurvesError, match=r"curves.csv:2: is_baseline 'perhaps': not true or false"
    ):
        read_curves(path)
