"""Who was in and who was left out: the flow of patients, the reasons and the remarks."""

from collections import Counter
from collections.abc import Sequence

from analysis.figures.flow import flow_figure, meaning
from analysis.page import Block, Gallery, Paragraph, Table
from analysis.patients.flow import Flow
from analysis.wording import count, split_name
from triher.codes import CODES
from triher.errors import Note, Skipped

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
    return Table(
        "Every patient is accounted for", ["Patients", "Number"], rows, folded="The figure as a table", sortable=False
    )


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
