"""Pictures on paper, as PNG and SVG: the one module that draws with matplotlib."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lagsearch.report.pictures.picture import (
    Axis,
    Band,
    Block,
    Heat,
    Line,
    Picture,
    Points,
    Sheet,
)
from lagsearch.report.pictures.style import FORMATS, LIGHT, PAGE_WIDTH
from lagsearch.storage.files import replacing

STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(
        ("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "text.color"),
        LIGHT["ink"],
    ),
    "figure.facecolor": LIGHT["card"],
    "axes.facecolor": LIGHT["card"],
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "pdf.fonttype": 42,  # TrueType: text stays text
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "svg.hashsalt": "lagsearch",
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
}
"""Sizes as they are printed, in points."""

NARROW = 5.0
"""Inches below which pictures stand under one another."""

PER_PIXEL = 0.6
"""Points on paper for a line's pixel in the browser."""

MANY, VERY_MANY = 200, 1000
"""Points from which on they are drawn small, and as an image in SVG and PDF."""

ON_DARK, ON_LIGHT = "#fefefe", "#111111"
"""Text on a shade, which is the same by day and by night."""

_DASHES = {"": "-", "solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_SYMBOLS = {None: "o", "circle": "o", "square": "s", "triangle-up": "^"}
_LINEAR_BELOW = {"log_steps": 1, "log_share": 0.01}
_LONGEST = 32
"""Characters of a category, or of a name in a legend, that are written."""
_MOST_LABELS = 16
"""Labels of an axis; more run together."""


def write_figure(
    sheet: Sheet, paths: Mapping[str, Path], width: float, mark: Mapping[str, str]
) -> None:
    """Draw a sheet, and write it in each format.

    Args:
        sheet: What is drawn.
        paths: Where to, by format, in the order of `FORMATS`.
        width: Of the figure, in inches.
        mark: Metadata of the last file.
    """
    last = [*paths][-1]
    with mpl.rc_context(STYLE):
        figure = draw_sheet(sheet, width)
        for kind, path in paths.items():
            settings = FORMATS[kind]
            metadata = {**settings["metadata"], **(mark if kind == last else {})}
            with replacing(path, is_lasting=False) as temporary:
                figure.savefig(temporary, format=kind, **settings | {"metadata": metadata})
            figure.set_layout_engine(None)  # it stays as it was laid out


def draw_sheet(sheet: Sheet, width: float = PAGE_WIDTH) -> Any:
    """Return a sheet as a figure, which is not written yet."""
    if width < NARROW:
        columns, widths, across = 1, None, width
    else:
        columns, widths = sheet.columns or len(sheet.pictures), sheet.widths
        across = min(width, sheet.widest)
    rows = -(-len(sheet.pictures) // columns)
    heights = (sheet.stacked if columns == 1 else None) or [sheet.height] * rows
    size = across, sum(heights)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)  # measures texts
    panels = figure.subplots(
        rows,
        columns,
        width_ratios=widths,
        height_ratios=heights,
        sharey=sheet.has_one_y,
        squeeze=False,
    )
    for axes in panels.flat[len(sheet.pictures) :]:
        axes.set_visible(False)
    for axes, picture in zip(panels.flat, sheet.pictures, strict=False):
        _draw(picture, axes)
        if sheet.has_one_y and axes not in panels[:, 0]:
            axes.set_ylabel("")
    if sheet.y_span:
        panels[0, 0].set_ylim(*sheet.y_span)
    _legend(sheet, figure)
    return figure


def _legend(sheet: Sheet, figure: Any) -> None:
    """Name every mark once, below all pictures, in as many columns as fit; the paper grows."""
    named: dict[str, Any] = {}
    for axes, picture in zip(figure.axes, sheet.pictures, strict=False):
        handles, labels = axes.get_legend_handles_labels()
        pairs = zip(labels, handles, strict=True)
        for label, handle in list(pairs)[:: -1 if picture.legend == "reversed" else 1]:
            named.setdefault(label, handle)
    if not named:
        return
    width, height = figure.get_size_inches()
    for columns in range(min(len(named), 6), 0, -1):
        legend = figure.legend(
            named.values(), named, loc="outside lower center", ncols=columns, columnspacing=1.2
        )
        box = legend.get_window_extent(figure.canvas.get_renderer())
        if columns == 1 or box.width <= 0.98 * width * figure.dpi:
            break
        legend.remove()
    figure.set_size_inches(width, height + box.height / figure.dpi)


def without_formulas(text: str) -> str:
    """Return a text that matplotlib writes as it is: a dollar begins no formula."""
    return text.replace("$", r"\$")


def _draw(picture: Picture, axes: Any) -> None:
    """Draw a picture on axes."""
    for shape in picture.shapes:
        _SHAPES[type(shape)](shape, picture, axes)
    for mark in picture.marks:
        looks = {"lw": 0.8, "ls": _DASHES[mark.dash], "label": _name_of(mark.name)}
        axes.axvline(mark.x, color=LIGHT[mark.role], **looks)
    axes.set_title(without_formulas(picture.paper_title or picture.title))
    _x_axis(picture.x, axes)
    _y_axis(picture.y, axes)
    if picture.is_bare:
        axes.grid(visible=False)
        axes.set_xticks([])
        for side in axes.spines.values():
            side.set_visible(False)


def _x_axis(axis: Axis, axes: Any) -> None:
    axes.set_xlabel(axis.label)
    if axis.scale in _LINEAR_BELOW:
        axes.set_xscale("symlog", linthresh=_LINEAR_BELOW[axis.scale])
    elif axis.scale == "log":
        axes.set_xscale("log")
        if axis.span and axis.span[1] < 30 * axis.span[0]:  # powers of ten alone would be too few
            axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:.0e}"))
        axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    if axis.scale in ("steps", "log_steps"):
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda step, _: f"{step:g}"))
    if axis.span:
        axes.set_xlim(*axis.span)
    if axis.ticks:
        axes.set_xticks(list(axis.ticks), list(axis.ticks.values()))


