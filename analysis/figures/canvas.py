"""The drawing board: one look for all figures, and SVG text that is the same on every run."""

import io
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from analysis.figures.readings import name_curves, scales
from analysis.figures.svg import finish

INK = "#1f2a37"
MUTED = "#667085"
RULE = "#d5dae1"
GRID = "#eceff3"

# Blue, amber, wine and sky differ in hue and in lightness, so they stay apart for the color-blind and in gray
# (after Okabe & Ito 2008 and Tol 2021); line and marker say the same a second time.
CLASS_STYLE: dict[str, tuple[str, str, str]] = {
    "zero": ("#0072b2", "-", "o"),
    "negative": ("#0072b2", "-", "o"),
    "ultralow": ("#56b4e9", ":", "^"),
    "low": ("#d98c00", "--", "s"),
    "positive": ("#882255", "-.", "D"),
}
# Risk groups are ordered, so they share one hue from light to dark.
RISK_STYLE = (("#5fb3a8", "-"), ("#2a7f78", "--"), ("#0b4a47", "-."))

_STYLE = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; it only measures, see `analysis.figures.svg`
    "font.size": 9,
    "grid.color": GRID,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "triher",
    "text.color": INK,
    "text.parse_math": False,  # a site called "$A$" is no formula
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}
_LONGEST_LABEL = 34
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Drawing:
    """A finished figure."""

    name: str
    """File name without ending; also the prefix of the ids inside."""
    title: str
    description: str
    """What the figure shows, for those who cannot see it."""
    svg: str
    wide: bool = False
    """Whether it needs the full width of the page."""


def draw(
    name: str,
    title: str,
    description: str,
    size: tuple[float, float],
    paint: Callable[[Figure], None],
    *,
    wide: bool = False,
) -> Drawing:
    """Let `paint` fill a figure and return it as SVG.

    Args:
        name: file name without ending.
        title: short title, also for screen readers.
        description: what can be seen.
        size: width and height in inches.
        paint: adds axes and marks.
        wide: whether the figure takes the full width of the page.
    """
    buffer = io.StringIO()
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's browser has the glyph
        figure = Figure(figsize=size, layout="constrained")
        canvas = FigureCanvasSVG(figure)
        paint(figure)
        curves = name_curves(figure)
        # `savefig` would draw everything once more to lay it out.
        canvas.print_svg(buffer, metadata=_NO_METADATA)  # type: ignore[no-untyped-call]
    svg = finish(buffer.getvalue(), name, title, description, curves, scales(figure))
    return Drawing(name, title, description, svg, wide)


def plain(text: str) -> str:
    """Text of a table as a label: no control characters, not endlessly long.

    >>> plain("site" + chr(0) + " A")
    'site A'
    """
    clean = "".join(c for c in text if unicodedata.category(c)[0] != "C")
    return clean if len(clean) <= _LONGEST_LABEL else clean[: _LONGEST_LABEL - 1] + "…"


def unit_axes(axes: Axes, x: str, y: str) -> None:
    """Both axes from 0 to 1, with their labels."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
