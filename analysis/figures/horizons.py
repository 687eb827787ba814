"""Figures over the months of follow-up: time-dependent AUC, prediction error, cumulative incidence."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.canvas import INK, MUTED, RISK_STYLE, RULE, Drawing, draw
from analysis.survival.measures import Incidences, SurvivalMeasures

_SIZE = (4.4, 3.2)
_SIDE = 0.06  # of the axis, left free beside the outermost horizon


def auc_figure(measures: SurvivalMeasures) -> Drawing:
    """The time-dependent AUC at each horizon with its 95 % interval."""
    pairs = list(zip(measures.horizons.months, measures.auc, strict=True))
    shown = [(t, e) for t, e in pairs if np.isfinite(e.value)]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot([t for t, _ in shown], [e.value for _, e in shown], "o-", color=INK, markersize=5.5, linewidth=1.2)
        bounded = [(t, e) for t, e in shown if np.isfinite(e.low)]
        axes.vlines(*zip(*[(t, e.low, e.high) for t, e in bounded], strict=True), color=INK) if bounded else None
        for t, e in shown:
            top = e.high if np.isfinite(e.high) else e.value
            axes.annotate(f"{e.value:.2f}", (t, top), (0, 4), textcoords="offset points", ha="center", fontsize=8.5)
        low = min([0.45, *(e.low - 0.03 for _, e in bounded)])
        last = max((t for t, _ in shown), default=1.0)
        axes.set(xlim=(0, last * (1 + 2 * _SIDE)), ylim=(low, 1.02), xlabel="Months", ylabel="AUC")
        axes.set_xticks([0, *(t for t, _ in shown)])

    said = "; ".join(f"{t:g} months: {e}" for t, e in pairs)
    title = "Time-dependent AUC"
    return draw(f"survival-auc-{measures.split}", title, f"{said}. 0.5 is guessing.", _SIZE, paint)


def error_figure(measures: SurvivalMeasures) -> Drawing | None:
    """The Brier score over time, of the cross-fitted Cox model and of Kaplan-Meier; none without predictions."""
    error = measures.error
    if error is None or not error.curve_months:
        return None
    color, line = RISK_STYLE[1][0], "-"

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(error.curve_months, error.curve_null, color=MUTED, linestyle="--", label="Kaplan-Meier, no score")
        axes.plot(error.curve_months, error.curve_model, color=color, linestyle=line, label="Cox model of the score")
        for t, estimate in zip(error.months, error.model, strict=True):
            if np.isfinite(estimate.low):
                axes.vlines(t, estimate.low, estimate.high, color=color, linewidth=1.2)
        highest = max([*error.curve_null, *error.curve_model, *(e.high for e in error.model if np.isfinite(e.high))])
        axes.set(xlim=(0, error.limit * 1.03), ylim=(0, highest * 1.25), xlabel="Months", ylabel="Brier score")
        axes.legend(loc="upper left")

    said = (
        f"Mean over the time up to {error.limit:.1f} months: model {error.integrated}, "
        f"Kaplan-Meier {error.integrated_null}; 0 is perfect."
    )
    return draw(f"survival-error-{measures.split}", "Prediction error over time", said, _SIZE, paint)


def incidence_figure(measures: SurvivalMeasures) -> Drawing | None:
    """Cumulative incidence of the event and of the competing one in the halves; none without competing events."""
    if measures.competing is None:
        return None
    groups = [group for group in measures.competing.groups if group.label != "all"]

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, kind, title in ((left, "own", "Event"), (right, "other", "Competing event")):
            for group, style in zip(groups, (RISK_STYLE[0], RISK_STYLE[2]), strict=False):
                _incidence(axes, group, kind, style)
            axes.set_title(title)
            axes.set(xlabel="Months", ylim=(0, None), xlim=(0, None))
        left.set_ylabel("Cumulative incidence")
        left.legend(loc="upper left", title="Score", alignment="left", title_fontsize=8.5)
        for axes in (left, right):
            axes.spines["left"].set_color(RULE)

    ends = [f"{g.label} score: event {g.own.value[-1]:.2f}, competing event {g.other.value[-1]:.2f}" for g in groups]
    said = f"At the end of follow-up. {'; '.join(ends)}."
    title = "Cumulative incidence by half of the score"
    return draw(f"survival-incidence-{measures.split}", title, said, (6.4, 3.2), paint, wide=True)


def _incidence(axes: Axes, group: Incidences, kind: str, style: tuple[str, str]) -> None:
    """Steps with their 95 % band."""
    curve = group.own if kind == "own" else group.other
    time, color = np.append(0.0, curve.time), style[0]
    axes.step(time, np.append(0.0, curve.value), where="post", color=color, linestyle=style[1], label=group.label)
    low, high = (np.append(0.0, np.where(np.isfinite(line), line, curve.value)) for line in (curve.low, curve.high))
    axes.fill_between(time, low, high, step="post", color=color, alpha=0.13, linewidth=0)
