"""Whole runs that decide on their way: K found, candidates stopped, other signals than the loss."""

import csv
import io
import json
import re
from statistics import fmean

import numpy as np
import pytest
from finished import finished

import lagsearch
from lagsearch.display.time_left import Later
from lagsearch.display.watch import PlainWatch, Watch
from lagsearch.errors import SpaceError
from lagsearch.records.folder import RunFolder
from lagsearch.records.run import read_run
from lagsearch.records.strategy_input import search_settings
from lagsearch.report.pictures.as_matplotlib import draw_sheet
from lagsearch.report.pictures.stage import stage_sheets
from lagsearch.report.words.verdict import judge
from lagsearch.selection import Choice, decide
from lagsearch.space import load_space

pytestmark = pytest.mark.usefixtures("trained")

PLAIN = "search: {lag: 10}"
LISTED = ("evaluation: {batches: 4}", "evaluation: {batches: 4, steps: [1, 2, 4, 6, 8, 12, 16]}")
SOON = "stability: {threshold: 0.01, margin: 1.0, left: 1.0}"


ALONE = ("search.baselines=[]",)
"""No baselines: a search is the same with them (`test_ungrown.py`)."""


def run(path, folder, **options):
    options = {"watch": Watch(), "overrides": ALONE, **options}
    return lagsearch.run(path, out=folder, serial=True, **options)


def evaluated(folder):
    """Return the last evaluated step of each candidate."""
    found = {}
    for path in sorted((folder / "curves").glob("*.jsonl")):
        found[path.stem] = json.loads(path.read_text().splitlines()[-1])["step"]
    return found


def losses(folder, name, step, key="val_loss_batches"):
    for line in (folder / "curves" / f"{name}.jsonl").read_text().splitlines():
        if json.loads(line)["step"] == step:
            return fmean(json.loads(line)[key])
    return None


def told(folder):
    """Return the text of `report.md`, and of `report.html` the text and the data it draws."""
    page = (folder / "report.html").read_text()
    [data] = re.findall(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.S)
    return (folder / "report.md").read_text(), page, json.loads(data)


def ranked_rows(page):
    """Return the rows of the ranking in `report.md` by candidate, cells by column."""
    lines = page.split("## Ranking at step")[1].split("\n\n")[1].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[1].split("`")[1]: dict(zip(head, row, strict=True)) for row in rows}


def table(folder):
    with (folder / "tables" / "ranking.csv").open(newline="") as file:
        return {row["candidate"]: row for row in csv.DictReader(file)}


def as_with_an_oracle(path, folder, tmp_path):
    """Return what the same strategy chooses on the curves of an oracle run."""
    oracle = finished(path, tmp_path / "oracle", oracle=True, overrides=ALONE)
    recorded = read_run(RunFolder(oracle.folder))
    choice = decide(recorded.measured, search_settings(RunFolder(folder).space()))
    assert isinstance(choice, Choice)
    return choice


def test_k_is_found_where_the_ranking_is_stable(write_space, tmp_path):
    path = write_space((PLAIN, f"search: {{lag: auto, min_lag: 4, max_lag: 16, {SOON}}}"), LISTED)
    result = run(path, tmp_path / "run")
    found = result.report["search"]
    assert found["reason"] == "stable"
    lag = result.report["lag"]
    assert 4 <= lag < 16
    assert evaluated(result.folder) == {
        each.name: 24 if each.name == result.winner else lag for each in result.candidates
    }
    choice = as_with_an_oracle(path, result.folder, tmp_path)
    assert (choice.step, choice.ranking) == (lag, tuple(each.name for each in result.candidates))
    assert choice.stable_since == found["stable_since"]
    line = f"K = {lag}: the ranking has been stable since step {found['stable_since']}."
    page, html, _ = told(result.folder)
    assert f"**{line}**  " in page.splitlines()[2:5]
    assert f"<li>{line}</li>" in html


