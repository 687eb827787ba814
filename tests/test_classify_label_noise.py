import numpy as np
import pytest

from classify.label_noise import exchange_labels, exchangeable
from triher.cohort import Patient

CLASSES = ("zero", "low", "positive")


def patient(ihc):
    return Patient("P", "c", "s", "", {}, None, ihc=ihc)


def test_only_ihc_0_and_1_can_be_read_differently():
    people = [patient(text) for text in ("0", "1+", "2+", "3+", "HER2-low", "")]
    y = np.array([0, 1, 1, 2, 1, 1])
    assert exchangeable(people, y, CLASSES).tolist() == [True, True, False, False, True, False]
    assert not exchangeable(people, np.array([0, 0, 0, 1, 0, 0]), ("negative", "positive")).any()


def test_about_the_share_changes_and_nobody_becomes_positive():
    y = np.repeat([0, 1, 2], 2000)
    candidates = y < 2
    changed = exchange_labels(y, candidates, CLASSES, 0.1, np.random.default_rng(0))
    assert (changed != y)[candidates].mean() == pytest.approx(0.1, abs=0.01)
    assert (changed[y == 2] == 2).all()
    assert set(changed[y == 0]) == {0, 1}
