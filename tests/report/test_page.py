"""The page for a browser, taken apart without one: structure, safety, and the same numbers."""

import base64
import csv
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up import HOSTILE, STEPS, made_importance, made_report

from lagsearch.report.numbers.tables import write_tables
from lagsearch.report.numbers.view import DRAWN_BEST, DRAWN_SAMPLE
from lagsearch.report.pages.stage import stage_html
from lagsearch.report.words.advice import advise_next
from lagsearch.report.words.verdict import judge

VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """All elements with their attributes, the text of each id, and all script."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.scripts, self.texts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    def with_tag(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]

    @property
    def data(self):
        return json.loads(self.scripts[0])

    @property
    def charts(self):
        return {chart["id"]: chart for chart in self.data["charts"]}


def page_of(report, folder="reports/made-up"):
    return Page(stage_html(report, Path(folder)))


@pytest.fixture(scope="module")
def report():
    return made_report(failed=("broken",))


@pytest.fixture(scope="module")
def page(report):
    return page_of(report)


def test_the_page_is_whole_and_says_the_verdict_first(page, report):
    assert page.open == []
    assert page.elements[0][0] == "html"
    sections = [attributes["id"] for attributes in page.with_tag("section")]
    told = ["verdict", "ranking", "curves", "growing", "worth", "savings", "cost", "files"]
    assert sections == told
    text = " ".join(page.texts)
    for line in judge(report).lines:
        assert line in page.texts
    advice = advise_next(report, Path("reports/made-up"))
    assert advice.command in page.texts
    assert text.index(advice.command) < text.index("Ranking at step 10")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.with_tag("a")]
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_nothing_is_loaded_from_anywhere_and_only_its_own_scripts_run(page):
    for tag, attributes in page.elements:
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith(("#", "data:,")), tag
    [policy] = [each["content"] for each in page.with_tag("meta") if "http-equiv" in each]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in rules["script-src"]
    allowed = re.findall(r"'sha256-([^']*)'", rules["script-src"])
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in page.scripts[1:]
    ]
    assert allowed == hashes
    assert len(page.scripts) == 4
    assert page.with_tag("script")[0]["type"] == "application/json"


def test_hostile_names_are_text():
    names = (*HOSTILE, "plain")
    report = made_report(names, failed=("</style><svg onload=alert(3)>",), baseline="<scratch>")
    report["name"] = HOSTILE[0]
    report["sources"][0]["name"] = HOSTILE[1]
    failures = [{"candidate": names[0], "task": "t", "reason": HOSTILE[1]}]
    report["harness"] = {"results": [], "failures": failures}
    report["importance"] = made_importance(names)
    page = page_of(report, folder="reports/a b'<script>")
    assert page.open == []
    plain = page_of(made_report())
    assert {tag for tag, _ in page.elements} - {tag for tag, _ in plain.elements} <= {"li", "ul"}
    assert not any("onload" in each or "onerror" in each for _, each in page.elements)
    assert HOSTILE[0] in page.texts
    assert len(page.scripts) == 4
    assert "<" not in page.scripts[0]
    rows = page.data["ranking"]["rows"]
    assert [row["name"] for row in rows] == [each["name"] for each in report["candidates"]]
    assert {row["name"] for row in rows} >= set(names)
    for chart in page.data["charts"]:
        for trace in chart["data"]:
            shown = [trace.get("name", ""), trace.get("text", ""), trace.get("y", "")]
            flat = [text for each in shown for text in (each if isinstance(each, list) else [each])]
            assert not any("<" in text for text in flat if isinstance(text, str)), chart["id"]
            assert not any(name in trace.get("hovertemplate", "") for name in names)


def test_the_table_has_the_numbers_of_the_report(page, report):
    rows = page.data["ranking"]["rows"]
    assert len(rows) == len(report["candidates"]) == 8
    best = report["candidates"][0]["val_loss"]["10"]
    tied = report["doubt"]["indistinguishable_from_winner"]
    for row, each in zip(rows, report["candidates"], strict=True):
        ok = each["status"] == "ok"
        assert row["rank"] == each["rank"]
        assert row["at_0"] == each["val_loss"]["0"]
        assert row["at_lag"] == (each["val_loss"]["10"] if ok else None)
        assert row["se"] == (each["val_loss_se"]["10"] if ok else None)
        assert row["gap"] == (each["val_loss"]["10"] - best if ok else None)
        assert row["end"] == each["val_loss"].get("50")
        assert (row["parameters"], row["flops"]) == (each["parameters"], each["flops"])
        assert row["map"] == each["layer_map"]
        assert row["tied"] == (each["name"] in tied)
        assert row["baseline"] == (each["name"] == "scratch")
        assert row["failure"] == each.get("failure")
        assert row["ranks"] == each["rank_interval"]
    assert rows[-1]["failure"] == "step 6: the loss of broken is nan"
    assert [row["name"] for row in rows if row["best"]] == [report["oracle"]["candidate"]]
    keys = [column["key"] for column in page.data["ranking"]["columns"]]
    assert all(key in row for key in keys for row in rows)


def test_every_seed_has_a_column():
    report = made_report(seeds=(4, 9))
    data = page_of(report).data["ranking"]
    assert [each["key"] for each in data["columns"] if each["key"].startswith("seed")] == [
        "seed_4",
        "seed_9",
    ]
    for row, each in zip(data["rows"], report["candidates"], strict=True):
        for seed in ("4", "9"):
            assert row[f"seed_{seed}"] == each["val_loss_by_seed"][seed]["10"]
        mean = (row["seed_4"] + row["seed_9"]) / 2
        assert row["at_lag"] == pytest.approx(mean)
    assert data["rows"][0]["gap"] == 0


def test_baselines_beside_the_candidates_are_shown_without_a_rank():
    report = made_report(beside=("continue", HOSTILE[0]))
    page = page_of(report)
    own = {each["name"]: each for each in report["growing"]["baselines"]}
    rows = page.data["ranking"]["rows"]
    assert [row["name"] for row in rows[-2:]] == list(own)
    for row in rows[-2:]:
        assert (row["rank"], row["baseline"], row["failure"]) == (None, True, None)
        assert row["at_lag"] == own[row["name"]]["val_loss"]["10"]
    for key in ("loss", "loss_and_flops"):
        traces = {trace.get("meta"): trace for trace in page.charts[key]["data"]}
        assert traces["continue"]["y"][-1] == own["continue"]["val_loss"]["50"]
        assert traces["continue"]["line"]["color"] == "@baseline"
    assert "continue" not in {trace["meta"] for trace in page.charts["difference"]["data"]}
    assert "<script" not in page.scripts[0]
    doubt, *_ = judge(report).lines
    assert page.texts.count(doubt) == 1
    assert page.texts.index(doubt) < page.texts.index(report["winner"]["name"])


def test_the_charts_have_the_numbers_of_the_report(page, report):
    charts, oracle = page.charts, report["oracle"]
    entries = {each["name"]: each for each in report["candidates"] if each["status"] == "ok"}
    level = [trace for trace in charts["loss"]["data"] if "meta" not in trace]
    assert [trace["name"] for trace in level] == [
        f"source {name}, before growth" for name in ("one", "two")
    ]
    assert [(trace["x"], trace["y"]) for trace in level] == [([0, 50], [1.75, 1.75])] * 2
    traces = {trace["meta"]: trace for trace in charts["loss"]["data"] if "meta" in trace}
    assert set(traces) == set(entries)
    for name, trace in traces.items():
        assert trace["x"] == list(STEPS)
        assert dict(zip(map(str, trace["x"]), trace["y"], strict=True)) == entries[name]["val_loss"]
    growths = [each for name, each in entries.items() if name != "scratch"]
    for trace in charts["difference"]["data"]:
        for step, value in zip(trace["x"], trace["y"], strict=True):
            mean = sum(each["val_loss"][str(step)] for each in growths) / len(growths)
            assert value == pytest.approx(entries[trace["meta"]]["val_loss"][str(step)] - mean)
    for key, step in (("early_0", "0"), ("early_lag", "10")):
        points = {
            point
            for trace in charts[key]["data"]
            for point in zip(trace["text"], trace["x"], trace["y"], strict=True)
        }
        losses = {name: each["val_loss"] for name, each in entries.items() if name != "scratch"}
        assert points == {(name, found[step], found["50"]) for name, found in losses.items()}
    cells = [trace["marker"]["color"] for trace in charts["rank_correlation"]["data"]]
    assert cells == oracle["rank_correlation"]["matrix"]
    for at, trace in zip(oracle["recall"], charts["recall"]["data"], strict=True):
        assert trace["name"] == f"m = {at}"
        assert trace["y"] == [score["value"] for score in oracle["recall"][at].values()]
    for key, metric in (("spearman", "spearman"), ("regret", "relative_regret")):
        low, high, line = charts[key]["data"][-3:]
        found = oracle[metric]
        assert line["y"] == [found[str(step)]["value"] for step in line["x"]]
        ends = [found[str(step)]["interval"] for step in low["x"]]
        assert [[*pair] for pair in zip(low["y"], high["y"], strict=True)] == ends
    for trace in charts["loss_and_flops"]["data"]:
        each = entries[trace["meta"]]
        spent = [flops for flops in each["flops_by_step"].values() if flops > 0]
        moved = 0 if "its source included" not in trace["name"] else 900
        if moved == 0:
            assert trace["x"] == spent
        assert trace["y"] == [loss for step, loss in each["val_loss"].items() if step != "0"]
    cost = report["cost"]
    keys = ("oracle_flops", "winner_flops", "search_flops", "source_flops")
    assert charts["cost"]["data"][0]["x"] == [cost[key] for key in keys]


def test_without_a_baseline_all_losses_are_shown_over_flops(tmp_path):
    report = made_report(baseline=None, failed=("broken",))
    page = page_of(report)
    sections = [attributes["id"] for attributes in page.with_tag("section")]
    assert sections == ["verdict", "ranking", "curves", "growing", "worth", "cost", "files"]
    shown = {trace["meta"]: trace for trace in page.charts["loss_and_flops"]["data"]}
    alive = [each for each in report["candidates"] if each["status"] == "ok"]
    assert set(shown) == {each["name"] for each in alive}
    for each in alive:
        spent = [flops for flops in each["flops_by_step"].values() if flops > 0]
        assert shown[each["name"]]["x"] == spent
    write_tables(report, tmp_path)
    rows = list(csv.DictReader((tmp_path / "loss_and_flops.csv").open()))
    assert {row["candidate"] for row in rows} == {each["name"] for each in report["candidates"]}
    assert {row["flops_with_sources"] for row in rows} == {""}


def test_the_winner_with_its_sources_is_counted(page, report):
    winner = report["winner"]["name"]
    [plain, counted] = [
        trace for trace in page.charts["loss_and_flops"]["data"] if trace["meta"] == winner
    ]
    found = report["savings"]["growths"][winner]["flops"]
    source = found["with_sources"] - found["growth"]
    assert source in (900, 1800)
    assert counted["x"] == [each + source for each in plain["x"]]


def test_without_an_oracle_nothing_is_scored():
    report = made_report(oracle=False, baseline=None)
    page = page_of(report)
    assert set(page.charts) == {"loss", "difference", "loss_and_flops", "cost"}
    assert "worth" not in [attributes["id"] for attributes in page.with_tag("section")]
    assert "end" not in [each["key"] for each in page.data["ranking"]["columns"]]


RULE = {"until": 50, "threshold": 0.8, "margin": 2.0, "left": 0.6}


def test_importance_and_a_change_of_phase_are_drawn_where_they_are_known(page, report):
    assert not any(name.startswith(("importance", "marginal")) for name in page.charts)
    unknown = page_of({**report, "phase_transition": None})
    never = page_of({**report, "phase_transition": {**RULE, "step": None}})
    for each in (unknown, never):
        assert each.charts["loss"]["marks"] == [{"x": 10, "label": "K"}]
    more = {**report, "importance": made_importance(), "phase_transition": {**RULE, "step": 5}}
    more = page_of(more)
    bars = more.charts["importance"]["data"][0]
    assert bars["x"] == [0.2, 0.7]
    assert bars["y"] == ["operator", "lag: index"]
    each, points = more.charts["marginal_0"]["data"]
    losses = {found["name"]: found["val_loss"].get("10") for found in report["candidates"]}
    assert each["x"] == ["0", "0", "&lt;i&gt;"]
    assert each["y"] == [losses[name] for name in ("first", "second", "third")]
    assert bars["text"] == ["p 0.4", "p 0.001"]
    assert more.charts["marginal_0"]["title"] == "lag: index"
    assert points["x"] == ["0", "&lt;i&gt;"]
    assert points["y"] == [2.1, 1.9]
    assert points["error_y"]["array"] == pytest.approx([0.2, 0.0])
    assert points["error_y"]["arrayminus"] == pytest.approx([0.1, 0.0])
    assert {"x": 5, "label": "phase transition"} in more.charts["loss"]["marks"]
    assert "importance" in [attributes["id"] for attributes in more.with_tag("section")]


def test_of_very_many_candidates_some_are_drawn_and_all_are_listed():
    names = [f"made-{number}" for number in range(700)]
    report = made_report(names, oracle=False)
    page = page_of(report)
    assert len(page.data["ranking"]["rows"]) == 701
    traces = page.charts["loss"]["data"]
    drawn = [trace["meta"] for trace in traces if "meta" in trace]
    assert len(traces) == len(drawn) + 2  # the own losses of both sources
    assert len(drawn) == len(set(drawn)) <= DRAWN_BEST + DRAWN_SAMPLE + 1
    best = [each["name"] for each in report["candidates"][:DRAWN_BEST]]
    assert {*best, "scratch"} <= set(drawn)
    assert len(drawn) > DRAWN_BEST + DRAWN_SAMPLE // 2
    note = page.charts["loss"]["note"]
    assert f"Of 701 candidates, {len(drawn)} are drawn: the best 100 and a sample" in note


def test_the_same_numbers_give_the_same_page(report):
    folder = Path("reports/made-up")
    assert stage_html(report, folder) == stage_html(json.loads(json.dumps(report)), folder)