def test_k_is_at_most_its_bound(write_space, tmp_path):
    never = "stability: {threshold: 1.0, margin: 8.0}"
    path = write_space((PLAIN, f"search: {{lag: auto, min_lag: 4, max_lag: 12, {never}}}"), LISTED)
    result = run(path, tmp_path / "run")
    assert (result.report["lag"], result.report["search"]["reason"]) == (12, "bound")
    line = "K = 12, the largest allowed: no phase transition showed by then."
    assert line in judge(result.report).lines[1:3]
    again = run(path, tmp_path / "run")
    assert again.report["candidates"] == result.report["candidates"]


RACE = (PLAIN, f"search: {{lag: 16, strategy: race, {SOON}}}")


def test_a_race_stops_who_is_worse_and_says_why(write_space, tmp_path):
    path, watch = write_space(RACE, LISTED), Heard()
    result = run(path, tmp_path / "run", watch=watch)
    assert_rungs_are_told(watch, path)
    stopped = {each["name"]: each for each in result.report["candidates"] if "stopped" in each}
    assert stopped
    for name, entry in stopped.items():
        evidence = entry["stopped"]
        step, leader = evidence["step"], evidence["leader"]
        assert entry["status"] == "stopped"
        assert evaluated(result.folder)[name] == step < 16
        difference = losses(result.folder, name, step) - losses(result.folder, leader, step)
        assert evidence["difference"] == pytest.approx(difference)
        assert 0 < evidence["p_value"] < 0.05
    assert_stops_are_told(result, stopped)
    assert not (result.folder / "states").exists()
    choice = as_with_an_oracle(path, result.folder, tmp_path)
    assert choice.ranking == tuple(each.name for each in result.candidates)
    assert {name: each.step for name, each in choice.stopped.items()} == {
        name: entry["stopped"]["step"] for name, entry in stopped.items()
    }


def assert_rungs_are_told(watch, path):
    """Check that each part of a search is called by its rung, and that short ones are warned of."""
    rungs = search_settings(load_space(path).space).rungs
    titles = [phase for phase, *_ in watch.phases if phase.startswith("search")]
    assert 1 < len(titles) <= len(rungs)
    assert titles == [
        f"search, rung {number} of {len(rungs)}" for number in range(1, len(titles) + 1)
    ]
    [line] = [line for line in watch.lines if "waits for all" in line]
    assert f"at {len(rungs)} rungs up to step 16," in line
    assert line in lagsearch.plan(path).stages[0].remarks
    spared = ["search.oracle=true"], ["evaluation.steps=[8, 16]"]
    for overrides in spared:
        told = lagsearch.plan(path, overrides=overrides).stages[0].remarks
        assert not any("rungs" in line for line in told), overrides


def assert_stops_are_told(result, stopped):
    """Check that every report tells who was stopped, where and why."""
    page, html, data = told(result.folder)
    steps = {entry["stopped"]["step"] for entry in stopped.values()}
    where = f"at step {min(steps)}" if len(steps) == 1 else "by step 16"
    count = f"Race: {len(stopped)} of {len(result.candidates)} candidates were stopped {where}"
    (line,) = (each for each in judge(result.report).lines if each.startswith(count))
    assert f"**{line}**  " in page.splitlines()[2:5]
    assert f"<li>{count}" in html
    cells, rows = ranked_rows(page), {row["name"]: row for row in data["ranking"]["rows"]}
    curves = {
        trace["meta"]: trace
        for chart in data["charts"]
        for trace in chart["data"]
        if chart["id"] == "loss" and "meta" in trace
    }
    left = draw_sheet(stage_sheets(result.report)[0]).axes[0]
    drawn = sorted(tuple(line.get_xdata()) for line in left.lines if len(line.get_xdata()) > 2)
    assert drawn == sorted(tuple(sorted(each.val_loss)) for each in result.candidates)
    for each in result.candidates:
        steps = sorted(each.val_loss)
        assert curves[each.name]["x"] == steps
        assert curves[each.name]["y"] == [each.val_loss[step] for step in steps]
        if each.name not in stopped:
            assert "stopped" not in cells[each.name]["loss at 16"]
            assert (rows[each.name]["stopped"], rows[each.name]["evidence"]) == (None, None)
            continue
        evidence = stopped[each.name]["stopped"]
        step, leader = evidence["step"], evidence["leader"]
        why = f"{evidence['difference']:+.4f} from `{leader}` at step {step} "
        why += f"(p {evidence['p_value']:.2g})"
        assert steps[-1] == step
        assert cells[each.name]["loss at 16"] == f"stopped at {step}"
        assert cells[each.name]["behind winner"] == why
        assert rows[each.name]["stopped"] == step
        assert rows[each.name]["evidence"] == why.replace("`", "")
        assert rows[each.name]["failure"] is None
        assert rows[each.name]["at_lag"] is None
        row = table(result.folder)[each.name]
        assert (row["status"], row["stopped_at"], row["stopped_by"]) == (
            "stopped",
            str(step),
            leader,
        )
        assert float(row["stopped_difference"]) == evidence["difference"]
        assert float(row["stopped_p_value"]) == evidence["p_value"]


