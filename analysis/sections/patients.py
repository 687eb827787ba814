"""Explained patients one by one, errors first: slice, maps, probabilities, and the shares of the inputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.explained_run import Explained
from analysis.page import Block, Folded, Heading, Paragraph, Picture, Pictures, Table
from analysis.part import Material
from analysis.patients.samples import class_label
from analysis.patients.slides import Slide, Slides
from analysis.patients.words import known_of, shares_of, truth_of
from analysis.wording import count, split_name
from triher.cohort import Patient
from triher.explanation_tables import GroupShare
from triher.predictions import one_row_a_patient, probability_columns
from triher.runfolder import RunFolder

_BUDGET = 900_000
"""Bytes of pictures; with those of the pairs and the figures, the page stays below 5 MB."""
_MOST_SHARES = 10
_MOST_OPEN = 6  # errors that are not folded
_TEXT = (
    "Patients were chosen by rule: matched pairs, the surest errors, the surest right answers of each class, and the "
    "least sure ones. Errors come first here. Maps go from violet (weak) to yellow, the strongest place in any slice "
    "of that patient, so a weak map looks as bright as a strong one, and colors of two patients are not to be "
    "compared."
)


@dataclass(frozen=True)
class Case:
    """A patient who is explained."""

    patient: Patient
    reason: str
    """Why this patient was chosen."""
    split: str
    truth: int | None
    """Position of the class by pathology; None where it is not known."""
    probabilities: tuple[float, ...]
    """As predicted by a model that did not see the patient."""

    @property
    def predicted(self) -> int:
        """Position of the likeliest class."""
        return max(range(len(self.probabilities)), key=lambda c: self.probabilities[c])

    @property
    def is_error(self) -> bool:
        """Whether the likeliest class is not the true one."""
        return self.truth is not None and self.truth != self.predicted


def patient_blocks(explained: Explained, material: Material, run: RunFolder) -> tuple[list[Block], tuple[str, ...]]:
    """The chosen patients, errors first, and the ids of those who are shown.

    Args:
        explained: whom to show, and the shares of their inputs.
        material: predictions and cohort.
        run: where slabs and maps lie.

    Raises:
        StopRun: as the readers of the run's feature store and maps.
    """
    cases = _cases(explained, material)
    if not cases:
        return [], ()
    slides, spent = Slides(run), 0
    shown: dict[bool, list[list[Block]]] = {True: [], False: []}
    named = []
    for case in cases:
        pictures = _pictures(slides.of(case.patient.patient_id), case, material.classes)
        spent += sum(len(picture.uri) for picture in pictures)
        if spent > _BUDGET:
            break
        shown[case.is_error].append(_case_blocks(case, pictures, slides, explained, material.classes))
        named.append(case.patient.patient_id)
    n_errors = sum(case.is_error for case in cases[: len(named)])
    blocks: list[Block] = [Heading("Patients, errors first"), Paragraph(_TEXT)]
    if not n_errors:
        blocks.append(Paragraph("None of the chosen patients is predicted wrongly."))
    blocks += [block for one in shown[True][:_MOST_OPEN] for block in one]
    for title, rest in (
        (f"More errors: {n_errors - _MOST_OPEN}", shown[True][_MOST_OPEN:]),
        (f"Predicted rightly, or without HER2 label: {len(named) - n_errors}", shown[False]),
    ):
        if rest:
            blocks.append(Folded(title, [block for one in rest for block in one]))
    if len(named) < len(cases):
        more = count(len(cases) - len(named), "more patient")
        blocks.append(Paragraph(f"{more} would make this page too large; `triher view RUN` shows everybody."))
    return blocks, tuple(named)


def _cases(explained: Explained, material: Material) -> list[Case]:
    """The chosen patients: the surest errors, then the others in the order of choice."""
    averaged = one_row_a_patient(material.frame, material.config.scheme).drop_duplicates("patient_id")
    columns = probability_columns(material.config.scheme)
    rows = {str(row["patient_id"]): row for row in averaged.to_dict("records")}
    known = {patient.patient_id: patient for patient in material.cohort.patients}
    cases = []
    for one in explained.chosen:
        if one.patient_id not in rows or one.patient_id not in known:
            continue
        row = rows[one.patient_id]
        truth = None if math.isnan(row["y"]) else int(row["y"])
        p = tuple(float(row[column]) for column in columns)
        cases.append(Case(known[one.patient_id], one.reason, str(row["split"]), truth, p))
    return sorted(cases, key=lambda case: (not case.is_error, -max(case.probabilities) if case.is_error else 0))


def _pictures(slide: Slide | None, case: Case, classes: Sequence[str]) -> list[Picture]:
    """The slice, and what speaks for the explained model's answer and, where that is another one, for the truth."""
    if slide is None:
        return []
    who = case.patient.patient_id
    pictures = [slide.picture(who, slide.middle)]
    if slide.maps is None or slide.heat is None:
        return pictures
    answer = int(slide.maps.log_odds.argmax())
    wanted = [answer, *([case.truth] if case.truth not in (None, answer) else [])]
    return pictures + [slide.heated(who, class_label(classes[c]), c) for c in wanted if c is not None]


