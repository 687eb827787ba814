"""Nobody is scored by an encoder that was trained on her: not by the model, not beside it, and not by a bundle."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from classify.apply import apply_bundle
from classify.bundle import read_bundle
from classify.cell import predict_cell
from classify.encoder_saw import leave_out_seen, refuse_held_out
from classify.shared_work import SharedWork
from classify.source import read_source
from classify.stage import classify
from triher.cohort import Patient, read_cohort
from triher.errors import StopRun
from triher.predictions import VALIDATED
from triher.progress import Reporter
from triher.settings import Config, SplitConfig
from triher.store import Features, write_store
from triher.trained import DEVELOPED, SAW


def told(study, saw: np.ndarray, name: str = "told", header=None) -> Path:
    """The study's store with what its encoder saw of every patient."""
    features = replace(study.features, acquisition=study.features.acquisition | {SAW: saw.astype(np.float64)})
    path = study.store.with_name(f"{name}.h5")
    write_store(path, header or study.header, [features], n_slices=len(features.slice_index))
    return path


FAST = {"head": "knn", "trials": 1, "folds": 2}
PACKED = FAST | {"head": "logistic", "n_features": 6}
"""What a bundle holds."""
SAID = np.repeat([1.0, 0.5, 0.0], [6, 6, 24])
"""36 patients, the first 6 trained on and the next 6 the cause of stopping."""


def test_nobody_trained_on_is_in_any_table_and_the_others_are_as_without_them(make_study):
    study = make_study(**PACKED)
    classify(study.config, study.run, told(study, SAID), Reporter(quiet=True))
    known = set(study.ids[:6])
    for file in (study.run.predictions_file, study.run.companions_file, study.run.shortcuts_file):
        there = set(pd.read_csv(file)["patient_id"])
        assert there
        assert there.isdisjoint(known)
    skipped = {row.patient_id: row for row in study.run.read_skipped()}
    assert {name for name, row in skipped.items() if row.code == "encoder_trained_on"} == known
    assert "finetune.folds" in next(iter(skipped.values())).remedy
    [note] = [note for note in study.run.read_notes() if note.code == "encoder_validated"]
    assert note.patient_id == ""
    assert note.text.startswith("6 of 30 patients decided when the training of the encoder stopped")
    # The fact would tell the acquisition baseline who is easy, and the training range whom to call odd.
    assert SAW not in read_bundle(study.run.bundle).seen.acquisition
    assert SAW not in (study.run.bundle / "manifest.json").read_text(encoding="utf-8")
    rest = make_study(name="rest", order=range(6, 36), **PACKED)
    classify(rest.config, rest.run, rest.store, Reporter(quiet=True))
    for file in ("predictions_file", "companions_file", "shortcuts_file"):
        assert getattr(study.run, file).read_bytes() == getattr(rest.run, file).read_bytes()
    _apply(study)


def _apply(study) -> None:
    """The bundle, on the same patients as another encoder may know them."""
    bundle, cohort = read_bundle(study.run.bundle), read_cohort(study.config.cohort, survival=False)
    frame, skipped = apply_bundle(bundle, read_source(told(study, SAID[::-1], "turned")), cohort, labels=None)
    assert [row.patient_id for row in skipped] == list(study.ids[30:])
    assert {row.code for row in skipped} == {"encoder_trained_on"}
    assert frame["patient_id"].tolist() == list(study.ids[:30])
    said = frame["outside"].str.contains(VALIDATED, regex=False)
    assert frame.loc[said, "patient_id"].tolist() == list(study.ids[24:30])
    with pytest.raises(StopRun, match="36 of these were left out") as stopped:
        apply_bundle(bundle, read_source(told(study, np.ones(36), "all")), cohort, labels=None)
    assert stopped.value.code == "cohort_empty"


def test_a_cohort_of_whom_all_were_trained_on_stops(make_study):
    study = make_study(**FAST)
    with pytest.raises(StopRun, match="SUBJECT-000: the encoder was trained on her images") as stopped:
        classify(study.config, study.run, told(study, np.ones(36)), Reporter(quiet=True))
    assert stopped.value.code == "cohort_empty"