def _y_axis(axis: Axis, axes: Any) -> None:
    axes.set_ylabel(axis.label)
    if axis.span:
        axes.set_ylim(*axis.span)
    if axis.from_zero:
        axes.set_ylim(bottom=0)
    if axis.ticks:
        axes.set_yticks(list(axis.ticks), list(axis.ticks.values()))


def _name_of(name: str) -> str | None:
    """Return what the legend says, None where it says nothing."""
    return without_formulas(shorten(name, _LONGEST + 12, placeholder=" …")) if name else None


def _color(role: str) -> Any:
    if role.startswith("shade"):
        return mpl.colormaps["viridis"](np.linspace(0.1, 0.85, 5)[int(role[5:]) % 5])
    return LIGHT[role]


def _line(line: Line, picture: Picture, axes: Any) -> None:
    points = {"marker": "o", "ms": 2.2} if line.has_points else {}
    axes.plot(
        list(line.x),
        np.array(line.y, dtype=float) + (line.lift or 0),
        label=_name_of(line.name) if line.in_legend is not False else None,
        color=_color(line.role),
        lw=PER_PIXEL * line.width,
        ls=_DASHES[line.dash],
        drawstyle="steps-post" if line.is_stair else "default",
        zorder=2 if line.role == "rest" else 3,
        **points,
    )


def _band(band: Band, picture: Picture, axes: Any) -> None:
    looks = {"color": _color(band.role), "alpha": band.opacity, "lw": 0}
    axes.fill_between(band.x, band.low, band.high, label=_name_of(band.name), **looks)


def _points(points: Points, picture: Picture, axes: Any) -> None:
    every = [each for each in picture.shapes if isinstance(each, Points)]
    count = sum(len(each.y) for each in every)
    x, color = list(points.x), _color(points.role)
    if picture.x.scale == "category":
        names = list(dict.fromkeys(str(name) for each in every for name in each.x))
        x = [names.index(str(name)) for name in points.x]
        axes.set_xlim(-0.6, len(names) - 0.4)
        is_long = sum(map(len, names)) > 24
        _name_columns(names, axes, rotation=60 if is_long else 0)
    for place, low, high in zip(x, points.low, points.high, strict=bool(points.low)):
        axes.plot([place, place], [low, high], color=color, lw=1.2, zorder=3)
    axes.scatter(
        x,
        points.y,
        color=color,
        label=_name_of(points.name),
        marker=_SYMBOLS[points.symbol],
        s=6 if points.symbol and count > MANY else (0.5 * points.size) ** 2,
        lw=0,
        zorder=4 if points.low else 3,
        rasterized=count > VERY_MANY,
    )


def _name_columns(names: Sequence[str], axes: Any, *, rotation: float) -> None:
    turned: dict[str, Any] = {"rotation": rotation}
    turned |= {"ha": "right", "rotation_mode": "anchor"} if 0 < rotation < 90 else {}
    _name(names, axes.set_xticks, **turned)


def _name(names: Sequence[str], write: Callable[..., Any], **looks: Any) -> None:
    places = range(0, len(names), -(-len(names) // _MOST_LABELS))
    shown = [shorten(names[place], _LONGEST, placeholder=" …") for place in places]
    write(places, list(map(without_formulas, shown)), **looks)


def _heat(heat: Heat, picture: Picture, axes: Any) -> None:
    values = np.array(heat.values, dtype=float)
    axes.grid(visible=False)
    if heat.palette == "correlation":
        image = axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1, origin="lower")
        axes.figure.colorbar(image, ax=axes, shrink=0.85)
        _name_columns(heat.columns, axes, rotation=90)
        _name(heat.rows, axes.set_yticks)
        return
    axes.imshow(values, cmap="Blues_r", vmin=-0.15, vmax=1.1, aspect="auto", origin="lower")
    for (row, column), value in np.ndenumerate(values):
        color, text = ON_DARK if value < 0.4 else ON_LIGHT, heat.texts[row][column]
        axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=color)
    _name_columns(heat.columns, axes, rotation=60)
    axes.set_yticks(range(len(heat.rows)), list(map(without_formulas, heat.rows)), fontsize=6.5)
    axes.tick_params(length=0)


def _block(block: Block, picture: Picture, axes: Any) -> None:
    face = (
        mpl.colors.to_rgb(LIGHT["card"])
        if block.shade is None
        else mpl.colormaps["viridis"](block.shade)
    )
    edge, width = (LIGHT["winner"], 1.8) if block.is_ringed else (LIGHT["ink"], 0.4)
    corner = (block.x - 0.4, block.y - 0.25)
    axes.add_patch(Rectangle(corner, 0.8, 0.5, facecolor=face, edgecolor=edge, lw=width))
    ink = ON_LIGHT if sum(face[:3]) > 1.5 else ON_DARK
    ink = LIGHT["ink"] if block.shade is None else ink
    axes.text(block.x, block.y, block.text, ha="center", va="center", fontsize=7, color=ink)


_SHAPES: dict[type, Callable[[Any, Picture, Any], None]] = {
    Line: _line,
    Band: _band,
    Points: _points,
    Heat: _heat,
    Block: _block,
}
"""How each shape is drawn; bars are for the browser."""
