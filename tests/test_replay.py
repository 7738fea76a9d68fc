"""Searches on recorded curves: means, intervals, and what must not hang on chance or order."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lagsearch.errors import LagsearchError
from lagsearch.replay.replay import (
    MEANS,
    lag_outcome,
    recordings,
    replay_runs,
    rival_outcome,
    summary,
)
from lagsearch.selection import mean_interval
from lagsearch.storage.files import derive_seed

ROOT = Path(__file__).parents[1]
STEPS = (0, 10, 20, 40, 80)


def curves(path, n=6, seeds=(0,), equal_start=False, seed=1):
    """Write losses that cross on their way."""
    draw, rows = np.random.default_rng(seed), []
    for number in range(n):
        quality, height = draw.normal(0, 0.1), draw.normal(0.5, 0.3)
        for one in seeds:
            for step in STEPS:
                loss = 2 + quality + height / (1 + step / 10) + draw.normal(0, 0.02)
                if equal_start and step == 0 and number < 3:
                    loss = 1.5
                rows.append((f"c{number}", step, one, loss))
    frame = pd.DataFrame(rows, columns=["candidate", "step", "seed", "val_loss"])
    frame.to_csv(path, index=False)
    return frame


def played(tmp_path, seeds_of_runs):
    paths = []
    for number, seeds in enumerate(seeds_of_runs):
        paths.append(tmp_path / f"run{number}.csv")
        curves(paths[-1], seeds=seeds, seed=number)
    return replay_runs(paths, 20, strategy="LAG", signal="loss")


def test_every_run_counts_once_however_many_seeds_it_has(tmp_path):
    table = played(tmp_path, [(0,), (0, 1, 2, 3), (0, 1)])
    [row] = summary(table[table.until == "K"]).to_dict("records")
    at_lag = table[table.until == "K"]
    for key in MEANS:
        means = [at_lag[at_lag.run == f"run{number}"][key].mean() for number in range(3)]
        assert row[key] == pytest.approx(np.mean(means))
    means = at_lag.groupby("run")["relative_regret"].mean().tolist()
    generator = np.random.default_rng(derive_seed(0, "replay", "interval"))
    assert (row["low"], row["high"]) == mean_interval(means, generator)


def test_one_run_has_no_interval(tmp_path):
    found = summary(played(tmp_path, [(0, 1, 2)]))
    assert found["low"].isna().all()
    assert found["high"].isna().all()


def test_growths_that_start_equal_are_chosen_alike_in_any_order(tmp_path):
    frame = curves(tmp_path / "curves.csv", equal_start=True)
    final = frame[frame.step == STEPS[-1]].set_index("candidate").val_loss
    wanted = final[["c0", "c1", "c2"]].mean() - final.min()
    for order in (list("012345"), list("210543"), list("514023")):
        by_name = {name: part for name, part in frame.groupby("candidate")}
        parts = [by_name[f"c{number}"] for number in order]
        pd.concat(parts).to_csv(tmp_path / "again.csv", index=False)
        [recording] = recordings(tmp_path / "again.csv")
        found = lag_outcome(recording, 0, "0").given_away
        assert found.regret == pytest.approx(wanted)
        assert found.relative_regret == pytest.approx(wanted / np.ptp(final))
        best = np.mean(final[["c0", "c1", "c2"]] == final.min())
        assert found.is_best == pytest.approx(best)


def test_what_goes_by_the_losses_alone_is_replayed_once(tmp_path):
    curves(tmp_path / "curves.csv")
    found = replay_runs([tmp_path / "curves.csv"], 20, strategy="expected regret")
    assert set(found["signal"]) == {"loss"}
    assert not found.duplicated(["strategy", "until"]).any()
    others = replay_runs([tmp_path / "curves.csv"], 20, strategy="finalists")
    assert set(others["signal"]) == {"loss", "trend"}


def test_a_strategy_is_found_by_its_name_in_a_space_too(tmp_path):
    curves(tmp_path / "curves.csv")
    by_name = replay_runs([tmp_path / "curves.csv"], 20, strategy="expected_regret")
    assert set(by_name["strategy"]) == {"expected regret"}
    known = r"^--strategy podium: there is none; known: .*LAG; .*LAG, K auto; "
    with pytest.raises(LagsearchError, match=known):
        replay_runs([tmp_path / "curves.csv"], 20, strategy="podium")


@pytest.mark.parametrize(
    ("columns", "gone"),
    [
        (140, []),
        (100, ["of better half", "nats", "steps trained"]),
        (80, ["of better half", "nats", "steps trained", "95 %", "best chosen"]),
    ],
)
def test_a_table_of_replays_fits_the_window(tmp_path, call, monkeypatch, columns, gone):
    monkeypatch.setenv("COLUMNS", str(columns))
    paths = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for seed, path in enumerate(paths):
        curves(path, n=10, seed=seed)
    code, out, _ = call("replay", *paths, "--lag", 20)
    assert code == 0
    head, *rows = out.partition("\n\n")[0].splitlines()
    assert max(map(len, (head, *rows))) <= columns
    every = ["of better half", "nats", "steps trained", "95 %", "best chosen", "relative regret"]
    assert [each for each in every if each not in head] == gone
    assert all(len(re.split(r" {2,}", row.strip())) >= 5 for row in rows)
    said = " ".join(out.split())
    assert (f"Left out here: {', '.join(gone)};" in said) == bool(gone)
    assert ("free of assumptions" in said) == ("95 %" not in gone)


def test_one_run_shows_no_column_of_intervals(tmp_path, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    curves(tmp_path / "curves.csv", n=10)
    _, out, _ = call("replay", tmp_path / "curves.csv", "--lag", 20)
    head = out.splitlines()[0]
    assert "95 %" not in out
    assert "steps trained" in head, "there is room for it"


def test_hyperband_repeats(tmp_path):
    curves(tmp_path / "curves.csv", n=10)
    [recording] = recordings(tmp_path / "curves.csv")
    found = [rival_outcome(recording, "Hyperband (Optuna)", 80, "end") for _ in range(3)]
    assert found[0] == found[1] == found[2]


def test_signals_pass_over_runs_with_stages(capsys):
    spec = importlib.util.spec_from_file_location(
        "signals", ROOT / "tests" / "benchmarks" / "signals.py"
    )
    signals = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(signals)
    staged, flat = (ROOT / "reports" / name for name in ("adaptive-decoder-laptop",
                                                         "lag-ul2-12to16-laptop"))  # fmt: skip
    signals.main([str(staged), str(flat), "--first", "150"])
    shown = capsys.readouterr().out
    assert "passed over, as they have stages:" in shown
    assert "lag-ul2-12to16-laptop" in shown
    with pytest.raises(SystemExit):
        signals.main([str(staged)])
