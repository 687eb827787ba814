"""What the user should know about a training: small classes, wide intervals, choices with a price."""

from collections.abc import Sequence

from classify.cases import Gathered
from classify.conformal import order_statistic
from classify.facts import class_counts
from classify.harmonization import confounded
from classify.heads import find_head
from classify.leaks import Finding
from classify.plan import Plan
from classify.precision import precision_notes
from classify.predicting import Outcome
from triher.errors import Note
from triher.settings import Config

_LEAST_CALIBRATION = 10


def remarks(config: Config, gathered: Gathered, plan: Plan, outcome: Outcome) -> list[Note]:
    """All remarks about one training."""
    return [
        *_folds(config, outcome),
        *_small_classes(gathered, outcome),
        *_precision(gathered, plan),
        *_harmonization(config, gathered, plan, outcome),
        *_choices(config),
    ]


def _folds(config: Config, outcome: Outcome) -> list[Note]:
    """Fewer inner folds than were asked for."""
    n_folds = outcome.model.search["inner_folds"]
    if n_folds >= config.classify.folds:
        return []
    text = f"{n_folds} inner folds instead of {config.classify.folds}, as many as the smallest class has patients"
    return [Note("", "folds_reduced", text)]


def _small_classes(gathered: Gathered, outcome: Outcome) -> list[Note]:
    """Classes that are small for calibration and prediction sets."""
    conformal, notes = outcome.model.conformal, []
    for name, count in zip(gathered.cases.classes, conformal.counts, strict=True):
        if count < _LEAST_CALIBRATION:
            notes.append(Note("", "calibration_small", f"the temperature rests on only {count} patients of {name}"))
        if order_statistic(count, conformal.alpha) > count:
            text = f"{name} is in every prediction set: {count} patients are too few for alpha {conformal.alpha:g}"
            notes.append(Note("", "conformal_small", text))
    return notes


def _precision(gathered: Gathered, plan: Plan) -> list[Note]:
    """How wide the intervals will be."""
    cases, notes = gathered.cases, []
    for part, rows in (("training patients", plan.final.train), ("held-out patients", plan.final.test)):
        if len(rows):
            counts = list(class_counts(cases.y[rows], cases.classes).values())
            notes += precision_notes(part, counts, cases.classes)
    return notes


def _harmonization(config: Config, gathered: Gathered, plan: Plan, outcome: Outcome) -> list[Note]:
    """Sites that are too small, unseen, or of one class."""
    harmonizer, cases = outcome.model.preparation.harmonizer, gathered.cases
    if harmonizer is None:
        return []
    train = plan.final.train
    return [*harmonizer.notes(cases.inputs.site), *confounded(cases.inputs.site[train], cases.y[train])]


def as_notes(findings: Sequence[Finding]) -> list[Note]:
    """What the leak linter found and let pass, a remark for each patient concerned or one for all."""
    return [
        Note(patient_id, finding.code, finding.text)
        for finding in findings
        for patient_id in finding.patient_ids or ("",)
    ]


def _choices(config: Config) -> list[Note]:
    """Choices that have a price."""
    notes = []
    if config.classify.class_weights != "none":
        text = "classes were weighted alike, so the probabilities are not those of a cohort with their real shares"
        notes.append(Note("", "class_weights", text))
    if not find_head(config.classify.head).lockable:
        text = f"the head '{config.classify.head}' is its training patients' vectors, so no bundle was written"
        notes.append(Note("", "head_unlockable", text))
    return notes
