"""Colours by what they stand for, in all that is drawn, and how figures are saved.

Colours that stand side by side differ for colour-blind readers too: tests/report/test_colors.py.
"""

from collections.abc import Mapping
from typing import Any

FORMATS: Mapping[str, dict[str, Any]] = {
    "png": {"dpi": 300, "metadata": {}},
    "pdf": {"metadata": {"CreationDate": None}},
    "svg": {"metadata": {"Date": None}},
}
"""How each figure is saved, in the order in which its files are written: the last one says what all
were drawn from. Without a date the same numbers give the same bytes."""

PAGE_WIDTH = 6.75
"""Inches that figures are wide: both columns of most conferences' papers; one is 3.25."""

LIGHT = {
    "page": "#f6f7f8",
    "card": "#ffffff",
    "ink": "#1f2328",
    "muted": "#5b6570",
    "line": "#e3e7eb",
    "winner": "#b8330a",
    "best": "#1668c7",
    "baseline": "#005f56",
    "rest": "#9aa5b1",
    "picked": "#e8a400",
    "further": "#c47ad4",
    "good": "#1a7f37",
    "doubtful": "#8f5e00",
    "bad": "#c8102e",
}
"""Colours on white, for figures and for the page by day."""

DARK = {
    "page": "#101418",
    "card": "#191e24",
    "ink": "#eef2f5",
    "muted": "#9ba7b3",
    "line": "#2c343d",
    "winner": "#f06a35",
    "best": "#5b93ff",
    "baseline": "#1fd6a8",
    "rest": "#76828f",
    "picked": "#ffd84d",
    "further": "#e794c9",
    "good": "#56d364",
    "doubtful": "#e3b341",
    "bad": "#ff7b86",
}
"""The same by night."""
