"""Commands in a pseudo-terminal: what a person sees, who has no pipe."""

import json

import pytest
from terminals import in_terminal


@pytest.mark.ray
def test_a_run_under_ray_ends_well_in_a_terminal(write_space, tmp_path):
    folder = tmp_path / "run"
    shown = in_terminal("run", write_space(), "--out", folder)
    assert "Traceback" not in shown.text
    assert shown.code == 0
    assert "Winner at step 10: lag-" in shown.text
    assert json.loads((folder / "report.json").read_text())["winner"]["name"] in shown.text
