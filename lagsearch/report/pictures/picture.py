"""What a picture shows, said once; `as_plotly` draws it in the browser, `as_matplotlib` on paper.

A role is what a colour stands for: a key of `style.LIGHT`, `shade0` to `shade4`, or a colour itself
(`#1f6fb4`). Texts are plain: the back-ends escape what they would take for markup.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Scale = Literal["linear", "log", "steps", "log_steps", "log_share", "category"]
"""`log_steps` and `log_share` are linear near zero, which they hold; a reader may turn `log_steps`
into `steps` and back."""


Dash = Literal["", "solid", "dash", "dot", "dashdot"]
"""How a line is broken, as plotly names it."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: Its name.
        scale: How values are placed.
        span: Its ends; as wide as the values where None.
        ticks: Texts by value, where numbers do not do.
        from_zero: Whether it begins at zero.
        numbers: How numbers are written.
        has_grid: Whether there are lines across.
    """

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
        name: In the legend.
        role: Its colour.
        x: Steps, FLOPs or shares.
        y: Values.
        hover: What plotly writes at a point.
        steps: The step of each point, for the hover.
        text: For the hover, one for all points or one for each.
        candidate: Whose line it is, for a reader who picks it.
        group: What it is shown and hidden with.
        in_legend: Whether the legend names it; left to the picture where None.
        width: In pixels.
        dash: How it is broken.
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
    """What lies between two lines, shaded.

    Attributes:
        role: Its colour.
        x: As of the line in it.
        low: Lower edge.
        high: Upper edge.
        opacity: Of the shade.
        group: What it is shown and hidden with.
    """

    role: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    opacity: float = 0.16
    group: str | None = None


@dataclass(frozen=True)
class Points:
    """Single points.

    Attributes:
        name: In the legend; empty where they are not in it.
        role: Their colour.
        x: Values, or categories.
        y: Values.
        hover: What plotly writes at a point.
        text: One for each, for the hover.
        counts: One for each, for the hover.
        symbol: Their shape, with an outline; a plain disc where None.
        size: Diameter in pixels.
        low: Lower ends of intervals, if any.
        high: Upper ends.
    """

    name: str
    role: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    hover: str = ""
    text: Sequence[str] | None = None
    counts: Sequence[int] | None = None
    symbol: Literal["circle", "square"] | None = None
    size: float = 6
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Bars:
    """Horizontal bars.

    Attributes:
        names: From the lowest up.
        values: Their lengths.
        texts: What stands at their ends.
        role: One colour for all, or one for each.
        hover: What plotly writes at a bar.
    """

    names: Sequence[str]
    values: Sequence[float]
    texts: Sequence[str]
    role: str | Sequence[str]
    hover: str


@dataclass(frozen=True)
class Heat:
    """A table of values as colours.

    Attributes:
        columns: Names of the columns.
        rows: Names of the rows, from the lowest up.
        values: Row by row; None where there is none.
        palette: Correlations from -1 to 1, or shares of which the least are darkest.
        texts: What is written in each cell on paper, row by row.
    """

    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float | None]]
    palette: Literal["correlation", "share"] = "correlation"
    texts: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Block:
    """A box with a text.

    Attributes:
        x: Its middle.
        y: Its middle.
        text: What it says.
        shade: Its place on a scale of colours from 0 to 1; white where None.
        is_ringed: Whether it stands out.
    """

    x: float
    y: float
    text: str
    shade: float | None
    is_ringed: bool


Part = Line | Band | Points | Bars | Heat | Block


@dataclass(frozen=True)
class Mark:
    """A vertical line across a picture.

    Attributes:
        x: Where.
        label: What it marks.
        role: Its colour on paper.
        dash: How it is broken on paper.
    """

    x: float
    label: str
    role: str = "ink"
    dash: Dash = "dot"


@dataclass(frozen=True)
class Picture:
    """One pair of axes, and what is drawn on them.

    Attributes:
        key: Its place in a page.
        title: Its heading.
        note: Its caption in the browser.
        table: The file of its numbers, without `.csv`.
        x: The first axis.
        y: The second axis.
        parts: From the lowest to the topmost.
        marks: Vertical lines.
        legend: Where it is; `reversed` names the topmost part first, as `beside` does, which on
            paper stands right of the axes; `browser` is none on paper, where another picture has
            it.
        can_be_log: Whether a reader may turn the second axis logarithmic.
        height: In pixels; the page's own where None.
        paper_title: Its heading on paper, where no note stands beside.
        is_bare: Whether its frame is left out.
    """

    key: str
    title: str
    note: str
    table: str
    x: Axis
    y: Axis
    parts: Sequence[Part]
    marks: Sequence[Mark] = ()
    legend: Literal["best", "reversed", "beside", "browser", "none"] = "best"
    can_be_log: bool = False
    height: int | None = None
    paper_title: str = ""
    is_bare: bool = False


@dataclass(frozen=True)
class Sheet:
    """Pictures that are one figure on paper.

    Attributes:
        key: Names its files.
        caption: What it shows.
        pictures: Row by row.
        size: Width and height in inches.
        columns: Pictures in a row; all where 0.
        widths: Of the columns, one to another.
        y_span: Ends of the second axis of all pictures; then they have one in common.
        has_one_y: Whether they have one second axis in common.
        legend_columns: Of one legend for all below them; each has its own where 0.
    """

    key: str
    caption: str
    pictures: Sequence[Picture]
    size: tuple[float, float]
    columns: int = 0
    widths: Sequence[float] | None = None
    y_span: tuple[float, float] | None = None
    has_one_y: bool = False
    legend_columns: int = 0
