"""Figures of the embedding space brought to a plane."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.canvas import CLASS_STYLE, MUTED, Drawing, draw, plain
from analysis.patients.samples import class_label
from triher.explanation_tables import Projected

OTHERS = "others"
_NOT_KNOWN = "not known"
_MOST_POINTS = 800
_MOST_KINDS = 7
# Okabe & Ito 2008, with a mark for each, so that kinds stay apart without color.
_STYLE = (
    ("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#cc79a7", "D"), ("#e69f00", "v"), ("#56b4e9", "P"),
    ("#6b4c9a", "X"),
)  # fmt: skip


def class_figure(points: Sequence[Projected], class_of: Mapping[str, str], classes: Sequence[str]) -> Drawing:
    """One projection, colored by the true class.

    Args:
        points: of one method.
        class_of: patient id -> class, empty where it is not known.
        classes: of the scheme.
    """
    styles = {class_label(name): (CLASS_STYLE[name][0], CLASS_STYLE[name][2]) for name in classes}
    kinds = {who: class_label(name) if name else _NOT_KNOWN for who, name in class_of.items()}
    return _figure(points, kinds, styles, "class")


def site_figure(points: Sequence[Projected], site_of: Mapping[str, str]) -> Drawing:
    """One projection, colored by site; beyond the seven largest sites all look alike.

    Args:
        points: of one method.
        site_of: patient id -> site.
    """
    names = [site_of[point.patient_id] for point in points if point.patient_id in site_of]
    largest = sorted(set(names), key=lambda name: (-names.count(name), name))[:_MOST_KINDS]
    styles = dict(zip(sorted(largest), _STYLE, strict=False))
    kinds = {who: name if name in styles else OTHERS for who, name in site_of.items()}
    return _figure(points, kinds, styles, "site")


def _figure(
    points: Sequence[Projected], kinds: Mapping[str, str], styles: Mapping[str, tuple[str, str]], by: str
) -> Drawing:
    """Every patient as a mark; evenly chosen by id where there are very many."""
    method = points[0].method
    ordered = sorted(points, key=lambda point: point.patient_id)
    if len(ordered) > _MOST_POINTS:
        ordered = [ordered[k] for k in np.linspace(0, len(ordered) - 1, _MOST_POINTS).round().astype(int)]
    of_kind: dict[str, list[Projected]] = {}
    for point in ordered:
        of_kind.setdefault(kinds.get(point.patient_id, _NOT_KNOWN), []).append(point)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for kind in (*styles, *sorted(set(of_kind) - set(styles))):
            color, marker = styles.get(kind, (MUTED, "."))
            members = of_kind.get(kind, [])
            if members:
                x, y = [one.x for one in members], [one.y for one in members]
                axes.scatter(x, y, s=20, c=color, marker=marker, linewidths=0, alpha=0.85, label=plain(kind))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        figure.legend(loc="outside lower center", ncols=3, handletextpad=0.2, columnspacing=1.0)

    counts = "; ".join(f"{plain(kind)}: {len(members)}" for kind, members in sorted(of_kind.items()))
    name = f"projection-{''.join(c for c in method.lower() if c.isalnum())}-{by}"
    return draw(name, f"{method} of all patients, by {by}", f"{counts}.", (3.7, 3.9), paint)
