"""The parts of the analysis beyond the basic evaluation, in the order of the report."""

from collections.abc import Callable, Iterable

from analysis.discrimination.paper_rows import new_metrics, paper_rows
from analysis.metrics import Metric
from analysis.part import Material, Part
from analysis.sections.calibrators import calibrators_part
from analysis.sections.comparisons import judge_comparisons
from analysis.sections.conformal import judge_conformal
from analysis.sections.decision import judge_decision
from analysis.sections.explanations import judge_explanations
from analysis.sections.horizons import horizons_part
from analysis.sections.matched import judge_matched
from analysis.sections.multiplicity import judge_multiplicity
from analysis.sections.operating import judge_thresholds
from analysis.sections.paper import paper_part
from analysis.sections.recalibration import recalibration_part
from analysis.sections.reject import judge_reject
from analysis.sections.study import study_part
from analysis.sections.subgroups import subgroups_part
from analysis.sections.transcriptomics import transcriptomics_part

Judge = Callable[[Material], Part]

PARTS: dict[str, Judge] = {
    "comparisons": judge_comparisons,
    "thresholds": judge_thresholds,
    "subgroups": subgroups_part,
    "calibrators": calibrators_part,
    "recalibration": recalibration_part,
    "decision": judge_decision,
    "conformal": judge_conformal,
    "reject": judge_reject,
    "survival": horizons_part,
    "transcriptomics": transcriptomics_part,
    "explanations": judge_explanations,
    "matched": judge_matched,
    "study": study_part,
}
"""Name -> what judges it; a part that has nothing to say returns an empty `Part`."""


def judge_parts(material: Material, metrics: Iterable[Metric]) -> dict[str, Part]:
    """Run all parts, gather the table of the papers from what they found, and correct all p values at the end.

    Args:
        material: what every part is given.
        metrics: the rows of the basic evaluation, whose p values are corrected with those of the parts.

    Raises:
        StopRun: as each part.
    """
    parts = {name: judge(material) for name, judge in PARTS.items()}
    found = [*metrics, *(row for part in parts.values() for row in part.metrics)]
    rows = paper_rows(material, found)
    new = new_metrics(rows, found)
    multiplicity = judge_multiplicity(material, [*found, *new])
    paper = paper_part(material, rows, new, [*found, *new, *multiplicity.metrics])
    return {**parts, "paper": paper, "multiplicity": multiplicity}
