"""The prediction table: round trip, checks, averages."""

import csv

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triher.errors import StopRun
from triher.predictions import (
    KEYS,
    TRAINED,
    one_row_a_patient,
    probability_columns,
    read_predictions,
    refuse_trained,
    write_predictions,
)

TRIPLE = ["p_zero", "p_low", "p_positive"]
IDS = ["001", "=cmd|' /C calc'!A0", "-1", "NA", "1e5", "'=x", "\u00c4/\u6f22,;", "<b>", "+P", "@P"]


def table(ids, *, y=None, repeats=1, seed=0, **extra):
    """A prediction table of random probabilities."""
    rng = np.random.default_rng(seed)
    n = len(ids) * repeats
    frame = pd.DataFrame(
        {
            "patient_id": list(ids) * repeats,
            "cohort": "C",
            "site": "=S",
            "split": "oof",
            "repeat": np.repeat(range(repeats), len(ids)),
            "fold": np.arange(n) % 5,
            "seed": 7,
            "y": list(y if y is not None else np.arange(len(ids)) % 3) * repeats,
        }
    )
    frame[TRIPLE] = rng.dirichlet([1, 1, 1], n)
    return frame.assign(**extra)


def test_columns_follow_the_scheme():
    assert probability_columns("triple") == TRIPLE
    assert probability_columns("ultralow") == ["p_zero", "p_ultralow", "p_low", "p_positive"]


def test_round_trip_keeps_ids_numbers_and_order(tmp_path):
    frame = table(IDS, y=[0, 1, 2, np.nan, None, 0, 1, 2, 0, 1], repeats=2)
    path = tmp_path / "predictions.csv"
    write_predictions(path, frame, "triple")
    back = read_predictions(path, "triple")
    assert list(back.columns) == [*KEYS, *TRIPLE]
    for column in ("patient_id", "cohort", "site", "split", "repeat", "fold", "seed"):
        assert back[column].tolist() == frame[column].tolist()
    np.testing.assert_array_equal(back["y"].to_numpy(), frame["y"].to_numpy(float))
    np.testing.assert_array_equal(back[TRIPLE].to_numpy(), frame[TRIPLE].to_numpy())  # to the bit
    assert set(back["patient_id"]) == set(IDS)  # a join by id loses nobody


