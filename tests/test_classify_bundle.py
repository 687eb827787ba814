import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from classify.apply import apply_bundle
from classify.archive import open_files, pack
from classify.bundle import read_bundle, write_bundle
from classify.heads import HEADS
from classify.pooling import pool
from classify.source import Source
from classify.stage import classify
from triher.cohort import read_cohort
from triher.errors import StopRun
from triher.files import sha256_of_json
from triher.predictions import read_predictions, write_predictions

P = ["p_zero", "p_low", "p_positive"]


@pytest.fixture(params=["logistic", "xgboost"])
def study(make_study, request):
    """A trained run with each head."""
    made = make_study(head=request.param, split={"kind": "column"}, pooling=["mean", "max"])
    assert classify(*made)
    return made


@pytest.fixture
def trained(make_study):
    """A trained run with the cheaper head."""
    made = make_study(n=24)
    assert classify(*made)
    return made


def forge(folder, change):
    """Change the manifest and give it a new hash of itself."""
    path = folder / "manifest.json"
    tree = json.loads(path.read_text())
    tree.pop("sha256")
    change(tree)
    path.write_text(json.dumps({**tree, "sha256": sha256_of_json(tree)}))


def code_of(folder):
    with pytest.raises(StopRun) as caught:
        read_bundle(folder)
    return caught.value.code


def test_round_trip_keeps_every_byte_and_every_prediction(study, tmp_path):
    bundle = read_bundle(study.run.bundle)
    copy = tmp_path / "copy"
    write_bundle(copy, bundle)
    for path in sorted(study.run.bundle.iterdir()):
        assert path.read_bytes() == (copy / path.name).read_bytes(), path.name
    assert bundle.recipe == study.header.recipe
    assert bundle.encoder["name"] == "toy"


def test_apply_equals_the_test_predictions_of_the_run(study):
    table = read_predictions(study.run.predictions_file, "triple")
    test = table[table["split"] == "test"].set_index("patient_id")
    cohort = read_cohort(study.config.cohort)
    source = Source(study.header, study.features, {})
    applied, skipped = apply_bundle(read_bundle(study.run.bundle), source, cohort, labels=None)
    assert skipped == []
    assert applied["patient_id"].tolist() == list(study.ids)
    assert set(applied["split"]) == {"new"}
    again = applied.set_index("patient_id").loc[test.index]
    np.testing.assert_allclose(again[P], test[P], atol=1e-7)
    assert again["set"].tolist() == test["set"].tolist()
    assert again["outside"].tolist() == test["outside"].tolist()
    path = study.run.path / "new.csv"
    write_predictions(path, applied, "triple")
    assert read_predictions(path, "triple")["y"].isna().all()


@pytest.fixture
def clinical(make_study):
    """Settings that use every step before and after the head."""

    def make(**settings):
        made = make_study(
            n=60,
            covariates={"age": lambda i: "" if i == 5 else 40 + i % 30},
            missing="impute",
            components=8,
            harmonize={"method": "combat-mean", "unseen": "pass"},
            **settings,
        )
        assert classify(*made)
        return made

    return make


@pytest.mark.parametrize("join", ["early", "late"])
def test_every_step_before_and_after_the_head_survives_the_bundle(clinical, join, tmp_path):
    made = clinical(split={"kind": "sites", "test": ["site2"]}, join=join, name=join)
    bundle = read_bundle(made.run.bundle)
    assert (bundle.model.stack is not None) == (join == "late")
    assert bundle.covariates == ("age",)
    write_bundle(tmp_path / "copy", bundle)
    for path in sorted(made.run.bundle.iterdir()):
        assert path.read_bytes() == (tmp_path / "copy" / path.name).read_bytes(), path.name
    table = read_predictions(made.run.predictions_file, "triple")
    test = table[table["split"] == "test"].set_index("patient_id")
    again = apply(made).set_index("patient_id").loc[test.index]
    np.testing.assert_allclose(again[P], test[P], atol=1e-7)


def test_gaps_are_filled_at_prediction_as_they_were_in_training(clinical):
    made = clinical()
    trained = read_predictions(made.run.predictions_file, "triple").set_index("patient_id")
    applied = apply(made).set_index("patient_id")
    for table in (trained, applied):
        assert np.isfinite(table.loc["SUBJECT-005", P].to_numpy(float)).all(), "nobody knows this patient's age"


