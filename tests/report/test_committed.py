"""The committed reports are what the code makes of their runs today."""

import json
from pathlib import Path

import pytest

from lagsearch.records.folder import RunFolder
from lagsearch.records.run import read_run
from lagsearch.report.numbers.stage import build_numbers
from lagsearch.report.pages.markdown import bold
from lagsearch.report.words.verdict import judge

REPORTS = Path(__file__).parents[2] / "reports"
KEYS = ("lag", "steps", "doubt", "oracle", "phase_transition", "baselines", "savings", "importance")


def agree(ours, theirs, where):
    """Compare numbers to rounding, which may differ from machine to machine, all else exactly."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            agree(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for place, pair in enumerate(zip(ours, theirs, strict=True)):
            agree(*pair, f"{where}[{place}]")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9), where
    else:
        assert ours == theirs, where


@pytest.mark.parametrize(
    "name", ["quickstart-oracle", "evidence-wikitext", "shakespeare-depth", "shakespeare-6to9"]
)
def test_a_committed_report_is_what_the_code_makes_of_its_run(name):
    folder = RunFolder(REPORTS / name)
    recorded = json.loads((REPORTS / name / "report.json").read_text())
    made = json.loads(json.dumps(build_numbers(read_run(folder))))
    for key in KEYS:
        agree(made[key], recorded[key], key)
    page = (REPORTS / name / "report.md").read_text()
    assert bold(judge(recorded).lines) in page


@pytest.mark.parametrize("path", sorted(REPORTS.glob("*/plans.json")), ids=lambda p: p.parent.name)
def test_every_committed_report_has_today_s_words(path):
    recorded = json.loads((path.parent / "report.json").read_text())
    assert bold(judge(recorded).lines) in (path.parent / "report.md").read_text()
