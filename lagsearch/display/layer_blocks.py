"""Layers drawn as blocks, an SVG without scripts: as in `report.html`, for pages of others.

New layers stand taller. A copy is filled and has a bar, one that adds nothing yet is hollow, a mix
has a diagonal, a random one is dashed: all can be told apart without colour. What is not filled has
the colour of the text around it, so that it shows by day and by night.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_HUES = (255, 45, 155, 325, 95, 200)
_HEIGHT = 22
_LABELLED = 16
"""Layers up to which each block has its text."""


@dataclass(frozen=True)
class _Block:
    token: str
    source: int
    layer: int
    mark: str


@dataclass(frozen=True)
class Palette:
    """What blocks of several maps share: the same layer has the same colour in all of them.

    Attributes:
        deepest: The highest layer of a source.
        longest: Letters of the longest text.
        several: Whether there are several sources, each with a colour of its own.
    """

    deepest: int
    longest: int
    several: bool


def palette_of(layer_maps: Iterable[str]) -> Palette:
    """Return what the blocks of these maps share."""
    blocks = [block for each in layer_maps for block in _blocks(each)]
    deepest = max((block.layer for block in blocks), default=0)
    longest = max((len(block.token) for block in blocks), default=1)
    several = any(block.token[:1].islower() for block in blocks)
    return Palette(deepest, longest, several)


def drawn_blocks(layer_map: str, palette: Palette) -> str:
    """Draw one map, e.g. `0 1 0* 1* 2`; what grows in width stands below it as text."""
    blocks = _blocks(layer_map)
    has_text = len(blocks) <= _LABELLED
    gap = 2.0 if has_text else 1.0
    each = max(14.0, 4.9 * palette.longest + 2.5) if has_text else max(2.5, 300 / len(blocks) - gap)
    total = max(1.0, len(blocks) * (each + gap) - gap)
    drawn = "".join(
        _draw(block, place * (each + gap), each, palette, has_text=has_text)
        for place, block in enumerate(blocks)
    )
    width = layer_map.partition("[")[2].rstrip("]")
    return (
        f'<svg viewBox="0 0 {total:g} {_HEIGHT}" width="{total:g}" height="{_HEIGHT}" role="img" '
        f'aria-label="layers {escape(layer_map)}">'
        f"<title>{escape(layer_map)}</title>{drawn}</svg>"
        + (f"<div><small>{escape(width)}</small></div>" if width else "")
    )


def _blocks(layer_map: str) -> list[_Block]:
    blocks = []
    for token in layer_map.partition("[")[0].split():
        found = re.fullmatch(r"(\D?)(\d+)([*°~]?)", token)
        if found is None:
            blocks.append(_Block(token, 0, 0, "R"))
        else:
            source = ord(found[1]) - ord("a") if found[1] else 0
            blocks.append(_Block(token, source, int(found[2]), found[3]))
    return blocks


def _draw(block: _Block, x: float, width: float, palette: Palette, *, has_text: bool) -> str:
    is_tall = block.mark in ("*", "°", "R")
    y, height = (0, _HEIGHT) if is_tall else (5, _HEIGHT - 5)
    share = block.layer / palette.deepest if palette.deepest else 0.4
    hue = _HUES[block.source % len(_HUES)] if palette.several else 275 - 165 * share
    light = 0.5 + 0.32 * share
    fill, ink = f"oklch({light:.3f} 0.11 {hue:.0f})", "#fff" if light < 0.66 else "#15191d"
    line = min(1.5, width / 4)
    outer = f'x="{x:g}" y="{y}" width="{width:g}" height="{height}" rx="{min(2, width / 4):g}"'
    inner = (
        f'x="{x + line / 2:g}" y="{y + line / 2:g}" width="{width - line:g}" '
        f'height="{height - line:g}" stroke-width="{line:g}" rx="{min(2, width / 4):g}"'
    )
    text = "currentColor"
    if block.mark == "R":
        body = (
            f'<rect {inner} fill="none" stroke="currentColor" stroke-opacity="0.6" '
            f'stroke-dasharray="{"3 2" if has_text else "2 1.5"}"/>'
        )
    elif block.mark == "°":
        body = f'<rect {inner} fill="none" stroke="{fill}"/>'
    elif block.mark == "~":
        body = (
            f'<rect {inner} fill="{fill}" fill-opacity="0.3" stroke="{fill}"/>'
            f'<path d="M{x + line:g} {y + height - line:g}L{x + width - line:g} {y + line:g}" '
            f'stroke="{fill}" stroke-width="{line:g}" stroke-opacity="0.4"/>'
        )
    else:
        text = ink
        body = f'<rect {outer} fill="{fill}"/>'
        if block.mark == "*":
            body += f'<rect x="{x:g}" y="{y}" width="{width:g}" height="3" fill="currentColor"/>'
    if has_text:
        body += (
            f'<text x="{x + width / 2:g}" y="17" fill="{text}" font-size="9" '
            f'font-family="sans-serif" text-anchor="middle">{escape(block.token)}</text>'
        )
    return f"<g>{body}</g>"


def widths_once(layer_maps: Sequence[str]) -> tuple[list[str], str]:
    """Return maps without what several repeat of their widths, and what says it once.

    Args:
        layer_maps: E.g. `0 1 0* 1* [ffn 32-64]`, twice: then `0 1 0* 1* [wider]`.

    Returns:
        The maps, and e.g. `[wider]: ffn 32-64 (source-target)`; that is empty where nothing is
        repeated, or widths differ.
    """
    wider = [each.partition("[")[1:] for each in layer_maps if "[" in each]
    if len(wider) < 2 or len(set(wider)) > 1:
        return list(layer_maps), ""
    width = wider[0][1].rstrip("]")
    said = f"[wider]: {width} (source-target)"
    return [each.replace(f"[{width}]", "[wider]") for each in layer_maps], said


def legend(layer_maps: Iterable[str], quote: str = "") -> str:
    """Say what the marks in drawn plans mean, those that occur."""
    words = {
        "*": "a new copy",
        "°": "a new copy that adds nothing yet",
        "~": "a learned mix",
        "R": "a new random layer",
    }
    drawn = " ".join(layer_map.partition("[")[0] for layer_map in layer_maps)
    parts = [f"{quote}{mark}{quote} {word}" for mark, word in words.items() if mark in drawn]
    return ", ".join(["Layers are the source's, numbered from 0 at the embedding", *parts])
