"""The figure of matched pairs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.canvas import CLASS_STYLE, INK, MUTED, Drawing, draw
from analysis.patients.matched import Matched, Pair
from analysis.patients.samples import class_label
from analysis.wording import count

_WRONG = "#b42318"
_TALLEST, _LINE = 7.0, 0.16  # inches


def pairs_figure(matched: Matched) -> Drawing:
    """Each pair as a line from the zero patient's score to the low one's, the widest margin on top."""
    ranked = sorted(matched.pairs, key=lambda pair: (pair.margin, pair.zero.patient.patient_id))
    is_wrong = [pair.is_right < 1 for pair in ranked]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for kind, color, line in ((False, INK, "-"), (True, _WRONG, (0, (2, 1.4)))):
            rows = [row for row in range(len(ranked)) if is_wrong[row] == kind]
            spans = [(ranked[row].zero.score, ranked[row].low.score) for row in rows]
            if rows:
                label = "Not told apart rightly" if kind else "Told apart rightly"
                left, right = np.array(spans).T
                axes.hlines(rows, left, right, color=color, linestyle=line, linewidth=1.2, label=label)
        _marks(axes, ranked)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.8, len(ranked) - 0.2), ylabel="Pairs by margin")
        axes.set_xlabel("P(HER2-low | HER2-zero or HER2-low)")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2)

    said = f"{count(len(ranked), 'pair')}, {sum(is_wrong)} of them with the zero patient at or above the low one"
    size = (5.6, min(_TALLEST, 1.5 + _LINE * max(4, len(ranked))))
    return draw(f"matched-{matched.split}", "Scores of matched pairs", f"{said}.", size, paint, wide=True)


def _marks(axes: Axes, ranked: Sequence[Pair]) -> None:
    """The members, in color and mark of their true class."""
    rows = np.arange(len(ranked))
    for name, scores in (("zero", [p.zero.score for p in ranked]), ("low", [p.low.score for p in ranked])):
        color, _, marker = CLASS_STYLE[name]
        axes.plot(scores, rows, marker, color=color, markersize=4.5, label=f"{class_label(name)} by pathology")
