"""What another package adds in one place each is known to every command (tests/plugins)."""

import json
import tomllib
from pathlib import Path

import pytest
from processes import in_one_process

from lagsearch.errors import PluginError
from lagsearch.report.write import write_report
from lagsearch.running.baselines import BaselineCourse

PLUGINS = Path(__file__).parent / "plugins"

CHANGES = [
    ("objective: {{name: causal}}", "objective: {{name: ahead, settings: {{places: 3}}}}"),
    ("model_type: llama, ", "model_type: gemma, head_dim: 8, "),
    (
        "  - {{operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}}",
        "  - {{operator: tail, layer: [0, 2]}}\n  - {{operator: identity}}",
    ),
    (
        "search: {{lag: 10}}",
        "search: {{lag: 10, signal: level, baselines: [seedling, continue],\n"
        "         strategy: race, evidence: half}}",
    ),
]


def install(folder, changes=()):
    """Write down the package of tests/plugins as pip would."""
    project = tomllib.loads((PLUGINS / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Name: {project['name']}\nVersion: 0.1\n")
    lines = []
    for group, points in (project["entry-points"] | dict(changes)).items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    info.joinpath("entry_points.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def garden(tmp_path_factory):
    return install(tmp_path_factory.mktemp("installed"))


def lagsearch(site, *commands):
    """Run commands in a process where the package is installed: (exit code, stdout, stderr)s."""
    found = in_one_process(*commands, path=(site, PLUGINS))
    return [(each.code, each.out, each.err) for each in found]


@pytest.fixture
def space(write_space):
    changes = [tuple(each.format() for each in pair) for pair in CHANGES]
    return write_space(*changes)


def test_all_commands_know_what_it_adds(garden, space, write_space, write_stages, tmp_path):
    """In one process: most of what they take is the start of torch."""
    known, course = tmp_path / "known", tmp_path / "course"
    listed = tmp_path / "listed"
    asked = "search: {{{{lag: 20, strategy: podium, settings: {{{{places: {}}}}}}}}}"
    one, four = (
        write_space(("search: {lag: 10}", asked.format(places).format()), name=f"{places}.yaml")
        for places in (1, 4)
    )
    none = write_space(("{lag: 10}", "{lag: 10, settings: {places: 1}}"), name="none.yaml")
    lag = "{operator: lag, index: every, block_size: 1, init: [duplicate, random]}"
    stages = write_stages((lag, "{operator: tail, layer: every}"))
    short = ("[20, 20, 24]", "[6, 6, 6]"), ("{lag: 10}", "{lag: 3}"), ("batches: 4", "batches: 2")
    courses = write_stages(*short, name="courses.yaml")
    found = lagsearch(
        garden,
        ("plan", space),
        ("run", space, "--serial", "--oracle", "--log", "jotter", "--out", known),
        ("mv", known / "report.md", known / "first.md"),
        ("report", known),
        ("replay", known, "--signal", "level"),
        ("run", one, "--serial", "--out", listed),
        *(("plan", each) for each in (stages, four, none)),
        ("run", courses, "--serial", "--baselines", "--out", course),
    )
    check_run(known, *found[:4])
    check_strategy(listed, *found[4:8])
    check_baseline(course, found[8])


def check_run(folder, planned, ran, again, replayed):
    """Check that plan, run, report and replay know what the package adds."""
    code, out, err = planned
    assert code == 0, err
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "0 1 2 0*" in rows["tail-layer0"] and "0 1 2 2*" in rows["tail-layer2"]
    assert {"identity", "seedling", "continue"} <= set(out.replace("`", "").split())
    assert "ranked at step 10 by the mean loss of their last two evaluations" in " ".join(
        out.split()
    )

    code, _, err = ran
    assert code == 0, err
    assert f"log: jotter: {folder / 'log/jotter.txt'}" in err
    report = json.loads((folder / "report.json").read_text())
    assert report["search"]["signal"] == "level"
    found = {each["name"]: each for each in report["candidates"]}
    assert set(found) == {"tail-layer0", "tail-layer2", "identity"}
    lag = report["lag"]
    stopped = [each for each in found.values() if each["status"] == "stopped"]
    assert stopped and all(each["stopped"]["p_value"] == 1.0 for each in stopped)
    for each in found.values():
        if each in stopped:
            continue
        steps = sorted(map(int, each["val_loss"]))
        before = max(step for step in steps if step < lag)
        values = [each["val_loss"][str(step)] for step in (before, lag)]
        assert each["signal"] == pytest.approx(sum(values) / 2)

    name, *jotted = (folder / "log/jotter.txt").read_text().splitlines()
    assert name == "tiny"
    assert sorted(line for line in jotted if line.startswith("identity ")) == sorted(
        [f"identity {step} {loss!r}" for step, loss in found["identity"]["val_loss"].items()]
        + [f"identity rank {found['identity']['rank']}"]
    )
    assert "seedling rank None" in jotted

    said = (folder / "first.md").read_text()
    assert "seedling" in said
    assert (
        f"{len(stopped)} of 3 candidates were stopped by step {lag}, in the worse half there"
        in said
    )
    assert f"ranked at step {lag} by the mean loss of their last two evaluations" in said
    code, _, err = again
    assert (code, (folder / "report.md").read_text()) == (0, said), err

    code, out, err = replayed
    assert code == 0, err
    assert "level" in out and "race of halves" in out


def check_strategy(folder, ran, staged, *wrong):
    """Check that a strategy has settings, and a stage words for the layers of an operator."""
    code, _, err = ran
    assert code == 0, err
    found = json.loads((folder / "report.json").read_text())["candidates"]
    alive = [each["name"] for each in found if each["status"] != "stopped"]
    first = min(found, key=lambda each: each["val_loss"]["1"])
    assert alive == [first["name"]]
    said = (folder / "report.md").read_text()
    assert f"Podium: {len(found) - 1} of {len(found)} candidates were stopped" in said
    assert "behind the best few there" in said

    code, out, err = staged
    assert code == 0, err
    assert "tail-layer0" in out and "tail-layer1" in out

    assert [code for code, *_ in wrong] == [2, 2]
    assert "search.settings.places 4: must be 1, 2 or 3" in wrong[0][2]
    assert "search.settings.places 1: unknown key; this strategy has no settings" in wrong[1][2]


def check_baseline(folder, ran):
    """Check that a baseline is a course whose words stay in the folder."""
    code, _, err = ran
    assert code == 0, err
    report = json.loads((folder / "report.json").read_text())
    assert [row["course"] for row in report["table"]][-2:] == ["continue", "alternating"]
    row, words = report["table"][-1], "copies the last layers and the first one in turn"
    assert row["says"] == words
    courses = {each["name"]: each for each in report["courses"]}
    own = courses["alternating"]
    assert [each["layer_map"] for each in own["stages"]] == ["R", "0 0*", "0 1 0*"]
    assert own["stages"][1]["folder"] == courses["last"]["stages"][1]["folder"]
    behind = own["val_loss"] - courses["adaptive"]["val_loss"]
    assert row["behind"]["value"] == pytest.approx(behind)
    (folder / "report.md").unlink()
    write_report(folder)  # here the package is not installed
    assert words in (folder / "report.md").read_text()
    assert json.loads((folder / "report.json").read_text())["table"] == report["table"]


def test_schema_and_operators_know_them(garden):
    (code, out, err), shown = lagsearch(garden, ("schema",), ("operators", "tail"))
    assert code == 0, err
    parts = json.loads(out)["$defs"]
    signal = parts["Search"]["properties"]["signal"]
    assert signal["enum"][-1] == "level"
    assert parts["Search"]["properties"]["strategy"]["enum"][-1] == "podium"
    told = "`level`: judged by the mean loss of their last two evaluations."
    assert signal["description"].endswith(told)
    assert parts["Objective"]["properties"]["name"]["enum"] == ["causal", "masked", "ul2", "ahead"]
    names = {each["properties"]["operator"]["const"] for each in parts["Candidate"]["anyOf"][:-1]}
    assert {"tail", "seedling"} <= names
    worded = parts["StageCandidate"]["anyOf"][1:]
    assert [each["properties"]["operator"]["const"] for each in worded] == ["lag", "tail"]

    code, out, err = shown
    assert code == 0, err
    assert "layer: a whole number from 0; required" in out
    assert "0 1 2 3 1* 1*" in out


def test_what_is_wrong_is_told_as_of_this_packages(garden, space):
    text = space.read_text()
    cases = [
        ("places: 3", "places: 99", "objective.settings.places 99: must be a number from 1 to 15"),
        ("places: 3", "place: 3", "objective.settings.place 3: unknown key; known: places"),
        ("name: ahead", "name: ahed", "did you mean 'ahead'? known: ahead, causal, masked, ul2"),
        ("signal: level", "signal: levle", "did you mean 'level'?"),
        (
            "evidence: half",
            "evidence: hafl",
            "did you mean 'half'? known: batches, forecast, half",
        ),
        ("[seedling, ", "[sedling, ", "did you mean 'seedling'?"),
    ]
    paths = [space.with_name(f"{number}.yaml") for number in range(len(cases))]
    for path, (old, new, _) in zip(paths, cases, strict=True):
        assert old in text
        path.write_text(text.replace(old, new))
    found = lagsearch(garden, *(("plan", path) for path in paths))
    for path, (*_, message), (code, _, err) in zip(paths, cases, found, strict=True):
        assert code == 2
        assert message in err and f"{path}:" in err
        assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("group", "point", "message"),
    [
        ("operators", "garden.gone", "ModuleNotFoundError: No module named 'garden.gone'"),
        pytest.param("signals", "garden.tail", "adds no signal", marks=pytest.mark.slow),
        ("objectives", "garden.ahead:gone", "AttributeError: "),
        pytest.param(
            *("families", "garden.tail:tail", "adds no family of models"), marks=pytest.mark.slow
        ),
        pytest.param("loggers", "garden.tail", "adds no logger", marks=pytest.mark.slow),
        ("baselines", "garden.tail", "adds no baseline"),
    ],
)
def test_a_broken_package_is_one_line(space, write_stages, tmp_path, group, point, message):
    site = install(tmp_path / "site", [(f"lagsearch.{group}", {"bad": point})])
    folder = tmp_path / "run"
    verb = {
        "operators": ("operators",),
        "loggers": ("run", space, "--log", "jotter", "--out", folder),
        "baselines": ("run", write_stages(), "--baselines", "--out", folder),
    }.get(group, ("plan", space))
    [(code, _, err)] = lagsearch(site, verb)
    assert code == 2
    assert f"garden 0.1: entry point bad = {point} of lagsearch.{group}: {message}" in err
    said = err.strip().splitlines()
    assert said[:-1] == ["loading torch and transformers"] * (group == "baselines")
    assert not folder.exists()


def test_the_package_adds_to_every_table():
    project = tomllib.loads((PLUGINS / "pyproject.toml").read_text())["project"]
    groups = ["operators", "signals", "evidence", "strategies", "objectives", "families", "loggers"]
    groups.append("baselines")
    assert set(project["entry-points"]) == {f"lagsearch.{group}" for group in groups}


@pytest.mark.parametrize("name", ["adaptive", "../last", "Last", ""])
def test_a_baseline_has_a_name_that_can_be_a_folder(name):
    with pytest.raises(PluginError, match="must be small letters, digits and hyphens, and not"):
        BaselineCourse(name, "", list)
