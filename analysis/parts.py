"""The parts of the analysis beyond the basic evaluation, in the order of the report."""

from collections.abc import Callable

from analysis.part import Material, Part
from analysis.sections_calibrators import calibrators_part
from analysis.sections_recalibration import recalibration_part

Judge = Callable[[Material], Part]

PARTS: dict[str, Judge] = {
    "calibrators": calibrators_part,
    "recalibration": recalibration_part,
}
"""Name -> what judges it; a part that has nothing to say returns an empty `Part`."""


def judge_parts(material: Material) -> dict[str, Part]:
    """Run all parts.

    Raises:
        StopRun: as each part.
    """
    return {name: judge(material) for name, judge in PARTS.items()}
