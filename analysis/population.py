"""Who was in and who was left out: the flow of patients, and the table of their characteristics."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.figures_flow import flow_figure, meaning
from analysis.flow import Flow
from analysis.kaplan_meier import median_follow_up
from analysis.page import Block, Gallery, Paragraph, Table
from analysis.samples import class_label
from analysis.wording import count, split_name
from triher.codes import CODES
from triher.cohort import Cohort, Patient
from triher.errors import Note, Skipped

_MANY_SITES = 20
_LISTED = 300  # rows of a folded list; the whole lies in skipped.csv and notes.csv


def flow_blocks(flow: Flow, classes: Sequence[str], notes: Sequence[Note]) -> list[Block]:
    """The flow as a figure and in numbers, the reasons and the remarks.

    Args:
        flow: the numbers.
        classes: of the label scheme.
        notes: rows of ``notes.csv``.
    """
    title = "Flow of patients, after STARD and CONSORT; whoever has several reasons counts at the first"
    blocks: list[Block] = [Gallery(title, [flow_figure(flow, classes)]), _flow_table(flow)]
    if flow.unaccounted:
        shown = ", ".join(flow.unaccounted[:10]) + (", …" if len(flow.unaccounted) > 10 else "")
        text = f"{count(len(flow.unaccounted), 'patient')} of the table went missing without a reason: {shown}."
        blocks.append(Paragraph(f"{text} Run the earlier stages again.", tone="note"))
    if flow.strangers:
        text = f"{count(len(flow.strangers), 'patient')} predicted or left out in this run"
        verb = "is" if len(flow.strangers) == 1 else "are"
        text = f"{text} {verb} not in the cohort table as it is now, and not in the figure."
        blocks.append(Paragraph(text, tone="note"))
    return blocks + _left_out_tables(flow.left_out) + _note_tables(notes)


def _flow_table(flow: Flow) -> Table:
    """The figure as a table."""
    rows = [["In the cohort table", str(flow.n_cohort)]]
    for leaving in flow.exits:
        rows.append([f"{leaving.title}: left out", str(leaving.n)])
        rows += [[f"... {meaning(code)}", str(n)] for code, n in leaving.reasons.items()]
        rows.append([leaving.reached, str(leaving.left)])
    rows.append(["Predicted", str(len(flow.done))])
    rows += [[f"... {split_name(end.split)}", str(end.n)] for end in flow.ends]
    unlabeled = sum(end.unlabeled for end in flow.ends)
    rows.append(["Predicted, but without HER2 label (not in discrimination and calibration)", str(unlabeled)])
    return Table("Every patient is accounted for", ["Patients", "Number"], rows, folded="The figure as a table")


def _left_out_tables(left_out: Sequence[Skipped]) -> list[Block]:
    """Counts by reason, and the list."""
    if not left_out:
        return [Paragraph("Nobody was left out.")]
    groups = Counter((row.stage, row.code, row.remedy) for row in left_out)
    summary = [[_coded(code), stage, str(n), remedy] for (stage, code, remedy), n in groups.most_common()]
    listed = [[row.patient_id, row.code, row.reason, row.remedy] for row in left_out[:_LISTED]]
    title = "Left out, by reason; somebody can have several"
    fold = f"List of the {count(len(left_out), 'entry', 'entries')} (skipped.csv)"
    header = ["Patient", "Code", "What was found", "What to do"]
    return [
        Table(title, ["Why", "Stage", "Patients", "What to do"], summary, text_cells=True),
        Table("Patients left out", header, listed, folded=fold, text_cells=True),
    ]


def _coded(code: str) -> str:
    """A code with its meaning.

    >>> _coded("her2_unknown")
    'no HER2 class follows from the entries (her2_unknown)'
    """
    return f"{meaning(code)} ({code})" if code in CODES else code


def _note_tables(notes: Sequence[Note]) -> list[Block]:
    """Remarks about patients who were processed all the same."""
    if not notes:
        return []
    rows = [[note.patient_id or "whole run", note.code, note.text] for note in notes[:_LISTED]]
    fold = (
        f"{count(len(notes), 'remark')} about the run and about patients who were processed all the same (notes.csv)"
    )
    return [Table("Remarks", ["Patient", "Code", "Remark"], rows, folded=fold, text_cells=True)]


def characteristics(frame: pd.DataFrame, cohort: Cohort, classes: tuple[str, ...]) -> Table:
    """Table 1: who the predicted patients of each split are."""
    splits = sorted(frame["split"].unique(), key=lambda s: (s != "test", s))
    rows_of = {split: frame[frame["split"] == split].drop_duplicates("patient_id") for split in splits}
    groups = {split_name(str(split)): rows for split, rows in rows_of.items()}
    if len(splits) > 1:
        groups["All"] = frame.drop_duplicates("patient_id")
    known = {patient.patient_id: patient for patient in cohort.patients}
    patients = {name: [known[i] for i in rows["patient_id"] if i in known] for name, rows in groups.items()}
    sites = sorted(frame["site"].unique())
    lines = [["Patients", *(str(len(rows)) for rows in groups.values())]]
    for position, label in [*enumerate(class_label(name) for name in classes), (None, "HER2 label unknown")]:
        lines.append([label, *(_share(_is_class(rows, position), len(rows)) for rows in groups.values())])
    if 1 < len(sites) <= _MANY_SITES:
        lines += [[f"Site: {site}", *(_at_site(rows, site) for rows in groups.values())] for site in sites]
    names = list(cohort.patients[0].covariates) if cohort.patients else []
    lines += [[name, *(_summary(members, name) for members in patients.values())] for name in names]
    lines += _follow_up_lines(list(patients.values()))
    caption = "Characteristics of the predicted patients: number (percent) or median (quartiles)"
    return Table(caption, ["", *groups], lines)


def _is_class(rows: pd.DataFrame, position: int | None) -> int:
    """How many have that class; None asks for those without any."""
    return int(rows["y"].isna().sum() if position is None else (rows["y"] == position).sum())


def _at_site(rows: pd.DataFrame, site: str) -> str:
    """Number and percent of one site's patients."""
    return _share(int((rows["site"] == site).sum()), len(rows))


