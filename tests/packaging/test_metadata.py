"""What pyproject.toml says is so, and other files say the same."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from installs import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name as canonical

from lagsearch.space import read_yaml

TEXT = (ROOT / "pyproject.toml").read_text()
PROJECT = tomllib.loads(TEXT)["project"]
NEEDED = [Requirement(each) for each in PROJECT["dependencies"]]
THEIR_OWN = {"lightning", "pytorch-lightning"}
"""Imported for those alone who train with them."""

OPTIONAL = [
    Requirement(each) for extra in PROJECT["optional-dependencies"].values() for each in extra
]
COMES_WITH = {"markupsafe": "jinja2", "pydantic-core": "pydantic", "evaluate": "lm-eval"}
"""Packages that are imported and not named, as another has them for its own interface."""


def imported():
    """Return the distributions that the package imports, wherever it does."""
    homes = packages_distributions()
    found = set()
    for path in (ROOT / "lagsearch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            found |= {each.partition(".")[0] for each in names}
    others = found - set(sys.stdlib_module_names) - {"lagsearch"}
    return {canonical(each) for name in others for each in homes.get(name, [name])[:1]}


def test_every_import_is_a_dependency_and_every_dependency_is_imported():
    needed = {canonical(each.name) for each in NEEDED}
    optional = {canonical(each.name) for each in OPTIONAL}
    found = imported()
    assert needed <= found
    assert found <= needed | optional | set(COMES_WITH) | THEIR_OWN
    assert set(COMES_WITH.values()) <= needed | optional


def lower(requirement):
    (bound,) = (each.version for each in requirement.specifier if each.operator == ">=")
    return bound


def test_the_oldest_versions_are_those_that_are_allowed():
    lines = (ROOT / "tests" / "constraints-oldest.txt").read_text().splitlines()
    pinned = [Requirement(each) for each in lines if not each.startswith("#")]
    oldest = {canonical(each.name): str(each.specifier)[2:] for each in pinned}
    allowed = {canonical(each.name): lower(each) for each in NEEDED if each.name != "torch"}
    assert set(oldest) == set(allowed)
    for name, bound in allowed.items():
        assert Requirement(f"{name}>={bound}").specifier.contains(oldest[name]), name
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", oldest[name]), name


@pytest.mark.parametrize("requirement", [*NEEDED, *OPTIONAL], ids=str)
def test_an_upper_bound_has_a_reason(requirement):
    if any(each.operator in ("<", "<=", "==", "~=", "!=") for each in requirement.specifier):
        start = re.compile(rf' *"{requirement.name}[\[<>=]')
        (line,) = filter(start.match, TEXT.splitlines())
        assert len(line.partition("  # ")[2].split()) >= 3


def test_classifiers_name_versions_of_python_that_are_allowed():
    allowed = SpecifierSet(PROJECT["requires-python"])
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert named[0] == str(allowed).removeprefix(">=")
    assert all(allowed.contains(each) for each in named)


def test_files_beside_it_name_the_same_version_and_licence():
    citation = read_yaml((ROOT / "CITATION.cff").read_text())[0]
    assert citation["version"] == PROJECT["version"]
    assert " AND ".join(citation["license"]) == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == PROJECT["version"]


def test_images_and_environments_have_the_python_and_the_torch_that_are_allowed():
    conda = read_yaml((ROOT / "environment.yml").read_text())[0]["dependencies"]
    (python,) = (each.partition("=")[2] for each in conda if str(each).startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    (torch,) = (each.partition(">=")[2] for each in conda if str(each).startswith("pytorch"))
    (needed,) = (each for each in NEEDED if each.name == "torch")
    assert torch == lower(needed)
    assert f'"{needed}"' in (ROOT / "Dockerfile").read_text()
