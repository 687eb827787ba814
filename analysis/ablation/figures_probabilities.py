"""Figure of calibration beside discrimination, one point a cell."""

import math
from collections.abc import Mapping

from matplotlib.figure import Figure

from analysis.canvas import CLASS_STYLE, INK, MUTED, Drawing, draw
from triher.estimate import Estimate

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
                axes.annotate(text, points[cell], (6, 5), textcoords="offset points", fontsize=8.5, color=color)
        axes.margins(x=0.14, y=0.12)
        axes.set(xlabel=metric[0], ylabel=error[0])
        axes.locator_params(nbins=6)

    said = "; ".join(f"{cell}: {x:z.3f}, {y:z.3f}" for cell, (x, y) in points.items())
    return draw(name, title, f"{metric[0]} and {error[0].lower()} of each cell. {said}.", (4.6, 3.5), paint, wide=True)
