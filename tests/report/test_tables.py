"""The tables behind the figures, read again as another program would."""

import csv
import json

import pytest
from made_up import HOSTILE, STEPS, made_importance, made_report

from lagsearch.records.imported_rows import as_written
from lagsearch.report.numbers.tables import write_csv, write_tables


def read(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_number_behind_a_figure_is_in_a_table(tmp_path):
    report = made_report(failed=("broken",))
    names = write_tables(report, tmp_path)
    assert names == sorted(names, key=names.index)
    assert {path.stem for path in tmp_path.iterdir()} == set(names)
    entries = {each["name"]: each for each in report["candidates"]}
    ranking = read(tmp_path, "ranking")
    assert [row["candidate"] for row in ranking] == list(entries)
    for row in ranking[:-1]:
        each = entries[row["candidate"]]
        assert float(row["val_loss_at_lag"]) == each["val_loss"]["10"]
        assert float(row["standard_error"]) == each["val_loss_se"]["10"]
        assert float(row["to_the_winner"]) == each["val_loss"]["10"] - min(
            other["val_loss"].get("10", 9.0) for other in entries.values()
        )
        assert float(row["val_loss_at_completion"]) == each["val_loss"]["50"]
        assert [int(row["rank_low"]), int(row["rank_high"])] == each["rank_interval"]
        assert float(row["p_best"]) == each["p_best"]
        assert row["signal_at_lag"] == row["val_loss_at_lag"]
    assert (ranking[-1]["status"], ranking[-1]["val_loss_at_lag"]) == ("failed", "")
    losses = read(tmp_path, "loss")
    assert len(losses) == 7 * len(STEPS) + 4
    for row in losses:
        assert float(row["val_loss"]) == entries[row["candidate"]]["val_loss"][row["step"]]
        assert row["seed"] == "0"


def test_every_score_behind_a_figure_is_in_a_table(tmp_path):
    report = made_report()
    write_tables(report, tmp_path)
    oracle, entries = report["oracle"], {each["name"]: each for each in report["candidates"]}
    for row in read(tmp_path, "early_and_final"):
        found = entries[row["candidate"]]["val_loss"]
        columns = ("val_loss_at_0", "val_loss_at_lag", "val_loss_at_completion")
        assert [float(row[each]) for each in columns] == [found["0"], found["10"], found["50"]]
    for row in read(tmp_path, "recall_and_regret"):
        for metric in ("spearman", "pearson", "regret", "relative_regret"):
            score = oracle[metric][row["step"]]
            cells = [row[metric], row[f"{metric}_low"], row[f"{metric}_high"]]
            told = [score["value"], *(score["interval"] or (None, None))]
            assert [float(cell) if cell else None for cell in cells] == told
        for at, scores in oracle["recall"].items():
            assert float(row[f"recall_{at}"]) == scores[row["step"]]["value"]
            assert float(row[f"recall_{at}_share"]) == scores[row["step"]]["share"]
    matrix = oracle["rank_correlation"]["matrix"]
    found = {
        (row["step"], row["other_step"]): row["spearman"]
        for row in read(tmp_path, "rank_correlation")
    }
    for i, step in enumerate(STEPS):
        for j, other in enumerate(STEPS):
            assert float(found[str(step), str(other)]) == matrix[i][j]
    for row in read(tmp_path, "loss_and_flops"):
        assert float(row["flops"]) == entries[row["candidate"]]["flops_by_step"][row["step"]]
    for row in read(tmp_path, "savings"):
        found = report["savings"]["growths"][row["candidate"]]
        assert float(row["flops_growth"]) == found["flops"]["growth"]


def test_several_seeds_have_rows_of_their_own_and_of_their_mean(tmp_path):
    report = made_report(seeds=(4, 9))
    write_tables(report, tmp_path)
    rows = read(tmp_path, "loss")
    by_seed = {}
    for row in rows:
        by_seed.setdefault(row["seed"], {})[row["candidate"], row["step"]] = float(row["val_loss"])
    assert list(by_seed) == ["mean", "4", "9"]
    for key, mean in by_seed["mean"].items():
        assert mean == pytest.approx((by_seed["4"][key] + by_seed["9"][key]) / 2)


def test_names_are_written_so_that_none_is_a_formula(tmp_path):
    write_tables(made_report(HOSTILE), tmp_path)
    names = {row["candidate"] for row in read(tmp_path, "ranking")}
    assert {as_written(name) for name in names} == {*HOSTILE, "scratch"}
    assert {name for name in names if name[0] in "=+-@"} == set()
    assert {name for name in names if name[0] == "'"} == {f"'{HOSTILE[-1]}"}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "'=1", "''", "a=1", ""])
def test_text_is_no_formula_and_comes_back_and_numbers_stay_numbers(tmp_path, text):
    write_csv(tmp_path / "a.csv", ["text", "number"], [[text, -1.5]])
    (row,) = read(tmp_path, "a")
    assert row["text"][:1] not in {*"=+-@\t\r"}
    assert as_written(row["text"]) == text
    assert (tmp_path / "a.csv").read_text().endswith(",-1.5\n")


def test_a_table_goes_with_what_it_was_of(tmp_path):
    report = {**made_report(), "importance": made_importance()}
    assert "importance" in write_tables(report, tmp_path)
    rows = read(tmp_path, "importance")
    assert [row["setting"] for row in rows] == ["operator", "operator", "index", "index"]
    assert float(rows[2]["importance"]) == 0.7
    assert [float(row["p_value"]) for row in rows] == [0.4, 0.4, 0.001, 0.001]
    assert json.loads(rows[2]["candidates"]) == ["first", "second"]
    without = write_tables(made_report(oracle=False, baseline=None), tmp_path)
    left = {"ranking", "loss", "loss_and_flops", "cost"}
    assert {path.stem for path in tmp_path.iterdir()} == set(without) == left
