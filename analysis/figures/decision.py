"""Figures of net benefit and of reject options."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.decisions.net_benefit import TOLD, Curve
from analysis.decisions.reject import RiskCoverage
from analysis.figures.canvas import INK, MUTED, RULE, Drawing, draw
from triher.estimate import Estimate

_SIZE = (4.2, 3.5)
_MODEL = "#0b5c8f"
_BASELINE = "#b4560b"
_ACTION_STYLE = ((_MODEL, "-"), ("#882255", "-."), ("#2a7f78", "--"))
_SAID = (0.1, 0.3, 0.5, 0.7, 0.9)  # thresholds that the description tells


def decision_figure(name: str, title: str, curve: Curve, beside: Curve | None) -> Drawing:
    """Net benefit of the model, of treating everybody and nobody, and of the baseline where there is one."""
    model, everybody = curve.quantities["net_benefit"], curve.quantities["net_benefit_all"]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(0, color=INK, linewidth=1, label="Treat nobody")
        axes.plot(curve.thresholds, _values(everybody), color=MUTED, linestyle="--", label="Treat everybody")
        if beside is not None:
            fewer = f" (n = {beside.n})" if beside.n < curve.n else ""
            values = _values(beside.quantities["net_benefit_baseline"])
            axes.plot(beside.thresholds, values, color=_BASELINE, linestyle="-.", label=f"Covariates alone{fewer}")
        _band(axes, curve.thresholds, model, _MODEL, "Model")
        top = np.nanmax([0.05, *_values(model), *(e.high for e in model)])
        axes.set(xlim=(0, 1), ylim=(-0.25 * top, 1.08 * top))
        _percent_axis(axes, "Threshold probability of benefit")
        axes.set_ylabel("Net benefit")
        _legend(axes)

    return draw(name, title, f"{_told(curve, 'net_benefit')}.", _SIZE, paint)


def lead_figure(name: str, title: str, curves: Sequence[Curve]) -> Drawing:
    """How far the model is ahead of the better default, a line for each action."""
    leads = [curve.quantities["net_benefit_lead"] for curve in curves]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(0, color=INK, linewidth=1)
        for curve, lead, (color, line) in zip(curves, leads, _ACTION_STYLE, strict=False):
            _band(axes, curve.thresholds, lead, color, curve.action.label, line=line)
        inside = [e for curve, lead in zip(curves, leads, strict=True) for e in _told_estimates(curve, lead)]
        axes.set(xlim=(0, 1), ylim=_lead_limits(inside))
        _percent_axis(axes, "Threshold probability of benefit")
        axes.set_ylabel("Difference in net benefit")
        _legend(axes)

    said = "; ".join(f"{curve.action.label}: {_told(curve, 'net_benefit_lead')}" for curve in curves)
    return draw(name, title, f"{said}.", _SIZE, paint)


def _told_estimates(curve: Curve, estimates: Sequence[Estimate]) -> list[Estimate]:
    """Those at thresholds that the report speaks of."""
    low, high = TOLD
    return [e for t, e in zip(curve.thresholds, estimates, strict=True) if low <= t <= high]


def _lead_limits(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """An axis for the middle of the thresholds; at the ends a difference can run away."""
    numbers = [v for e in estimates for v in (e.value, e.low, e.high) if math.isfinite(v)]
    low, high = np.quantile(numbers, [0.03, 0.97])
    room = 0.15 * max(high - low, 0.02)
    return min(0.0, float(low)) - room, max(0.0, float(high)) + room


def risk_figure(name: str, title: str, curve: RiskCoverage) -> Drawing:
    """The error among the kept, over the share sent to pathology."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(curve.at_random, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="Sent away by lot")
        _band(axes, curve.shares, curve.error, _MODEL, "Least sure sent away first")
        top = np.nanmax([0.1, *_values(curve.error), *(e.high for e in curve.error)])
        axes.set(xlim=(0, 0.9), ylim=(0, min(1.0, 1.1 * float(top))))
        _percent_axis(axes, "Sent to pathology")
        axes.set_ylabel("Wrong among those kept")
        _legend(axes)

    pairs = [(share, e) for share, e in zip(curve.shares, curve.error, strict=True) if share in (0, 0.2, 0.5)]
    said = "; ".join(f"{share:.0%} sent away: error {e}" for share, e in pairs)
    return draw(name, title, f"{said}.", _SIZE, paint)


def _band(
    axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], color: str, label: str, *, line: str = "-"
) -> None:
    """A curve with its intervals; a gap in the band where there is none."""
    axes.fill_between(
        x, [e.low for e in estimates], [e.high for e in estimates], color=color, alpha=0.16, linewidth=0
    )
    axes.plot(x, _values(estimates), color=color, linestyle=line, label=label)


def _legend(axes: Axes) -> None:
    """Names above the curves, where they hide nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, columnspacing=1.2)


def _values(estimates: Sequence[Estimate]) -> list[float]:
    """The numbers alone."""
    return [estimate.value for estimate in estimates]


def _percent_axis(axes: Axes, label: str) -> None:
    """Shares as percent along the horizontal axis."""
    ticks = [tick for tick in (0, 0.2, 0.4, 0.6, 0.8, 1) if tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axes.set_xlabel(label)
    axes.spines["left"].set_color(RULE)


def _told(curve: Curve, quantity: str) -> str:
    """Some points of a curve in words."""
    shown = [t for t in _SAID if t in curve.thresholds]
    return "; ".join(f"threshold {t:.0%}: {curve.at(quantity, t)}" for t in shown)
