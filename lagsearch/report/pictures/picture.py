"""What a picture shows, said once; `as_plotly` draws it in the browser, `as_matplotlib` on paper.

A role is what a colour stands for: a key of `style.LIGHT`, or `shade0` to `shade4`. A hover is what
plotly writes at a point. Texts are plain: the back-ends escape what they would take for markup.
Sizes and widths are in pixels, sheets of paper in inches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

Scale = Literal["linear", "log", "steps", "log_steps", "log_share", "category"]
"""`log_steps` and `log_share` are linear near zero, which they hold; a reader may turn `log_steps`
into `steps` and back."""

Dash = Literal["", "solid", "dash", "dot", "dashdot"]
"""How a line is broken, as plotly names it."""


@dataclass(frozen=True)
class Axis:
    """One axis; `ticks` are texts by value, and without a `span` it is as wide as the values."""

    label: str = ""
    scale: Scale = "linear"
    span: tuple[float, float] | None = None
    ticks: Mapping[float, str] = field(default_factory=dict)
    from_zero: bool = False
    numbers: Literal["plain", "share", "power"] = "plain"
    has_grid: bool = True


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        steps: The step of each point, for the hover.
        text: For the hover, one for all points or one for each.
        candidate: Whose line it is, for a reader who picks it.
        group: What it is shown and hidden with.
        in_legend: Whether the legend names it; where None it does if there is a name.
        is_stair: Whether values hold until the next point.
        has_points: Whether each point is marked.
        lift: How far it is drawn above its values, so that it hides no other.
    """

    name: str
    role: str
    x: Sequence[float]
    y: Sequence[float]
    hover: str = ""
    steps: Sequence[int] | None = None
    text: str | Sequence[str] | None = None
    candidate: str | None = None
    group: str | None = None
    in_legend: bool | None = None
    width: float = 1.5
    dash: Dash = ""
    is_stair: bool = False
    has_points: bool = False
    lift: float | None = None


@dataclass(frozen=True)
class Band:
    """What lies between two edges, shaded; shown and hidden with its group, named on paper."""

    role: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    opacity: float = 0.16
    group: str | None = None
    name: str = ""


@dataclass(frozen=True)
class Points:
    """Single points, with intervals from `low` to `high` where there are any.

    Attributes:
        x: Values, or categories.
        text: One for each, for the hover.
        counts: One for each, for the hover.
        symbol: Their shape, with an outline; a plain disc where None.
    """

    name: str
    role: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    hover: str = ""
    text: Sequence[str] | None = None
    counts: Sequence[int] | None = None
    symbol: Literal["circle", "square", "triangle-up"] | None = None
    size: float = 6
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Bars:
    """Horizontal bars from the lowest up, of one colour or each of its own; for the browser."""

    names: Sequence[str]
    values: Sequence[float]
    texts: Sequence[str]
    role: str | Sequence[str]
    hover: str


@dataclass(frozen=True)
class Heat:
    """A table of values as colours, rows from the lowest up.

    Attributes:
        palette: Correlations from -1 to 1, or shares of which the least are darkest (on paper).
        texts: What is written in each cell of shares.
    """

    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float | None]]
    palette: Literal["correlation", "share"] = "correlation"
    texts: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Block:
    """A box with a text, for paper; white where it has no place on the scale of shades."""

    x: float
    y: float
    text: str
    shade: float | None
    is_ringed: bool


Shape = Line | Band | Points | Bars | Heat | Block


@dataclass(frozen=True)
class Mark:
    """A vertical line across a picture; name, role and dash are for the legend on paper."""

    x: float
    label: str
    name: str
    role: str = "ink"
    dash: Dash = "dot"


@dataclass(frozen=True)
class Picture:
    """One pair of axes, and what is drawn on them.

    Attributes:
        key: Its place in a page.
        note: Its caption in the browser.
        beyond: What its axes leave out, in a sentence.
        table: The file of its numbers, without `.csv`.
        shapes: From the lowest to the topmost.
        legend: Whether a page has one, and whether it names the topmost shape first. A sheet of
            paper has one for all of its pictures, below them.
        can_be_log: Whether a reader may turn the second axis logarithmic.
        paper_title: Its heading on paper, where no note stands beside.
        is_bare: Whether its frame is left out.
    """

    key: str
    title: str
    note: str
    table: str
    x: Axis
    y: Axis
    shapes: Sequence[Shape]
    marks: Sequence[Mark] = ()
    legend: Literal["shown", "reversed", "none"] = "shown"
    can_be_log: bool = False
    height: int | None = None
    paper_title: str = ""
    is_bare: bool = False
    beyond: str = ""


@dataclass(frozen=True)
class Sheet:
    """Pictures that are one figure on paper, as wide as the reader asks for.

    Attributes:
        key: Names its files.
        pictures: Row by row.
        height: Of a row, without the legend.
        columns: Pictures in a row where the paper is wide enough; all where 0.
        widths: Of the columns, one to another.
        has_one_y: Whether the pictures of a row have one second axis in common, whose ends are
            `y_span` if given.
        widest: Beyond which it does not grow with the paper; in one column it is as wide as that.
        stacked: Height of each picture where they stand under one another; all `height` if None.
    """

    key: str
    caption: str
    pictures: Sequence[Picture]
    height: float = 2.3
    columns: int = 0
    widths: Sequence[float] | None = None
    has_one_y: bool = False
    y_span: tuple[float, float] | None = None
    widest: float = inf
    stacked: Sequence[float] | None = None
