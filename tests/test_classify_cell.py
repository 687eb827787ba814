from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest

from classify import tuning
from classify.cell import CellOutcome, cell_key, predict_cell
from classify.shared_work import SharedWork
from classify.stage import classify
from triher.errors import StopRun
from triher.predictions import write_predictions
from triher.store import write_store

P = ["p_zero", "p_low", "p_positive"]


def cell(study, shared=None, **options) -> CellOutcome:
    return predict_cell(study.config, study.store, accounted=(), shared=shared or SharedWork(), **options)


def written(outcome: CellOutcome, path: Path) -> bytes:
    write_predictions(path, outcome.predictions, "triple")
    return path.read_bytes()


def with_classify(study, **choices):
    own = study.config.classify.model_copy(update=choices)
    return changed(study, config=study.config.model_copy(update={"classify": own}))


def store_of(study, path: Path, features) -> Path:
    write_store(path, study.header, [features], n_slices=len(features.slice_index))
    return path


@pytest.mark.parametrize(
    ("head", "split"),
    [
        ("logistic", {"kind": "cohorts", "train": ["A"]}),
        ("xgboost", {"kind": "none"}),
        pytest.param("logistic", {"kind": "leave-one-site-out"}, marks=pytest.mark.slow),
        pytest.param("xgboost", {"kind": "sites", "test": ["site2"]}, marks=pytest.mark.slow),
    ],
)
def test_a_cell_predicts_what_a_run_writes_to_the_byte(make_study, tmp_path, head, split):
    study = make_study(head=head, split=split, trials=1, folds=2)
    classify(*study)
    assert written(cell(study), tmp_path / "cell.csv") == study.run.predictions_file.read_bytes()
    assert cell_key(study.config, study.store) == study.run.read_record()["stages"]["classify"]["key"]


