"""lagsearch works with the oldest versions that it allows (tests/constraints-oldest.txt)."""

import pytest
from installs import ROOT, Installed, build

TELLING = (
    "tests/space/test_reading.py",
    "tests/test_planning.py::test_a_wider_target_is_planned_with_its_eps",
    "tests/test_planning.py::test_what_a_plan_knows_of_a_trained_vocabulary_is_what_it_will_be",
    "tests/test_pipeline.py::test_a_run_leaves_what_the_design_says",
    "tests/test_pipeline.py::test_the_winner_loads_and_reproduces_its_loss",
    "tests/test_pipeline.py::test_an_oracle_on_top_of_a_run_agrees_with_it",
    "tests/search/test_runners.py::test_a_candidate_whose_worker_dies_goes_on_at_once",
    "tests/test_sampling.py::test_as_many_as_asked_for_and_none_twice",
    "tests/test_sampling.py::test_tpe_finds_better_ones_than_chance",
    "tests/test_sampling.py::test_the_plan_shows_the_domain",
    "tests/test_growing.py",
    "tests/test_replay.py",
    "tests/report/test_compare.py",
    "tests/report/test_figures.py",
    "tests/report/test_page.py",
    "tests/data/test_tokenizers.py",
)
"""Reading, planning, serial and Ray's runs, Optuna, growing, replaying, comparing, reporting."""

TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "jsonschema")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_oldest_versions_do(tmp_path):
    oldest = Installed(tmp_path / "venv")
    constraints = ROOT / "tests" / "constraints-oldest.txt"
    oldest.pip("-c", constraints, build(tmp_path)[1], *TOOLS)
    oldest.run("pytest", "-n", "0", "-p", "no:cacheprovider", *TELLING, within=ROOT)