FINALISTS = (PLAIN, "search: {lag: 12, cut: 6, strategy: finalists, keep: half}")


class Heard(PlainWatch):
    """Keeps lines, and what each phase begins with: where its models are, and what comes later."""

    def __init__(self):
        super().__init__(io.StringIO())
        self.lines, self.phases = [], []

    def say(self, line):
        self.lines.append(line)

    def begin(self, phase, ends):
        super().begin(phase, ends)
        losses = {name: round(loss, 4) for name, loss in self.losses.items()}
        self.phases.append((phase, dict(self.steps), losses, self.before.later))

    def progress(self, progress):
        before = self.steps[progress.name]
        super().progress(progress)
        assert self.steps[progress.name] >= before, "no row of the table goes back"


def test_finalists_are_trained_on_and_chosen_among_later(write_space, tmp_path):
    """Four candidates to step 6, two to step 12 of 24, one to the end: as on an oracle's curves."""
    path = write_space(FINALISTS, LISTED)
    planned = lagsearch.plan(path).stages[0]
    costs = {each.name: each.cost.flops_per_step for each in planned.candidates}
    each_step = sum(costs.values())
    assert planned.search_steps == len(costs) * 6 + 2 * 6
    assert planned.search_flops() == each_step * 6 + each_step * 6 * 2 // len(costs)
    watch = Heard()
    result = run(path, tmp_path / "run", watch=watch)
    assert result.report["lag"] == 12
    by_loss = sorted(costs, key=lambda name: losses(result.folder, name, 6))
    finalists, others = by_loss[:2], by_loss[2:]
    steps = evaluated(result.folder)
    assert {name: steps[name] for name in others} == dict.fromkeys(others, 6)
    assert sorted(steps[name] for name in finalists) == [12, 24]
    assert steps[result.winner] == 24
    best = min(finalists, key=lambda name: losses(result.folder, name, 12))
    assert result.winner == best
    [line] = [line for line in watch.lines if "stopped" in line]
    assert line == f"step 6: stopped {len(others)} candidates, not among the finalists there"
    (first, at, _, rest), (second, cut, known, last), (_, begun, _, nothing) = watch.phases
    assert first == "search, rung 1 of 2"
    assert second == "search, rung 2 of 2"
    assert at == dict.fromkeys(costs, 0)
    assert cut == dict.fromkeys(finalists, 6)
    assert known == {name: round(losses(result.folder, name, 6), 4) for name in finalists}
    assert begun == {best: 12}
    # evaluated at 8 and 12 on the way to K, and at 16 and 24 behind it
    assert rest == (Later(2, 6, 2), Later(1, 12, 2))
    assert (last, nothing) == ((Later(1, 12, 2),), ())
    choice = as_with_an_oracle(path, result.folder, tmp_path)
    assert choice.ranking[0] == result.winner and set(choice.stopped) == set(others)
    page, html, _ = told(result.folder)
    line = f"{len(others)} of {len(costs)} candidates were stopped at step 6, "
    line += "not among the finalists there."
    assert line in page and line in html


