"""What is read from a study's folder: common patients, the seeds, and why a cell is left out."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.ablation.cohort_matrix import cohort_matrix
from analysis.ablation.comparison import compare
from analysis.ablation.material import read_material
from analysis.ablation.measures import MEASURES, values
from analysis.ablation.ranks import rank_cells
from analysis.ablation.results import Read, results_frame, write_results
from triher.judged import HELD_OUT
from triher.predictions import probability_columns, write_predictions
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.study import BASE, Cell, CellRun, Embedding, Study, StudyFolder
from triher.tables import read_own_table

N = 60


def make_config(**more):
    ablation = {"metric": "auc_macro"} | more.pop("ablation", {})
    return Config.model_validate(
        {"cohort": {"table": "cohort.csv"}, "ablation": ablation, "seed": 3, "analysis": {"resamples": 100}} | more
    )


def predictions(seed, *, ids=range(N), split="test", repeats=1, folds=1, scheme="triple", signal=1.0, other=()):
    """A prediction table in which everybody's right class tends to be the likeliest."""
    columns, rng = probability_columns(scheme), np.random.default_rng(seed)
    rows = []
    for repeat in range(repeats):
        for i in ids:
            y = (i + (i in other)) % len(columns)
            p = rng.dirichlet(np.eye(len(columns))[y] * signal + 1)
            facts = [f"P{i:03d}", "AB"[i % 2], f"site{i % 3}", split, repeat, i % folds, seed, y]
            rows.append([*facts, *p])
    names = ["patient_id", "cohort", "site", "split", "repeat", "fold", "seed", "y", *columns]
    return pd.DataFrame(rows, columns=names)


def write_study(path: Path, cells, *, axes=None, changes=None, broken=None, keys=None):
    """A study whose cells have the given tables, one a seed; a table that is a text is why the run failed."""
    folder = StudyFolder(RunFolder(path))
    (path / "features").mkdir(parents=True)
    (path / "features" / "store.h5").touch()
    facts = {"n_patients": N, "n_slices": N, "n_features": 4, "n_bytes": 1}
    folder.write_embedding(Embedding(key="e", store="store.h5", encoder="toy", seconds=2.5, device="cpu", **facts))
    runs = {}
    for c, (name, tables) in enumerate(cells.items()):
        runs[name] = tuple(f"{c}-{seed}" for seed in range((keys or {}).get(name, len(tables))))
        for seed, table in enumerate(tables):
            key, failed = f"{c}-{seed}", isinstance(table, str)
            if not failed:
                scheme = (changes or {}).get(name, {}).get("scheme", "triple")
                write_predictions(folder.predictions(key), table, scheme)
            state = {"state": "failed", "code": "class_too_small", "reason": table} if failed else {"state": "done"}
            folder.write_cell(CellRun(key=key, seed=seed, embedding="e", seconds=1.5, **state))
    names = [*cells, *(broken or {})]
    made = [Cell(name=n, levels=levels(n, axes or {}), changes=(changes or {}).get(n, {})) for n in names]
    study = Study(axes=axes or {}, design="lattice", cells=tuple(made), runs=runs, broken=broken or {}, config={})
    folder.write_study(study)
    return folder


def levels(name, axes):
    """The levels that the name of a cell tells."""
    named = dict(part.split("=") for part in name.split(", ") if "=" in part)
    return {axis: named.get(axis, of_axis[0]) for axis, of_axis in axes.items()}


