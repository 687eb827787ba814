"""Figure of calibration beside discrimination, one point a cell."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.ablation.boards import plain_all
from analysis.figures.canvas import CLASS_STYLE, INK, MUTED, Drawing, draw
from triher.estimate import Estimate

_LEAST_SPAN = 0.08  # cells that are all alike must not look far apart
_LABELED = CLASS_STYLE["zero"][0]


def calibration_scatter(
    name: str,
    title: str,
    metric: tuple[str, Mapping[str, Estimate]],
    error: tuple[str, Mapping[str, Estimate]],
    *,
    named: Mapping[str, str],
) -> Drawing:
    """A cell's error of its probabilities over its value of the study's metric.

    Args:
        name: file name without ending.
        title: short.
        metric: label, and cell -> value, of the horizontal axis.
        error: the same of the vertical axis; lower is better.
        named: cell -> text beside its point.
    """
    points = {
        cell: (metric[1][cell].value, error[1][cell].value)
        for cell in metric[1]
        if cell in error[1] and math.isfinite(metric[1][cell].value + error[1][cell].value)
    }

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        others = [place for cell, place in points.items() if cell not in named]
        if others:
            axes.plot(*zip(*others, strict=True), "o", color=MUTED, markersize=4.2, alpha=0.6, mew=0)
        for cell, text in named.items():
            if cell in points:
                color = INK if text == "base" else _LABELED
                axes.plot(*points[cell], "D" if text == "base" else "o", color=color, markersize=5.5)
                _write(axes, text, points[cell], color, is_left=text == "base")
        for set_limits, k in ((axes.set_xlim, 0), (axes.set_ylim, 1)):
            set_limits(*_limits([place[k] for place in points.values()]))
        axes.set(xlabel=metric[0], ylabel=error[0])
        axes.locator_params(nbins=6)

    said = "; ".join(f"{cell}: {x:z.3f}, {y:z.3f}" for cell, (x, y) in points.items())
    description = plain_all(f"{metric[0]} and {error[0]} of each cell. {said}.")
    return draw(name, title, description, (4.6, 3.5), paint, wide=True)


def _write(axes: Axes, text: str, place: tuple[float, float], color: str, *, is_left: bool) -> None:
    """A name beside a point."""
    shift, side = ((-7, 0), "right") if is_left else ((7, 0), "left")
    axes.annotate(
        text, place, shift, textcoords="offset points", fontsize=8.5, color=color, ha=side, va="center_baseline"
    )


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """An axis that holds all values with room for names, and is not too short."""
    middle = (min(values) + max(values)) / 2
    half = 0.65 * max(max(values) - min(values), _LEAST_SPAN)
    return middle - half, middle + half
