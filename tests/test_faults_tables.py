"""Bad features, predictions and bundles given to the command line, on tables of features, which need no images."""

import csv
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from triher.cli import main
from triher.predictions import read_predictions
from triher.runfolder import RunFolder

N, N_FEATURES = 30, 6
IHC = ("0", "1+", "3+")


def triher(*arguments: str | Path) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def write_rows(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows(rows)


def read_rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.reader(handle))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A cohort, its features, and a run of the stage classify; nobody changes what lies there."""
    folder = tmp_path_factory.mktemp("tables")
    y = np.arange(N) % 3
    X = np.random.default_rng(0).normal(size=(N, N_FEATURES))
    X[:, :3] += 2 * np.eye(3)[y]
    ids = [f"Q{i:02d}" for i in range(N)]
    cohort = [[name, f"s{i % 2}", IHC[y[i]], ""] for i, name in enumerate(ids)]
    write_rows(folder / "cohort.csv", [["patient_id", "site", "ihc", "ish"], *cohort])
    names = [f"f{j}" for j in range(N_FEATURES)]
    write_rows(
        folder / "f.csv", [["patient_id", *names], *([n, *map(str, row)] for n, row in zip(ids, X, strict=True))]
    )
    (folder / "config.yaml").write_text(
        "cohort: {table: cohort.csv}\nclassify: {features: f.csv, trials: 1, folds: 2}\nanalysis: {resamples: 100}\n",
        encoding="utf-8",
    )
    assert triher("classify", folder / "config.yaml", "--out", folder / "run", "--quiet") == 0
    return folder


@pytest.fixture
def place(made, tmp_path) -> Path:
    """A copy of it that may be changed."""
    shutil.copytree(made, tmp_path / "here")
    return tmp_path / "here"


def apply(place: Path, features: str = "f.csv", bundle: str = "run/bundle") -> int:
    arguments = ("--features", place / features, "--out", place / "new")
    return triher("apply", place / bundle, place / "config.yaml", *arguments)


def told(capsys, code: str) -> str:
    """What the command said: one line, with its code and no traceback."""
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert f"[{code}] -> " in text
    return text


@pytest.mark.fault("E9")
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ([0, 2, 1, 3, 4, 5, 6], "in another order, of which number 1 is 'f1' and should be 'f0'"),
        ([0, 1, 2, 3, 4, 5], "the table lacks 1 columns: f5"),
        ([0, 1, 2, 3, 4, 5, 5], "the table lacks 1 columns: f5; the bundle does not know 1 columns: new"),
    ],
    ids=["order", "fewer", "renamed"],
)
def test_a_bundle_refuses_features_in_another_order_or_under_other_names(place, capsys, columns, said):
    """XGBoost takes any numbers, and is off by up to 0.47."""
    rows = [[row[i] for i in columns] for row in read_rows(place / "f.csv")]
    if len(set(columns)) < len(columns):
        rows[0][-1] = "new"
    write_rows(place / "g.csv", rows)
    assert apply(place, "g.csv") == 2
    assert said in told(capsys, "bundle_encoder")
    assert not (place / "new" / "predictions.csv").exists()


BAD_CELLS = {"Q01": "nan", "Q02": "inf", "Q03": "", "Q04": "1e300"}


def spoil(place: Path) -> None:
    """Patients with one cell that is no finite number, and one whose cells are all empty."""
    rows = read_rows(place / "f.csv")
    for row in rows:
        row[2] = BAD_CELLS.get(row[0], row[2])
        if row[0] == "Q05":
            row[1:] = [""] * N_FEATURES
    write_rows(place / "f.csv", rows)


@pytest.mark.fault("E10", "D15")
@pytest.mark.parametrize("head", ["logistic", "xgboost"])
def test_numbers_that_are_not_finite_leave_the_patient_out_whichever_head(place, head):
    """XGBoost would train on NaN, and predict for a row of nothing else."""
    spoil(place)
    assert triher("classify", place / "config.yaml", "--out", place / head, f"--set=classify.head={head}") == 3
    skipped = read_rows(place / head / "skipped.csv")
    assert [(row[0], row[3]) for row in skipped[1:]] == [(f"Q{i:02d}", "embedding_nonfinite") for i in range(1, 6)]
    assert "the table" in skipped[1][4]
    done = read_predictions(place / head / "predictions.csv", "triple")["patient_id"]
    assert set(done) == {row[0] for row in read_rows(place / "f.csv")[1:]} - {row[0] for row in skipped}


@pytest.mark.fault("E10")
def test_a_bundle_predicts_nobody_whose_numbers_are_not_finite(place):
    spoil(place)
    assert apply(place) == 3
    skipped = read_rows(place / "new" / "skipped.csv")
    assert [(row[0], row[3]) for row in skipped[1:]] == [(f"Q{i:02d}", "embedding_nonfinite") for i in range(1, 6)]
    assert len(read_predictions(place / "new" / "predictions.csv", "triple")) == N - 5


@pytest.mark.fault("E1")
def test_with_three_patients_of_a_class_the_folds_are_fewer_and_with_none_nothing_is_tuned(place, capsys):
    rows = read_rows(place / "cohort.csv")
    positive = [row for row in rows if row[2] == "3+"]
    for row in positive[3:]:
        row[2] = "0"
    write_rows(place / "cohort.csv", rows)
    arguments = (place / "config.yaml", "--set=classify.folds=5", "--set=classify.head=xgboost", "--out")
    assert triher("classify", *arguments, place / "three") == 0
    assert "folds_reduced" in {row[2] for row in read_rows(place / "three" / "notes.csv")}
    table = read_predictions(place / "three" / "predictions.csv", "triple")
    p = table[["p_zero", "p_low", "p_positive"]].to_numpy()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert len(table) == N
    for row in positive[:3]:
        row[2] = "1+"
    write_rows(place / "cohort.csv", rows)
    capsys.readouterr()
    assert triher("classify", *arguments, place / "none") == 2
    assert "0 positive" in told(capsys, "class_too_small")
    assert not (place / "none" / "predictions.csv").exists()


@pytest.mark.fault("F9")
def test_predictions_of_patients_whom_the_model_saw_are_not_judged(place, capsys):
    """There is no follow-up in this cohort: not even an AUC is computed of them."""
    path = place / "run" / "predictions.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",oof,", ",train,", 3), encoding="utf-8")
    run = RunFolder(place / "run")
    made = run.read_record()["stages"]["classify"]
    facts = {name: value for name, value in made.items() if name not in ("key", "seconds", "outputs")}
    run.record_stage("classify", made["key"], [path], 1.0, **facts)
    assert triher("analysis", place / "config.yaml", "--out", place / "run") == 2
    assert f"3 of {N} rows have the split 'train'" in told(capsys, "score_in_sample")
    assert not (place / "run" / "metrics.csv").exists()


@pytest.mark.fault("G1")
@pytest.mark.parametrize("command", ["apply", "info", "card", "pack"])
def test_no_command_takes_a_bundle_with_one_changed_byte(place, capsys, command):
    path = place / "run" / "bundle" / "head.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    before = sorted(place.rglob("*"))
    more = (place / "packed.zip",) if command == "pack" else ()
    code = apply(place) if command == "apply" else triher("bundle", command, place / "run" / "bundle", *more)
    assert code == 2
    assert "head.safetensors" in told(capsys, "bundle_tampered")
    assert sorted(place.rglob("*")) == before


@pytest.mark.fault("G6")
@pytest.mark.parametrize(("name", "mode"), [("../../x", 0), ("/x", 0), ("head", 0o120777)])
def test_a_packed_bundle_that_leads_elsewhere_is_not_applied(place, capsys, name, mode):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    with zipfile.ZipFile(place / "evil.zip", "w") as archive:
        for path in (place / "run" / "bundle").iterdir():
            archive.write(path, path.name)
        archive.writestr(entry, "/etc/passwd")
    before = sorted(place.parent.rglob("*"))
    assert apply(place, bundle="evil.zip") == 2
    told(capsys, "bundle_tampered")
    assert sorted(place.parent.rglob("*")) == before
