"""Figures of prognosis: Kaplan-Meier curves with numbers at risk, hazard ratios, the shape of the score."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.canvas import INK, MUTED, RISK_STYLE, Drawing, draw
from analysis.figures.discrimination import ForestRow, forest_figure
from analysis.survival.cox import CoxModel
from analysis.survival.prognosis import Prognosis, RiskGroup
from analysis.survival.spline import Shape
from analysis.wording import count, split_name

_TICKS = 6


def kaplan_meier_figure(prognosis: Prognosis) -> Drawing:
    """Survival of the score's groups with 95 % bands, censoring marks and numbers at risk."""
    groups = prognosis.groups
    styles = _styles(len(groups))
    ticks = _month_ticks(float(prognosis.follow_up.time_months.max()))

    def paint(figure: Figure) -> None:
        heights = [4.2, 0.28 * len(groups) + 0.25]
        upper, lower = figure.subplots(2, 1, height_ratios=heights, sharex=True)
        for group, (color, line) in zip(groups, styles, strict=True):
            _curve(upper, group, color, line)
        upper.set(ylim=(0, 1.02), ylabel="Survival")
        upper.legend(loc="lower left", title="Score", alignment="left", title_fontsize=8.5)
        upper.tick_params(labelbottom=True)
        upper.set_xlim(-ticks[-1] * 0.02, ticks[-1] * 1.03)
        upper.set_xticks(ticks)
        upper.set_xlabel("Months")
        _at_risk(lower, groups, ticks)

    said = "; ".join(
        f"{g.label}: {g.n} patients, {g.events} events, median {months(g.median_months)}" for g in groups
    )
    n, events = len(prognosis.follow_up.patient_id), int(prognosis.follow_up.event.sum())
    what = f"Kaplan-Meier curves by {prognosis.grouped_by}, {split_name(prognosis.split)}"
    title = f"{what} (n = {n}, {count(events, 'event')}), with log-log 95 % bands and numbers at risk"
    return draw(f"survival-{prognosis.split}", title, f"{said}.", (6.0, 4.6), paint, wide=True)


def _styles(n: int) -> list[tuple[str, str]]:
    """Light to dark from the lowest score to the highest."""
    return [RISK_STYLE[i] for i in ((0, 2) if n == 2 else range(n))]


def _month_ticks(longest: float) -> list[float]:
    """Round numbers of months that cover the follow-up."""
    steps = [1, 2, 3, 6, 12, 24, 36, 60, 120]
    step = next((s for s in steps if longest / s <= _TICKS), 240)
    covering = [float(t) for t in np.arange(0, longest + step, step) if t <= longest + step / 2]
    return covering if len(covering) > 1 else [0.0, float(step)]


def _curve(axes: Axes, group: RiskGroup, color: str, line: str) -> None:
    """Steps, band and censoring marks of one group."""
    axes.step(group.time_months, group.survival, where="post", color=color, linestyle=line, label=group.label)
    low, high = np.nan_to_num(group.low, nan=1.0), np.nan_to_num(group.high, nan=1.0)
    axes.fill_between(group.time_months, low, high, step="post", color=color, alpha=0.13, linewidth=0)
    at = np.searchsorted(group.time_months, group.censored_at, side="right") - 1
    axes.plot(group.censored_at, np.array(group.survival)[at], "|", color=color, markersize=6, markeredgewidth=1)


def _at_risk(axes: Axes, groups: tuple[RiskGroup, ...], ticks: list[float]) -> None:
    """A small table under the curves, aligned with the months."""
    for row, group in enumerate(groups):
        for tick in ticks:
            count = str(int((group.all_times >= tick).sum()))
            axes.text(tick, row, count, ha="center", va="center", fontsize=8.5)
    axes.set_ylim(len(groups) - 0.5, -0.6)
    axes.set_yticks(range(len(groups)), [group.label.split(" (")[0] for group in groups])
    axes.set_title("At risk", fontsize=8.5, fontweight="normal")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelbottom=False)


def hazard_figure(prognosis: Prognosis) -> Drawing:
    """Hazard ratios of the score alone and in the adjusted model."""
    rows = [ForestRow(f"Score alone{_basis(prognosis.alone)}")]
    rows += [ForestRow(line.name, line.hazard_ratio) for line in prognosis.alone.coefficients]
    if prognosis.adjusted is not None:
        refused = prognosis.adjusted.reason
        basis = ": not estimable" if refused else _basis(prognosis.adjusted)
        rows.append(ForestRow(f"Adjusted{basis}"))
        lines = () if refused else prognosis.adjusted.coefficients
        rows += [ForestRow(line.name, line.hazard_ratio) for line in lines]
    name = f"hazards-{prognosis.split}"
    title = "Hazard ratios with 95 % intervals, above 1 riskier; levels of text against the most frequent one"
    return forest_figure(name, title, rows, x_label="Hazard ratio (log scale)", line_at=1.0, logarithmic=True)


def _basis(model: CoxModel) -> str:
    """How many patients and events a model rests on."""
    return f" (n = {model.n}, {count(model.events, 'event')})"


def shape_figure(prognosis: Prognosis) -> Drawing:
    """Log hazard ratio of the score against its median, as a spline with its 95 % band, and where the scores lie."""
    shape = prognosis.depth.shape
    deviation = float(prognosis.follow_up.score.std(ddof=1))
    color = RISK_STYLE[2][0]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        at = shape.score * deviation
        axes.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.fill_between(at, shape.low, shape.high, color=color, alpha=0.13, linewidth=0)
        axes.plot(at, shape.log_hazard, color=color)
        bottom, top = _shape_limits(shape)
        axes.set_ylim(bottom, top)
        scores = prognosis.follow_up.score
        axes.plot(scores, np.full(len(scores), bottom), "|", color=INK, markersize=7, markeredgewidth=0.6, alpha=0.5)
        knots = np.array(shape.knots) * deviation
        axes.plot(knots, np.full(len(knots), top), "v", color=MUTED, markersize=5, clip_on=False)
        axes.set(xlabel="Score", ylabel="Log hazard ratio against the median")

    said = (
        f"Restricted cubic spline with {len(shape.knots)} knots; the log hazard ratio runs from "
        f"{shape.log_hazard[0]:.2f} at the lowest score to {shape.log_hazard[-1]:.2f} at the highest. "
        "Triangles mark the knots, strokes the scores."
    )
    return draw(f"shape-{prognosis.split}", "Shape of the score's effect", said, (4.4, 3.4), paint)


def _shape_limits(shape: Shape) -> tuple[float, float]:
    """An axis that holds the curve, and of its band as much as does not dwarf it."""
    reach = max(1.0, 3 * float(np.ptp(shape.log_hazard)))
    bottom = max(float(shape.low.min()), float(shape.log_hazard.min()) - reach)
    top = min(float(shape.high.max()), float(shape.log_hazard.max()) + reach)
    return min(bottom, -0.1), max(top, 0.1)


def months(value: float) -> str:
    """A median time in words.

    >>> months(float("inf"))
    'not reached'
    """
    return f"{value:.1f} months" if np.isfinite(value) else "not reached"
