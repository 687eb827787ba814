"""The parts of the analysis beyond the basic evaluation, in the order of the report."""

from collections.abc import Callable, Iterable

from analysis.metrics import Metric
from analysis.part import Material, Part
from analysis.sections_comparisons import judge_comparisons
from analysis.sections_multiplicity import judge_multiplicity
from analysis.sections_operating import judge_thresholds

Judge = Callable[[Material], Part]

PARTS: dict[str, Judge] = {
    "comparisons": judge_comparisons,
    "thresholds": judge_thresholds,
}
"""Name -> what judges it; a part that has nothing to say returns an empty `Part`."""


def judge_parts(material: Material, metrics: Iterable[Metric] = ()) -> dict[str, Part]:
    """Run all parts, and correct all p values at the end.

    Args:
        material: what every part is given.
        metrics: the rows of the basic evaluation, whose p values are corrected with those of the parts.

    Raises:
        StopRun: as each part.
    """
    parts = {name: judge(material) for name, judge in PARTS.items()}
    found = [*metrics, *(row for part in parts.values() for row in part.metrics)]
    return {**parts, "multiplicity": judge_multiplicity(material, found)}