def require_nobody(study):
    """No id, digest, path or vector of a patient, as it is or standardized, is in the bundle or in its zip."""
    packed = study.run.path / "model.zip"
    pack(open_files(study.run.bundle), packed)
    content = b"".join(path.read_bytes() for path in (*sorted(study.run.bundle.iterdir()), packed))
    table = study.config.cohort.table
    told = [b"SUBJECT", *(name.encode() for name in (*study.ids, *study.features.input_sha256, table.name))]
    told += [str(path).encode() for path in (study.run.path, table.parent, Path.home()) if len(path.parts) > 1]
    assert [text for text in told if text in content] == []
    vectors = pool(study.features, ("rgb",), ("mean", "max")).vectors
    for rows in (vectors, study.features.views["rgb"], (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)):
        for kind in (np.float32, np.float64):
            assert not [row for row in rows if row[:4].astype(kind).tobytes() in content]


@pytest.mark.fault("G9")
def test_no_id_and_no_vector_of_a_patient_is_in_the_bundle(study):
    require_nobody(study)


@pytest.mark.fault("G9")
@pytest.mark.parametrize(
    "head", ["elastic-net", "hierarchical-logistic", "ordinal", pytest.param("mil-mean", marks=pytest.mark.slow)]
)
def test_no_head_takes_its_patients_into_the_bundle(make_study, head):
    study = make_study(n=24, head=head, trials=1, folds=2)
    assert classify(*study)
    require_nobody(study)


@pytest.mark.fault("G9")
def test_what_is_its_training_patients_becomes_no_bundle():
    assert sorted(name for name, one in HEADS.items() if not one.lockable) == ["knn"]
    with pytest.raises(StopRun) as caught:
        HEADS["knn"].load(b"", n_features=2, n_classes=3)
    assert caught.value.code == "bundle_corrupt"


@pytest.mark.fault("G1")
def test_one_flipped_byte_in_any_part_is_seen(study):
    for path in sorted(study.run.bundle.iterdir()):
        good = path.read_bytes()
        codes = {"bundle_tampered", "bundle_corrupt"} if path.name == "manifest.json" else {"bundle_tampered"}
        for place in (0, len(good) // 2, len(good) - 1):
            bad = bytearray(good)
            bad[place] ^= 1
            path.write_bytes(bytes(bad))
            assert code_of(study.run.bundle) in codes, (path.name, place)
        path.write_bytes(good)
    read_bundle(study.run.bundle)


@pytest.mark.fault("G3", "G4")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "other", "version": 1}', b"\x80\x04K\x01."])
def test_a_manifest_that_is_none_is_corrupt(trained, content):
    (trained.run.bundle / "manifest.json").write_bytes(content)
    assert code_of(trained.run.bundle) == "bundle_corrupt"


@pytest.mark.fault("G3")
def test_a_truncated_manifest_or_a_folder_without_one_is_corrupt(trained, tmp_path):
    path = trained.run.bundle / "manifest.json"
    path.write_bytes(path.read_bytes()[:-100])
    assert code_of(trained.run.bundle) == "bundle_corrupt"
    assert code_of(tmp_path / "nothing") == "bundle_corrupt"


@pytest.mark.fault("G7")
@pytest.mark.parametrize("version", [1, 3])
def test_another_version_is_refused(trained, version):
    forge(trained.run.bundle, lambda tree: tree.update(version=version))
    assert code_of(trained.run.bundle) == "bundle_version"


@pytest.mark.fault("G1", "G6")
def test_files_must_be_exactly_those_of_the_manifest(trained):
    extra = trained.run.bundle / "notes.txt"
    extra.write_text("x")
    assert code_of(trained.run.bundle) == "bundle_tampered"
    extra.unlink()
    probe = trained.run.bundle / "probe.safetensors"
    elsewhere = trained.run.path / "elsewhere"
    probe.rename(elsewhere)
    assert code_of(trained.run.bundle) == "bundle_tampered"
    probe.symlink_to(elsewhere)
    assert code_of(trained.run.bundle) == "bundle_tampered"


@pytest.mark.fault("G1", "G7", "G8")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda tree: tree.update(temperature=tree["temperature"] * 2), "bundle_drift"),
        (lambda tree: tree.update(head="forest"), "bundle_corrupt"),
        (lambda tree: tree.update(classes=["low", "zero", "positive"]), "bundle_corrupt"),
        (lambda tree: tree.update(n_features=3), "bundle_corrupt"),
        (lambda tree: tree.update(params="deep"), "bundle_corrupt"),
        (lambda tree: tree.update(surprise=1), "bundle_corrupt"),
        (lambda tree: tree["parts"].update({"../x": tree["parts"]["probe.safetensors"]}), "bundle_tampered"),
    ],
)
def test_a_forged_manifest_does_not_get_far(trained, change, code):
    forge(trained.run.bundle, change)
    assert code_of(trained.run.bundle) == code


