import subprocess
import sys

import numpy as np
import pytest

from classify.stage import classify
from triher.errors import Note, Skipped, StopRun
from triher.predictions import read_predictions
from triher.settings import Config
from triher.store import Features, write_store

P = ["p_zero", "p_low", "p_positive"]


def run(study):
    assert classify(*study)
    return read_predictions(study.run.predictions_file, "triple")


def record(study):
    return study.run.read_record()["stages"]["classify"]


def accuracy(table):
    return (table[P].to_numpy().argmax(axis=1) == table["y"]).mean()


def test_every_patient_is_predicted_once_a_repeat_and_the_signal_is_found(make_study):
    study = make_study(effect=2.0, repeats=2)
    table = run(study)
    assert table.groupby("repeat")["patient_id"].apply(sorted).tolist() == [sorted(study.ids)] * 2
    assert set(table["split"]) == {"oof"}
    assert accuracy(table) > 0.8
    truth = dict(zip(study.ids, study.y, strict=True))
    assert all(truth[name] == y for name, y in zip(table["patient_id"], table["y"], strict=True))
    assert set("|".join(table["set"]).split("|")) <= {"zero", "low", "positive", ""}
    facts = record(study)
    assert (facts["n"], facts["test_opened"], facts["labels_shuffled"]) == (36, 0, False)
    assert facts["class_counts"] == {"oof": {"zero": 12, "low": 12, "positive": 12}}


def test_nothing_is_done_twice_and_whatever_matters_makes_it_stale(make_study):
    study = make_study(split={"kind": "column"})
    run(study)
    assert record(study)["test_opened"] == 1
    assert not classify(*study)
    changed = study.config.model_copy(update={"seed": 1})
    assert classify(changed, *list(study)[1:])
    assert record(study)["test_opened"] == 2, "the test patients were predicted again"
    assert not classify(changed, *list(study)[1:])
    (study.run.bundle / "manifest.json").write_text("{}")
    assert classify(changed, *list(study)[1:]), "an output was changed"


@pytest.mark.fault("E15")
@pytest.mark.parametrize("head", ["logistic", "xgboost"])
def test_equal_runs_are_equal_to_the_byte_whatever_the_order_of_the_table(make_study, head):
    order = np.random.default_rng(3).permutation(36).tolist()
    first, second = make_study(head=head, name="a"), make_study(head=head, name="b", order=order)
    run(first)
    run(second)
    assert first.run.predictions_file.read_bytes() == second.run.predictions_file.read_bytes()
    for path in sorted(first.run.bundle.iterdir()):
        assert path.read_bytes() == (second.run.bundle / path.name).read_bytes(), path.name


def test_held_out_patients_are_predicted_by_the_final_model_only(make_study):
    study = make_study(split={"kind": "sites", "test": ["site2"]})
    table = run(study)
    test = table[table["split"] == "test"]
    assert set(test["site"]) == {"site2"}
    assert "site2" not in set(table.loc[table["split"] == "oof", "site"])
    assert len(table) == 36
    assert record(study)["class_counts"]["test"] == {"zero": 4, "low": 4, "positive": 4}


@pytest.mark.parametrize(("kind", "n"), [("leave-one-site-out", 3), ("leave-one-cohort-out", 2)])
def test_each_group_is_predicted_by_a_model_of_the_others(make_study, kind, n):
    study = make_study(split={"kind": kind})
    table = run(study)
    assert set(table["split"]) == {"test"}
    column = "site" if "site" in kind else "cohort"
    assert table.groupby("fold")[column].nunique().tolist() == [1] * n
    assert len(table) == 36
    assert record(study)["test_opened"] == 1


@pytest.mark.fault("E10")
def test_who_cannot_be_used_is_named(make_study):
    unlabeled = {"SUBJECT-004": {"ihc": "2+", "ish": ""}}
    study = make_study(table=unlabeled)
    study.features.views["rgb"][study.features.rows(7).start, 3] = np.nan
    keep = [i for i in range(36) if i not in {10, 11}]
    store_without(study, keep)
    study.run.write_skipped("extract", [Skipped("SUBJECT-010", "A", "extract", "mask_empty", "no voxel", "segment")])
    table = run(study)
    skipped = {row.patient_id: (row.stage, row.code) for row in study.run.read_skipped()}
    assert skipped == {
        "SUBJECT-004": ("classify", "her2_unknown"),
        "SUBJECT-007": ("classify", "embedding_nonfinite"),
        "SUBJECT-010": ("extract", "mask_empty"),
        "SUBJECT-011": ("classify", "not_extracted"),
    }
    assert set(study.ids) - set(table["patient_id"]) == skipped.keys()


