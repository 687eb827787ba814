"""Figure of the flow of patients: steps below each other, those who left at the side, the splits at the bottom."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from analysis.figures.canvas import INK, MUTED, RULE, Drawing, draw, plain
from analysis.patients.flow import End, Exit, Flow
from analysis.wording import split_name
from triher.codes import CODES

_WIDTH = 5.8
_LINE = 0.165  # height of a line of text, inch
_PAD = 0.1
_GAP = 0.24
_MAIN, _SIDE = (0.02, 2.55), (2.95, _WIDTH - 0.02)  # left and right edge
_MOST_REASONS = 4
_MOST_PLACES = 4
_ENDS = {"test": "Held out for the test", "oof": "Trained on, predicted out of fold", "new": "New patients"}


@dataclass(frozen=True)
class _Box:
    """A box with its text, the first line in bold."""

    left: float
    right: float
    lines: Sequence[str]
    side: bool = False
    bold: int = 1
    """Lines of its title."""

    @property
    def height(self) -> float:
        """In inches."""
        return _LINE * len(self.lines) + 2 * _PAD


def meaning(code: str) -> str:
    """A code in plain words.

    >>> meaning("mask_empty"), meaning("")
    ('the lesion mask holds no voxel', 'no reason is on record')
    """
    return CODES[code][0] if code in CODES else plain(code) or "no reason is on record"


def flow_figure(flow: Flow, classes: Sequence[str]) -> Drawing:
    """Boxes from the cohort table down to the splits.

    Args:
        flow: the numbers.
        classes: of the label scheme.
    """
    cohorts = _places("cohort", flow.cohorts if len(flow.cohorts) > 1 else {})
    start = _box(_MAIN, [f"In the cohort table: {flow.n_cohort}", *cohorts])
    steps = [(_exit_box(leaving), _reached_box(leaving)) for leaving in flow.exits]
    ends = _end_boxes(flow.ends, classes)
    heights = [start.height, *(max(_GAP, side.height) + _GAP + main.height for side, main in steps)]
    total = sum(heights) + (2 * _GAP + max(box.height for box in ends) if ends else 0) + 0.06

    def paint(figure: Figure) -> None:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, _WIDTH), ylim=(0, total))
        axes.axis("off")
        _paint(axes, total - 0.03, start, steps, ends)

    said = _told(flow, classes)
    return draw("flow", "Flow of patients", said, (_WIDTH, total), paint, wide=True)


def _paint(axes: Axes, top: float, start: _Box, steps: Sequence[tuple[_Box, _Box]], ends: Sequence[_Box]) -> None:
    """All boxes and arrows, from the top down."""
    middle = sum(_MAIN) / 2
    y = _draw(axes, start, top)
    for side, main in steps:
        below = y - max(_GAP, side.height) - _GAP
        branch = y - _GAP / 2 - side.height / 2
        _arrow(axes, (middle, y), (middle, below))
        _arrow(axes, (middle, branch), (side.left, branch))
        _draw(axes, side, y - _GAP / 2)
        y = _draw(axes, main, below)
    if not ends:
        return
    rail = y - _GAP
    centers = [(box.left + box.right) / 2 for box in ends] if len(ends) > 1 else [middle]
    axes.plot([middle, middle], [y, rail], color=MUTED, linewidth=1)
    axes.plot([min(middle, *centers), max(middle, *centers)], [rail, rail], color=MUTED, linewidth=1)
    for box, center in zip(ends, centers, strict=True):
        _arrow(axes, (center, rail), (center, rail - _GAP))
        _draw(axes, box, rail - _GAP)


def _draw(axes: Axes, box: _Box, top: float) -> float:
    """One box below `top`; where it ends."""
    bottom = top - box.height
    style = "round,pad=0,rounding_size=0.06"
    face, edge = ("#f6f7f9", RULE) if box.side else ("#ffffff", MUTED)
    place = (box.left, bottom), box.right - box.left, box.height
    axes.add_patch(FancyBboxPatch(*place, boxstyle=style, facecolor=face, edgecolor=edge, linewidth=1))
    for k, line in enumerate(box.lines):
        weight = "bold" if k < box.bold else "normal"
        axes.text(box.left + _PAD, top - _PAD - k * _LINE, line, fontweight=weight, fontsize=8.2, va="top", color=INK)
    return bottom


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A line with a head."""
    style = {"arrowstyle": "-|>,head_width=0.18,head_length=0.35", "color": MUTED, "linewidth": 1}
    axes.annotate("", xy=end, xytext=start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


def _box(edges: tuple[float, float], lines: Sequence[str], *, side: bool = False) -> _Box:
    """A box whose lines are broken where they are too long."""
    width = int((edges[1] - edges[0] - 2 * _PAD) * 15.5)  # letters of this size an inch
    broken = [textwrap.wrap(line, width) or [""] for line in lines]
    return _Box(*edges, [part for line in broken for part in line], side, len(broken[0]))


def _exit_box(leaving: Exit) -> _Box:
    """Who left, by reason."""
    reasons = [(meaning(code), n) for code, n in leaving.reasons.items()]
    return _box(_SIDE, [f"{leaving.title}: {leaving.n}", *_folded(reasons, "other reason", _MOST_REASONS)], side=True)


def _reached_box(leaving: Exit) -> _Box:
    """Who went on."""
    return _box(_MAIN, [f"{leaving.reached}: {leaving.left}"])


def _end_boxes(ends: Sequence[End], classes: Sequence[str]) -> list[_Box]:
    """The splits side by side."""
    width = (_WIDTH - 0.04 + 0.2) / max(1, len(ends))
    boxes = []
    for k, end in enumerate(ends):
        edges = (0.02 + k * width, 0.02 + (k + 1) * width - 0.2) if len(ends) > 1 else (_MAIN[0], _SIDE[0] + 1)
        lines = [f"{_end_name(end.split)}: {end.n}", *_class_lines(end, classes), *_places(end.kind, end.places)]
        boxes.append(_box(edges, lines))
    return boxes


def _end_name(split: str) -> str:
    """What became of the patients of a split."""
    return _ENDS.get(split, plain(split_name(split)))


def _class_lines(end: End, classes: Sequence[str]) -> list[str]:
    """The classes of a split, and who has none."""
    said = ", ".join(f"{name} {n}" for name, n in zip(classes, end.classes, strict=True))
    return [f"HER2: {said}", *([f"HER2 not known: {end.unlabeled}"] if end.unlabeled else [])]


def _places(kind: str, counts: Mapping[str, int]) -> list[str]:
    """Cohorts or sites, one a line."""
    named = [(name if kind in name.lower() else f"{kind} {name}", n) for name, n in counts.items()]
    return _folded([(plain(name), n) for name, n in named], f"other {kind}", _MOST_PLACES)


def _folded(counts: Sequence[tuple[str, int]], other: str, most: int) -> list[str]:
    """The largest parts one a line, and the rest together."""
    shown, rest = (counts, []) if len(counts) <= most + 1 else (counts[:most], counts[most:])
    lines = [f"{name}:\u00a0{n}" for name, n in shown]  # the number stays with its name
    more = f"{len(rest)} {other}s"
    return [*lines, f"{more}: {sum(n for _, n in rest)}"] if rest else lines


def _told(flow: Flow, classes: Sequence[str]) -> str:
    """The whole figure as sentences."""
    said = [f"{flow.n_cohort} in the cohort table"]
    for leaving in flow.exits:
        reasons = ", ".join(f"{meaning(code)} {n}" for code, n in leaving.reasons.items())
        said += [f"{leaving.title.lower()}: {leaving.n} ({reasons})", f"{leaving.reached.lower()}: {leaving.left}"]
    for end in flow.ends:
        said.append(f"{_end_name(end.split).lower()}: {end.n} ({'; '.join(_class_lines(end, classes))})")
    return f"{'. '.join(text[:1].upper() + text[1:] for text in said)}."
