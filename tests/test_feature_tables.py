"""The whole stage on tables of features: no images, no extraction."""

import numpy as np
import pandas as pd
import pytest

from triher.cli import main
from triher.config import write_config
from triher.predictions import read_predictions
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import read_store

P = ["p_zero", "p_low", "p_positive"]
IHC = ("0", "1+", "3+")


def triher(*arguments) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture
def tables(tmp_path):
    """A cohort, its features and a configuration; a planted signal in the first columns."""

    def make(suffix=".csv", n=60, seed=0, columns=20, **classify):
        rng = np.random.default_rng(seed)
        y = np.arange(n) % 3
        ids = [f"{seed}-{i:03d}" for i in range(n)]
        cohort = pd.DataFrame(
            {"patient_id": ids, "ihc": [IHC[c] for c in y], "site": [f"s{i % 2}" for i in range(n)]}
        )
        cohort.to_csv(tmp_path / f"cohort{seed}.csv", index=False)
        X = rng.normal(size=(n, columns))
        X[:, :3] += 2.0 * np.eye(3)[y]
        features = pd.DataFrame(X, columns=[f"texture {i}" for i in range(columns)])
        features.insert(0, "patient_id", ids)
        path = tmp_path / f"features{seed}{suffix}"
        if suffix == ".csv":
            features.to_csv(path, index=False)
        else:
            features.to_parquet(path)
        settings = {"features": str(path), "trials": 2, "folds": 3} | classify
        config = Config.model_validate(
            {
                "cohort": {"table": tmp_path / f"cohort{seed}.csv"},
                "classify": settings,
                "analysis": {"resamples": 100},
            }
        )
        write_config(config, tmp_path / f"config{seed}.yaml")
        return tmp_path / f"config{seed}.yaml"

    return make


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_from_a_table_to_the_report_and_to_new_patients(tables, tmp_path, suffix):
    out = tmp_path / "run"
    assert triher("run", tables(suffix), "--out", out, "--quiet") == 0
    table = read_predictions(out / "predictions.csv", "triple")
    assert (table[P].to_numpy().argmax(axis=1) == table["y"]).mean() > 0.6
    assert (out / "report.html").is_file()
    new = tables(suffix, n=12, seed=1)
    features = tmp_path / f"features1{suffix}"
    assert triher("apply", out / "bundle", new, "--features", features, "--out", tmp_path / "new") == 0
    applied = read_predictions(tmp_path / "new" / "predictions.csv", "triple")
    assert len(applied) == 12
    assert not applied["outside"].str.contains("very images").any()


def test_a_table_with_gaps_is_filled_in_training_and_at_prediction(tables, tmp_path):
    out, new = tmp_path / "run", None
    for seed, n in ((0, 60), (1, 12)):
        new = tables(n=n, seed=seed, missing="impute")
        path = tmp_path / f"features{seed}.csv"
        table = pd.read_csv(path)
        table.loc[table.index[::4], "texture 5"] = np.nan
        table.to_csv(path, index=False)
    assert triher("run", tmp_path / "config0.yaml", "--out", out, "--quiet") == 0
    arguments = ("--features", tmp_path / "features1.csv", "--out", tmp_path / "new")
    assert triher("apply", out / "bundle", new, *arguments) == 0
    applied = read_predictions(tmp_path / "new" / "predictions.csv", "triple")
    assert len(applied) == 12
    assert not applied["outside"].str.contains("nan").any()


@pytest.mark.fault("C5")
def test_a_new_patient_without_features_is_left_out_by_name(tables, tmp_path, capsys):
    out, new = tmp_path / "run", tmp_path / "new"
    assert triher("classify", tables(), "--out", out, "--quiet") == 0
    cohort, features = tables(n=12, seed=1), tmp_path / "features1.csv"
    rows = features.read_text().splitlines()
    features.write_text("\n".join(rows[:-1]) + "\n")
    capsys.readouterr()
    assert triher("apply", out / "bundle", cohort, "--features", features, "--out", new) == 3
    assert "1 left out" in capsys.readouterr().err
    (left,) = RunFolder(new).read_skipped()
    assert (left.patient_id, left.code) == ("1-011", "not_extracted")
    assert len(read_predictions(new / "predictions.csv", "triple")) == 11


@pytest.mark.fault("E9")
def test_other_columns_are_refused_by_the_bundle(tables, tmp_path, capsys):
    out = tmp_path / "run"
    assert triher("run", tables(), "--out", out, "--quiet") == 0
    new = tables(n=12, seed=1, columns=19)
    arguments = ("--features", tmp_path / "features1.csv", "--out", tmp_path / "new")
    assert triher("apply", out / "bundle", new, *arguments) == 2
    assert "bundle_encoder" in capsys.readouterr().err
    assert triher("apply", out / "bundle", new, "--out", tmp_path / "newer") == 2
    assert "--features" in capsys.readouterr().err


@pytest.mark.fault("C2")
def test_remarks_on_the_cohort_table_are_kept_without_images(tables, tmp_path):
    config, out = tables(), tmp_path / "run"
    cohort = tmp_path / "cohort0.csv"
    lines = cohort.read_text().splitlines()
    cohort.write_text("\n".join([*lines, lines[1]]) + "\n")
    assert triher("classify", config, "--out", out, "--quiet") == 0
    arguments = ("--features", tmp_path / "features0.csv", "--out", tmp_path / "new")
    assert triher("apply", out / "bundle", config, *arguments) == 0
    for folder in (out, tmp_path / "new"):
        assert ("0-000", "patient_duplicate") in {(n.patient_id, n.code) for n in RunFolder(folder).read_notes()}


def test_a_cohort_of_one_site_is_judged(tables, tmp_path):
    config = tables()
    cohort = tmp_path / "cohort0.csv"
    cohort.write_text(cohort.read_text().replace(",s1", ",s0"))
    assert triher("run", config, "--out", tmp_path / "run", "--quiet") == 0


def test_a_table_is_not_extracted(tables, tmp_path, capsys):
    assert triher("extract", tables(), "--out", tmp_path / "run") == 2
    assert "nothing to extract" in capsys.readouterr().err


@pytest.mark.fault("E7")
def test_several_lesions_of_a_patient_are_pooled_and_never_parted(tables, tmp_path):
    config = tables(pooling=["mean", "max"])
    path = tmp_path / "features0.csv"
    once = pd.read_csv(path)
    other = once.head(20).assign(**{"texture 0": 9.0})
    pd.concat([once, other]).to_csv(path, index=False)
    assert triher("classify", config, "--out", tmp_path / "run", "--quiet") == 0
    table = read_predictions(tmp_path / "run" / "predictions.csv", "triple")
    assert table["patient_id"].nunique() == len(table) == 60


def test_who_is_in_the_cohort_and_not_in_the_table_is_named(tables, tmp_path):
    config = tables()
    path = tmp_path / "features0.csv"
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    assert triher("classify", config, "--out", tmp_path / "run", "--quiet") == 3
    skipped = pd.read_csv(tmp_path / "run" / "skipped.csv")
    assert skipped[["patient_id", "code"]].to_numpy().tolist() == [["0-000", "not_extracted"]]


def test_a_store_can_be_named_in_place_of_a_table(make_study, tmp_path):
    study = make_study()
    config = Config.model_validate(study.config.model_dump() | {"classify": {"features": study.store, "trials": 1}})
    write_config(config, tmp_path / "config.yaml")
    assert triher("classify", tmp_path / "config.yaml", "--out", tmp_path / "other", "--quiet") == 0
    assert len(read_store(study.store)[1].patient_id) == 36