@pytest.mark.fault("G2")
def test_a_forged_tree_that_would_crash_xgboost_is_refused(make_study):
    made = make_study(head="xgboost")
    classify(*made)
    path = made.run.bundle / "head.json"
    model = json.loads(path.read_text())
    tree = next(t for t in model["learner"]["gradient_booster"]["model"]["trees"] if t["left_children"][0] > 0)
    tree["left_children"][0] = 10**6
    data = json.dumps(model).encode()
    path.write_bytes(data)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    forge(made.run.bundle, lambda tree: tree["parts"].update({"head.json": entry}))
    assert code_of(made.run.bundle) == "bundle_corrupt"


@pytest.mark.fault("G17")
def test_only_a_bundle_is_replaced(trained, tmp_path):
    bundle = read_bundle(trained.run.bundle)
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter").write_text("1")
    with pytest.raises(StopRun) as caught:
        write_bundle(foreign, bundle)
    assert caught.value.code == "output_folder"
    assert (foreign / "chapter").read_text() == "1"
    write_bundle(trained.run.bundle, bundle)
    read_bundle(trained.run.bundle)
    assert not [path for path in trained.run.path.iterdir() if path.name.startswith(".bundle")]


def apply(study, *, header=None, features=None, labels=None) -> pd.DataFrame:
    bundle, cohort = read_bundle(study.run.bundle), read_cohort(study.config.cohort)
    source = Source(header or study.header, features or study.features, {})
    return apply_bundle(bundle, source, cohort, labels=labels)[0]


@pytest.mark.fault("G8")
def test_embeddings_of_another_encoder_or_recipe_are_refused(trained):
    renamed = dataclasses.replace(trained.header, encoder={**trained.header.encoder, "name": "the same, renamed"})
    assert len(apply(trained, header=renamed)) == 24
    other = dataclasses.replace(
        trained.header,
        encoder={**trained.header.encoder, "input_px": 64},
        recipe={**trained.header.recipe, "slices": {"policy": "largest"}},
    )
    with pytest.raises(
        StopRun, match=r"encoder.input_px .*32.*64.*recipe.slices.policy .*'all'.*'largest'"
    ) as caught:
        apply(trained, header=other)
    assert caught.value.code == "bundle_encoder"
    late = dataclasses.replace(trained.features, views={"late": trained.features.views["rgb"]})
    with pytest.raises(StopRun, match="needs rgb, the store has late") as caught:
        apply(trained, features=late)
    assert caught.value.code == "bundle_encoder"


@pytest.mark.fault("G7")
def test_a_drifted_probe_is_refused_and_rounding_is_not(trained):
    probe = trained.header.probe
    apply(trained, header=dataclasses.replace(trained.header, probe=probe * np.float32(1.0005)))
    drifted = dataclasses.replace(trained.header, probe=probe * np.float32(1.01), versions={"torch": "9"})
    with pytest.raises(StopRun, match=r"torch .bundle '0', store '9'") as caught:
        apply(trained, header=drifted)
    assert caught.value.code == "transform_drift"


def test_patients_outside_the_training_range_say_why(trained):
    trained.features.acquisition["spacing_row_mm"][2] = 2.0
    trained.features.views["rgb"][trained.features.rows(5)] += 50
    table = apply(trained, labels={"SUBJECT-005": 2}).set_index("patient_id")
    assert "spacing_row_mm 2 above the training range" in table.loc["SUBJECT-002", "outside"]
    assert "embedding distance" in table.loc["SUBJECT-005", "outside"]
    assert table.loc["SUBJECT-005", "y"] == 2
    others = table.drop(index=["SUBJECT-002", "SUBJECT-005"])
    only_known = others["outside"] == "the bundle was trained on these very images, so this is no prediction"
    assert only_known.mean() > 0.8


def test_only_patients_of_the_training_are_recognized(trained):
    digests = tuple(digest[:32] + "0" * 32 for digest in trained.features.input_sha256)
    digests = (*digests[:5], *(digest[::-1] for digest in digests[5:]))
    table = apply(trained, features=dataclasses.replace(trained.features, input_sha256=digests))
    assert table["outside"].str.startswith("the bundle was trained on these").tolist() == [True] * 5 + [False] * 19


@pytest.mark.fault("E10")
def test_strangers_are_refused_and_bad_embeddings_are_named(trained):
    with pytest.raises(StopRun) as caught:
        apply(trained, features=dataclasses.replace(trained.features, patient_id=tuple("x" * 24)))
    assert caught.value.code == "cohort_empty"
    trained.features.views["rgb"][trained.features.rows(5)] = np.nan
    source, cohort = Source(trained.header, trained.features, {}), read_cohort(trained.config.cohort)
    table, skipped = apply_bundle(read_bundle(trained.run.bundle), source, cohort, labels=None)
    assert [(row.patient_id, row.code) for row in skipped] == [("SUBJECT-005", "embedding_nonfinite")]
    assert set(trained.ids) - set(table["patient_id"]) == {"SUBJECT-005"}
