"""What the documentation holds that a machine can check: its blocks, its commands, its links."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMANDS = ("sh", "bash", "console")

_FENCE = re.compile(
    r"(?:<!-- (?P<mark>not run|slow|no space): (?P<reason>.*?) -->\n)?"
    r"^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_INLINE = re.compile(r"(?<!`)`(lagsearch [^`]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: Where it stands.
        line: Its first line there.
        kind: Its language.
        text: What stands in it.
        mark: `not run`, `slow` or `no space`; else None.
        reason: Why.
    """

    page: Path
    line: int
    kind: str
    text: str
    mark: str | None
    reason: str | None

    def __str__(self):
        return f"{name_of(self.page)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The command lines in it, each in one line; outputs of a `console` are left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.kind == "console":
            lines = [each[2:] for each in lines if each.startswith("$ ")]
        return [each for each in lines if each.strip()]


def name_of(page):
    """Return a page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page):
    """Return all blocks of a page."""
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start("text")) + 1,
            found["kind"],
            found["text"],
            found["mark"],
            found["reason"],
        )
        for found in _FENCE.finditer(text)
    ]


def all_blocks(*kinds):
    """Return the blocks of some languages, of all pages."""
    return [each for page in PAGES for each in blocks(page) if each.kind in kinds]


def words_of(command):
    """Split a command line; what calls lagsearch (`&&`, variables, profilers) stays before it."""
    return shlex.split(command, comments=True)


def calls(command):
    """Return the words behind `lagsearch` of each call of it in a command line."""
    found, words = [], words_of(command)
    for each in " ".join(map(shlex.quote, words)).split(" '&&' "):
        parts = shlex.split(each)
        if "lagsearch" in parts:
            found.append(parts[parts.index("lagsearch") + 1 :])
    return found


def mentioned(page):
    """Return the commands within the sentences of a page, but for those that are cut short."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = (" ".join(found[1].split()) for found in _INLINE.finditer(text))
    return [each for each in lines if "..." not in each and "[--" not in each]