def _case_blocks(
    case: Case, pictures: Sequence[Picture], slides: Slides, explained: Explained, classes: Sequence[str]
) -> list[Block]:
    """One patient."""
    who = case.patient.patient_id
    truth = "" if case.truth is None else classes[case.truth]
    title = f"{who}: {truth_of(case.patient, truth)}, likeliest {class_label(classes[case.predicted])}"
    text = (
        f"{split_name(case.split)}: {shares_of(case.probabilities, classes)}. "
        f"{_model_words(slides.of(who), case, classes)}{known_of(case.patient)}. Chosen: {case.reason}."
    )
    blocks: list[Block] = [Pictures(title, pictures)] if pictures else [Paragraph(f"{title}. No pictures are left.")]
    return [*blocks, Paragraph(text), *_share_table(case, slides.of(who), explained, classes)]


def _model_words(slide: Slide | None, case: Case, classes: Sequence[str]) -> str:
    """What the explained model says, which for development patients is another one than predicted them."""
    if slide is None or slide.maps is None:
        return ""
    trained = "was trained on this patient" if slide.maps.in_training else "was not trained on this patient"
    answer = int(slide.maps.log_odds.argmax())
    p = 1 / (1 + math.exp(-float(slide.maps.log_odds[answer])))
    return f"The map is of the final model, which {trained} and says {classes[answer]} {p:.2f}. "


def _share_table(case: Case, slide: Slide | None, explained: Explained, classes: Sequence[str]) -> list[Block]:
    """From the mean of the training patients to this patient, share by share."""
    answer = case.predicted if slide is None or slide.maps is None else int(slide.maps.log_odds.argmax())
    who, label = case.patient.patient_id, classes[answer]
    own = [row for row in explained.groups if row.patient_id == who and row.label == label]
    if len(own) < 2:  # a single input has the whole share, which the probability tells already
        return []
    ordered = sorted(own, key=lambda row: (-abs(row.phi), row.group))
    rows = [["Mean of training patients", f"{own[0].base:z.2f}"]]
    rows += [[_input(row), f"{row.phi:+.2f}"] for row in ordered[:_MOST_SHARES]]
    if ordered[_MOST_SHARES:]:
        rest = sum(row.phi for row in ordered[_MOST_SHARES:])
        rows.append([f"{len(ordered) - _MOST_SHARES} others", f"{rest:+.2f}"])
    rows.append(["This patient", f"{own[0].base + sum(row.phi for row in own):z.2f}"])
    caption = f"Log-odds of {class_label(label)}, {who}"
    fold = f"What moved the log-odds of {class_label(label)}"
    return [Table(caption, ["Input", "Share"], rows, folded=fold, sortable=False, name="shap-patient")]


def _input(row: GroupShare) -> str:
    """A view, or a covariate with its value."""
    return row.group if row.kind == "view" or math.isnan(row.value) else f"{row.group} {row.value:.4g}"
