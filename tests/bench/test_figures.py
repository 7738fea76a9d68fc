"""What the benchmark's page says, against computations by hand."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from tiny_benchmark import DESIGNS

from lagsearch.bench.figures import (
    Claim,
    claims_of,
    figures_of,
    interaction,
    label_of,
    operators_of,
    seed_floor,
    transitions,
)
from lagsearch.bench.strategies import STANDARD, compared, max_t
from lagsearch.cli.program import main
from lagsearch.errors import LagsearchError
from lagsearch.records.benchmark import load_benchmark
from lagsearch.records.folder import RunFolder
from lagsearch.records.run import read_run
from lagsearch.replay.replay import replay_runs
from lagsearch.selection.spread import mean_of

ROOT = Path(__file__).parents[2]
CHOICE, TEST, SECOND = (each.name for each in DESIGNS)


def test_what_a_seed_adds_is_what_growth_and_seed_leave():
    growth, seed = np.array([0.0, 1.0, 3.0]), np.array([0.0, 10.0])
    additive = growth[:, None] + seed[None, :]
    assert interaction(additive) == pytest.approx(0)
    rest = np.array([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])
    assert interaction(additive + rest) == pytest.approx(np.sqrt(4 / 2))
    assert interaction(additive[:, :1]) is None
    draw = np.random.default_rng(0)
    many = [interaction(additive + draw.normal(0, 0.3, (3, 2))) for _ in range(2000)]
    assert np.sqrt(np.mean(np.square(many))) == pytest.approx(0.3, rel=0.03)


def test_the_floor_is_what_another_seeds_end_gives_away():
    final = np.array([[1.0, 1.2], [1.1, 1.0], [2.0, 2.0]])
    # seed 0 chooses the first, which is 0.2 of 1.0 behind under seed 1; and the other way round
    assert seed_floor(final) == pytest.approx((0.2 / 1.0 + 0.1 / 1.0) / 2)
    assert seed_floor(final[:, :1]) is None


def test_labels_say_what_a_candidate_is():
    assert label_of("lag", {"init": "random"}, []) == "lag random"
    assert label_of("lag", {"init": "duplicate"}, ["stack"]) == "stack"
    assert label_of("random", {"ramp_steps": 30}, []) == "random faded in"
    assert label_of("random", {"ramp_steps": 0}, []) == "random"
    combined = {"width": {"operator": "zero", "form": "gstack"}, "depth": "stack"}
    assert label_of("combined", combined, []) == "zero + stack"


def test_p_values_are_those_of_chance():
    draw = np.random.default_rng(1)
    null = [max_t(draw.normal(0, 1, (4, 8))).min() for _ in range(40)]
    assert 0.2 < np.mean(np.array(null) < 0.5) < 0.8  # the least of four is no smaller than one
    clear = np.vstack([np.zeros(8), np.full(8, 0.3)])
    assert max_t(clear).tolist() == pytest.approx([1, 2 / 256], abs=0.004)  # both signs, all eight


def test_claims_follow_from_intervals():
    for values, verdict in (
        ([0.1, 0.11, 0.12], "confirmed"),
        ([-0.1, -0.11, -0.12], "contradicted"),
        ([0.1, -0.2, 0.1], "open"),
        ([0.5], "open"),
    ):
        assert Claim("", "", mean_of(values)).verdict == verdict
    assert Claim("", "", None).verdict == "open"


def test_figures_of_a_run_are_its_folders(made):
    found = figures_of(load_benchmark(made), SECOND)
    run = read_run(RunFolder(made / "runs" / SECOND))
    final = {name: np.mean([c.at(12).val_loss for c in run.by_seed[name]]) for name in run.growths}
    assert found.n_growths == len(final) and found.n_seeds == 2
    assert found.spread == pytest.approx(max(final.values()) - min(final.values()))
    matrix = np.array([[c.at(12).val_loss for c in run.by_seed[name]] for name in run.growths])
    assert found.noise == pytest.approx(interaction(matrix))
    best = min(final, key=final.get)
    assert found.places[best][1] == 0
    assert found.floor == pytest.approx(seed_floor(matrix))
    rows = replay_runs([made / SECOND], strategy="LAG", signal="loss")
    at_growth = rows[(rows["strategy"] == "LAG") & (rows["until"] == "0")]
    assert found.at[0.0].relative_regret == pytest.approx(at_growth["relative_regret"].mean())
    assert figures_of(load_benchmark(made), CHOICE).noise is None
    assert transitions([found]) == []  # of no setting of the design
    assert sum(each.n_best for each in operators_of([found])) >= 1
    assert len(claims_of([found])) == 6


def test_strategies_cost_what_they_train(made):
    benchmark = load_benchmark(made)
    found = {each.key: each for each in compared(benchmark, {CHOICE: None, SECOND: 0.1})}
    n, lag, end = 6, 3, 12
    assert found[STANDARD].cost == pytest.approx((n * lag + end - lag) / (n * end))
    assert found[STANDARD].wins == found[STANDARD].losses == 0
    rows = replay_runs([made])
    mine = rows[(rows.strategy == "LAG") & (rows.until == "K") & (rows.signal == "loss")]
    by_run = mine.groupby("run")["relative_regret"].mean()
    assert found[STANDARD].regret == pytest.approx(by_run.mean())
    assert found[STANDARD].in_noise == pytest.approx(by_run[SECOND] / 0.1)


def test_the_strategy_of_the_documentation_has_its_row(made, tmp_path):
    page = (ROOT / "docs" / "benchmark.md").read_text()
    [code] = [found for found in re.findall(r"```python\n(.*?)```", page, re.S) if "Stop" in found]
    [points] = re.findall(r"```toml\n(.*?)```", page, re.S)
    assert len(code.strip().splitlines()) <= 24
    (tmp_path / "my_strategies.py").write_text(code)
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    [(group, points)] = tomllib.loads(points)["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {module}" for name, module in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "lagsearch.cli", "bench", "report", str(made)]
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    assert "| early half | K | loss |" in done.stdout


def run_main(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["lagsearch", "bench", *words])
    main()


def test_commands_keep_the_halves_apart(made, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    run_main(monkeypatch, "report", str(made), "--out", str(page))
    text = page.read_text()
    assert CHOICE in text and SECOND in text and TEST not in text
    assert "## The papers' claims" in text
    with pytest.raises(SystemExit):
        run_main(monkeypatch, "test", str(made))
    said = capsys.readouterr().err
    assert "28 runs of the half test are still to be made, e.g. test-01-milton" in said
    run_main(monkeypatch, "test", str(made), "--early", "--out", str(page))
    text = page.read_text()
    assert TEST in text and CHOICE not in text


def test_an_empty_benchmark_has_nothing_to_show(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_main(monkeypatch, "report", str(tmp_path))
    assert "incomplete, it has no manifest.json" in capsys.readouterr().err
    with pytest.raises(LagsearchError):
        load_benchmark(tmp_path)
