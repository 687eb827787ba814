"""Figure of cost against value: one point a cell, one sign an encoder, and who is worth the money."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.ablation.boards import plain_all
from analysis.ablation.prices import Price
from analysis.figures.canvas import INK, MUTED, Drawing, draw, plain
from triher.estimate import Estimate

_SIGNS = (
    ("#0072b2", "o"), ("#d98c00", "s"), ("#882255", "D"), ("#2a7f78", "^"), ("#56b4e9", "v"), ("#667085", "P"),
    ("#b4560b", "X"), ("#117733", "<"), ("#332288", ">"),
)  # fmt: skip
_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
_FRONT = "no cheaper cell is better"
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)


def prices_figure(
    name: str,
    title: str,
    prices: Sequence[Price],
    values: Mapping[str, Estimate],
    *,
    label: str,
    base: str,
    higher_is_better: bool = True,
) -> Drawing:
    """Draw the cells whose features were made on one device.

    Args:
        name: file name without ending.
        title: short.
        prices: of cells on one device.
        values: cell -> its value.
        label: of the values.
        base: name of the cell that gets a ring.
        higher_is_better: which way the vertical axis runs; better is always on top.
    """
    shown = [price for price in prices if price.cell in values and math.isfinite(values[price.cell].value)]
    encoders = list(dict.fromkeys(price.encoder for price in sorted(shown, key=lambda p: (p.seconds, p.encoder))))
    front = sorted((price for price in shown if price.is_best_buy), key=lambda p: p.seconds)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        if len(front) > 1:
            look: dict[str, Any] = {"linewidth": 1.2, "drawstyle": "steps-post", "zorder": 1, "label": _FRONT}
            axes.plot(*_points(front, values), color=MUTED, **look)
        for k, encoder in enumerate(encoders):
            color, marker = _SIGNS[k % len(_SIGNS)]
            own = _points([price for price in shown if price.encoder == encoder], values)
            look = {"markersize": 5, "alpha": 0.8, "mew": 0, "label": plain(encoder), "linestyle": "none"}
            axes.plot(*own, marker, color=color, **look)
        _ring(axes, shown, values, base)
        _log_axis(axes, shown)
        axes.set(xlabel=f"Seconds to embed 100 patients ({plain(shown[0].device)})", ylabel=label)
        if not higher_is_better:
            axes.invert_yaxis()
        columns = 2 if len(encoders) > 3 or max(map(len, encoders)) < 20 else 1
        figure.legend(loc="outside lower center", ncols=columns, markerscale=1.3)

    said = "; ".join(
        f"{p.cell}: {p.encoder}, {p.seconds:.3g} s, {values[p.cell]}{', best buy' if p.is_best_buy else ''}"
        for p in shown
    )
    return draw(name, title, plain_all(f"{said}."), (5.4, 3.9 + 0.1 * len(encoders)), paint, wide=True)


def _points(prices: Sequence[Price], values: Mapping[str, Estimate]) -> tuple[list[float], list[float]]:
    """Seconds and values of some cells."""
    return [price.seconds for price in prices], [values[price.cell].value for price in prices]


def _ring(axes: Axes, shown: Sequence[Price], values: Mapping[str, Estimate], base: str) -> None:
    """A ring around the base."""
    for price in shown:
        if price.cell == base:
            place = (price.seconds, values[base].value)
            axes.plot(*place, "o", markersize=10, mfc="none", mec=INK, mew=1.3)
            axes.annotate("base", place, (8, 6), textcoords="offset points", fontsize=8.5, bbox=_BOX, zorder=4)


def _log_axis(axes: Axes, shown: Sequence[Price]) -> None:
    """Round numbers of seconds."""
    low, high = min(p.seconds for p in shown) / 2, max(p.seconds for p in shown) * 2
    if not (math.isfinite(low) and low > 0):
        axes.set_xscale("linear")
        return
    axes.set_xlim(low, high)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(LogLocator(subs=()))
    axes.xaxis.set_minor_formatter(NullFormatter())