@pytest.mark.fault("E24")
def test_cells_are_compared_on_their_common_patients_and_each_keeps_its_own_number(tmp_path):
    cells = {BASE: [predictions(1)], "n4=shared": [predictions(2, ids=range(10, N))]}
    folder = write_study(tmp_path, cells, axes={"n4": ("none", "shared")})
    material = read_material(folder, make_config())
    [arena] = material.arenas
    assert (arena.split, len(arena.y)) == ("test", 50)
    assert dict(arena.n_own) == {BASE: 60, "n4=shared": 50}
    assert arena.patient_id == tuple(f"P{i:03d}" for i in range(10, N))
    assert arena.y.tolist() == [i % 3 for i in range(10, N)]
    assert [len(result.own[0].y) for result in material.results] == [60, 50]
    assert arena.folds is None
    frame = results_frame(material, Read({"test": compare(arena, material)}, {"test": rank_cells(arena, material)}))
    own = frame[frame["measure"] == "brier"].set_index("cell")
    assert own["n"].tolist() == [50, 50]
    assert own["n_own"].tolist() == [60, 50]
    assert own.loc[BASE, "value"] != own.loc[BASE, "value_own"]
    assert own.loc["n4=shared", "value"] == own.loc["n4=shared", "value_own"]
    everybody = predictions(1)
    y, p = everybody["y"].to_numpy(), everybody[probability_columns("triple")].to_numpy()
    assert own.loc[BASE, "value_own"] == pytest.approx(((p - np.eye(3)[y]) ** 2).sum(axis=1).mean(), abs=1e-12)


def test_the_order_of_the_tables_changes_nothing(tmp_path):
    tables = {BASE: [predictions(1)], "b": [predictions(2)]}
    turned = {name: [table.sample(frac=1, random_state=5) for table in own] for name, own in tables.items()}
    one, other = (
        read_material(write_study(tmp_path / name, cells), make_config())
        for name, cells in (("one", tables), ("other", turned))
    )
    assert one.arenas[0].patient_id == other.arenas[0].patient_id
    assert np.array_equal(one.arenas[0].probabilities, other.arenas[0].probabilities)
    assert compare(one.arenas[0], one)[1] == compare(other.arenas[0], other)[1]


def test_repeats_are_averaged_and_seeds_are_kept(tmp_path):
    base = [predictions(seed, split="oof", repeats=2, folds=5) for seed in (1, 2)]
    other = [predictions(seed, split="oof", repeats=2, folds=4) for seed in (3, 4)]
    material = read_material(write_study(tmp_path, {BASE: base, "b": other}), make_config())
    [arena] = material.arenas
    assert arena.probabilities.shape == (2, 2, N, 3)
    first = base[0][base[0]["patient_id"] == "P007"][probability_columns("triple")].mean()
    assert arena.probabilities[0, 0, 7] == pytest.approx(first.to_numpy(), abs=1e-12)
    assert arena.folds is not None
    assert (arena.folds.n, arena.folds.share) == (4, 1.0)  # fewer folds widen more


def test_held_out_patients_are_the_first_arena(tmp_path):
    table = pd.concat([predictions(1, ids=range(40), split="oof", folds=5), predictions(2, ids=range(40, N))])
    material = read_material(write_study(tmp_path, {BASE: [table], "b": [table]}), make_config())
    assert [(arena.split, len(arena.y)) for arena in material.arenas] == [("test", 20), ("oof", 40)]


def test_cells_with_other_splits_meet_on_everybody_whom_their_models_did_not_see(tmp_path):
    a, b = range(0, N, 2), range(1, N, 2)
    there = pd.concat([predictions(1, ids=a, split="oof", folds=5), predictions(2, ids=b)])
    back = pd.concat([predictions(3, ids=b, split="oof", folds=5), predictions(4, ids=a)])
    changes = {"back": {"classify.split.train": ["B"]}}
    material = read_material(write_study(tmp_path, {BASE: [there], "back": [back]}, changes=changes), make_config())
    [arena] = material.arenas
    assert (arena.split, len(arena.y)) == (HELD_OUT, N)
    assert arena.folds is not None
    assert arena.folds.n == 5


def test_cells_without_common_patients_make_no_arena_but_keep_their_numbers(tmp_path):
    cells = {BASE: [predictions(1, ids=range(30))], "b": [predictions(2, ids=range(30, N))]}
    material = read_material(write_study(tmp_path, cells), make_config())
    assert material.arenas == ()
    frame = results_frame(material, Read({}))
    assert frame["value"].isna().all()
    assert frame.loc[frame["measure"] == "auc_macro", "value_own"].notna().all()
    assert set(frame["n_own"]) == {30}


