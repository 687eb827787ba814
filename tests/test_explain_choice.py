"""Who is explained: what each patient shows, held-out patients first, the same whatever the order of the table."""

import numpy as np
import pandas as pd
import pytest

from triher.errors import StopRun
from triher.explain.choice import choose
from triher.explained import Chosen, read_chosen, write_chosen

# id, split, class, probabilities of zero, low, positive
ROWS = (
    ("error-70", "test", 0, 0.1, 0.7, 0.2),
    ("error-90-seen", "oof", 0, 0.05, 0.9, 0.05),
    ("error-60", "test", 2, 0.2, 0.6, 0.2),
    ("zero-80", "test", 0, 0.8, 0.1, 0.1),
    ("zero-95-seen", "oof", 0, 0.95, 0.03, 0.02),
    ("low-75", "test", 1, 0.05, 0.75, 0.2),
    ("positive-65", "test", 2, 0.15, 0.2, 0.65),
    ("unsure", "test", 1, 0.33, 0.34, 0.33),
    ("unlabeled", "test", np.nan, 0.3, 0.2, 0.5),
)


def predictions(rows=ROWS) -> pd.DataFrame:
    names = ("patient_id", "split", "y", "p_zero", "p_low", "p_positive")
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(cohort="C", site="A", repeat=0, fold=0, seed=0)


def chosen(n: int, pairs=(), rows=ROWS) -> dict[str, str]:
    among = [row[0] for row in rows]
    return {c.patient_id: c.reason for c in choose(predictions(rows), "triple", pairs, n=n, among=among)}


def test_each_kind_is_shown_once_before_any_is_shown_twice_and_held_out_patients_come_first():
    assert chosen(6) == {
        "error-70": "surest error",
        "zero-80": "surest right, zero",
        "low-75": "surest right, low",
        "positive-65": "surest right, positive",
        "unsure": "least sure",
        "error-60": "surest error",
    }


def test_matched_pairs_take_half_of_the_places_and_stay_together():
    pairs = [("zero-80", "low-75"), ("error-70", "unsure"), ("zero-95-seen", "error-90-seen")]
    found = chosen(7, pairs)
    assert list(found)[:2] == ["zero-80", "low-75"]
    assert found["zero-80"] == "matched with low-75"
    assert found["low-75"] == "matched with zero-80"
    assert sum("matched" in reason for reason in found.values()) == 2  # two pairs would be more than half
    assert sum("matched" in reason for reason in chosen(8, pairs).values()) == 4


def test_nobody_is_lost_where_all_are_wanted_and_the_order_of_the_table_does_not_matter():
    everybody = chosen(0, [("zero-80", "low-75")])
    assert everybody.keys() == {row[0] for row in ROWS}
    assert chosen(0, [("zero-80", "low-75")], ROWS[::-1]) == everybody


def test_only_those_who_can_be_explained_are_chosen():
    found = choose(predictions(), "triple", [("gone", "low-75")], n=3, among=["low-75", "unsure"])
    assert {one.patient_id for one in found} == {"low-75", "unsure"}
    assert all("matched" not in one.reason for one in found)


def test_the_table_of_the_chosen_reads_back_with_any_id(tmp_path):
    rows = (Chosen("=1+1", "surest error"), Chosen('<script>"', "matched with =1+1"))
    write_chosen(tmp_path / "patients.csv", rows)
    assert read_chosen(tmp_path / "patients.csv") == rows
    write_chosen(tmp_path / "patients.csv", ())
    assert read_chosen(tmp_path / "patients.csv") == ()
    assert read_chosen(tmp_path / "none.csv") == ()
    (tmp_path / "other.csv").write_text("patient_id\nP1\n")
    with pytest.raises(StopRun, match="no column 'reason'"):
        read_chosen(tmp_path / "other.csv")
