"""Figures of calibration."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.calibration_curves import Reliability
from analysis.canvas import CLASS_STYLE, MUTED, RULE, Drawing, draw, unit_axes
from analysis.samples import Sample, class_label

_SIZE = (3.4, 4.1)
_HEIGHTS = (4.6, 1.0)
_BINS = np.linspace(0, 1, 41)


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
        upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": _HEIGHTS})
        upper.plot([0, 1], [0, 1], color=RULE, linewidth=1)
        _smooth(upper, curve, color)
        _bins(upper, curve, color)
        unit_axes(upper, "", "Observed share")
        upper.set_title(name, color=color)
        p, condition = sample.probabilities[:, c], sample.y == c
        _spikes(lower, p[condition], color, 1)
        _spikes(lower, p[~condition], MUTED, -1)
        lower.axhline(0, color=RULE, linewidth=0.8)
        lower.set(xlim=(-0.02, 1.02), xlabel="Predicted probability", yticks=[])
        lower.set_ylabel("Patients")
        lower.grid(visible=False)
        lower.spines[["left", "bottom"]].set_visible(False)

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


def _spikes(axes: Axes, p: np.ndarray, color: str, direction: int) -> None:
    """A histogram that points up or down."""
    heights, _ = np.histogram(p, _BINS)
    axes.stairs(direction * heights, _BINS, baseline=0, fill=True, color=color, alpha=0.8)