def test_cells_that_failed_or_wait_are_rows_with_their_reason(tmp_path):
    cells = {
        BASE: [predictions(1), predictions(2)],
        "n4=shared": [predictions(3), "class 'low' has 1 patient"],
        "n4=per-phase": [predictions(4)],
        "n4=other": [predictions(5), predictions(6)],
    }
    broken = {"n4=broken": ("config_value", "no such field")}
    axes = {"n4": ("none", "shared", "per-phase", "other", "broken")}
    folder = write_study(tmp_path, cells, axes=axes, broken=broken, keys={"n4=per-phase": 2})
    material = read_material(folder, make_config())
    assert material.arenas[0].names == (BASE, "n4=other")
    told = {result.cell.name: (result.state, result.code, result.reason) for result in material.results}
    assert told["n4=shared"] == ("failed", "class_too_small", "seed 1: class 'low' has 1 patient")
    assert told["n4=per-phase"] == ("unfinished", "", "1 of 2 seeds are done; run the same command again")
    assert told["n4=broken"] == ("failed", "config_value", "no such field")
    arena = material.arenas[0]
    read = Read({"test": compare(arena, material)}, {"test": rank_cells(arena, material)})
    frame = results_frame(material, read, {"n4=other": True})
    [row] = frame[frame["cell"] == "n4=broken"].to_dict("records")
    assert (row["state"], row["reason"], row["axis:n4"], row["measure"]) == ("failed", "no such field", "broken", "")
    [row] = frame[(frame["cell"] == "n4=other") & (frame["measure"] == "auc_macro")].to_dict("records")
    assert row["confirmatory"]
    assert (row["seeds"], row["cell_seconds"], row["embedding_seconds"], row["encoder"]) == (2, 3.0, 2.5, "toy")
    each = values(arena.alone("n4=other"), MEASURES["auc_macro"])[0]
    assert row["sd_over_seeds"] == pytest.approx(each.std(ddof=1))
    assert row["value"] == pytest.approx(each.mean(), abs=1e-12)
    assert 1 <= row["rank_low"] <= row["rank"] <= row["rank_high"] <= 2
    half = frame[(frame["cell"] == "n4=shared") & (frame["measure"] == "auc_macro")]
    assert half["value"].isna().all()
    assert half["value_own"].notna().all()


def test_a_cell_with_another_truth_is_told_and_left_out(tmp_path):
    cells = {BASE: [predictions(1)], "b": [predictions(2)], "two": [predictions(3, scheme="binary")]}
    changes = {"two": {"scheme": "binary"}}
    material = read_material(write_study(tmp_path, cells, changes=changes), make_config())
    assert material.arenas[0].names == (BASE, "b")
    assert material.result("two").state == "not comparable"
    assert "sets scheme" in material.result("two").reason
    frame = results_frame(material, Read({}))
    assert "auc:negative" in set(frame.loc[frame["cell"] == "two", "measure"])


@pytest.mark.parametrize("changes", [{"cohort.columns": {"ihc": "IHC2"}}, {"cohort.table": "second.csv"}])
def test_a_cell_that_gives_patients_another_class_is_not_comparable_and_stops_nothing(tmp_path, changes):
    cells = {BASE: [predictions(1)], "b": [predictions(2, other={4, 7})], "c": [predictions(3)]}
    material = read_material(write_study(tmp_path, cells, changes={"b": changes}), make_config())
    assert material.arenas[0].names == (BASE, "c")
    assert len(material.arenas[0].y) == N
    other = material.result("b")
    assert (other.state, other.code, other.named) == ("not comparable", "", ("P004",))
    assert other.reason == (
        "its truth is another one: 2 patients ('P004' and others) are of another class, "
        "positive in place of low in 'base'"
    )
    assert len(other.own[0].y) == N


def test_rules_that_change_nobodys_class_leave_a_cell_comparable(tmp_path):
    cells = {BASE: [predictions(1)], "b": [predictions(2)]}
    changes = {"b": {"cohort.columns": {"site": "hospital"}}}
    material = read_material(write_study(tmp_path, cells, changes=changes), make_config())
    assert material.arenas[0].names == (BASE, "b")


def test_without_base_the_first_cell_says_what_the_truth_is(tmp_path):
    cells = {BASE: ["no memory"], "b": [predictions(2)], "c": [predictions(3, other={4})], "d": [predictions(4)]}
    material = read_material(write_study(tmp_path, cells), make_config())
    assert material.arenas[0].names == ("b", "d")
    assert "in 'b'" in material.result("c").reason


