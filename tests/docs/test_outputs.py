"""What the documentation quotes of the tool is what the tool writes now."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest
from written import PAGES, ROOT, all_blocks, words_of

from lagsearch.cli.tables import show_result
from lagsearch.records.curve import level
from lagsearch.records.folder import RunFolder
from lagsearch.records.run import read_run
from lagsearch.report.numbers.stage import build_numbers
from lagsearch.report.numbers.trust import HEADLINES
from lagsearch.space import dump_yaml, read_yaml

SHOWN = [each for each in all_blocks("console") if each.mark is None]


def in_order(wanted, lines):
    """Return the first of the wanted lines that does not stand behind the one before; else None."""
    left = iter(lines)
    return next((each for each in wanted if each not in left), None)


def outputs(block):
    """Return the commands of a console's block, each with the lines that are shown below it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield command, [each.rstrip() for each in lines if each.strip()]


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_an_output_that_is_shown_is_written(block, call, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command, shown in outputs(block):
        assert shown
        code, written, error = call(*words_of(command)[1:])
        assert code == 0, error
        assert in_order(shown, map(str.rstrip, written.splitlines())) is None


def test_lines_in_another_order_are_not_the_output():
    assert in_order(["a", "c"], ["a", "b", "c"]) is None
    assert in_order(["c", "a"], ["a", "b", "c"]) == "a"
    assert in_order(["a", "d"], ["a", "b", "c"]) == "d"


# ---- verdicts ----


def quoted(page):
    """Return the verdicts that a page quotes: the lines of each, without the marks of Markdown."""
    text = (ROOT / page).read_text()
    found = re.findall(r"(?:^>.*\n)+", text, re.MULTILINE)
    parts = [[line[2:] for line in each.splitlines() if len(line) > 1] for each in found]
    return [each for each in parts if each[0].startswith("Winner at")]


def test_verdicts_that_are_quoted_are_those_of_committed_reports():
    reports = [path.read_text() for path in sorted((ROOT / "reports").glob("*/report.md"))]
    told = [re.findall(r"^\*\*(.*)\*\* *$", text, re.MULTILINE) for text in reports]
    verdicts = quoted("docs/explanation/evidence.md")
    assert len(verdicts) == 2
    assert all(each in told for each in verdicts)


def thinned(lines):
    """Return a curve as it is where K is 300: before a quarter of K on four batches."""
    curve = [json.loads(each) for each in lines]
    for each in curve:
        if 0 < each["step"] < 75:
            each["val_loss_batches"] = each["val_loss_batches"][:4]
            each["val_loss"] = level(each["val_loss_batches"], curve[0]["val_loss_batches"])
    return [json.dumps(each) for each in curve]


@pytest.fixture
def first_search(tmp_path, monkeypatch):
    """The committed quickstart as its first seed alone and without `--oracle` leaves it.

    (Its evaluations took all batches at every step; today's early ones take the first four.)
    """
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "reports" / "quickstart-oracle", "reports/quickstart")
    folder = Path("reports/quickstart")
    for path in sorted((folder / "curves").iterdir()):
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        path.unlink()
        name = path.name.removesuffix(".jsonl.gz")
        if name not in ("stack", "continue"):  # the winner and the baseline
            lines = [each for each in lines if json.loads(each)["step"] <= 300]
        lines = thinned(lines)
        if "@" not in name:
            path.with_name(f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    space = read_yaml((folder / "space.yaml").read_text())[0]
    space["search"] |= {"oracle": False, "seeds": [0], "vary_sources": False}
    (folder / "space.yaml").write_text(dump_yaml(space))
    record = json.loads((folder / "environment.json").read_text())
    [source] = [each for each in record["sources"] if each.pop("seed") == 0]
    record |= {"seeds": [0], "sources": [source]}
    (folder / "environment.json").write_text(json.dumps(record))
    (folder / "winner").mkdir()
    (folder / "winner" / "model.safetensors").touch()
    return folder


def test_the_readme_quotes_what_a_first_search_says(first_search, capsys):
    run = read_run(RunFolder(first_search))
    report = build_numbers(run)
    show_result(first_search, report)
    written = capsys.readouterr().out.replace("\n  lagsearch", " lagsearch").splitlines()
    [shown] = quoted("README.md")
    without_times = [
        [re.sub(r"; sources [\d:]+,.*", "", each).replace("`", "") for each in lines]
        for lines in (shown, written)
    ]
    assert in_order(*without_times) is None
    assert len(shown) >= 7


def test_each_verdict_is_explained():
    told = (ROOT / "docs" / "howto" / "read-a-report.md").read_text()
    table = told.partition("## The verdict")[2].partition("\n\nThat ")[0]
    named = re.findall(r"\*([^*]+)\*", "\n".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE)))
    for headline in HEADLINES.values():
        assert any(each in headline for each in named), headline


def test_words_of_before_are_gone():
    before = ["did useful work", "gives away", "to be trusted in part", "places are open"]
    for page in PAGES:
        assert not [each for each in before if each in page.read_text()], page
