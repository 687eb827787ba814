"""Tables of features of one's own."""

import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classify.finite import skip_nonfinite
from classify.pooling import pool
from triher import feature_files
from triher.errors import StopRun
from triher.feature_table import VIEW, as_features, read_feature_table
from triher.store import Header, write_store
from triher.store_export import export_h5ad, export_parquet

SEVERAL = "patient_id,volume,sphericity\n002,10,0.5\n001,1e3,0.25\n002,30,\n007,-4,inf\n"


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, name="features.csv", **options):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return read_feature_table(path, **options)

    return write_and_read


def frame(n=6, **columns):
    rng = np.random.default_rng(0)
    values = {"volume": rng.normal(size=n), "sphericity": rng.normal(size=n)}
    return pd.DataFrame({"patient_id": [f"00{i}" for i in range(n)], **values, **columns})


def test_ids_stay_text_and_rows_of_one_id_stay_together_in_their_order(read):
    table = read(SEVERAL)
    assert table.patient_id == ("002", "001", "007")
    assert table.indptr.tolist() == [0, 2, 3, 4]
    assert table.names == ("volume", "sphericity")
    np.testing.assert_array_equal(table.rows, [[10, 0.5], [30, np.nan], [1000, 0.25], [-4, np.nan]])
    assert table.facts == {"n_rows": 4, "ignored": [], "empty": [], "constant": []}


@pytest.mark.parametrize(
    "text", ["patient_id\tv\nA\t1\nB\t2\n", "patient_id;v\nA;1\nB;2\n", "v,patient_id\n1,A\n2,B\n"]
)
def test_separators_are_found(read, text):
    table = read(text, "features.tsv")
    assert (table.patient_id, table.names, table.rows.tolist()) == (("A", "B"), ("v",), [[1], [2]])


def test_decimal_commas_are_read_where_they_are_declared(read):
    text = "patient_id;v\nA;1,5\nB;2,25\n"
    assert read(text, decimal=",").rows.tolist() == [[1.5], [2.25]]
    with pytest.raises(StopRun, match="'1,5'") as caught:
        read(text)
    assert caught.value.code == "number_format"


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(width=64), min_size=1, max_size=8))
def test_numbers_are_read_to_the_bit(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("t") / "a.csv"
    cells = [f"P{i},{value!r}" for i, value in enumerate(values)]
    path.write_text("\n".join(["patient_id,v", *cells]), encoding="utf-8")
    expected = np.where(np.isfinite(values), values, np.nan)
    np.testing.assert_array_equal(read_feature_table(path).rows[:, 0], expected)


def test_another_id_column_and_ignored_columns(read):
    table = read("Name,site,v,when\nA,x,1,2020-01-01\nB,y,2,2020-01-02\n", id_column="Name", ignore=["site", "when"])
    assert (table.names, table.facts["ignored"]) == (("v",), ["site", "when"])


def test_columns_that_tell_nothing_stay_and_are_named(read):
    table = read("patient_id,same,none,v\nA,3,,1\nB,3,NA,2\n")
    assert table.names == ("same", "none", "v")
    assert (table.facts["constant"], table.facts["empty"]) == (["same"], ["none"])


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("patient_id,v,her2\nA,1,low\nB,2,zero\n", "feature_text", "'her2'"),
        ("patient_id,v,when\nA,1,2020-01-01\nB,2,2021-01-01\n", "feature_text", "'when'"),
        ("patient_id,v,w\nA,1,1\nB,2,large\n", "number_format", "line 3: column 'w' holds 'large'"),
        ("patient_id,v\nA,1_000\nB,2\n", "number_format", "'1_000'"),
        ("patient_id,v\nA,1\nB,\u0663\n", "number_format", "line 3"),
        ("patient_id,v\nA,1e999\nB,2\n", "number_format", "'1e999'"),
        ("patient_id,v,v\nA,1,2\n", "table_header", "'v' is there twice"),
        ("patient_id,,v\nA,0,1\nB,1,2\n", "table_header", "has no name"),
        ("patient_id,\u00efd\nA,x\nB,y\n", "feature_text", "\u00efd"),
        ("patient_id\nA\nB\n", "feature_none", "0 columns of numbers"),
        ("patient_id,v\n", "table_empty", "no row"),
        ("patient_id,v\nA,1\n,2\n", "patient_id", "line 3"),
        ("patient_id,v\nP1,1\np 1,2\n", "patient_duplicate", "'P1'.*line 2.*'p 1'.*line 3"),
        ("patientid,v\nA,1\n", "column_missing", "did you mean 'patientid'"),
        ("patient_id,v\nA,1,2\n", "csv_row", "3 cells"),
    ],
)
def test_what_is_no_table_of_features_is_refused(read, text, code, message):
    with pytest.raises(StopRun, match=message) as caught:
        read(text)
    assert caught.value.code == code


