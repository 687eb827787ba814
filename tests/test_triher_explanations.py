"""The maps of a run as a file."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triher.errors import StopRun
from triher.explanations import PatientMaps, read_maps, read_maps_index, write_maps

CLASSES = ("zero", "low", "positive")


def _maps(patient_id: str, seed: int, n_slices: int = 2) -> PatientMaps:
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((3, n_slices, 4, 5)).astype(np.float32)
    return PatientMaps(patient_id, maps, np.arange(7, 7 + n_slices, dtype=np.int32), rng.standard_normal(3), seed > 0)


@settings(max_examples=20, deadline=None)
@given(ids=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), unique=True))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    written = [_maps(name, seed, 1 + seed % 3) for seed, name in enumerate(ids)]
    write_maps(path, written, classes=CLASSES, method="hirescam")
    index = read_maps_index(path)
    assert (index.patient_ids, index.classes, index.method) == (tuple(ids), CLASSES, "hirescam")
    for one in written:
        found = read_maps(path, one.patient_id)
        assert found is not None
        assert np.array_equal(found.maps, one.maps)
        assert np.array_equal(found.slice_index, one.slice_index)
        assert np.array_equal(found.log_odds, one.log_odds)
        assert found.in_training == one.in_training


def test_who_has_none_gets_none(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps.h5", [_maps("001", 0)], classes=CLASSES, method="occlusion")
    assert read_maps(tmp_path / "maps.h5", "1") is None


def test_equal_maps_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_maps(tmp_path / name, [_maps("P1", 3)], classes=CLASSES, method="occlusion")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_more_than_one_patient_is_in_memory(tmp_path: Path) -> None:
    """Whole slices of a thousand patients are more than a machine holds: maps are taken one after the other."""
    alive: list[weakref.ref[np.ndarray]] = []

    def one_by_one() -> Iterator[PatientMaps]:
        for seed in range(5):
            assert sum(ref() is not None for ref in alive) <= 1
            one = _maps(f"P{seed}", seed, 1 + seed)
            alive.append(weakref.ref(one.maps))
            yield one
            del one

    write_maps(tmp_path / "a", one_by_one(), classes=CLASSES, method="occlusion")
    write_maps(tmp_path / "b", [_maps(f"P{k}", k, 1 + k) for k in range(5)], classes=CLASSES, method="occlusion")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_link_out_of_the_file_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "maps.h5"
    write_maps(path, [_maps("P1", 3)], classes=CLASSES, method="occlusion")
    with h5py.File(path, "a") as file:
        del file["values"]
        file["values"] = h5py.ExternalLink("other.h5", "/values")
    with pytest.raises(StopRun, match="link to somewhere else"):
        read_maps(path, "P1")


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "maps.h5"
    write_maps(path, [], classes=CLASSES, method="occlusion")
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 2
    with pytest.raises(StopRun, match="version 2"):
        read_maps_index(path)
