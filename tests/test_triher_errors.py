"""The error classes: stable codes, survival of process boundaries, suggestions."""

import pickle

import pytest

from triher.codes import CODES
from triher.errors import SkipPatient, StopRun, unknown_name


def test_message_names_code_and_remedy():
    error = StopRun("table_empty", "cohort.csv holds no row")
    assert str(error) == "cohort.csv holds no row [table_empty] -> check the file"
    assert str(StopRun("table_empty", "empty", remedy="fill it")).endswith("-> fill it")


def test_code_without_documentation_is_refused():
    with pytest.raises(KeyError, match="no_such_code"):
        StopRun("no_such_code", "text")


@pytest.mark.parametrize("kind", [StopRun, SkipPatient])
def test_errors_survive_a_process_boundary(kind):
    before = kind("mask_empty", "P1: no voxel", remedy="segment it")
    after = pickle.loads(pickle.dumps(before))  # noqa: S301 - made one expression ago
    assert (type(after), after.code, after.message, after.remedy) == (
        kind,
        "mask_empty",
        "P1: no voxel",
        "segment it",
    )


def test_codes_are_sorted_and_explained():
    assert list(CODES) == sorted(CODES)
    assert all(meaning and remedy for meaning, remedy in CODES.values())


@pytest.mark.fault("G14")
def test_unknown_name_lists_the_nearest_first():
    error = unknown_name("head", "xgbost", ["logistic", "xgboost"])
    assert error.code == "unknown_name"
    assert error.message == "unknown head 'xgbost'; did you mean 'xgboost'? known: xgboost, logistic"
    assert unknown_name("head", "zzz", ["b", "a"]).message == "unknown head 'zzz'; known: a, b"
