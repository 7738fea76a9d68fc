"""Environments of their own, with lagsearch installed as its users install it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# a user's shell has neither this checkout on its path nor this process's settings
_OURS = ("PYTHON", "LAGSEARCH", "RAY", "OMP_")


class Installed:
    """A virtual environment.

    Args:
        folder: Where it is made.
    """

    def __init__(self, folder: Path):
        self.home = folder
        self._environment = {
            key: value for key, value in os.environ.items() if not key.startswith(_OURS)
        } | {"LAGSEARCH_CACHE": f"{folder}-cache", "HF_HUB_OFFLINE": "1"}
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        self.pip("torch>=2.6,<2.14")  # a CPU build where one is on offer, as .ci/run does

    def pip(self, *words):
        """Install what the words say; raise with pip's own words where it fails."""
        self.run("python", "-m", "pip", "install", "-qq", *words, within=self.home)

    def run(self, program, *words, within):
        """Return what a program of the environment writes to stdout; it must end well."""
        done = subprocess.run(
            [self.home / "bin" / program, *map(str, words)],
            cwd=within,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{program} {words}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def build(folder):
    """Build sdist, and of it the wheel, from a copy of what is here; return both."""
    source, out = folder / "source", folder / "dist"
    left = [ROOT / each for each in ("build", "dist", "reports")]  # results of other work

    def leave(folder, names):
        hidden = {each for each in names if each.startswith(".") or each == "__pycache__"}
        return hidden | {each for each in names if Path(folder, each) in left}

    shutil.copytree(ROOT, source, ignore=leave)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel
