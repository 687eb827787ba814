"""The parts of the analysis beyond the basic evaluation, in the order of the report."""

from collections.abc import Callable

from analysis.part import Material, Part
from analysis.sections_calibrators import calibrators_part
from analysis.sections_conformal import judge_conformal
from analysis.sections_decision import judge_decision
from analysis.sections_horizons import horizons_part
from analysis.sections_recalibration import recalibration_part
from analysis.sections_reject import judge_reject
from analysis.sections_subgroups import subgroups_part
from analysis.sections_transcriptomics import transcriptomics_part

Judge = Callable[[Material], Part]

PARTS: dict[str, Judge] = {
    "subgroups": subgroups_part,
    "calibrators": calibrators_part,
    "recalibration": recalibration_part,
    "decision": judge_decision,
    "conformal": judge_conformal,
    "reject": judge_reject,
    "survival": horizons_part,
    "transcriptomics": transcriptomics_part,
}
"""Name -> what judges it; a part that has nothing to say returns an empty `Part`."""


def judge_parts(material: Material) -> dict[str, Part]:
    """Run all parts.

    Raises:
        StopRun: as each part.
    """
    return {name: judge(material) for name, judge in PARTS.items()}