def test_of_a_race_with_an_oracle_the_stopped_are_not_ranked_again(write_space, tmp_path):
    path = write_space(RACE, LISTED)
    result = finished(path, tmp_path / "run", oracle=True, overrides=ALONE)
    stopped = {each["name"] for each in result.report["candidates"] if "stopped" in each}
    assert stopped
    assert stopped.isdisjoint(result.report["doubt"]["indistinguishable_from_winner"])
    others = len(result.candidates) - len(stopped)
    for each in result.report["candidates"]:
        assert (each["rank_interval"] is None) == (each["name"] in stopped)
        assert (each["signal"] is None) == (each["name"] in stopped)
        assert each["rank_interval"] is None or each["rank_interval"][1] <= others
        assert "24" in each["val_loss"]
    cells = ranked_rows((result.folder / "report.md").read_text())
    for each in result.report["candidates"]:
        assert cells[each["name"]]["loss at 24"] == f"{each['val_loss']['24']:.4f}"
        assert ("stopped" in cells[each["name"]]["loss at 16"]) == (each["name"] in stopped)


AUTO = (PLAIN, "search: {lag: auto, min_lag: 4, max_lag: 16}")
LATE = (12, 7, 20, 9)


@pytest.mark.parametrize(
    ("search", "moments"),
    [
        (RACE, LATE),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [(FINALISTS, (7, 12, 5, 4)), (AUTO, LATE)]
        ),
    ],
)
def test_interrupted_in_between_it_ends_as_if_it_had_not_been(
    write_space, tmp_path, search, moments
):
    class Interrupt(Watch):
        def __init__(self, at):
            self.left = at

        def progress(self, progress):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    path = write_space(search, LISTED)
    whole = finished(path, tmp_path / "whole", overrides=ALONE)
    for at in moments:
        with pytest.raises(KeyboardInterrupt):
            run(path, tmp_path / "run", watch=Interrupt(at))
    result = run(path, tmp_path / "run")
    assert evaluated(result.folder) == evaluated(whole.folder)
    assert [each.name for each in result.candidates] == [each.name for each in whole.candidates]
    assert result.report["search"] == whole.report["search"]
    for each in whole.candidates:
        assert losses(result.folder, each.name, 4) == losses(whole.folder, each.name, 4)


@pytest.mark.parametrize(
    ("signal", "evaluation", "key"),
    [
        ("ema", "ema: 0.8", "ema_batches"),
        ("annealed", "annealed: {fraction: 0.5}", "annealed_batches"),
    ],
)
def test_ranked_by_another_signal(write_space, tmp_path, signal, evaluation, key):
    search = (PLAIN, f"search: {{lag: 10, signal: {signal}}}")
    measured = ("evaluation: {batches: 4}", f"evaluation: {{batches: 4, {evaluation}}}")
    result = run(write_space(search, measured), tmp_path / "run")
    values = [losses(result.folder, each.name, 10, key) for each in result.candidates]
    assert values == sorted(values)
    assert values != [losses(result.folder, each.name, 10) for each in result.candidates]
    assert result.report["search"]["signal"] == signal
    assert_signal_is_told(result, values)


def assert_signal_is_told(result, values):
    """Check that reports say what candidates are ranked by, and its values."""
    signal = result.report["search"]["signal"]
    assert [each["signal"] for each in result.report["candidates"]] == pytest.approx(values)
    page, html, data = told(result.folder)
    (line,) = (each for each in judge(result.report).lines if f"(search.signal: {signal})" in each)
    assert f"**{line}**" in page
    assert f"<li>{line}</li>" in html
    [column] = [each["label"] for each in data["ranking"]["columns"] if each["key"] == "signal"]
    cells = ranked_rows(page)
    for row, value in zip(data["ranking"]["rows"], values, strict=True):
        assert row["signal"] == pytest.approx(value)
        assert row["gap"] == pytest.approx(value - values[0], abs=1e-12)
        assert cells[row["name"]][column] == f"{value:.4f}"
        assert cells[row["name"]]["behind winner"] == f"{row['gap']:+.4f}"
        assert float(table(result.folder)[row["name"]]["signal_at_lag"]) == row["signal"]