def store_without(study, keep, input_sha256=None):
    """Write the store again with some patients only, or other input hashes."""
    chosen = study.features.select(keep)
    if input_sha256:
        chosen = Features(**{**vars(chosen), "input_sha256": tuple(input_sha256)})
    write_store(study.store, study.header, [chosen], n_slices=len(chosen.slice_index))


@pytest.mark.fault("C3")
def test_equal_images_are_noted_in_one_part_and_stop_the_run_across_parts(make_study):
    study = make_study()
    digests = list(study.features.input_sha256)
    digests[5] = digests[0]
    store_without(study, list(range(36)), digests)
    study.run.write_notes("extract", [Note("SUBJECT-001", "phase_order_suspect", "from the extraction")])
    table = run(study).set_index("patient_id")
    assert table.loc["SUBJECT-000", "fold"] == table.loc["SUBJECT-005", "fold"]
    notes = {(note.patient_id, note.code) for note in study.run.read_notes()}
    assert {("SUBJECT-005", "image_duplicate"), ("SUBJECT-001", "phase_order_suspect")} <= notes
    config = study.config.model_dump() | {"classify": {"split": {"kind": "leave-one-site-out"}}}
    with pytest.raises(StopRun, match="SUBJECT-000") as caught:
        classify(Config.model_validate(config), *list(study)[1:])
    assert caught.value.code == "patient_leak"


def test_shuffled_labels_predict_nothing_and_say_so(make_study):
    study = make_study(n=60, effect=2.0, shuffle_labels=True)
    table = run(study)
    truth = dict(zip(study.ids, study.y, strict=True))
    assert any(truth[name] != y for name, y in zip(table["patient_id"], table["y"], strict=True))
    assert accuracy(table) < 0.6
    assert record(study)["labels_shuffled"]


@pytest.mark.fault("E1", "E17")
def test_small_classes_are_noted_or_stop_the_run(make_study):
    n_low = {f"SUBJECT-{i:03d}": {"ihc": "0", "ish": ""} for i in range(1, 36, 3)}
    few = {name: cells for name, cells in n_low.items() if int(name[-3:]) > 12}
    study = make_study(name="few", table=few, folds=5)
    run(study)
    codes = {note.code for note in study.run.read_notes()}
    assert codes >= {"calibration_small", "conformal_small", "folds_reduced"}
    sets = read_predictions(study.run.predictions_file, "triple")["set"]
    assert all("low" in text.split("|") for text in sets), "four patients rule nothing out at alpha 0.1"
    study = make_study(name="none", table=n_low)
    with pytest.raises(StopRun, match="24 zero, 0 low, 12 positive") as caught:
        classify(*study)
    assert caught.value.code == "class_too_small"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"head": "forest"}, "unknown_name"),
        ({"pooling": ["sum"]}, "unknown_name"),
        ({"views": ["x"]}, "unknown_name"),
    ],
)
def test_unknown_choices_stop_before_any_work(make_study, settings, code):
    with pytest.raises(StopRun) as caught:
        classify(*make_study(**settings))
    assert caught.value.code == code


def test_a_store_of_another_cohort_stops_the_run(make_study):
    study, other = make_study(name="a"), make_study(name="b", n=40)
    write_store(study.store, study.header, [other.features.select([36, 37])], n_slices=int(
        np.diff(other.features.indptr)[[36, 37]].sum()
    ))  # fmt: skip
    with pytest.raises(StopRun) as caught:
        classify(*study)
    assert caught.value.code == "cohort_empty"


def test_no_module_of_the_package_loads_torch():
    code = (
        "import pkgutil, importlib, sys, classify\n"
        "for m in pkgutil.iter_modules(classify.__path__): importlib.import_module('classify.' + m.name)\n"
        "print(sorted({'torch', 'torchvision', 'timm', 'open_clip', 'extract', 'analysis'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
