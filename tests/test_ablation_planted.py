"""What was planted is found: a preparation that destroys the signal, a site that is shifted, and an idle axis."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from triher.cli import main

N_A_SITE = 45
SITES = ("A", "B", "C")
IHC = ("0", "1+", "3+")


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
        "analysis": {"resamples": 100},
        "ablation": {
            "axes": {
                "features": {"as they are": {}, "destroyed": {"classify.features": "destroyed.csv"}},
                "classify.class_weights": ["none", "balanced"],
            },
            "primary": ["features=destroyed"],
        },
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML, too
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
