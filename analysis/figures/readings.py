"""What a page needs to read values off the curves of a figure."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_FEWEST_POINTS = 6  # of a curve without a name; fewer are guides
_SCALES = ("linear", "log")


@dataclass(frozen=True)
class Scale:
    """Where the ends of an axes lie in the drawing, and what they mean."""

    left: float
    """Points from the left edge of the drawing, as `right`."""
    right: float
    top: float
    """Points from the upper edge of the drawing, as `bottom`."""
    bottom: float
    x: tuple[float, float]
    """Values at the left and the right end."""
    y: tuple[float, float]
    """Values at the lower and the upper end."""
    logarithmic: tuple[bool, bool]
    """Whether x and y are."""
    names: tuple[str, str]
    """Of x and y."""

    @property
    def ends(self) -> dict[str, object]:
        """The same for a script."""
        box = [round(v, 2) for v in (self.left, self.right, self.top, self.bottom)]
        numbers = {"x": list(map(_short, self.x)), "y": list(map(_short, self.y))}
        return {"box": box, **numbers, "log": list(self.logarithmic), "names": list(self.names)}


def _short(value: float) -> float:
    """A number with the digits that a drawing shows."""
    return float(f"{value:.6g}")


def name_curves(figure: Figure) -> dict[str, tuple[int, str]]:
    """Give every curve an id.

    Curves are lines in the coordinates of their axes with a name in the legend or, where no line has one, of more
    than a few points, which are named by the vertical axis. What follows two spaces in a legend belongs to no name.

    Returns:
        Id -> number of the axes, and name.
    """
    found: dict[str, tuple[int, str]] = {}
    for number, axes in enumerate(figure.axes):
        for line, label in _curves(axes):
            gid = f"curve-{len(found)}"
            line.set_gid(gid)
            found[gid] = (number, label)
    return found


def _curves(axes: Axes) -> list[tuple[Line2D, str]]:
    """The lines to read values off, with their names."""
    if axes.get_xscale() not in _SCALES or axes.get_yscale() not in _SCALES:
        return []
    lines = [line for line in axes.lines if line.get_transform() == axes.transData and line.get_visible()]
    named = [(line, str(line.get_label())) for line in lines if not str(line.get_label()).startswith("_")]
    if named:
        return [(line, label.partition("  ")[0]) for line, label in named if _n_points(line)]
    drawn = [line for line in lines if line.get_linestyle() != "None"]
    return [(line, axes.get_ylabel()) for line in drawn if _n_points(line) >= _FEWEST_POINTS]


def _n_points(line: Line2D) -> int:
    """How many points of a line are finite."""
    return int(np.isfinite(np.asarray(line.get_xydata(), dtype=float)).all(axis=1).sum())


def scales(figure: Figure) -> list[Scale]:
    """Of every axes of a figure that has been drawn at 72 points an inch, as SVG is."""
    height = figure.bbox.height
    return [
        Scale(
            axes.bbox.x0,
            axes.bbox.x1,
            height - axes.bbox.y1,
            height - axes.bbox.y0,
            axes.get_xlim(),
            axes.get_ylim(),
            (axes.get_xscale() == "log", axes.get_yscale() == "log"),
            (axes.get_xlabel(), axes.get_ylabel()),
        )
        for axes in figure.axes
    ]
