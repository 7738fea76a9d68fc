"""Wheel and sdist hold the package, its licences, and nothing else; both work where installed."""

import tarfile
import zipfile

import pytest
from installs import ROOT, Installed, build

import lagsearch

TINY = """
import sys
sys.path.append({tests!r})
from checkpoints import LLAMA, save
save("source", LLAMA)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"))


def files_of_the_package():
    package = ROOT / "lagsearch"
    found = (path for path in package.rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_package_and_its_licences(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
        (metadata,) = (each for each in names if each.endswith(".dist-info/METADATA"))
        told = wheel.read(metadata).decode()
    info = metadata.removesuffix("METADATA")
    package = {each for each in names if not each.startswith(info)}
    assert package == files_of_the_package()
    plotly = "lagsearch/report/pages/plotly"
    assert package > {
        "lagsearch/py.typed",
        "lagsearch/report/pages/templates/base.html",
        f"{plotly}/plotly-basic.min.js",
    }
    licences = {each for each in names if each.startswith(f"{info}licenses/")}
    assert licences == {f"{info}licenses/LICENSE", f"{info}licenses/{plotly}/LICENSE"}
    assert "License-Expression: Apache-2.0 AND MIT\n" in told
    assert "Description-Content-Type: text/markdown\n" in told


def test_the_sdist_holds_what_the_wheel_is_built_of(built):
    with tarfile.open(built[0]) as sdist:
        names = {each.name.partition("/")[2] for each in sdist if each.isfile()}
    others = {each for each in names if not each.startswith(("lagsearch/", "lagsearch.egg-info/"))}
    assert {each for each in names if each.startswith("lagsearch/")} == files_of_the_package()
    assert others == {
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "MANIFEST.in",
        "PKG-INFO",
        "README.md",
        "pyproject.toml",
        "setup.cfg",
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory, built):
    """Where the wheel is installed."""
    made = Installed(tmp_path_factory.mktemp("fresh") / "venv")
    made.pip(built[1])
    return made


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("which", ["wheel", "sdist"])
def test_installed_it_searches_anywhere(which, built, installed, corpus, tmp_path):
    if which == "sdist":
        installed.pip("--force-reinstall", "--no-deps", built[0])

    def type_in(*words):
        return installed.run("lagsearch", *words, within=tmp_path)

    home = installed.run("python", "-c", "import lagsearch; print(*lagsearch.__path__)", within="/")
    assert home.startswith(str(installed.home))
    assert type_in("--version") == f"lagsearch {lagsearch.__version__}\n"
    assert "stack" in type_in("operators").split()

    installed.run("python", "-c", TINY.format(tests=str(ROOT / "tests")), within=tmp_path)
    (tmp_path / "text.txt").write_text(corpus.read_text()[:8000])
    type_in("init", "source", "text.txt", "--hours", "0.001")
    type_in("run", "space.yaml", "--set", "training.steps=20", "--lag", "6", "--out", "run")
    assert {"winner", "report.md", "report.html", "report.json"} <= {
        each.name for each in (tmp_path / "run").iterdir()
    }
    assert "plotly.js (basic" in (tmp_path / "run" / "report.html").read_text()
    assert (tmp_path / "run" / "winner" / "model.safetensors").stat().st_size > 1000
