"""lagsearch works with the oldest versions that it allows (tests/constraints-oldest.txt)."""

import pytest
from installs import ROOT, Installed, build

TELLING = (
    "tests/test_planning.py",
    "tests/test_pipeline.py",
    "tests/test_growing.py",
    "tests/test_listing.py",
    "tests/test_replay.py",
    "tests/test_sampling.py",
    "tests/report/test_compare.py",
    "tests/report/test_page.py",
    "tests/search/test_runners.py",
    "tests/space/test_reading.py",
)
TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "jsonschema")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_oldest_versions_do(tmp_path):
    oldest = Installed(tmp_path / "venv")
    constraints = ROOT / "tests" / "constraints-oldest.txt"
    oldest.pip("-c", constraints, build(tmp_path)[1], *TOOLS)
    oldest.run("pytest", "-n", "0", "-p", "no:cacheprovider", *TELLING, within=ROOT)
