"""The train-on by test-on matrix: against metrics computed by hand, its folds, and what has no number."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from analysis.ablation.cohort_matrix import cohort_matrix
from analysis.ablation.material import CellResult, StudyMaterial
from triher.predictions import write_predictions
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.study import BASE, Cell, CellRun, StudyFolder

CLASSES = ("zero", "low", "positive")
COHORTS = ("duke", "ispy", "tcga")
SPLIT = "classify.split"


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(RunFolder(tmp_path))


def table(trained, *, n=60, cohorts=COHORTS, seed=0, loss=0.8, folds=5, sizes=None):
    """Predictions of a model of some cohorts, weaker by ``loss`` where it is shown others."""
    rng = np.random.default_rng(seed)
    rows = []
    for cohort in cohorts:
        own = cohort in trained
        for i in range((sizes or {}).get(cohort, n)):
            scores = (1.5 if own else 1.5 - loss) * np.eye(3)[i % 3] + rng.normal(size=3)
            probabilities = np.exp(scores) / np.exp(scores).sum()
            place = ["oof", i // 3 % folds] if own else ["test", 0]
            rows.append(
                [
                    f"{cohort}-{i:03d}",
                    cohort,
                    f"{cohort}-{i // 3 % 2}",
                    place[0],
                    0,
                    place[1],
                    0,
                    i % 3,
                    *probabilities,
                ]
            )
    columns = ["patient_id", "cohort", "site", "split", "repeat", "fold", "seed", "y", *(f"p_{c}" for c in CLASSES)]
    return pd.DataFrame(rows, columns=columns)


def config(kind="none", **own):
    return Config.model_validate(
        {
            "cohort": {"table": "c.csv"},
            "classify": {"split": {"kind": kind}},
            "analysis": {"resamples": 200},
            "ablation": own,
        }
    )


def study(folder, tables, *, kind="none", changed="cohorts", other=None, **own):
    """A study of an axis ``train`` whose base is trained on all; several tables are several seeds."""
    results = []
    axes = {"train": tuple(tables), "head": ("logistic", "ridge")}
    for label, found in tables.items():
        is_base = label == next(iter(tables))
        changes = {} if is_base else {f"{SPLIT}.kind": changed, f"{SPLIT}.train": [label]}
        seeds = [] if found is None else found if isinstance(found, list) else [found]
        results.append(put(folder, label, {"train": label, "head": "logistic"}, changes, seeds, is_base=is_base))
        levels = {"train": label, "head": "ridge"}
        results.append(put(folder, f"{label} ridge", levels, changes | {"classify.head": "ridge"}, (other or [])))
    return StudyMaterial(config(kind, **own), axes, "lattice", tuple(results), ())


def put(folder, name, levels, changes, seeds, *, is_base=False):
    runs = []
    for seed, frame in enumerate(seeds):
        key = f"{name}-{seed}".replace(" ", "-")
        write_predictions(folder.predictions(key), frame, "triple")
        runs.append(CellRun(key=key, seed=seed, state="done"))
    reason = "" if seeds else "the disk was full"
    return CellResult(Cell(name=BASE if is_base else name, levels=levels, changes=changes), tuple(runs), None, reason)


def macro(frame):
    p = frame[[f"p_{name}" for name in CLASSES]].to_numpy()
    return np.mean([roc_auc_score(frame["y"] == c, p[:, c]) for c in range(3)])


def lattice(**options):
    return {"all": table(COHORTS, **options)} | {c: table([c], seed=i + 1, **options) for i, c in enumerate(COHORTS)}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The matrix of `lattice`."""
    folder = StudyFolder(RunFolder(tmp_path_factory.mktemp("study")))
    return cohort_matrix(folder, study(folder, lattice()))


def test_each_entry_is_the_metric_on_the_columns_patients(found):
    tables = lattice()
    assert (found.rows, found.columns, found.by, found.axis) == (("all", *COHORTS), COHORTS, "cohort", "train")
    for row, frame in tables.items():
        for column in COHORTS:
            entry = found.entries[row, column]
            assert entry.value == pytest.approx(macro(frame[frame["cohort"] == column]))
            assert entry.low < entry.value < entry.high
            assert entry.n == 60
    assert found.within == {("all", c) for c in COHORTS} | {(c, c) for c in COHORTS}


def test_entries_within_are_widened_for_their_folds(found):
    assert "widened by 1.50 for 5 folds" in found.entries["duke", "duke"].method
    assert "widened by 1.19 for 5 folds" in found.entries["all", "duke"].method  # a third of those cross-validated
    assert "widened" not in found.entries["duke", "ispy"].method


def test_a_loss_outside_is_a_fall(found):
    assert str(found.falls["all"]) == "not estimable (no entry outside)"
    for row in COHORTS:
        fall = found.falls[row]
        outside = np.mean([found.entries[row, c].value for c in COHORTS if c != row])
        assert fall.value == pytest.approx(found.entries[row, row].value - outside)
        assert 0 < fall.low < fall.value < fall.high
        assert fall.n == 180
        assert fall.method.startswith("mean macro AUC of 1 within minus 2 outside")


def test_a_fall_is_above_zero_where_lower_is_better(folder):
    found = cohort_matrix(folder, study(folder, lattice(n=30, loss=1.4), metric="brier"))
    assert found.metric == "brier"
    assert found.falls["duke"].value > 0
    assert found.entries["duke", "duke"].value < found.entries["duke", "ispy"].value


