"""Figures of calibration."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.calibration.curves import Condition, Probability, Reliability
from analysis.figures.canvas import CLASS_STYLE, MUTED, RULE, Drawing, draw, unit_axes
from analysis.patients.samples import Sample, class_label

_SIZE = (3.3, 3.9)
_BINS = np.linspace(0, 1, 41)
_SPIKES_AT, _SPIKES_HIGH = -0.14, 0.09  # below the curve, as rms::val.prob draws them


def reliability_figure(curve: Reliability, sample: Sample, c: int) -> Drawing:
    """Observed share against predicted probability of one class, above how often each probability was predicted.

    The line is a loess curve with its bootstrap band, the marks are shares in bins with Wilson limits. Below, those
    who are of the class point up and the others down.

    Args:
        curve: of class `c`.
        sample: the patients of the curve.
        c: position of the class.
    """
    color = CLASS_STYLE[curve.class_name][0]
    name = class_label(curve.class_name)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
        _smooth(axes, curve, color)
        _bins(axes, curve, color)
        _spikes(axes, sample.probabilities[:, c].copy(), sample.y == c, color)
        unit_axes(axes, "Predicted probability", "Observed share")
        axes.set(ylim=(_SPIKES_AT - _SPIKES_HIGH - 0.02, 1.02), aspect="equal")
        axes.spines["left"].set_bounds(0, 1)
        axes.set_title(name, color=color)

    pairs = zip(curve.predicted, (e.value for e in curve.observed), strict=True)
    said = "; ".join(f"predicted {predicted:.2f}, observed {observed:.2f}" for predicted, observed in pairs)
    return draw(f"reliability-{sample.split}-{curve.class_name}", f"Reliability of {name}", f"{said}.", _SIZE, paint)


def _smooth(axes: Axes, curve: Reliability, color: str) -> None:
    """The loess curve in its band."""
    if curve.smooth is not None:
        smooth = curve.smooth
        axes.fill_between(smooth.predicted, smooth.low, smooth.high, color=color, alpha=0.16, linewidth=0)
        axes.plot(smooth.predicted, smooth.observed, color=color, linewidth=1.6)


def _bins(axes: Axes, curve: Reliability, color: str) -> None:
    """Shares in bins with their limits."""
    bars = np.array([[e.value - e.low, e.high - e.value] for e in curve.observed]).reshape(-1, 2).T
    values = [e.value for e in curve.observed]
    marker = CLASS_STYLE[curve.class_name][2]
    axes.errorbar(
        curve.predicted,
        values,
        yerr=bars,
        fmt=marker,
        color=color,
        ecolor=color,
        elinewidth=0.9,
        capsize=1.5,
        markersize=4.5,
    )


def _spikes(axes: Axes, p: Probability, condition: Condition, color: str) -> None:
    """Histograms of those with the class, up, and of the others, down, on one scale."""
    heights = [np.histogram(p[members], _BINS)[0] for members in (condition, ~condition)]
    unit = _SPIKES_HIGH / max(1, *(int(height.max()) for height in heights))
    for height, fill, direction in zip(heights, (color, MUTED), (1, -1), strict=True):
        ends = _SPIKES_AT + direction * unit * height
        axes.stairs(ends, _BINS, baseline=_SPIKES_AT, fill=True, color=fill, alpha=0.85)
    axes.plot([0, 1], [_SPIKES_AT] * 2, color=RULE, linewidth=0.8)
