import pytest

from classify.precision import auc_standard_error, precision_notes


def test_standard_error_of_hanley_and_mcneil():
    # AUC 0.744 with 29 positive and 103 negative patients: 95 % interval 0.63 to 0.86.
    error = auc_standard_error(0.744, 29, 103)
    assert (0.744 - 1.96 * error, 0.744 + 1.96 * error) == pytest.approx((0.63, 0.86), abs=0.006)


def test_few_patients_are_told_how_many_it_takes():
    (note,) = precision_notes("held-out patients", [40, 12, 20], ("zero", "low", "positive"))
    assert note.code == "sample_small"
    assert "12 low and 60 others" in note.text
    assert precision_notes("held-out patients", [400, 300, 200], ("zero", "low", "positive")) == []


def test_a_class_that_is_not_there_has_no_auc():
    (note,) = precision_notes("held-out patients", [4, 0, 2], ("zero", "low", "positive"))
    assert "no patient of low" in note.text
