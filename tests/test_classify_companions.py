import numpy as np
import pandas as pd
import pytest

from classify.stage import classify
from triher.errors import StopRun
from triher.predictions import read_predictions
from triher.store import Header, write_store

P = ["p_zero", "p_low", "p_positive"]
KEY = ["split", "repeat", "fold", "patient_id"]


def beside(study) -> pd.DataFrame:
    assert classify(*study)
    return read_predictions(study.run.companions_file, "triple")


def test_baselines_predict_the_same_patients_in_the_same_folds(make_study):
    study = make_study(n=60, split={"kind": "sites", "test": ["site2"]}, covariates={"age": lambda i: 30 + i})
    study.features.acquisition["lesion_volume_ml"] = np.linspace(0.5, 9, 60)
    write_store(study.store, study.header, [study.features], n_slices=len(study.features.slice_index))
    table = beside(study)
    own = read_predictions(study.run.predictions_file, "triple").sort_values(KEY)
    assert set(table["model"]) == {"majority", "clinical", "volume", "acquisition", "images only"}
    for _, rows in table.groupby("model"):
        pd.testing.assert_frame_equal(
            rows.sort_values(KEY)[[*KEY, "y"]].reset_index(drop=True), own[[*KEY, "y"]].reset_index(drop=True)
        )
    majority = table[(table["model"] == "majority") & (table["split"] == "test")]
    assert len(set(majority["p_zero"])) == 1


def test_the_class_shares_tell_nothing_though_every_site_has_a_model_of_its_own(make_study):
    few = {f"SUBJECT-{i:03d}": {"site": "site0" if i % 4 else "site1"} for i in range(60)}
    study = make_study(n=60, table=few, split={"kind": "leave-one-site-out"})
    table = beside(study)
    majority = table.loc[table["model"] == "majority", P].to_numpy()
    assert np.ptp(majority, axis=0).max() < 1e-9


def test_baselines_that_cannot_be_had_are_named_with_the_reason(make_study):
    study = make_study()
    table = beside(study)
    assert set(table["model"]) == {"majority", "acquisition"}
    left_out = study.run.read_record()["stages"]["classify"]["baselines_left_out"]
    assert left_out.keys() == {"clinical", "volume"}


def test_the_unharmonized_result_stands_beside(make_study):
    study = make_study(harmonize={"method": "combat-mean", "unseen": "pass"})
    assert "unharmonized" in set(beside(study)["model"])


def test_exchanged_labels_are_trained_on_and_not_judged_by(make_study):
    study = make_study(n=60, effect=3.0, label_noise=[0.4], noise_draws=2)
    table = beside(study)
    noisy = table[table["model"].str.startswith("label noise")]
    assert sorted(set(noisy["model"])) == ["label noise 40%, draw 1", "label noise 40%, draw 2"]
    truth = dict(zip(study.ids, study.y, strict=True))
    assert all(truth[name] == y for name, y in zip(noisy["patient_id"], noisy["y"], strict=True))


def control_store(study, path, kind="control", keep=None):
    header = Header(study.header.encoder, {**study.header.recipe, "region": {"kind": kind}}, {}, study.header.probe)
    features = study.features if keep is None else study.features.select(keep)
    write_store(path, header, [features], n_slices=len(features.slice_index))


def test_the_negative_control_is_judged_on_those_who_have_one(make_study, tmp_path):
    study = make_study(control=tmp_path / "control.h5")
    control_store(study, tmp_path / "control.h5", keep=list(range(30)))
    table = beside(study)
    rows = table[table["model"] == "control region"]
    assert sorted(rows["patient_id"]) == list(study.ids[:30])


@pytest.mark.parametrize(("kind", "keep"), [("box", None), ("control", range(3))])
def test_a_store_that_is_no_control_is_refused(make_study, tmp_path, kind, keep):
    study = make_study(control=tmp_path / "control.h5")
    control_store(study, tmp_path / "control.h5", kind, keep if keep is None else list(keep))
    with pytest.raises(StopRun) as caught:
        classify(*study)
    assert caught.value.code == "control_region"
