"""Runs side by side: the numbers of each, and what several say of the same candidates."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from terminals import in_terminal

from lagsearch.cli.tables import show_sections
from lagsearch.errors import LagsearchError
from lagsearch.records.imported_curves import Asked
from lagsearch.report.numbers.comparison import _named_alike, compare
from lagsearch.report.of_curves import report_curves
from lagsearch.report.pages.comparison import write_comparison
from lagsearch.report.pages.markdown import markdown_section
from lagsearch.report.pictures.style import LIGHT
from lagsearch.report.words.comparison import comparison_sections
from lagsearch.report.words.parts import Grid, Section

REPORTS = Path(__file__).parents[2] / "reports"
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STEPS = (0, 2, 5, 10, 20, 50, 100)


def made(path, names, seed, batches=3, steps=STEPS):
    """Write curves, and return their means by candidate and step."""
    draw, rows = np.random.default_rng(seed), []
    for name in names:
        quality, height = draw.normal(0, 0.1), abs(draw.normal(0.5, 0.3))
        for step in steps:
            mean = 2 + quality + height / (1 + step)
            rows += [(name, step, b, mean + draw.normal(0, 0.02)) for b in range(batches)]
    frame = pd.DataFrame(rows, columns=["candidate", "step", "batch", "val_loss"])
    frame.to_csv(path, index=False)
    return frame.groupby(["candidate", "step"])["val_loss"].mean().unstack()


@pytest.fixture
def two(tmp_path):
    """Two files that share four candidates, and what is in them."""
    one = made(tmp_path / "one.csv", list("abcdef"), 1)
    other = made(tmp_path / "other.csv", list("cdefgh"), 2)
    return tmp_path / "one.csv", tmp_path / "other.csv", one, other


def test_each_run_is_told_with_its_numbers(two):
    *paths, one, other = two
    found = compare(paths)
    assert [run["name"] for run in found["runs"]] == ["one", "other"]
    for run, means in zip(found["runs"], (one, other), strict=True):
        lag = run["lag"]
        assert run["winner"] == means[lag].idxmin()
        assert run["val_loss"] == pytest.approx(means[lag].min())
        assert run["final_val_loss"] == pytest.approx(means[100][run["winner"]])
        rank = stats.spearmanr(means[lag], means[100]).statistic
        assert run["spearman"]["value"] == pytest.approx(rank)
        lost = means[100][run["winner"]] - means[100].min()
        assert run["regret"]["value"] == pytest.approx(lost)
        assert run["relative_regret"]["value"] == pytest.approx(lost / np.ptp(means[100]))
        spread = (means[100].mean() - means[100].min()) / np.ptp(means[100])
        assert run["chance"] == pytest.approx(spread)
        assert (run["candidates"], run["seeds"], run["batches"]) == (6, 1, 3)
        assert run["flops"] is run["flops_share"] is None


def test_shared_candidates_have_a_place_in_each(two):
    *paths, one, other = two
    found = compare(paths)
    assert sorted(row["name"] for row in found["shared"]) == list("cdef")
    lags = [run["lag"] for run in found["runs"]]
    for row in found["shared"]:
        for place, means, lag in zip(row["places"], (one, other), lags, strict=True):
            assert place["rank"] == means[lag].rank()[row["name"]]
            assert place["val_loss"] == pytest.approx(means[lag][row["name"]])
            assert place["final_val_loss"] == pytest.approx(means[100][row["name"]])
    [pair] = found["rank_correlation"]
    assert pair["runs"] == ["one", "other"]
    both = list("cdef")
    at_lag = stats.spearmanr(one[lags[0]][both], other[lags[1]][both]).statistic
    assert pair["at_lag"] == pytest.approx(at_lag)
    assert pair["at_end"] == pytest.approx(stats.spearmanr(one[100][both], other[100][both])[0])
    assert pair["n_at_lag"] == pair["n_at_end"] == 4
    means = [np.mean([each["rank"] / 6 for each in row["places"]]) for row in found["shared"]]
    assert means == sorted(means)


def test_a_growth_is_found_under_its_other_names():
    """`stack` of one run is `lag-a = stack` of another; where both names stand alone, they stay."""

    def report(*candidates):
        return {"candidates": [{"name": name, "also": list(also)} for name, *also in candidates]}

    reports = [
        report(("stack",), ("b",)),
        report(("lag-a", "stack"), ("c",)),
        report(("c",), ("lag-a",), ("d",)),
        report(("lag-a",), ("stack",)),
    ]
    names = [[each["name"] for each in one["candidates"]] for one in _named_alike(reports)]
    assert names == [["stack", "b"], ["stack", "c"], ["c", "stack", "d"], ["lag-a", "stack"]]


def test_two_shared_candidates_are_too_few_for_a_correlation(tmp_path):
    for name, names, seed in (("one", "abc", 1), ("other", "bcd", 2), ("alone", "xyz", 3)):
        made(tmp_path / f"{name}.csv", list(names), seed)
    found = compare([tmp_path / f"{name}.csv" for name in ("one", "other", "alone")])
    pairs = {tuple(pair["runs"]): pair for pair in found["rank_correlation"]}
    assert len(pairs) == 3
    assert pairs["one", "other"]["at_lag"] is None
    assert pairs["one", "other"]["n_at_lag"] == 2
    assert pairs["one", "alone"]["n_at_lag"] == 0
    told = markdown_section(comparison_sections(found)[2])
    assert "| `one` | `other` | not defined (2) | not defined (2) |" in told
    assert "alone" not in told


def test_run_folders_reports_of_curves_and_curves_stand_together(two, tmp_path):
    folder, report = report_curves(two[0], Asked(lag=5), tmp_path / "report")
    found = compare([folder, two[1], REPORTS / "quickstart-oracle"])
    assert found["runs"][0]["lag"] == 5
    assert found["runs"][0]["spearman"] == report["oracle"]["spearman"]["5"]
    run = found["runs"][2]
    recorded = json.loads((REPORTS / "quickstart-oracle" / "report.json").read_text())
    assert run["winner"] == recorded["winner"]["name"]
    at_lag = recorded["oracle"]["spearman"][str(recorded["lag"])]
    assert run["spearman"]["value"] == pytest.approx(at_lag["value"])
    cost = recorded["cost"]
    spent = cost["search_flops"] + cost["winner_flops"]
    assert (run["flops"], run["flops_share"]) == (spent, spent / cost["oracle_flops"])


def test_runs_of_one_name_are_told_by_their_paths(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        made(tmp_path / folder / "curves.csv", list("abc"), 1)
    paths = [tmp_path / folder / "curves.csv" for folder in ("one", "other")]
    assert [run["name"] for run in compare(paths)["runs"]] == [str(path) for path in paths]


def test_failed_and_unfinished_candidates_have_no_loss_to_compare(tmp_path):
    made(tmp_path / "one.csv", list("abcde"), 1)
    made(tmp_path / "other.csv", list("abcde"), 2)
    frame = pd.read_csv(tmp_path / "other.csv")
    frame.loc[(frame.candidate == "a") & (frame.step == 2), "val_loss"] = float("nan")
    frame = frame[(frame.candidate != "b") | (frame.step < 100)]
    frame.to_csv(tmp_path / "other.csv", index=False)
    found = compare([tmp_path / "one.csv", tmp_path / "other.csv"])
    assert found["runs"][1]["failed"] == 1
    places = {row["name"]: row["places"][1] for row in found["shared"]}
    assert (places["a"]["status"], places["a"]["val_loss"]) == ("failed", None)
    assert places["b"]["final_val_loss"] is None
    [pair] = found["rank_correlation"]
    assert (pair["n_at_lag"], pair["n_at_end"]) == (4, 3)
    assert "| 5 of 5: failed |" in markdown_section(comparison_sections(found)[1])


KINDS = ("png", "svg", "pdf")


@pytest.mark.draws
def test_pages_tables_and_figures(two, tmp_path):
    *paths, one, _ = two
    found = compare(paths)
    folder = tmp_path / "out"
    write_comparison(found, folder)
    names = {each.relative_to(folder).as_posix() for each in folder.rglob("*.*")}
    assert names == {
        *("compare.md", "compare.html"),
        *(f"figures/{name}.{kind}" for name in ("scores", "ranks") for kind in KINDS),
        *(f"tables/{name}.csv" for name in ("runs", "shared", "rank_correlation")),
    }
    runs = pd.read_csv(folder / "tables" / "runs.csv")
    assert list(runs["winner"]) == [run["winner"] for run in found["runs"]]
    assert list(runs["spearman"]) == [run["spearman"]["value"] for run in found["runs"]]
    assert list(runs["spearman_low"]) == [run["spearman"]["interval"][0] for run in found["runs"]]
    shared = pd.read_csv(folder / "tables" / "shared.csv")
    assert len(shared) == 8
    own = shared[shared.run == "one"].set_index("candidate")["final_val_loss"]
    assert own.to_dict() == pytest.approx(one[100][list("cdef")].to_dict())
    page = (folder / "compare.html").read_text()
    assert page.count("<svg ") == 2
    assert ">Spearman with the final loss</text>" in page
    # in the page's colours, by day and by night
    colors = set(re.findall(r"#[0-9a-f]{6}", page.partition("<svg ")[2]))
    assert not colors & set(LIGHT.values())
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    write_comparison(found, folder)  # its own folder is written anew
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(LagsearchError, match="has files, but no comparison"):
        write_comparison(found, tmp_path / "mine")
    with pytest.raises(LagsearchError, match="is no folder"):
        write_comparison(found, tmp_path / "mine" / "notes.txt")


def test_all_text_of_runs_is_escaped(tmp_path):
    names = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "$\\frac$ | x", "d"]
    for file, seed in (("<b>one.csv", 1), ("$other$.csv", 2)):
        made(tmp_path / file, names, seed)
    found = compare([tmp_path / "<b>one.csv", tmp_path / "$other$.csv"])
    write_comparison(found, tmp_path / "out")
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "<img" not in page
    for text in ("<script", "<b>one"):
        assert text not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["one.csv"], "compare: name two runs or more"),
        (["one.csv", "one.csv"], "one.csv comes twice"),
        (["one.csv", "none"], "none: no such folder"),
        (["one.csv", "other"], "not a run folder, it has no space.yaml"),
        (["one.csv", "none.csv"], "no such file"),
    ],
)
def test_what_cannot_be_compared_is_one_line(call, two, tmp_path, names, message):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.json").write_text("{}")  # of another program
    words = (*(tmp_path / name for name in names), "--out", tmp_path / "out")
    code, out, error = call("compare", *words)
    assert (code, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_terminal_shows_what_the_page_holds(call, two, tmp_path):
    out = tmp_path / "out"
    code, shown, error = call("compare", *two[:2], "--out", out)
    assert code == 0, error
    told, _, last = shown.rpartition("\n\nComparison: ")
    assert last.strip() == f"{out}/compare.html, {out}/compare.md"
    assert told in (out / "compare.md").read_text()


def test_a_narrow_terminal_shows_tables_without_marks(two):
    shown = in_terminal("compare", *two[:2], columns=80)
    assert shown.code == 0
    lines = SEQUENCE.sub("", shown.text.split("\x1b[?25h")[-1]).splitlines()
    assert max(map(len, lines)) <= 80
    assert "|" not in shown.text and "`" not in shown.text and "##" not in shown.text
    titles = ["Runs", "Candidates of several runs", "Agreement between runs"]
    heads = [lines[lines.index(title) + 2].split("  ")[0] for title in titles]
    assert heads == ["one", "candidate", "run"], "the first is too wide, and told in paragraphs"
    head, *rows = lines[lines.index(titles[1]) + 2 :][:5]
    assert head.split() == ["candidate", "one", "other"]
    assert sorted(row.split()[0] for row in rows) == list("cdef")


@pytest.mark.parametrize(("columns", "gone"), [(100, ""), (34, "tied"), (30, "tied, cost")])
def test_columns_left_out_are_named(monkeypatch, capsys, columns, gone):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    head = ["run", "empty", "cost", "ranking", "tied"]
    rows = [["`a_run`", "", "1.5e+10", "**settled**, by `loss`", "2"]]
    section = Section("Runs", (Grid(head, rows, ("tied", "cost", "run")), "Of `a_run`."))
    show_sections([section], "--out FOLDER writes all")
    out = SEQUENCE.sub("", capsys.readouterr().out)
    shown = [line.split() for line in out.splitlines()]
    left = [each for each in head if each not in ("empty", *gone.split(", "))]
    assert left in shown
    assert ["Of", "a_run."] in shown
    said = [" ".join(line) for line in shown if "Left" in line]
    assert [line.partition(";")[0] for line in said] == [f"Left out here: {gone}"] * bool(gone)