def test_a_row_of_the_cohort_matrix(make_study):
    """Trained on cohort A alone: A is predicted out of fold, the others by the final model, and C by nobody."""
    table = {f"SUBJECT-{i:03d}": {"cohort": "ABC"[i // 3 % 3]} for i in range(45)}
    study = make_study(n=45, table=table, folds=2, split={"kind": "cohorts", "train": ["A"], "test": ["B"]})
    found = cell(study)
    sides = found.predictions.groupby("split")["cohort"].unique()
    assert {name: set(names) for name, names in sides.items()} == {"oof": {"A"}, "test": {"B"}}
    assert found.n == 30
    left = {row.patient_id: row.code for row in found.skipped}
    assert left == {name: "split_unused" for name, row in table.items() if row["cohort"] == "C"}
    assert "the cohort 'C'" in found.skipped[0].reason
    own = cell(with_classify(study, split=study.config.classify.split.model_copy(update={"test": ()})))
    assert set(own.predictions.loc[own.predictions["split"] == "test", "cohort"]) == {"B", "C"}
    same = own.predictions[own.predictions["cohort"] == "A"]
    np.testing.assert_array_equal(same[P], found.predictions.loc[found.predictions["cohort"] == "A", P])


def test_what_is_trained_on_decides_the_models_and_what_is_shown_the_predictions(make_study, tmp_path):
    study = make_study(n=45, folds=2, split={"kind": "column"})
    plain = cell(study)
    assert cell(study, shown=study.store).predictions.equals(plain.predictions), "the same images"
    blank = {"rgb": np.zeros_like(study.features.views["rgb"])}
    shown = store_of(study, tmp_path / "blank.h5", changed(study.features, views=blank))
    found = cell(study, shown=shown).predictions
    assert found["patient_id"].tolist() == plain.predictions["patient_id"].tolist()
    by_model = found.groupby(["split", "fold"])[P].nunique()
    assert (by_model == 1).all(axis=None), "a model that sees the same of everybody says the same of everybody"
    assert cell_key(study.config, study.store, shown) != cell_key(study.config, study.store)


def test_who_has_no_other_images_is_trained_on_and_named(make_study, tmp_path):
    study = make_study(n=45, folds=2, split={"kind": "column"})
    order = np.random.default_rng(0).permutation(45)[:40].tolist()
    shown = store_of(study, tmp_path / "fewer.h5", study.features.select(order))
    found, plain = cell(study, shown=shown), cell(study)
    lost = {name for i, name in enumerate(study.ids) if i not in order}
    assert {(row.patient_id, row.code) for row in found.skipped} == {(name, "not_extracted") for name in lost}
    kept = plain.predictions[~plain.predictions["patient_id"].isin(lost)].reset_index(drop=True)
    assert found.predictions.equals(kept), "the models are trained on everybody, whoever is shown"
    assert found.n == 40
    nobody = store_of(study, tmp_path / "nobody.h5", changed(study.features, patient_id=tuple(map(str, range(45)))))
    with pytest.raises(StopRun, match="holds none of the patients whom this split would predict") as caught:
        cell(study, shown=nobody)
    assert caught.value.code == "cohort_empty"


def test_the_order_of_the_store_changes_nothing(make_study, tmp_path):
    study = make_study(folds=2)
    features = study.features.select(np.random.default_rng(1).permutation(36).tolist())
    other = changed(study, store=store_of(study, tmp_path / "other.h5", features))
    assert written(cell(study), tmp_path / "a.csv") == written(cell(other), tmp_path / "b.csv")


def test_what_extraction_left_out_is_not_named_again_and_others_are(make_study, tmp_path):
    study = make_study(folds=2, table={"SUBJECT-005": {"ihc": "", "ish": ""}})
    store = store_of(study, tmp_path / "fewer.h5", study.features.select(list(range(34))))
    found = predict_cell(study.config, store, accounted={"SUBJECT-034"}, shared=SharedWork())
    assert [(row.patient_id, row.code) for row in found.skipped] == [
        ("SUBJECT-005", "her2_unknown"),
        ("SUBJECT-035", "not_extracted"),
    ]
    assert found.n == 33


def test_cells_share_what_they_have_in_common_and_nothing_else(make_study, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []

    def count(module: str, name: str) -> None:
        real: Callable = getattr(__import__(module, fromlist=["_"]), name)
        monkeypatch.setattr(f"{module}.{name}", lambda *a, **k: (calls.append(name), real(*a, **k))[1])

    study, shared = make_study(folds=2), SharedWork()
    for module, name in (
        ("classify.shared_work", "read_source"),
        ("classify.shared_work", "stratified_folds"),
        ("classify.cell", "gather_cases"),
        ("classify.cell", "lint_cases"),
    ):
        count(module, name)
    cell(study, shared)
    once = sorted(calls)
    cell(with_classify(study, head="ordinal"), shared)
    assert sorted(calls) == once, "the same patients and vectors, another head"
    calls.clear()
    pooled = cell(with_classify(study, pooling=("max",)), shared)
    assert calls == ["gather_cases", "lint_cases"], "the same patients and folds, other vectors"
    alone = cell(with_classify(study, pooling=("max",)))
    assert pooled.predictions.equals(alone.predictions)


def test_leaks_stop_a_cell(make_study):
    study = make_study(covariates={"her2_score": lambda i: i % 3})
    for _ in range(2):
        with pytest.raises(StopRun, match="her2_score") as caught:
            cell(study)
        assert caught.value.code == "label_leak"


def test_cells_in_one_storage_keep_their_studies_apart(make_study, tmp_path, monkeypatch: pytest.MonkeyPatch):
    names: list[str] = []
    place = tuning._place

    def remember(*args):
        found = place(*args)
        names.append(found.name)
        return found

    monkeypatch.setattr(tuning, "_place", remember)
    study = make_study(storage=str(tmp_path / "all.journal"), folds=2)
    cell(study)
    cell(with_classify(study, alpha=0.2))
    assert len(names) == len(set(names)) == 4