def _share(n: int, total: int) -> str:
    """Number and percent."""
    return f"{n} ({n / total:.0%})" if total else "0"


def _summary(patients: Sequence[Patient], name: str) -> str:
    """Median and quartiles, or number and percent where the covariate is 0 or 1; and how many are missing."""
    values = np.array([p.covariates[name] for p in patients], dtype=float)
    present = values[~np.isnan(values)]
    missing = f"; {len(values) - len(present)} missing" if len(present) < len(values) else ""
    if not len(present):
        return "all missing"
    if set(present.tolist()) <= {0.0, 1.0}:
        return _share(int(present.sum()), len(present)) + missing
    low, middle, high = np.quantile(present, [0.25, 0.5, 0.75])
    return f"{middle:.3g} ({low:.3g} to {high:.3g}){missing}"


def _follow_up_lines(groups: Sequence[Sequence[Patient]]) -> list[list[str]]:
    """Events and median follow-up, where there is any."""
    if not any(p.event >= 0 for members in groups for p in members):
        return []
    events = ["Events"]
    medians = ["Median follow-up, months (reverse Kaplan-Meier)"]
    for members in groups:
        followed = [p for p in members if p.event >= 0 and p.time_months >= 0]
        events.append(f"{sum(p.event == 1 for p in followed)} of {len(followed)}")
        medians.append(_median_follow_up(followed))
    return [events, medians]


def _median_follow_up(followed: Sequence[Patient]) -> str:
    """Reverse Kaplan-Meier: censoring is the event, and any event, a competing one too, ends the view of it."""
    if not followed:
        return "-"
    time = np.array([p.time_months for p in followed], dtype=np.float64)
    median = median_follow_up(time, np.array([p.event == 0 for p in followed])).value
    return f"{median:.1f}" if math.isfinite(median) else "not reached"