def test_other_kinds_of_files_are_refused(read, tmp_path):
    with pytest.raises(StopRun, match=r"known are \.csv") as caught:
        read("patient_id,v\nA,1\n", "features.feather")
    assert caught.value.code == "table_format"
    with pytest.raises(StopRun, match="there is no file") as caught:
        read_feature_table(tmp_path / "none.parquet")
    assert caught.value.code == "file_unreadable"


def test_parquet_equals_text(tmp_path):
    content = frame(patient_id=["A", "A", "B", "C", "B", "A"])
    content.to_csv(tmp_path / "a.csv", index=False)
    content.to_parquet(tmp_path / "a.parquet")
    text, parquet = (read_feature_table(tmp_path / name) for name in ("a.csv", "a.parquet"))
    assert (text.patient_id, text.names) == (parquet.patient_id, parquet.names)
    np.testing.assert_array_equal(text.rows, parquet.rows)
    np.testing.assert_array_equal(text.indptr, parquet.indptr)


def test_types_of_parquet(tmp_path):
    content = frame(
        n=3,
        patient_id=pd.Categorical(["001", "002", "003"]),
        count=[1, 2, 3],
        half=np.float32([0.5, np.inf, 1]),
        flag=[True, False, True],
        level=pd.array([1, None, 3], dtype="Int64"),
    ).drop(columns=["volume", "sphericity"])
    content.index = [5, 6, 7]
    content.to_parquet(tmp_path / "a.parquet")
    table = read_feature_table(tmp_path / "a.parquet")
    assert table.patient_id == ("001", "002", "003")
    assert table.names == ("count", "half", "flag", "level"), "the index of pandas is no feature"
    np.testing.assert_array_equal(table.rows, [[1, 0.5, 1, 1], [2, np.nan, 0, np.nan], [3, 1, 1, 3]])


def test_float32_stays(tmp_path):
    frame().astype({"volume": "float32", "sphericity": "float32"}).to_parquet(tmp_path / "a.parquet")
    assert read_feature_table(tmp_path / "a.parquet").rows.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"note": list("abcdef")}, "feature_text", "'note'"),
        ({"when": pd.to_datetime(["2020-01-01"] * 6)}, "feature_text", "'when'"),
        ({"patient_id": [0.5] * 6}, "patient_id", "text was expected"),
        ({"patient_id": ["A", None, *"BCDE"]}, "patient_id", "row 2"),
    ],
)
def test_parquet_that_is_no_table_of_features_is_refused(tmp_path, change, code, message):
    frame(**change).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(StopRun, match=message) as caught:
        read_feature_table(tmp_path / "a.parquet")
    assert caught.value.code == code
    if code == "feature_text":
        assert len(read_feature_table(tmp_path / "a.parquet", ignore=list(change)).names) == 2


@pytest.mark.parametrize("name", ["a.parquet", "a.h5ad"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"no table at all" * 20])
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StopRun, match="cannot be read as") as caught:
        read_feature_table(tmp_path / name)
    assert caught.value.code == "table_format"


@pytest.mark.fault("D18")
def test_claimed_sizes_are_checked_before_reading(tmp_path, monkeypatch):
    frame().to_parquet(tmp_path / "a.parquet")
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file.create_dataset("X", shape=(10**7, 10**4), dtype="f4", chunks=(1000, 1000))
    with pytest.raises(StopRun, match="claims 10000000 rows of 10000 numbers") as caught:
        read_feature_table(tmp_path / "a.h5ad")
    assert caught.value.code == "table_too_large"
    monkeypatch.setattr(feature_files, "MOST_VALUES", 11)
    with pytest.raises(StopRun, match="claims 6 rows of 2 numbers"):
        read_feature_table(tmp_path / "a.parquet")
    monkeypatch.setattr(feature_files, "_MOST_TEXT_BYTES", 10)
    frame().to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(StopRun, match="tables of text may have") as caught:
        read_feature_table(tmp_path / "a.csv")
    assert "Parquet" in caught.value.remedy


@pytest.mark.fault("D17")
@pytest.mark.parametrize("kind", ["link", "external", "virtual"])
def test_anndata_that_points_outside_itself_is_refused(tmp_path, kind):
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        if kind == "link":
            file["X"] = h5py.ExternalLink("other.h5", "/X")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4, 2), "f8")
            layout[:] = h5py.VirtualSource("other.h5", "X", (4, 2))
            file.create_virtual_dataset("X", layout)
        else:
            file.create_dataset("X", (4, 2), "f8", external=[(str(tmp_path / "secret.bin"), 0, 64)])
    with pytest.raises(StopRun) as caught:
        read_feature_table(tmp_path / "a.h5ad")
    assert caught.value.code == "store_external"