def test_control_regions_of_an_encoder_that_knows_some_leave_these_out(make_study):
    study = make_study(**FAST)
    recipe = study.header.recipe | {"region": {"kind": "control"}}
    control = told(study, np.repeat([1.0, 0.0], [9, 27]), "control", replace(study.header, recipe=recipe))
    own = study.config.classify.model_copy(update={"control": control})
    classify(study.config.model_copy(update={"classify": own}), study.run, study.store, Reporter(quiet=True))
    table = pd.read_csv(study.run.companions_file)
    assert set(table.loc[table["model"] == "control region", "patient_id"]) == set(study.ids[9:])
    assert set(table.loc[table["model"] == "majority", "patient_id"]) == set(study.ids)


def test_a_cell_of_an_ablation_leaves_them_out_on_both_sides(make_study):
    study = make_study(**FAST)
    store, shown = told(study, SAID), told(study, SAID[::-1], "shown")
    found = predict_cell(study.config, store, shown=shown, accounted=(), shared=SharedWork())
    assert set(found.predictions["patient_id"]) == set(study.ids[6:30])
    assert {row.patient_id for row in found.skipped} == {*study.ids[:6], *study.ids[30:]}


@pytest.mark.parametrize("value", [np.nan, 0.7, 1.0, 2.0, np.inf])
def test_whatever_is_not_known_to_be_unseen_counts_as_seen(make_features, value):
    features: Features = make_features(n=2)
    told_features = replace(features, acquisition=features.acquisition | {SAW: np.array([value, 0.0])})
    unseen = leave_out_seen(told_features, dict.fromkeys(features.patient_id, "A"))
    assert unseen.features.patient_id == features.patient_id[1:]
    assert [row.patient_id for row in unseen.skipped] == [features.patient_id[0]]
    assert unseen.features.acquisition.keys() == features.acquisition.keys()


def test_other_encoders_say_nothing_and_all_stay(make_features):
    features = make_features(n=3)
    unseen = leave_out_seen(features, {})
    assert unseen.features is features
    assert (unseen.skipped, unseen.notes(features.patient_id)) == ([], ())


def refused(head="network", *, finetune=True, developed=("P0",), **split):
    """The code by which a split of two patients, P0 at site A and P1 at site B, is refused."""
    config = Config.model_validate(
        {
            "cohort": {"table": "c.csv"},
            "finetune": {} if finetune else None,
            "classify": {"head": head, "split": split},
        }
    )
    people = [Patient(f"P{i}", "X", "AB"[i], ("train", "test")[i], {}, None) for i in range(2)]
    try:
        refuse_held_out(config, people, developed)
    except StopRun as stopped:
        return stopped.code
    return ""


def test_whom_an_encoder_was_developed_on_are_not_held_out_from_it():
    for split in ({"kind": "column"}, {"kind": "sites", "test": ["B"]}):
        assert refused(**split) == ""
        assert refused(developed=["P1"], **split) == "encoder_developed"
        assert refused(developed=[], **split) == ""
    assert refused(developed=["P0", "P1"], kind="none") == ""


@pytest.mark.parametrize("kind", ["leave-one-site-out", "leave-one-cohort-out"])
def test_each_place_in_turn_asks_for_networks_of_these_places_and_no_head_on_top(kind):
    assert refused(kind=kind) == ""
    assert refused(kind=kind, finetune=False) == "encoder_developed"
    assert refused("logistic", kind=kind) == "encoder_stacked"
    assert refused("logistic", kind=kind, developed=(), finetune=False) == "", "of an encoder that knows nobody"


def test_a_store_of_an_encoder_of_another_split_is_refused(make_study):
    study = make_study(**FAST)
    own = study.config.classify.model_copy(update={"split": SplitConfig(kind="sites", test=("site1",))})
    config = study.config.model_copy(update={"classify": own})
    with pytest.raises(StopRun, match="holds out") as stopped:
        classify(config, study.run, told(study, np.full(36, DEVELOPED)), Reporter(quiet=True))
    assert stopped.value.code == "encoder_developed"
