"""Limits of a run: each from its own numbers, in order of weight, and none that does not apply."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.discrimination.confusion import confusion_matrix
from analysis.discrimination.shortcut import EVERYBODY, FROM_SITE
from analysis.evaluation import Evaluation, SplitEvaluation
from analysis.limits.facts import Facts, Limit
from analysis.limits.ranked import limits
from analysis.metrics import Metric
from analysis.patients.flow import patient_flow
from analysis.patients.samples import split_samples
from analysis.sections.limits import limits_section
from analysis.summary import plain_words
from triher.cohort import Cohort, Patient
from triher.errors import Skipped
from triher.estimate import Estimate
from triher.settings import ClassifyConfig, CohortConfig, Config

CLASSES = ("zero", "low", "positive")


def table(n=90, test="C", sites="ABC"):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"patient_id": [f"P{i}" for i in range(n)], "cohort": "X"})
    frame["site"] = [sites[i % len(sites)] for i in range(n)]
    frame["split"] = np.where(frame["site"].isin(list(test)), "test", "oof")
    frame = frame.assign(repeat=0, fold=np.arange(n) % 5, seed=0, y=[float(i // 3 % 3) for i in range(n)])
    frame[[f"p_{name}" for name in CLASSES]] = rng.dirichlet(np.ones(3), n)
    return frame


def number(value, low=math.nan, high=math.nan, n=30):
    return Estimate(value, low, high, n, "m")


def facts(frame=None, metrics=(), record=None, *, skipped=(), **classify):
    frame = table() if frame is None else frame
    samples = split_samples(frame, "triple")
    splits = tuple(SplitEvaluation(s, (), confusion_matrix(s.y, s.probabilities), (), None) for s in samples)
    people = [Patient(name, "X", "A", "", {}, None) for name in frame["patient_id"]]
    people += [Patient(row.patient_id, "X", "A", "", {}, None) for row in skipped]
    cohort = Cohort(tuple(people), (), frozenset())
    config = Config(cohort=CohortConfig(table="t.csv"), classify=ClassifyConfig(**classify))
    evaluation = Evaluation("triple", CLASSES, splits, tuple(metrics))
    return Facts(evaluation, frame, patient_flow(frame, cohort, skipped), config, record or {"stages": {}})


def titles(given):
    return [limit.title for limit in limits(given)]


def text(given, title):
    [found] = [limit.text for limit in limits(given) if limit.title == title]
    return found


def test_the_plain_run_has_the_limits_of_its_design_with_their_numbers():
    macro = Metric("discrimination", "test", "auc_macro", number(0.7, 0.6, 0.8))
    given = facts(metrics=[macro])
    assert titles(given) == ["Few patients", "One site held out", "One draw of the folds"]
    few = text(given, "Few patients")
    assert few.startswith("Held-out test: 10 HER2-zero, 10 HER2-low, 10 HER2-positive.")
    assert "lie within 0.60 to 0.80 only" in few
    assert text(given, "One site held out").startswith("All 30 held-out patients are of site C.")


@pytest.mark.parametrize(
    ("record", "title"),
    [
        ({"phantom": {}}, "No real patients"),
        ({"classify": {"labels_shuffled": True}}, "Shuffled labels"),
        ({"classify": {"test_opened": 3}}, "Held-out patients looked at more than once"),
        (
            {"extract": {"encoder": {"name": "x", "citation": "ImageNet-1k weights"}}},
            "Encoder without medical training",
        ),
    ],
)
def test_the_record_of_the_run_tells_limits(record, title):
    assert title in titles(facts(record={"stages": record}))
    assert title not in titles(facts())


def test_an_encoder_of_medical_pictures_is_no_limit():
    extract = {"encoder": {"name": "x", "citation": "Mei et al. 2022, RadImageNet"}}
    assert "Encoder without medical training" not in titles(facts(record={"stages": {"extract": extract}}))


def test_who_was_held_out_decides_what_is_known_of_elsewhere():
    inside = facts(table(test=""))
    assert titles(inside)[0] == "Internal validation only"
    assert "all 90 took part" in text(inside, "Internal validation only")
    assert "by one of 5 models that" in text(inside, "Internal validation only")
    repeated = pd.concat([table(test=""), table(test="").assign(repeat=1)], ignore_index=True)
    assert "by 2 of 10 models that" in text(facts(repeated), "Internal validation only")
    mixed = table()
    mixed["split"] = np.where(np.arange(90) < 30, "test", "oof")
    assert "come from site" in text(facts(mixed), "Held-out patients of the same sites")
    several = titles(facts(table(test="BC")))
    assert not {"One site held out", "Held-out patients of the same sites", "Internal validation only"} & set(several)


def test_metrics_tell_limits_only_where_they_are_off():
    def rows(ahead, ece, site, told):
        return [
            Metric("beside", "test", "auc_macro_ahead", number(0.02, ahead, 0.2), "volume"),
            Metric("calibration", "test", "ece_top_label", number(ece)),
            Metric("calibration", "test", "ece_top_label_if_calibrated", number(0.1, 0.05, 0.15)),
            Metric("shortcut", EVERYBODY, "shortcut_auc", number(site, 0.7, 0.99), "site"),
            Metric("shortcut", EVERYBODY, "shortcut_auc", number(0.6, told, 0.7), FROM_SITE),
        ]

    off = {
        "No sure gain over something simpler", "Probabilities are off", "The features know more than the tumor",
        "Sites differ in their classes",
    }  # fmt: skip
    bad, good = facts(metrics=rows(-0.1, 0.3, 0.95, 0.55)), facts(metrics=rows(0.01, 0.1, 0.7, 0.45))
    assert off <= set(titles(bad))
    assert not off & set(titles(good))
    assert "AUC 0.95" in text(bad, "The features know more than the tumor")
    assert "0.30" in text(bad, "Probabilities are off")


def test_an_error_within_chance_does_not_hide_a_test_that_finds_the_probabilities_off():
    rows = [
        Metric("calibration", "test", "ece_top_label", number(0.1)),
        Metric("calibration", "test", "ece_top_label_if_calibrated", number(0.1, 0.05, 0.15)),
        Metric("calibration", "test", "multinomial_calibrated_p", number(0.003)),
    ]
    said = text(facts(metrics=rows), "Probabilities are off")
    assert "p = 0.003" in said
    assert "0.10" not in said
    assert "p = 0.003" in " ".join(plain_words(facts(metrics=rows).evaluation, table(), "positive"))
    assert "Probabilities are off" not in titles(facts(metrics=[*rows[:2], replace(rows[2], estimate=number(0.3))]))


def test_limits_of_the_parts_take_their_place_by_weight():
    found = titles(replace(facts(), further=(Limit(1000, "First", ""), Limit(0, "Last", ""))))
    assert (found[0], found[-1]) == ("First", "Last")


def test_left_out_unlabeled_and_unlike_patients_are_counted():
    skipped = [Skipped(f"S{i}", "X", "extract", "mask_empty", "", "") for i in range(30)]
    frame = table().assign(outside="")
    frame.loc[frame["site"] == "C", "outside"] = "n_slices"
    frame.loc[0, "y"] = math.nan
    given = facts(frame, skipped=skipped, class_weights="balanced")
    assert text(given, "Many left out").startswith("30 of 120 (25%)")
    assert text(given, "Patients unlike those trained on").startswith("30 of 30")
    assert text(given, "Classes not known").startswith("1 predicted")
    assert "Probabilities are shifted" in titles(given)


def test_the_section_numbers_this_runs_limits_and_says_which_hold_for_everybody():
    given = facts(record={"stages": {"phantom": {}}})
    section = limits_section(given)
    told = [block.text for block in section.blocks]
    assert told[0] == "Of this run, the weightiest first"
    assert told[2].startswith("1. No real patients. All 90 patients were computed")
    assert told.index("Of every report by this program") < next(
        k for k, line in enumerate(told) if "Research use only" in line
    )
    weights = [limit.weight for limit in limits(given)]
    assert weights == sorted(weights, reverse=True)


def test_a_network_that_learned_from_whom_it_may_not_score_is_no_fair_rival_of_its_baselines():
    trained = {"name": "file:x.safetensors", "builder": "trained", "citation": "ImageNet-1k; trained further"}
    skipped = [Skipped(f"S{i}", "X", "classify", "encoder_trained_on", "", "") for i in range(30)]
    given = facts(record={"stages": {"extract": {"encoder": trained}}}, skipped=skipped)
    said = text(given, "Baselines learned from fewer patients")
    assert "learned from 30 patients" in said
    assert "60 development patients who remain" in said
    assert "Encoder without medical training" not in titles(given), "it has seen the MRI of this cohort"
    assert "Many left out" not in titles(given)
    assert "Baselines learned from fewer patients" not in titles(facts())


def test_a_site_that_trained_the_encoder_alone_is_no_other_site():
    skipped = [Skipped(f"S{i}", "X", "classify", "encoder_trained_on", "", "") for i in range(30)]
    frame = table(test="A")
    assert "One site held out" in titles(facts(frame))
    given = facts(frame, skipped=skipped)  # whoever is left out is of site A
    assert text(given, "Held-out patients of the same sites").startswith("The 30 held-out patients come from site A")


def test_a_network_of_classes_that_counted_alike_has_shifted_probabilities():
    drawn = {
        "finetune": {"class_counts": {"zero": 1}, "choices": {"seed": 0, "finetune": {"balanced_sampling": True}}}
    }
    assert "Probabilities are shifted" in titles(facts(record={"stages": drawn | {"classify": {"head": "network"}}}))
    stacked = {"stages": drawn | {"classify": {"head": "logistic"}}}
    assert "Probabilities are shifted" not in titles(facts(record=stacked)), "the head learns the shares anew"
