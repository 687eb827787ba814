"""Recalibration as a named act: by hand, in known worlds, never silently, and with each site accounted for."""

import csv
import math

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.brier import patient_losses
from analysis.calibration.recalibration import recalibrate_sites, shift_prevalence, stated_shares, training_shares
from analysis.calibration.recalibration_metrics import weighed_losses
from analysis.part import Material
from analysis.parts import PARTS
from analysis.patients.samples import split_samples
from analysis.sections.recalibration import recalibration_part
from triher.cohort import Cohort
from triher.errors import StopRun
from triher.predictions import probability_columns, write_predictions
from triher.settings import AnalysisConfig, CohortConfig, Config

CLASSES = ("zero", "low", "positive")
COLUMNS = probability_columns("triple")
NEW = {"zero": 0.2, "low": 0.3, "positive": 0.5}


def world(n, shares, seed):
    """Normal images, one mean a class, with the exact probabilities under shares and under equal shares."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=shares)
    x = rng.normal(size=(n, 2)) + np.array([[0, 0], [1.5, 0], [0, 1.5]])[y]
    density = np.exp(-0.5 * ((x[:, None, :] - np.array([[0, 0], [1.5, 0], [0, 1.5]])) ** 2).sum(axis=2))
    return (
        y,
        density / density.sum(axis=1, keepdims=True),
        density * shares / (density * shares).sum(1, keepdims=True),
    )


def table(y, p, *, split="test", site="A", repeats=1):
    n = len(y)
    rows = pd.DataFrame({"patient_id": [f"{split}-{site}-{i:03d}" for i in range(n)], "cohort": "c", "site": site})
    rows = rows.assign(split=split, repeat=0, fold=0, seed=0, y=np.asarray(y, float))
    rows[COLUMNS] = p
    return pd.concat([rows.assign(repeat=r) for r in range(repeats)], ignore_index=True)


def material_of(frame, record=None, **analysis):
    config = Config(cohort=CohortConfig(table="t.csv"), analysis=AnalysisConfig(**{"resamples": 100, **analysis}))
    samples = split_samples(frame, "triple")
    return Material(frame, None, samples, {}, Cohort((), (), frozenset()), config, record or {})


def both_splits(n=150):
    y, p, _ = world(n, np.full(3, 1 / 3), 1)
    y2, p2, _ = world(n, np.array([0.2, 0.3, 0.5]), 2)
    return pd.concat([table(y, p, split="oof"), table(y2, p2)], ignore_index=True)


def test_the_shift_is_bayes_rule_in_a_world_where_only_the_shares_differ():
    shares = np.array([0.2, 0.3, 0.5])
    _, equal, exact = world(200, shares, 0)
    assert shift_prevalence(equal, np.full(3, 1 / 3), shares) == pytest.approx(exact, abs=1e-12)
    assert shift_prevalence(equal, shares, shares) == pytest.approx(equal, abs=1e-12)
    there = shift_prevalence(equal, np.full(3, 1 / 3), shares)
    assert shift_prevalence(there, shares, np.full(3, 1 / 3)) == pytest.approx(equal, abs=1e-12)


@pytest.mark.parametrize(
    ("prevalence", "message"),
    [
        ({"zero": 0.5, "low": 0.5}, "gives no share for positive"),
        ({"zero": 0.5, "low": 0.4, "positive": 0.2}, "sums to 1.1"),
        ({"zero": 0.5, "low": 0.3, "positiv": 0.2}, "did you mean 'positive'"),
    ],
)
def test_shares_that_do_not_fit_stop_the_run(prevalence, message):
    with pytest.raises(StopRun, match=message):
        recalibration_part(material_of(both_splits(60), recalibrate="prevalence", prevalence=prevalence))
    assert stated_shares(NEW, CLASSES).tolist() == [0.2, 0.3, 0.5]


def test_the_shares_of_training_come_from_the_development_patients_or_the_weights():
    material = material_of(both_splits(90))
    y = material.samples[1].y
    shares, origin = training_shares(material.samples, {}, CLASSES)
    assert shares.tolist() == pytest.approx((np.bincount(y) / 90).tolist())
    assert origin == "90 development patients"
    balanced = {"classify": {"settings": {"class_weights": "balanced"}}}
    assert training_shares(material.samples, balanced, CLASSES)[0].tolist() == [1 / 3] * 3
    drawn = {"finetune": {"choices": {"finetune": {"balanced_sampling": True}}}}
    own = {**drawn, "classify": {"head": "network"}}
    assert training_shares(material.samples, own, CLASSES)[0].tolist() == [1 / 3] * 3
    stacked = {**drawn, "classify": {"head": "logistic"}}
    assert training_shares(material.samples, stacked, CLASSES)[0].tolist() == shares.tolist()
    with pytest.raises(StopRun, match="no development patients"):
        training_shares(material.samples[:1], {}, CLASSES)


def test_predictions_are_written_for_all_splits_and_better_at_the_stated_shares(tmp_path):
    frame = both_splits()
    part = recalibration_part(material_of(frame, recalibrate="prevalence", prevalence=NEW))
    changed = part.predictions["recalibrated"]
    assert list(changed.columns) == list(frame.columns)
    assert changed.drop(columns=COLUMNS).equals(frame.drop(columns=COLUMNS))
    write_predictions(tmp_path / "recalibrated.csv", changed, "triple")
    with (tmp_path / "recalibrated.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(frame)
    found = {(m.split, m.quantity): m.estimate for m in part.metrics}
    for split in ("oof", "test"):
        assert found[split, "log_loss_change_at_stated_shares"].high < 0
    assert found["test", "log_loss_change"].value < 0 < found["oof", "log_loss_change"].value
    assert {m.part for m in part.metrics} == {"recalibration"}
    texts = " ".join(block.text for block in part.section.blocks if hasattr(block, "text"))
    assert "150 development patients" in texts
    assert "Nothing else in this report uses them" in texts


def test_scores_at_stated_shares_are_the_weighed_means_of_the_classes():
    y, p, _ = world(120, np.full(3, 1 / 3), 3)
    losses, shares = patient_losses(y, p), np.array([0.2, 0.3, 0.5])
    found = weighed_losses(y, losses, shares, CLASSES, resamples=100, seed=0)
    expected = sum(shares[c] * losses[y == c].mean(axis=0) for c in range(3))
    assert [e.value for e in found] == pytest.approx(expected.tolist())
    assert found[0].low < found[0].value < found[0].high
    few = weighed_losses(y[y != 2], losses[y != 2], shares, CLASSES, resamples=100, seed=0)
    assert few[0].reason == "0 HER2-positive"


def test_every_site_gets_intercepts_that_its_own_patients_did_not_choose():
    y, p, _ = world(240, np.array([0.2, 0.3, 0.5]), 4)
    few, p_few, _ = world(20, np.full(3, 1 / 3), 5)
    unlabeled = table(np.full(3, np.nan), p[:3], site="A").assign(patient_id=["u0", "u1", "u2"])
    frame = pd.concat([table(y, p, repeats=2), table(few, p_few, site="B"), unlabeled], ignore_index=True)
    part = recalibration_part(material_of(frame, recalibrate="site"))
    changed = part.predictions["recalibrated"]
    [note] = part.notes
    assert note.code == "recalibration_small"
    assert "site 'B' of cohort 'c'" in note.text
    of_b = (frame["site"] == "B").to_numpy()
    assert changed.loc[of_b, COLUMNS].equals(frame.loc[of_b, COLUMNS])
    assert not np.allclose(changed.loc[~of_b, COLUMNS], frame.loc[~of_b, COLUMNS], atol=0.02)
    found = {(m.quantity, m.class_name): m.estimate for m in part.metrics}
    for name in CLASSES:
        after, before = (found[f"calibration_in_the_large_{when}", name].value for when in ("after", "before"))
        assert abs(after) < abs(before)
        assert abs(after) < 0.1
    assert found["log_loss_change", ""].high < 0


def test_a_patient_does_not_choose_the_own_intercepts():
    y, p, _ = world(100, np.full(3, 1 / 3), 6)
    frame = table(y, p)
    first, done = recalibrate_sites(frame, "triple", 0)
    shifts = np.log(first[COLUMNS].to_numpy() / p)
    shifts -= shifts[:, :1]
    assert len(np.unique(shifts.round(8), axis=0)) == 5
    assert done[0].intercepts[0] == 0
    again, _ = recalibrate_sites(frame.sample(frac=1, random_state=1), "triple", 0)
    assert again.loc[first.index, COLUMNS].to_numpy() == pytest.approx(first[COLUMNS].to_numpy(), abs=1e-9)


@pytest.mark.fault("E19")
def test_nothing_is_recalibrated_unless_it_is_asked_for():
    part = PARTS["recalibration"](material_of(both_splits(60), prevalence=NEW))
    assert part.predictions is None
    assert part.metrics == ()
    assert part.section is None


def test_a_table_is_left_as_it_was():
    frame = both_splits(60)
    before = frame.copy()
    for how in ("prevalence", "site"):
        recalibration_part(material_of(frame, recalibrate=how, prevalence=NEW))
    assert frame.equals(before)
    assert math.isclose(sum(NEW.values()), 1)