def test_without_a_loss_falls_are_about_zero(folder):
    tables = {"all": table(COHORTS, n=30)} | {c: table([c], seed=i + 20, loss=0.0) for i, c in enumerate(COHORTS)}
    found = cohort_matrix(folder, study(folder, tables))
    assert all(found.falls[row].low < 0 < found.falls[row].high for row in COHORTS)


def test_columns_are_resampled_apart(folder):
    """Two columns of the same predictions have the same value, and draws of their own."""
    frame = table(["duke"], loss=0.0)
    numbers = frame.loc[frame["cohort"] == "ispy", [f"p_{c}" for c in CLASSES]].to_numpy()
    frame.loc[frame["cohort"] == "tcga", [f"p_{c}" for c in CLASSES]] = numbers
    found = cohort_matrix(folder, study(folder, {"all": table(COHORTS, n=30), "duke": frame}))
    ispy, tcga = (found.entries["duke", c] for c in ("ispy", "tcga"))
    assert ispy.value == tcga.value
    assert ispy.low != tcga.low
    assert ispy.low == pytest.approx(tcga.low, abs=0.03)


def test_order_of_patients_changes_nothing(folder, found):
    shuffled = {row: frame.sample(frac=1, random_state=1) for row, frame in lattice().items()}
    assert cohort_matrix(folder, study(folder, shuffled)).entries == found.entries


def test_too_few_patients_of_a_class_have_no_number(folder):
    found = cohort_matrix(folder, study(folder, lattice(n=30, sizes={"tcga": 12})))
    entry = found.entries["duke", "tcga"]
    assert str(entry) == "not estimable (only 4 HER2-zero, only 4 HER2-low, only 4 HER2-positive)"
    assert found.falls["duke"].method.startswith("mean macro AUC of 1 within minus 1 outside")
    assert found.falls["tcga"].reason == "no entry within"


def test_a_failed_row_says_why(folder):
    tables = lattice(n=30) | {"ispy": None}
    found = cohort_matrix(folder, study(folder, tables))
    assert found.entries["ispy", "duke"].reason == "the disk was full"
    assert math.isnan(found.falls["ispy"].value)
    assert math.isfinite(found.entries["duke", "ispy"].value)


def test_whom_nobody_predicted_is_said(folder):
    frame = table(["duke"])
    tables = {"all": table(COHORTS, n=30), "duke": frame[frame["cohort"] != "tcga"]}
    found = cohort_matrix(folder, study(folder, tables))
    assert str(found.entries["duke", "tcga"]) == "not estimable (no patient was predicted)"


def test_sites_are_the_columns_where_splits_are_made_of_sites(folder):
    one = table(["duke"], cohorts=("duke",))
    one.loc[one["site"] == "duke-1", ["split", "fold"]] = ["test", 0]
    tables = {"all": table(["duke"], cohorts=("duke",)), "duke-0": one}
    found = cohort_matrix(folder, study(folder, tables, changed="sites"))
    assert (found.by, found.columns) == ("site", ("duke-0", "duke-1"))
    assert found.within == {("all", "duke-0"), ("all", "duke-1"), ("duke-0", "duke-0")}
    many = {"all": table(COHORTS, n=30), "duke-0": table(["duke"])}
    assert len(cohort_matrix(folder, study(folder, many, changed="leave-one-site-out")).columns) == 6


def test_a_patient_of_the_test_part_is_held_out_even_where_folds_saw_them_too(folder):
    frame = table(["duke"])
    again = frame[frame["split"] == "test"].assign(split="oof", p_zero=1.0, p_low=0.0, p_positive=0.0)
    tables = {"all": table(COHORTS, n=30), "duke": pd.concat([again, frame])}
    found = cohort_matrix(folder, study(folder, tables))
    assert found.entries["duke", "ispy"].value == pytest.approx(macro(frame[frame["cohort"] == "ispy"]))
    assert ("duke", "ispy") not in found.within


def test_seeds_are_averaged_and_unlabeled_patients_left_out(folder):
    first, second = table(["duke"], seed=1), table(["duke"], seed=2)
    second.loc[3, "y"] = first.loc[3, "y"] = np.nan
    found = cohort_matrix(folder, study(folder, {"all": table(COHORTS, n=30), "duke": [first, second]}))
    known = [frame[(frame["cohort"] == "duke") & frame["y"].notna()] for frame in (first, second)]
    entry = found.entries["duke", "duke"]
    assert entry.value == pytest.approx(np.mean([macro(frame) for frame in known]))
    assert entry.n == 59
    assert "mean of 2 seeds" in entry.method


def test_listed_cells_are_rows(folder):
    cells = [
        put(folder, "all", {}, {}, [table(COHORTS)], is_base=True),
        put(folder, "on duke", {}, {SPLIT: {"kind": "cohorts", "train": ["duke"]}}, [table(["duke"])]),
        put(folder, "else", {}, {"classify.head": "ridge"}, [table(COHORTS)]),
    ]
    found = cohort_matrix(folder, StudyMaterial(config(), {}, "list", tuple(cells), ()))
    assert (found.rows, found.axis) == ((BASE, "on duke"), "")


def test_no_axis_of_training_has_no_matrix(folder):
    base = put(folder, "all", {"head": "logistic"}, {}, [table(COHORTS)], is_base=True)
    ridge = put(folder, "ridge", {"head": "ridge"}, {"classify.head": "ridge"}, [table(COHORTS)])
    axes = {"head": ("logistic", "ridge")}
    assert cohort_matrix(folder, StudyMaterial(config(), axes, "lattice", (base, ridge), ())) is None
    nothing = study(folder, {"all": None, "duke": None})
    assert cohort_matrix(folder, nothing) is None
