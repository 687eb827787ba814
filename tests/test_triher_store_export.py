"""Exports, read back by the libraries and in the ways of the programs that they are for."""

import dataclasses
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triher.errors import StopRun
from triher.store import Features, Header, write_store
from triher.store_bags import export_bags, file_names
from triher.store_export import export_h5ad, export_parquet
from triher.tables import read_own_table

HEADER = Header(
    {"name": "timm:toy/a", "sha256": "ab", "license": "MIT", "input_size": 32},
    {"slices": {"n": 8}},
    {"numpy": "2.4"},
    np.ones((2, 4), np.float32),
)
ODD = ("001", "../../etc/P1", "A/B", ".", "\u00c4\u6f22", "=1", "1", "a" * 300, "CON", "a-b", "A-B", "A B")


@pytest.fixture
def features(make_features) -> Features:
    content = make_features(n=len(ODD), views=("early-pre", "rgb"))
    return dataclasses.replace(content, patient_id=ODD, acquisition=content.acquisition | {"rgb": np.ones(len(ODD))})


@pytest.fixture
def store(features, tmp_path) -> Path:
    write_store(tmp_path / "a.h5", HEADER, [features], n_slices=len(features.slice_index))
    return tmp_path / "a.h5"


@pytest.fixture
def small_parts(monkeypatch) -> None:
    """Several parts although the store is small."""
    from triher import store_export, store_parts

    monkeypatch.setattr(store_export, "read_parts", lambda path: store_parts.read_parts(path, max_slices=6))


def owners(features: Features) -> list[str]:
    return np.repeat(np.array(features.patient_id, dtype=object), np.diff(features.indptr)).tolist()


def test_parquet_holds_every_number(store, features, tmp_path, small_parts):
    import pyarrow.parquet as pq

    out = tmp_path / "slices.parquet"
    assert export_parquet(store, out) == len(features.slice_index)
    file = pq.ParquetFile(out)
    assert file.num_row_groups > 2
    table = file.read()
    assert table.column_names == [
        *("patient_id", "slice_index", "area_mm2", "early-pre", "view:rgb", "n_slices", "fact:rgb", "spacing_row_mm"),
    ]
    assert table["patient_id"].to_pylist() == owners(features)
    assert table["slice_index"].to_pylist() == features.slice_index.tolist()
    for column, view in (("early-pre", "early-pre"), ("view:rgb", "rgb")):
        rows = np.array(table[column].to_pylist(), np.float32)
        np.testing.assert_array_equal(rows, features.views[view])
    facts = json.loads(table.schema.metadata[b"triher"])
    assert facts["encoder"]["name"] == "timm:toy/a"
    assert facts["identity"] == HEADER.identity


def test_parquet_is_read_by_pandas(store, features, tmp_path):
    import pandas as pd

    export_parquet(store, tmp_path / "slices.parquet")
    frame = pd.read_parquet(tmp_path / "slices.parquet")
    np.testing.assert_array_equal(np.stack(frame["view:rgb"].tolist()), features.views["rgb"])
    means = frame.groupby("patient_id", sort=False)["area_mm2"].sum()
    assert means.index.tolist() == list(ODD)


