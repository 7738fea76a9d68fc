import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import in_one_process

HEAVY = ["torch", "ray", "transformers", "datasets", "matplotlib", "scipy", "pandas", "pydantic"]
TRAINERS = ["torch", "ray", "transformers", "datasets"]


@pytest.mark.parametrize("module", ["lagsearch", "lagsearch.cli.commands"])
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


REPORTS = Path(__file__).parents[1] / "reports"
RUNS = {"RUN": REPORTS / "quickstart-oracle", "OTHER": REPORTS / "shakespeare-6to9"}
LIGHT = [each for each in HEAVY if each != "pydantic"]
UNNEEDED = {
    "--help": HEAVY,
    "--version": HEAVY,
    "run --help": LIGHT,
    "operators": LIGHT,
    "operators lag": LIGHT,
    "schema": LIGHT,
    "compare RUN OTHER": [*TRAINERS, "matplotlib", "plotly", "pandas"],
    "replay RUN --strategy lag": [*TRAINERS, "matplotlib"],
    "report RUN": TRAINERS,
    "cache list": TRAINERS,
}
"""What commands do not import. They run in one process: those that import least come first."""


def test_a_command_imports_what_it_needs(tmp_path):
    for name, run in RUNS.items():
        shutil.copytree(run, tmp_path / name)
    found = in_one_process(("cd", tmp_path), *(words.split() for words in UNNEEDED))
    for (words, unneeded), ended in zip(UNNEEDED.items(), found, strict=True):
        assert ended.code == 0, ended.err
        assert not ended.modules & {*unneeded}, words