def test_no_cell_of_the_file_is_a_formula(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, table(IDS), "triple")
    with path.open(encoding="utf-8", newline="") as handle:
        cells = [cell for row in csv.reader(handle) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_further_columns_stay_behind(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, table(["A", "B"], outside="-3 SD", rank=[1, 2])[::-1], "triple")
    back = read_predictions(path, "triple")
    assert list(back.columns) == [*KEYS, *TRIPLE, "outside", "rank"]
    assert back["outside"].tolist() == ["-3 SD", "-3 SD"]
    assert back["rank"].tolist() == ["2", "1"]


@pytest.mark.parametrize("row", [[0.5, 0.4, 0.2], [0.5, 0.5, np.nan], [1.2, -0.2, 0.0], [np.inf, 0, 0]])
def test_writing_improper_probabilities_is_a_fault_of_the_program(tmp_path, row):
    frame = table(["A", "B"])
    frame.loc[1, TRIPLE] = row
    with pytest.raises(ValueError, match="sum to 1"):
        write_predictions(tmp_path / "p.csv", frame, "triple")
    assert list(tmp_path.iterdir()) == []


HEAD = "patient_id,cohort,site,split,repeat,fold,seed,y,p_zero,p_low,p_positive\n"


@pytest.mark.parametrize(
    ("cells", "part"),
    [
        ("0,0,7,0,0.5,0.4,0.2", "line 3: the probabilities do not sum to 1"),
        ("0,0,7,0,0.5,0.5,nan", "line 3: the probabilities do not sum to 1"),
        ("0,0,7,0,-0.2,0.6,0.6", "line 3: a probability is negative"),
        ("0,0,7,3,0.2,0.3,0.5", "line 3: y is no position in the scheme 'triple'"),
        ("0,0,7,-1,0.2,0.3,0.5", "line 3: y is no position"),
        ("0,0,7,0.5,0.2,0.3,0.5", "line 3: y is no position"),
        ("0,0,7,inf,0.2,0.3,0.5", "line 3: y is no position"),
        ("0,0,7,low,0.2,0.3,0.5", "low"),
        ("0,0,7,0,0.2,0.3,half", "half"),
        ("0,0.5,7,0,0.2,0.3,0.5", "0.5"),
        (",0,7,0,0.2,0.3,0.5", "invalid literal"),
    ],
)
def test_reading_refuses_what_is_no_prediction(tmp_path, cells, part):
    path = tmp_path / "p.csv"
    path.write_text(HEAD + "A,C,S,oof,0,0,7,0,0.2,0.3,0.5\nB,C,S,oof," + cells + "\n", encoding="utf-8")
    with pytest.raises(StopRun) as caught:
        read_predictions(path, "triple")
    assert caught.value.code == "number_format"
    assert part in caught.value.message
    assert "p.csv" in caught.value.message


def test_the_table_of_another_scheme_is_refused(tmp_path):
    write_predictions(tmp_path / "p.csv", table(["A"]), "triple")
    with pytest.raises(StopRun, match="no column 'p_negative'") as caught:
        read_predictions(tmp_path / "p.csv", "binary")
    assert caught.value.code == "column_missing"


def test_unknown_labels_are_nan(tmp_path):
    write_predictions(tmp_path / "p.csv", table(["A", "B"], y=[np.nan, np.nan]), "triple")
    assert read_predictions(tmp_path / "p.csv", "triple")["y"].isna().all()


def test_repeats_are_averaged_within_each_split():
    frame = table(["B", "A"], y=[2, np.nan], repeats=3)
    held_out = frame[frame["repeat"] == 0].assign(split="test")
    merged = one_row_a_patient(pd.concat([frame, held_out]), "triple")
    assert list(merged.columns) == list(frame.columns)
    assert list(zip(merged["split"], merged["patient_id"], strict=True)) == [
        ("oof", "B"),
        ("oof", "A"),
        ("test", "B"),
        ("test", "A"),
    ]
    expected = frame[frame["patient_id"] == "B"][TRIPLE].to_numpy().mean(axis=0)
    np.testing.assert_allclose(merged.loc[0, TRIPLE].to_numpy(float), expected, rtol=1e-12)
    np.testing.assert_allclose(merged[TRIPLE].sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(merged["y"].to_numpy(float), [2, np.nan, 2, np.nan])


@settings(max_examples=25, deadline=None)
@given(
    ids=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.sampled_from(IDS),
        min_size=1,
        max_size=5,
        unique=True,
    ),
    seed=st.integers(0, 1000),
)
def test_any_table_reads_back_equal(tmp_path_factory, ids, seed):
    path = tmp_path_factory.getbasetemp() / "predictions.csv"
    frame = table(ids, seed=seed)
    write_predictions(path, frame, "triple")
    back = read_predictions(path, "triple")
    assert back["patient_id"].tolist() == ids
    np.testing.assert_array_equal(back[TRIPLE].to_numpy(), frame[TRIPLE].to_numpy())


def test_a_patient_stands_once_in_a_repeat_and_has_one_class(tmp_path):
    path = tmp_path / "predictions.csv"
    frame = table(["A", "B"], repeats=2)
    write_predictions(path, pd.concat([frame, frame.iloc[[1]]]), "triple")
    with pytest.raises(StopRun, match="line 6: a second row of patient 'B' in split 'oof', repeat 0") as caught:
        read_predictions(path, "triple")
    assert caught.value.code == "patient_duplicate"
    write_predictions(path, frame.assign(y=[0, 1, 0, 2]), "triple")
    with pytest.raises(StopRun, match="patient 'B' has two classes") as caught:
        read_predictions(path, "triple")
    assert caught.value.code == "truth_differs"
    named = pd.concat([frame.assign(model=name) for name in ("volume", "clinical")])
    write_predictions(path, named, "triple")
    assert len(read_predictions(path, "triple")) == 8


@pytest.mark.fault("F9")
def test_a_bundle_is_not_judged_by_those_it_was_trained_on():
    frame = table(["A", "B"], outside=["", f"{TRAINED}; volume above"])
    refuse_trained(frame[:1])
    with pytest.raises(StopRun, match=r"1 of the 2 patients \(first: B\)") as caught:
        refuse_trained(frame)
    assert caught.value.code == "score_in_sample"