def test_ranked_by_the_trend_under_two_seeds(write_space, tmp_path):
    search = (PLAIN, "search: {lag: 12, signal: trend, seeds: [3, 4]}")
    result = run(write_space(search, LISTED), tmp_path / "run")
    candidates = result.report["candidates"]
    values = [each["signal"] for each in candidates]
    assert values == sorted(values)
    for each in candidates:
        steps = [4, 6, 8, 12]
        losses = [each["val_loss"][str(step)] for step in steps]
        slope, end = np.polyfit(1 / np.array(steps), losses, 1)
        assert each["signal"] == pytest.approx(end + slope / 24)
        by_seed = each["val_loss_by_seed"]
        assert fmean(by_seed[seed]["12"] for seed in ("3", "4")) == pytest.approx(losses[-1])
    assert_signal_is_told(result, values)
    _, _, data = told(result.folder)
    for row, each in zip(data["ranking"]["rows"], candidates, strict=True):
        for seed in ("3", "4"):
            assert row[f"seed_{seed}"] == each["val_loss_by_seed"][seed]["12"]


def test_what_a_decay_costs_is_charged(write_space, tmp_path):
    plain = finished(write_space(), tmp_path / "plain")
    decayed = ("evaluation: {batches: 4}", "evaluation: {batches: 4, annealed: {fraction: 0.5}}")
    path = write_space(decayed)
    result = run(path, tmp_path / "run")
    spent = [each.report["cost"]["search_flops"] for each in (plain, result)]
    assert spent[1] == pytest.approx(spent[0] * 1.5)
    assert lagsearch.plan(path).stages[0].flops(10) == spent[1]
    for each in plain.candidates:
        assert losses(result.folder, each.name, 10) == losses(plain.folder, each.name, 10)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{lag: soon}", r'search.lag "soon": must be a valid integer or must be .auto.'),
        ("{lag: auto, min_lag: 13}", r"search.min_lag 13.*beyond the largest K, 12"),
        ("{lag: auto, max_lag: 25}", r"search.max_lag 25.*beyond the final step"),
        ("{lag: 10, max_lag: 12}", r"search.max_lag 12.*no effect unless lag is auto"),
        ("{lag: 10, min_lag: 12, strategy: race}", r"search.min_lag 12.*no effect unless"),
        ("{lag: 10, evidence: forecast}", r"search.evidence.*no effect unless strategy is race"),
        (
            "{lag: 10, strategy: race, evidence: forecast, stability: {left: 0.5}}",
            r"search.stability.*no effect unless lag is auto, or strategy is race and evidence",
        ),
        ("{lag: 10, strategy: finalists, cut: 10}", r"search.cut 10: must be less than K, 10"),
        ("{lag: 10, cut: 5}", r"search.cut 5: has no effect unless strategy is finalists"),
        (
            "{lag: auto, strategy: finalists}",
            r"search.lag.*must be a number with strategy finalists",
        ),
        ("{lag: 10, settings: {x: 1}}", r"search.settings.x 1: unknown key; this strategy has no"),
        ("{lag: 10, stability: {margin: 3.0}}", r"search.stability.*no effect"),
        ("{lag: 10, signal: ema}", r'search.signal "ema": .*needs evaluation.ema'),
        ("{lag: 10, signal: annealed}", r'search.signal "annealed": .*needs evaluation.annealed'),
    ],
)
def test_refused(write_space, search, message):
    with pytest.raises(SpaceError, match=message):
        lagsearch.plan(write_space((PLAIN, f"search: {search}")))
