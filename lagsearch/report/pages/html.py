"""Pages for a browser: one file each, which loads and sends nothing.

Templates escape all text of a run, or it stands in JSON that the scripts write as text. Scripts are
named by their hashes, so that no other one runs.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lagsearch.report.pictures.as_plotly import Chart
from lagsearch.report.pictures.style import DARK, LIGHT
from lagsearch.report.words.parts import Section

_HERE = files("lagsearch.report.pages")
_LOADER = PackageLoader("lagsearch.report.pages")
_TEMPLATES = Environment(
    loader=_LOADER,
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Chapter:
    """A part of a page below a heading.

    Attributes:
        key: Its id.
        title: Its heading.
        charts: Drawn by the scripts.
        sections: Words and tables.
        lines: Paragraphs.
        figures: Drawings as SVG, with captions.
    """

    key: str
    title: str
    charts: Sequence[Chart]
    sections: Sequence[Section]
    lines: Sequence[str] = ()
    figures: Sequence[tuple[Markup, str]] = ()


def chart_page(template: str, shown: Mapping[str, Any], *names: str, **values: Any) -> str:
    """Return a page with charts.

    Args:
        template: Its file.
        shown: What the scripts draw: `charts`, what their steps are `over`, and what is their own.
        names: Scripts beside that of the charts.
        values: What the template says: a `title`, `facts`, `chapters`, and what is its own.
    """
    plotly = (_HERE / "plotly" / "plotly-basic.min.js").read_text(encoding="utf-8")
    scripts = [plotly, *map(_file, ("charts.js", *names))]
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    data = _json({**shown, "themes": {"light": LIGHT, "dark": DARK}})
    return page(
        template,
        policy=Markup(f"script-src {hashes}; img-src data: blob:"),
        scripts=list(map(Markup, scripts)),
        data=Markup(data),
        **values,
    )


def page(template: str, **values: Any) -> str:
    """Return a page: without scripts if none are among the values."""
    bare = {"policy": "img-src data:", "scripts": (), "links": ()}
    style = Markup(_colors() + _file("report.css"))
    return _TEMPLATES.get_template(template).render(style=style, **{**bare, **values})


def svg(path: Path) -> Markup:
    """Return the drawing beside a figure of ours in the page's colours; its text is escaped.

    Args:
        path: Of the PNG.
    """
    text = path.with_suffix(".svg").read_text(encoding="utf-8")
    for name, color in LIGHT.items():
        text = text.replace(color, f"var(--{name})")
    label = f'<svg role="img" aria-label="{escape(path.stem.replace("_", " "))}" '
    return Markup(text[text.index("<svg") :].replace("<svg ", label, 1))


def _file(name: str) -> str:
    """Return a text that lies beside the templates."""
    return _LOADER.get_source(_TEMPLATES, name)[0]


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json(value: Any) -> str:
    """Write JSON that may stand in a script element whatever is in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _colors() -> str:
    """Return the colours as variables: by the system's wish, or by the reader's."""
    light, dark = (
        "".join(f"--{name}:{color};" for name, color in theme.items()) for theme in (LIGHT, DARK)
    )
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light])"
        f"{{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )


def _inline(text: str) -> Markup:
    """Escape a text, and set what is between backticks as code and between two stars bold."""
    safe = re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*([^*]*)\*\*", r"<b>\1</b>", safe))


_TEMPLATES.filters["inline"] = _inline