def test_planning_does_not_load_ray(write_space):
    code = (
        f"import sys, lagsearch; lagsearch.plan({str(write_space())!r}, lag=5);"
        "print('ray' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


def test_plan_shows_maps_sizes_and_costs(call, write_space):
    code, out, _ = call("plan", write_space(), "--lag", 12)
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.startswith("lag-")}
    assert list(rows) == [
        "lag-i0-b1-duplicate",
        "lag-i0-b1-random",
        "lag-i2-b1-duplicate",
        "lag-i2-b1-random",
    ]
    assert "0 0* 1 2 " in rows["lag-i0-b1-duplicate"]
    assert "0 1 2 R " in rows["lag-i2-b1-random"]
    # by hand: per layer q 16x16, k and v 16x8, o 16x16, three of 16x32 and two norms; 259 tokens
    # in an embedding and a head of their own, and the last norm
    parameters = 4 * (2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 32 + 2 * 16) + 2 * 259 * 16 + 16
    assert all(f"{parameters:,}" in row for row in rows.values())
    assert "4 x 12 steps" in out
    assert "12 steps" in out
    # search 4 x 12 of 4 x 24 steps and 12 more for the winner
    assert re.search(rf"{(4 * 12 + 12) / (4 * 24):.0%} of [\d.e+]+ to train every candidate", out)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("candidates.0.index=9", r"index 9 is outside of 0\.\.2"),
        ("candidates[0].index=9", r"index 9 is outside of 0\.\.2"),
        ("candidates.0.block_size=2", "block_size 2 does not divide the 1 new layers; allowed: 1"),
        ("candidates.0.operator=lga", "did you mean 'lag'? known: aki, "),
        ("candidates.0.inti=copy", "lag has no setting 'inti'; did you mean 'init'?"),
        ("target.num_hidden_layers=2", "is shallower than the source's 3 layers"),
        ("target.hidden_size=32", "lag grows in depth only; the target changes hidden_size 16"),
        ("target.depth=9", "key 'depth' is unknown to model_type llama; did you mean 'num_hid"),
        ("data.train={files: [gone.txt]}", "gone.txt: no such file"),
        ("data.tokenizer=./gone", "there is no tokenizer folder './gone'"),
        ("sources.0={name: a, checkpoint: /gone}", "there is no such folder"),
        ("sources.0.pretrain.config.model_type=lama", "did you mean 'llama'?"),
        ("resources.cpus_per_candidate=9999", "needs more than this machine has"),
        ("training.steps=3", "search.lag 10: is beyond the final step, training.steps 3"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2_and_writes_nothing(
    call, tmp_path, write_space, override, message
):
    folder = tmp_path / "run"
    arguments = ["run", write_space(), "--out", folder, "--serial", "--set", override]
    code, out, error = call(*arguments)
    assert code == 2
    assert out == ""
    slow = ("tokeniz", "loading ")  # what is said of work that takes long
    lines = [line for line in error.splitlines() if not line.startswith(slow)]
    assert len(lines) == 1
    assert message.replace("\\", "") in lines[0]
    assert not folder.exists()


def test_wrong_command_lines_are_one_line(call, write_space):
    code, _, error = call("run", write_space(), "--orcale")
    assert (code, len(error.splitlines())) == (2, 1)
    assert "--orcale" in error
    code, _, error = call("run", "none.yaml", "--lag", "5")
    assert (code, error.strip()) == (2, "lagsearch: none.yaml: no such file")


def test_run_and_report_end_with_winner_cost_report_and_checkpoint(call, tmp_path, write_space):
    folder = tmp_path / "run"
    code, out, _ = call("run", write_space(), "--serial", "--out", folder)
    report = json.loads((folder / "report.json").read_text())
    assert code == 0
    assert f"\nWinner at step 10: {report['winner']['name']}, validation loss" in f"\n{out}"
    assert out.splitlines()[-4].startswith("Next: ")
    assert out.splitlines()[-3] == "  lagsearch operators"  # four candidates are too few to judge
    assert out.splitlines()[-2:] == [
        f"Report: {folder / 'report.html'}, {folder / 'report.md'}",
        f"Checkpoint: {folder / 'winner'}",
    ]
    (folder / "report.json").unlink()
    code, _, _ = call("report", folder)
    assert code == 0
    rebuilt = json.loads((folder / "report.json").read_text())
    for numbers in (report, rebuilt):
        numbers["cost"].pop("wall_s")
    assert rebuilt == report


@pytest.mark.parametrize(
    ("words", "example"),
    [
        (("export", "space.yaml"), "E.g. lagsearch export space.yaml --out checkpoints"),
        (("push", "reports/mine"), "E.g. lagsearch push reports/mine --repo me/model"),
        (("log", "reports/mine"), "E.g. lagsearch log reports/mine --to tensorboard"),
        (("compare",), "E.g. lagsearch compare reports/one reports/two"),
        (("compare", "one"), "name two runs or more, e.g. lagsearch compare reports/one"),
        (("bench", "add"), "E.g. lagsearch bench add reports/mine"),
        (("bench", "space"), "E.g. lagsearch bench space NAME; `lagsearch bench list` has the"),
        (("bench", "report", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_a_command_that_lacks_something_says_what(call, words, example):
    code, _, error = call(*words)
    assert code == 2
    assert example in error


@pytest.mark.parametrize("verb", ["report", "replay"])
def test_runs_in_a_folder_are_named(call, tmp_path, verb):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "space.yaml").touch()
    code, _, error = call(verb, tmp_path)
    assert code == 2
    assert error.strip().endswith(f"it has no space.yaml; runs are in it, e.g. {tmp_path}/mine")


def test_report_of_something_else_is_one_line(call, tmp_path):
    code, _, error = call("report", tmp_path)
    assert code == 2
    assert error.strip().endswith(
        "not a run folder, it has no space.yaml; `lagsearch run` leaves reports/NAME"
    )


def test_operators_are_listed(call):
    code, out, _ = call("operators")
    assert code == 0
    assert "lag" in out
    assert "scratch" in out
    assert "block_size" in out


def test_one_operator_is_described_whole(call):
    code, out, _ = call("operators", "zero")
    assert code == 0
    assert "form: hybrid, gstack, v1 or v2; hybrid when left out" in out
    assert "new heads and FFN units read at random and write zeros" in " ".join(out.split())
    code, out, _ = call("operators", "multi-stack")
    assert "order: a text; required" in out
    code, _, error = call("operators", "zeros")
    assert code == 2
    assert "did you mean 'zero'?" in error
