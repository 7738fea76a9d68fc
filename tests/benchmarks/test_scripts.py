"""Every script here still runs: each at its smallest, and none of its figures is nan."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REPORTS = ROOT / "reports"
SMALLEST = {
    "boundaries": [REPORTS / "wikitext-multi-2"],
    "coverage": ["--runs", 4, "--resamples", 20],
    "depth_or_width": [],
    "device_memory": ["--processes", 2],
    "evaluation_share": [ROOT / "search_spaces" / "quickstart.yaml"],
    "expected_regret": [REPORTS / "quickstart-oracle"],
    "function_preservation": [],
    "grow_speed": ["--megabytes", 8, "--rounds", 1],
    "memory": ["--only", "llama"],
    "papers": ["lag", REPORTS / "lag-bert-12to16-laptop"],
    "phase_transition": [REPORTS / "quickstart-oracle"],
    "posterior": [REPORTS / "evidence-stdlib"],
    "prior_weight": [],
    "report_speed": ["--candidates", 20, "--steps", 4],
    "search_speed": ["--steps", 4, "--candidates", 2],
    "selection_speed": ["--candidates", 20, "--steps", 4, "--batches", 4],
    "settled": [REPORTS / "quickstart-oracle"],
    "signals": [REPORTS / "quickstart-oracle"],
    "start_speed": ["--rounds", 1],
    "step_speed": ["--rounds", 1, "--kinds", "causal"],
    "taught": ["--out", "TAUGHT"],
    "thinning": [REPORTS / "quickstart-oracle"],
    "tokenize_speed": ["TEXT", "--megabytes", 1, "--rounds", 1],
}
ELSEWHERE = {"test_scripts", "trainer_ranking"}
"""No such script, and one that tests/test_examples.py runs."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted({each.stem for each in HERE.glob("*.py")} - ELSEWHERE))
def test_it_runs(name, corpus, tmp_path):
    given = {"TEXT": corpus, "TAUGHT": tmp_path / "taught.json"}
    words = [str(given.get(each, each)) for each in SMALLEST[name]]
    done = subprocess.run(
        [sys.executable, HERE / f"{name}.py", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
    assert not re.search(r"\bnan\b", done.stdout)