def test_a_group_that_holds_itself_is_looked_at_once(tmp_path):
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        for name in ("a", "b"):
            file[name] = file["/"]
    with pytest.raises(StopRun, match="has no X"):
        read_feature_table(tmp_path / "a.h5ad")


@pytest.mark.parametrize(("name", "package"), [("a.parquet", "pyarrow"), ("a.h5ad", "anndata")])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, name, package):
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StopRun, match=f"needs the package {package}") as caught:
        read_feature_table(tmp_path / name)
    assert caught.value.code == "extra_missing"
    assert "triher[export]" in caught.value.remedy


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("ids", ["obs", "names"])
def test_anndata(tmp_path, sparse, ids):
    import anndata as ad
    from scipy.sparse import csr_matrix

    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    obs = pd.DataFrame({"patient_id": ["A", "B", "A"]} if ids == "obs" else {"age": [1, 2, 3]}, index=["x", "y", "z"])
    made = ad.AnnData(csr_matrix(rows) if sparse else rows, obs=obs, var=pd.DataFrame(index=["v", "w"]))
    made.write_h5ad(tmp_path / "a.h5ad")
    table = read_feature_table(tmp_path / "a.h5ad", ignore=["w"])
    assert table.names == ("v",)
    if ids == "obs":
        assert table.patient_id == ("A", "B")
        assert table.rows[:, 0].tolist() == [0, 4, 2]
    else:
        assert table.patient_id == ("x", "y", "z")


def test_exports_of_a_store_come_back(make_features, tmp_path):
    features = make_features(n=9, n_features=3, views=("rgb", "early-pre"))
    header = Header({"name": "toy"}, {"a": 1}, {}, np.ones((2, 3), np.float32))
    write_store(tmp_path / "a.h5", header, [features], n_slices=len(features.slice_index))
    export_parquet(tmp_path / "a.h5", tmp_path / "a.parquet")
    export_h5ad(tmp_path / "a.h5", tmp_path / "a.h5ad", "rgb")
    parquet, h5ad = (read_feature_table(tmp_path / f"a.{kind}") for kind in ("parquet", "h5ad"))
    assert parquet.names == ("early-pre/0", "early-pre/1", "early-pre/2", "rgb/0", "rgb/1", "rgb/2")
    assert h5ad.names == parquet.names[3:]
    expected = pool(features, ("early-pre", "rgb"), ("mean", "median")).vectors
    for table, columns in ((parquet, [0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11]), (h5ad, [6, 7, 8, 9, 10, 11])):
        _, found, names = as_features(table)
        assert found.patient_id == features.patient_id
        pooled = pool(found, (), ("mean", "median"), {VIEW: names})
        np.testing.assert_array_equal(pooled.vectors, expected[:, columns])
    assert pooled.names[0] == "table/mean/rgb/0"


def test_a_table_takes_the_shape_of_a_store(read):
    table = read(SEVERAL)
    header, features, names = as_features(table)
    assert header.encoder["name"] == "table"
    assert header.encoder["n_columns"] == 2
    assert header.recipe == {"features": "table"}
    assert header.resembles(header)
    assert names == table.names
    assert features.slice_index.tolist() == [0, 1, 0, 0]
    assert features.area_mm2.tolist() == [1] * 4
    assert list(features.views) == [VIEW]
    other = as_features(read(SEVERAL.replace("sphericity", "surface")))[0]
    assert other.identity != header.identity, "other columns are another encoder"


def test_the_hash_of_a_patient_is_of_her_own_values(read):
    first = as_features(read("patient_id,v,w\nA,1,2\nB,3,4\nC,1,2\n"))[1].input_sha256
    second = as_features(read("patient_id,v,w\nB,3,5\nA,1,2\n"))[1].input_sha256
    assert first[0] == first[2] == second[1]
    assert first[1] not in (first[0], second[0])


@pytest.mark.fault("E10")
def test_missing_values_follow_the_policy(read):
    _, features, names = as_features(read("patient_id,v,w\nA,1,2\nB,,4\nC,,\nD,1e300,2\n"))
    kept, skipped = skip_nonfinite(features, (), {})
    assert (kept.patient_id, len(skipped)) == (("A",), 3)
    kept, skipped = skip_nonfinite(features, (), {}, "impute", by_column=(VIEW,))
    assert [row.patient_id for row in skipped] == ["C"]
    pooled = pool(kept, (), ("mean",), {VIEW: names})
    np.testing.assert_array_equal(pooled.vectors, [[1, 2], [np.nan, 4], [np.nan, 2]])
    assert pooled.names == ("v", "w")
