"""The flow of patients: whoever comes in comes out, each once, and the figure says the numbers."""

from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figures.flow import flow_figure
from analysis.patients.flow import patient_flow
from analysis.patients.population import flow_blocks
from triher.cohort import Cohort, Patient
from triher.errors import Skipped

CLASSES = ("zero", "low", "positive")
CODES = ("mask_empty", "phase_missing", "mask_missing", "image_4d", "image_corrupt", "image_constant", "mask_outside")


def cohort_of(n, places=("A",)):
    patients = (Patient(f"P{i}", places[i % len(places)], f"site {i % 3}", "", {}, None) for i in range(n))
    return Cohort(tuple(patients), (), frozenset())


def frame_of(rows):
    frame = pd.DataFrame(rows, columns=["patient_id", "split", "y", "cohort", "site"])
    return frame.astype({"y": float})


def skip(patient_id, code, stage="extract"):
    return Skipped(patient_id, "A", stage, code, "found", "mend")


def text_of(drawing):
    return " ".join(" ".join(ET.fromstring(drawing.svg).itertext()).split())  # noqa: S314


entries = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from([("extract", "mask_empty"), ("classify", "her2_unknown"), ("classify", "not_extracted"),
                         ("classify", "split_unused"), ("import", "no_images")]),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 25), entries, st.lists(st.sampled_from(["test", "oof", "new", "none"]), max_size=30))
def test_patients_in_are_patients_done_and_left_out(n, skipped, splits):
    rows = [
        (f"P{i}", split, np.nan if i % 4 == 3 else i % 3, "AB"[i % 2], f"site {i % 3}")
        for i, split in enumerate(splits)
        if split != "none"
    ]
    flow = patient_flow(frame_of(rows), cohort_of(n), [skip(f"P{i}", code, stage) for i, (stage, code) in skipped])
    assert flow.n_cohort == n
    assert flow.n_cohort == len(flow.done) + sum(leaving.n for leaving in flow.exits)
    assert all(leaving.n == sum(leaving.reasons.values()) > 0 for leaving in flow.exits)
    reached = [n, *(leaving.left for leaving in flow.exits)]
    assert [before - leaving.n for before, leaving in zip(reached, flow.exits, strict=False)] == reached[1:]
    assert reached[-1] == len(flow.done) == sum(end.n for end in flow.ends)
    assert all(end.n == sum(end.classes) + end.unlabeled == sum(end.places.values()) for end in flow.ends)


def test_a_patient_with_several_reasons_counts_at_the_first_step():
    skipped = [
        skip("P0", "her2_unknown", "classify"),
        skip("P0", "mask_empty"),
        skip("P1", "her2_unknown", "classify"),
    ]
    flow = patient_flow(frame_of([("P2", "oof", 0, "A", "s")]), cohort_of(3), skipped)
    assert [(leaving.title, dict(leaving.reasons), leaving.left) for leaving in flow.exits] == [
        ("Images or lesion not usable", {"mask_empty": 1}, 2),
        ("HER2 class not known", {"her2_unknown": 1}, 1),
    ]


def test_the_figure_says_every_number_and_folds_long_lists():
    rows = [(f"P{i}", "test" if i < 5 else "oof", i % 3, "AB"[i % 2], "s") for i in range(12)]
    skipped = [skip(f"P{12 + i}", code) for i, code in enumerate(CODES)] + [skip("P19", "mask_empty")]
    flow = patient_flow(frame_of(rows), cohort_of(20, ("A", "B")), skipped)
    drawing = flow_figure(flow, CLASSES)
    text = text_of(drawing)
    wanted = (
        "In the cohort table: 20", "cohort A: 10", "Images or lesion not usable: 8",
        "the lesion mask holds no voxel: 2",
        "3 other reasons: 3", "Images read and embedded: 12", "Held out for the test: 5", "HER2: zero 2, low 2,",
    )  # fmt: skip
    assert all(part in text for part in wanted), text
    assert "images or lesion not usable: 8" in drawing.description.lower()
    assert all(f"{code}" not in text for code in CODES)
    [_, table, summary, _] = flow_blocks(flow, CLASSES, [])
    assert ["... the lesion mask holds no voxel", "2"] in table.rows
    assert len([row for row in table.rows if row[0].startswith("... ")]) == len(CODES) + 2
    assert sum(int(row[2]) for row in summary.rows) == 8


def test_hostile_names_stay_text():
    evil = '<script>alert("1")</script>'
    cohort = Cohort((Patient("P0", evil, evil, "", {}, None), Patient("P1", "B", "B", "", {}, None)), (), frozenset())
    frame = frame_of([("P0", evil, 0, evil, evil)])
    drawing = flow_figure(patient_flow(frame, cohort, [skip("P1", evil)]), CLASSES)
    assert "<script" not in drawing.svg
    assert "<script>alert" in text_of(drawing)


def test_whoever_is_not_in_the_table_is_named_and_not_counted():
    flow = patient_flow(frame_of([("X", "oof", 0, "A", "s")]), cohort_of(1), [skip("Y", "mask_empty")])
    assert flow.strangers == ("X", "Y")
    assert flow.unaccounted == ("P0",)
    assert (flow.done, flow.ends) == ((), ())
    text = " ".join(block.text for block in flow_blocks(flow, CLASSES, []) if block.kind == "paragraph")
    assert "2 patients predicted or left out in this run are not in the cohort table" in text
