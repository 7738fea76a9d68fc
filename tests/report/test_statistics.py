"""What curves alone say: chance, ties, and what a test supposes."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from made_up import made_importance, made_report
from scipy import stats

from lagsearch.cli.tables import show_result
from lagsearch.records.imported_curves import Asked, read_curves
from lagsearch.report.numbers.statistics import statistics
from lagsearch.report.numbers.view import varied
from lagsearch.report.words.stage import stage_sections


def curves(tmp_path, losses, batches=1):
    """Write losses by candidate and step."""
    rows = [
        (name, step, batch, loss)
        for name, each in losses.items()
        for step, loss in each.items()
        for batch in range(batches)
    ]
    frame = pd.DataFrame(rows, columns=["candidate", "step", "batch", "val_loss"])
    frame.to_csv(tmp_path / "curves.csv", index=False)
    return tmp_path / "curves.csv"


def test_chance_is_the_share_of_all_orders_that_correlate_as_much(tmp_path):
    early, final = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.1, 1.3, 1.2, 1.4, 1.6, 1.5]
    losses = {f"c{i}": {10: early[i], 20: early[i], 40: final[i]} for i in range(6)}
    found = statistics(read_curves(curves(tmp_path, losses), Asked(lag=20)))
    rank = stats.spearmanr(early, final).statistic
    orders = [stats.spearmanr(early, each).statistic for each in itertools.permutations(final)]
    exact = np.mean(np.array(orders) >= rank - 1e-9)
    assert found["oracle"]["p_value"] == pytest.approx(exact, abs=0.005)


def test_the_row_of_those_that_start_equal_is_their_mean(tmp_path):
    start, final = [1.0, 1.0, 2.0, 1.0], [1.4, 1.1, 1.0, 1.2]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        losses = {f"c{i}": {0: start[i], 10: final[i], 40: final[i]} for i in order}
        report = statistics(read_curves(curves(tmp_path, losses), Asked(lag=10)))
        [row] = [each for each in report["baselines"] if "LAG@0" in each["name"]]
        assert row["final_val_loss"] == pytest.approx(np.mean([1.4, 1.1, 1.2]))
        assert {row["candidate"], *row["tied"]} == {"c0", "c1", "c3"}
        rows = stage_sections(report)["strategies"].parts[0].rows
        shown = [cells for cells in rows if "LAG@0" in cells[0]]
        assert shown[0][1].endswith(" and 2 with the same loss: mean")


def test_tests_over_batches_of_another_trainer_say_what_they_suppose(tmp_path):
    losses = {f"c{i}": {0: 2.0, 10: 1.0 + i, 40: 1.0 + i} for i in range(5)}
    report = statistics(read_curves(curves(tmp_path, losses, batches=4), Asked(lag=10)))
    assert varied(report | {"curves": "x.csv"}) == "the validation batches, taken as independent"
    assert varied(report) == "the validation batches"


def test_what_decides_says_what_is_corrected_for():
    report = made_report() | {"importance": made_importance()}
    line = stage_sections(report)["importance"].parts[0]
    assert line.endswith("`lag: index` (permutation test at 5 %, Holm-corrected for 2).")
    for each in report["importance"]["dimensions"]:
        each["p_value"] = max(each["p_value"], 0.028)
    line = stage_sections(report)["importance"].parts[0]
    assert line == (
        "No setting has a significant effect on the loss at step 10 (permutation test at 5 %, "
        "Holm-corrected for 2). The smallest p-value is that of `lag: index`, 0.028, with a share "
        "of 70%."
    )


def test_the_cost_tells_evaluations_apart_from_training():
    report = made_report()
    section = stage_sections(report)["cost"]
    rows = {row[0]: row for row in section.parts[0].rows}
    spent = report["cost"]
    assert rows["evaluations of the search"][1] == f"{spent['evaluation_flops']:.2e}"
    training = spent["search_flops"] + spent["winner_flops"]
    whole = training + spent["evaluation_flops"]
    share = f"{training / spent['oracle_flops']:.0%} of the last row's FLOPs"
    assert f"Search and winner alone take {share}" in section.parts[1]
    assert (
        f"{whole / spent['oracle_flops']:.0%} with the evaluations of the search"
        in section.parts[1]
    )


@pytest.mark.parametrize("oracle", [True, False])
def test_no_row_of_the_cost_sends_to_another_that_has_no_time(oracle):
    grid, note = stage_sections(made_report(oracle=oracle))["cost"].parts
    times = {row[0]: row[2] for row in grid.rows}
    own = [row[0] for row in grid.rows if re.fullmatch(r"[\d:]+", row[2])]
    last = grid.rows[-1][0]
    assert last == "every candidate to step 50"
    if oracle:
        assert own == ["source", last]
        assert {times[each] for each in times if each not in own} == {"in the last row"}
        assert note.startswith("The last row was trained to score the ranking.")
    else:
        assert times[last] == "not done"
        assert times["evaluations of the search"] == "in the search's time"
        assert "search: every candidate to step 10" in own
        assert note.startswith("The last row is what it would take to know the best candidate.")


@pytest.mark.parametrize("oracle", [True, False])
def test_the_last_lines_say_what_the_compute_is_compared_with(oracle, tmp_path, capsys):
    report = made_report(oracle=oracle)
    show_result(tmp_path, report)
    [line] = [each for each in capsys.readouterr().out.splitlines() if each.startswith("Cost: ")]
    every = f"{report['cost']['oracle_flops']:.2e} training FLOPs to train every candidate"
    assert line.startswith(f"Cost: {every}") == oracle
    assert ("search and winner alone take" in line) == oracle