def test_equal_stores_give_equal_parquet(store, tmp_path):
    for name in ("a", "b"):
        export_parquet(store, tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_damaged_store_leaves_no_export(store, features, tmp_path):
    data = bytearray(store.read_bytes())
    data[data.find(features.views["rgb"].tobytes())] ^= 1
    store.write_bytes(data)
    for export, name in ((export_parquet, "a.parquet"), (export_h5ad, "a.h5ad")):
        with pytest.raises(StopRun, match="differ from their checksums: 001"):
            export(store, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_anndata_holds_every_number(store, features, tmp_path):
    import anndata as ad

    assert export_h5ad(store, tmp_path / "a.h5ad", "rgb") == len(features.slice_index)
    data = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(data.X, features.views["rgb"])
    np.testing.assert_array_equal(data.obsm["early-pre"], features.views["early-pre"])
    assert data.obs["patient_id"].tolist() == owners(features)
    assert data.obs["patient_id"].cat.categories.tolist() == list(ODD)
    np.testing.assert_array_equal(data.obs["slice_index"], features.slice_index)
    np.testing.assert_array_equal(data.obs["area_mm2"], features.area_mm2)
    assert data.var_names[0] == "rgb_0"
    assert json.loads(data.uns["triher"]["encoder"])["license"] == "MIT"
    assert json.loads(data.uns["triher"]["X"]) == "rgb"


@pytest.mark.fault("D16")
def test_an_id_with_a_zero_byte_goes_into_parquet_and_is_refused_for_anndata(features, tmp_path):
    import pyarrow.parquet as pq

    content = dataclasses.replace(features, patient_id=("P\0x", *ODD[1:]))
    write_store(tmp_path / "a.h5", HEADER, [content], n_slices=len(content.slice_index))
    export_parquet(tmp_path / "a.h5", tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet")["patient_id"][0].as_py() == "P\0x"
    with pytest.raises(StopRun, match="zero byte"):
        export_h5ad(tmp_path / "a.h5", tmp_path / "a.h5ad")
    folder = export_bags(tmp_path / "a.h5", tmp_path / "bags", "clam", "rgb")
    table = read_own_table(tmp_path / "bags" / "patients.csv")
    assert table["patient_id"][0] == "P\0x"
    assert (folder / table["file"][0]).is_file()


# Bags


@pytest.mark.fault("D16")
@pytest.mark.parametrize("layout", ["trident", "clam", "stamp"])
def test_every_patient_has_a_file_of_her_own_inside_the_folder(store, features, tmp_path, layout):
    out = tmp_path / "bags"
    folder = export_bags(store, out, layout, "rgb")
    table = read_own_table(out / "patients.csv")
    assert table["patient_id"].tolist() == list(ODD)
    assert len(set(table["file"].str.lower())) == len(ODD)
    assert {path.name for path in folder.iterdir()} == set(table["file"])
    assert {path.parent for path in tmp_path.rglob("*.h5")} == {tmp_path, folder}
    name = "feats" if layout == "stamp" else "features"
    for i, file_name in enumerate(table["file"]):
        with h5py.File(folder / file_name) as file:
            np.testing.assert_array_equal(file[name][:], features.views["rgb"][features.rows(i)])
            assert file["coords"].shape == (len(file[name]), 2)
            assert json.loads(file.attrs["triher"])["view"] == "rgb"


def test_trident_finds_what_its_slide_encoders_ask_for(store, features, tmp_path):
    """Its readers take features, coords, and the attributes of coords, of which the size of a patch sets the grid."""
    folder = export_bags(store, tmp_path / "bags", "trident", "rgb")
    assert folder.name == "features_timm-toy-a"
    with h5py.File(folder / "001.h5") as file:
        coords, attributes = file["coords"][:], dict(file["coords"].attrs)
        assert (file["features"].dtype, coords.dtype) == (np.float32, np.int64)
        assert file["features"].attrs["name"] == "001"
    grid = coords // attributes["patch_size_level0"]
    assert grid[:, 0].tolist() == features.slice_index[features.rows(0)].tolist()
    assert (attributes["patch_size"], attributes["overlap"], attributes["name"]) == (32, 0, "001")


def test_clam_finds_its_files_under_h5_files(store, tmp_path):
    export_bags(store, tmp_path / "bags", "clam", "rgb")
    with h5py.File(tmp_path / "bags" / "h5_files" / "001.h5") as file:
        assert set(file) == {"features", "coords"}
        assert file["coords"].attrs["patch_level"] == 0


def test_stamp_finds_unit_and_size_of_its_tiles(features, tmp_path):
    """Its reader takes ``tile_size_um`` for the size, and refuses files of a later ``stamp_version``."""
    content = dataclasses.replace(features, acquisition={"spacing_slice_mm": np.full(len(ODD), 2.5)})
    write_store(tmp_path / "a.h5", HEADER, [content], n_slices=len(content.slice_index))
    folder = export_bags(tmp_path / "a.h5", tmp_path / "bags", "stamp", "rgb")
    with h5py.File(folder / "001.h5") as file:
        facts = dict(file.attrs)
        along = file["coords"][:, 0]
        assert set(file) == {"feats", "coords"}
    assert (facts["unit"], facts["tile_size_um"], facts["tile_size_px"]) == ("um", 2500.0, 32)
    assert (facts["extractor"], facts["feat_type"]) == ("timm-toy-a", "tile")
    assert "stamp_version" not in facts
    np.testing.assert_allclose(along / facts["tile_size_um"], content.slice_index[content.rows(0)])


def test_a_view_must_be_chosen_where_there_are_several(store, tmp_path):
    with pytest.raises(StopRun, match="the store has 2 views, and this format holds one: early-pre, rgb") as caught:
        export_bags(store, tmp_path / "bags", "clam")
    assert "--view" in caught.value.remedy
    with pytest.raises(StopRun, match="unknown view 'rgp'; did you mean 'rgb'"):
        export_bags(store, tmp_path / "bags", "clam", "rgp")
    assert not (tmp_path / "bags").exists()


def test_a_folder_with_other_files_is_left_alone(store, tmp_path):
    (tmp_path / "bags").mkdir()
    (tmp_path / "bags" / "thesis.doc").write_text("precious")
    with pytest.raises(StopRun, match="is not empty"):
        export_bags(store, tmp_path / "bags", "clam", "rgb")


@pytest.mark.fault("D16")
@given(st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=12))
def test_names_are_safe_and_unique_whatever_the_ids(ids):
    names = file_names(ids)
    assert list(names) == ids
    assert len({name.lower() for name in names.values()}) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) for name in names.values())


def test_names_do_not_depend_on_the_other_patients_unless_they_clash():
    assert file_names(["P1", "P2"])["P1"] == file_names(["P1", "P9"])["P1"] == "P1"
    assert file_names(["p1", "P1"])["p1"] == "p1"
    assert re.fullmatch("P1-[0-9a-f]{8}", file_names(["p1", "P1"])["P1"])
