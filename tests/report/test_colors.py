"""Colours that stand side by side differ, for colour-blind readers too, and text can be read."""

from itertools import combinations

import numpy as np
import pytest
from colorspacious import cspace_convert, deltaE

from lagsearch.report.pictures.comparison import COLORS, DASHES
from lagsearch.report.pictures.course import ROLES
from lagsearch.report.pictures.style import DARK, LIGHT

SEEN_AS = ("deuteranomaly", "protanomaly", "tritanomaly")
"""Machado, Oliveira and Fernandes 2009, at full severity, as colorspacious has it."""
APART = 12.0
"""Least distance in CAM02-UCS, where 1 is about what can just be told apart in plain view."""
READABLE = 4.5
"""WCAG 2.1, success criterion 1.4.3: contrast of text."""
THEMES = {"light": LIGHT, "dark": DARK}
TOGETHER = {
    "stage": ("winner", "best", "baseline", "rest", "picked", "ink"),
    "courses": tuple(dict.fromkeys(ROLES.values())),
    "comparison": COLORS,
}


def rgb(color):
    return np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255


def seen(color, kind):
    if kind is None:
        return rgb(color)
    space = {"name": "sRGB1+CVD", "cvd_type": kind, "severity": 100}
    return np.clip(cspace_convert(rgb(color), space, "sRGB1"), 0, 1)


@pytest.mark.parametrize("kind", [None, *SEEN_AS])
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("drawn", TOGETHER)
def test_lines_of_a_picture_can_be_told_apart(drawn, theme, kind):
    colors = {role: seen(THEMES[theme][role], kind) for role in TOGETHER[drawn]}
    for one, other in combinations(colors, 2):
        distance = deltaE(colors[one], colors[other], input_space="sRGB1")
        assert distance >= APART, (one, other, distance)


def test_red_and_green_of_one_lightness_would_not_pass():
    red, green = (seen(color, "deuteranomaly") for color in ("#c8102e", "#2e7d32"))
    assert deltaE(red, green, input_space="sRGB1") < APART


def test_where_two_courses_share_a_colour_one_is_dashed():
    shared = [name for name in ROLES if list(ROLES.values()).count(ROLES[name]) > 1]
    assert shared == ["scratch", "continue"]
    assert len(set(DASHES)) == len(DASHES) == 4


def luminance(color):
    parts = rgb(color)
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ground", ["page", "card"])
@pytest.mark.parametrize(
    "role", ["ink", "muted", "winner", "best", "baseline", "good", "doubtful", "bad"]
)
def test_text_can_be_read(theme, ground, role):
    low, high = sorted(luminance(THEMES[theme][each]) for each in (ground, role))
    assert (high + 0.05) / (low + 0.05) >= READABLE