def test_seeds_that_contradict_each_other_are_a_failed_cell(tmp_path):
    cells = {
        BASE: [predictions(1), predictions(2)],
        "b": [predictions(3), predictions(4, other={4})],
        "c": [predictions(5), predictions(6)],
    }
    material = read_material(write_study(tmp_path, cells), make_config())
    assert material.arenas[0].names == (BASE, "c")
    found = material.result("b")
    assert (found.state, found.code, found.own) == ("failed", "truth_differs", ())
    assert found.reason == "its seeds give 1 patient ('P004') different classes"


def test_a_level_that_sets_the_whole_section_has_another_split_too(tmp_path):
    a, b = range(0, N, 2), range(1, N, 2)
    there = pd.concat([predictions(1, ids=a, split="oof", folds=5), predictions(2, ids=b)])
    back = pd.concat([predictions(3, ids=b, split="oof", folds=5), predictions(4, ids=a)])
    changes = {"back": {"classify": {"split": {"kind": "cohorts", "test": ["A"]}}}}
    config = make_config(classify={"split": {"kind": "cohorts", "test": ["B"]}})
    for name, known in (("settings", changes), ("labels", {})):  # of a column that says who is held out, labels alone
        folder = write_study(tmp_path / name, {BASE: [there], "back": [back]}, changes=known)
        material = read_material(folder, config)
        [arena] = material.arenas
        assert (arena.split, len(arena.y)) == (HELD_OUT, N)
        matrix = cohort_matrix(folder, material)
        assert (matrix.rows if matrix else ()) == ((BASE, "back") if known else ())
        assert (matrix.by if matrix else "cohort") == "cohort"
    same = {"back": {"classify": {"split": {"kind": "cohorts", "test": ["B"]}, "head": "knn"}}}
    folder = write_study(tmp_path / "same", {BASE: [there], "back": [there]}, changes=same)
    assert [arena.split for arena in read_material(folder, config).arenas] == ["test", "oof"]


def test_the_store_that_held_out_patients_are_shown_from_is_read(tmp_path):
    folder = write_study(tmp_path, {BASE: [predictions(1)], "b": [predictions(2)]})
    folder.write_embedding(folder.read_embedding("e").model_copy(update={"key": "s"}))
    folder.write_cell(folder.read_cell("1-0").model_copy(update={"shown": "s"}))
    material = read_material(folder, make_config())
    assert material.result("b").shown.key == "s"
    assert material.result("b").embedding.key == "e"
    assert material.result(BASE).shown is None


def test_a_damaged_table_is_the_reason_of_its_cell(tmp_path):
    folder = write_study(tmp_path, {BASE: [predictions(1)], "b": [predictions(2)], "c": [predictions(3)]})
    text = folder.predictions("1-0").read_text(encoding="utf-8")
    folder.predictions("1-0").write_text(text[:300], encoding="utf-8")
    material = read_material(folder, make_config())
    assert material.arenas[0].names == (BASE, "c")
    assert material.result("b").state == "failed"


def test_results_read_back_equal_and_say_where_parquet_is_missing(tmp_path, monkeypatch):
    cells = {BASE: [predictions(1)], "n4=shared": [predictions(2)]}
    folder = write_study(tmp_path, cells, axes={"n4": ("none", "shared")})
    material = read_material(folder, make_config())
    arena = material.arenas[0]
    frame = results_frame(material, Read({"test": compare(arena, material)}, {"test": rank_cells(arena, material)}))
    assert write_results(folder, frame) == ()
    back = read_own_table(folder.results_file)
    assert back["value"].replace("", "nan").astype(float).tolist() == pytest.approx(frame["value"].tolist(), abs=0)
    parquet = pd.read_parquet(folder.results_file.with_suffix(".parquet"))
    pd.testing.assert_frame_equal(parquet, frame)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    [note] = write_results(folder, frame)
    assert note.code == "extra_missing"
    assert "triher[export]" in note.text
    assert not folder.results_file.with_suffix(".parquet").exists()
