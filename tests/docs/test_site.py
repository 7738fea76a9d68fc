"""The README is short, links lead somewhere, and references hold all that the code has."""

import ast
import json
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from written import PAGES, ROOT, name_of

from lagsearch.cli.commands import app
from lagsearch.cli.schema import space_schema
from lagsearch.operators import all_operators

LINK = re.compile(r"\]\((?![a-z]+:)([^)\s]+)\)")


@pytest.fixture(scope="module")
def generate():
    spec = spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    sys.modules["generate"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["generate"]


def test_the_readme_is_read_in_five_minutes():
    assert len((ROOT / "README.md").read_bytes()) <= 9000


def anchors(text):
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).strip().replace(" ", "-") for each in heads}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page, generate):
    """In a clone each link leads to what is there; to pages of the site alone only the site has."""
    made, text = generate.pages(), page.read_text()
    of_site = [target for _, target in generate._SITE_ONLY.findall(text)]
    assert len(of_site) == text.count("<!-- site:")
    for target in LINK.findall(text):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        there = path.read_text() if path.suffix == ".md" else ""
        assert not anchor or anchor in anchors(there), target
    for target in of_site:
        name, _, anchor = target.partition("#")
        place = str((page.parent / name).resolve().relative_to(ROOT / "docs"))
        assert not anchor or anchor in anchors(made[place]), target


def test_every_page_is_in_the_navigation(generate):
    told = (ROOT / "mkdocs.yml").read_text()
    for name in [*generate.pages(), *(name_of(each).removeprefix("docs/") for each in PAGES)]:
        assert f" {generate.in_site(name)}\n" in told, name


def test_nothing_is_loaded_from_elsewhere():
    told = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in told
    assert not re.search(r"https?:|analytics|gtag", told)


def test_every_key_of_a_space_is_in_its_reference(generate):
    text = generate.pages()["reference/space.md"]
    for name, part in space_schema()["$defs"].items():
        if name in generate._WHOLE or name.endswith("Candidate"):
            continue
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert re.findall(r"^\| `([^`]+)`", section, re.MULTILINE) == list(part["properties"]), name
    assert "| `steps` | whole number ≥ 1 | `1000` | Completion: steps after growth. |" in text
    assert '| `name` | `adamw`, `adam`, `sgd`, `adafactor`, `muon`, `lion` | `"adamw"` |' in text


def test_every_operator_is_in_its_reference_with_its_growth(generate):
    text = generate.pages()["reference/operators.md"]
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [each.name for each in all_operators()]
    assert "```text\n0 1 2 3 2* 3*\n```" in text.partition("\n## stack\n")[2].partition("\n## ")[0]


def test_every_command_and_option_is_in_its_reference(generate):
    import typer

    text = generate.pages()["reference/command-line.md"]
    for name, command in typer.main.get_command(app).commands.items():
        section = text.partition(f"`lagsearch {name}`\n")[2].partition("\n## ")[0]
        missing = [one for each in command.params for one in each.opts[:1] if one[:1] == "-"]
        assert all(f"`{each}" in section for each in missing), name


def test_every_key_of_a_report_is_described():
    text = (ROOT / "docs" / "reference" / "report-json.md").read_text()
    one, _, stages = text.partition("## A run with stages")
    for path in (ROOT / "reports").glob("*/report.json"):
        report = json.loads(path.read_text())
        is_staged = report.get("kind") == "stages"
        told = set(re.findall(r"`(\w+)`", stages if is_staged else one))
        parts = [report, report["cost"]]
        parts += (
            [*report["courses"], *report["table"]]
            if is_staged
            else [*report["candidates"], report["oracle"] or {}]
        )
        keys = {key for part in parts for key in part}
        assert keys <= told, (path, keys - told)


def test_links_of_the_site_have_its_root_at_that_of_the_documents(generate):
    text = "[a](docs/howto/seeds.md#x) ![b](reports/a.png) [c](https://d.e) [f](#g)"
    assert generate.relinked(text, "README.md") == (
        "[a](howto/seeds.md#x) ![b](reports/a.png) [c](https://d.e) [f](#g)"
    )
    text = "see `lagsearch schema`<!-- site: ../reference/space.md#x -->, *all*<!-- site: b.md -->"
    assert generate.relinked(text, "docs/howto/seeds.md") == (
        "see [`lagsearch schema`](../reference/space.md#x), [*all*](b.md)"
    )
    text = "[a](../../README.md) [b](../../reports/r/report.md) [c](../lag.md)"
    assert generate.relinked(text, "docs/howto/seeds.md") == (
        "[a](../index.md) [b](../reports/r/report.md) [c](../lag.md)"
    )
    found = generate.linked_files({"docs/x/y.md": "[r](../../reports/quickstart-oracle/report.md)"})
    assert "reports/quickstart-oracle/report.md" in found
    assert "reports/quickstart-oracle/figures/loss.png" in found
    assert not any(each.startswith("docs/") for each in found)


def constants():
    """Return the text of the package's strings: of an f-string its parts, each for itself."""
    for path in (ROOT / "lagsearch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_that_are_explained_are_said_somewhere():
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    cells = re.findall(r"^\| (`.*?`[^|]*) \|", text, re.MULTILINE)
    messages = [each for cell in cells for each in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 60
    said = "\n".join(constants())
    unsaid = []
    for message in messages:
        parts = re.split(r"\.\.\.|'[^']*'|\b[\d.,]+\b|\(|\)|: |; |\[|\]", message)
        longest = max(map(str.strip, parts), key=len)
        words = longest.split()  # of which values may be some, at either end
        tails = [
            " ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)
        ]
        if not any(len(each) >= min(12, len(longest)) and each in said for each in tails):
            unsaid.append(message)
    assert not unsaid
