"""Joining and comparing stores: nobody twice, nothing mixed, and every difference named."""

import dataclasses
import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triher.errors import StopRun
from triher.store import Features, Header, read_header, read_index, read_store, write_store
from triher.store_compare import compare_stores, distance
from triher.store_merge import merge_stores
from triher.store_parts import read_parts, read_patients

VIEWS = ("pre", "rgb")
PROBE = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
HEADER = Header(
    {"name": "toy", "sha256": "ab", "license": "MIT", "input_size": 32},
    {"slices": {"policy": "all", "n": 8}, "phases": ["pre", "early"]},
    {"numpy": "2.4"},
    PROBE,
)


@pytest.fixture
def features(make_features) -> Features:
    return make_features(n=12, views=VIEWS)


def write(path: Path, content: Features, header: Header = HEADER) -> Path:
    write_store(path, header, [content], n_slices=len(content.slice_index))
    return path


def changed(content: Features, position: int, *, by: float = 1.0) -> Features:
    """Another embedding of one patient in one view."""
    views = {name: rows.copy() for name, rows in content.views.items()}
    views["rgb"][content.rows(position)] += np.float32(by)
    return dataclasses.replace(content, views=views)


# Reading part by part


@pytest.mark.parametrize("max_slices", [1, 2, 3, 5, 7, 1000])
def test_parts_joined_are_the_store(tmp_path, features, max_slices):
    path = write(tmp_path / "a.h5", features)
    parts = list(read_parts(path, max_slices=max_slices))
    assert all(len(part.slice_index) <= max(max_slices, 4) for part in parts)
    assert [name for part in parts for name in part.patient_id] == list(features.patient_id)
    for view in VIEWS:
        np.testing.assert_array_equal(np.concatenate([part.views[view] for part in parts]), features.views[view])


def test_some_patients_come_in_the_order_that_was_asked_for(tmp_path, features):
    path = write(tmp_path / "a.h5", features)
    order = [7, 2, 3, 11]
    chosen = read_patients(path, [features.patient_id[i] for i in order])
    assert [chosen.checksum(k) for k in range(4)] == [features.checksum(i) for i in order]
    assert read_patients(path, []).patient_id == ()


def test_a_damaged_part_is_not_given_out(tmp_path, features):
    path = write(tmp_path / "a.h5", features)
    needle = features.views["rgb"][features.rows(6)].tobytes()
    data = bytearray(path.read_bytes())
    data[data.find(needle)] ^= 1
    path.write_bytes(data)
    seen = []
    with pytest.raises(StopRun, match="1 of 12 patients differ from their checksums: SUBJECT-006"):
        seen.extend(name for part in read_parts(path, max_slices=1) for name in part.patient_id)
    assert "SUBJECT-006" not in seen


def test_an_error_of_the_reader_is_not_taken_for_damage_of_the_store(tmp_path, features):
    def use():
        for _ in read_parts(write(tmp_path / "a.h5", features)):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        use()


def test_verification_needs_little_memory(tmp_path):
    from triher.store_check import verify_store

    n, width = 6000, 512
    ids = tuple(f"P{i}" for i in range(n // 10))
    content = Features(
        ids,
        tuple(f"{i:064x}" for i in range(len(ids))),
        np.arange(0, n + 1, 10, dtype=np.int64),
        np.zeros(n, np.int32),
        np.ones(n, np.float32),
        {"rgb": np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)},
    )
    path = write(tmp_path / "large.h5", content)
    held = content.views["rgb"].nbytes
    del content
    tracemalloc.start()
    assert verify_store(path).damaged == ()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held == 12_288_000
    assert peak < 2.2 * 4096 * width * 4  # two parts of at most 4096 slices, not twice the store


# Merging


def test_merged_halves_are_the_whole_store_byte_for_byte(tmp_path, features):
    whole = write(tmp_path / "whole.h5", features)
    a = write(tmp_path / "a.h5", features.select(range(5)))
    b = write(tmp_path / "b.h5", features.select(range(5, 12)))
    merged = merge_stores(tmp_path / "ab.h5", [a, b])
    assert (merged.n_patients, merged.repeated, merged.notes) == (12, (), ())
    assert (tmp_path / "ab.h5").read_bytes() == whole.read_bytes()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(12)), cuts=st.sets(st.integers(1, 11), max_size=4))
def test_however_a_store_was_cut_the_joined_one_is_the_same(tmp_path, features, order, cuts):
    shuffled = features.select(order)
    edges = [0, *sorted(cuts), 12]
    parts = [
        write(tmp_path / f"{i}.h5", shuffled.select(range(a, b)))
        for i, (a, b) in enumerate(itertools.pairwise(edges))
    ]
    merge_stores(tmp_path / "all.h5", parts)
    assert (tmp_path / "all.h5").read_bytes() == write(tmp_path / "whole.h5", shuffled).read_bytes()


def test_the_order_is_kept_and_an_equal_patient_is_there_once(tmp_path, features):
    a = write(tmp_path / "a.h5", features.select([4, 2]))
    b = write(tmp_path / "b.h5", features.select([9, 2, 0]))
    merged = merge_stores(tmp_path / "ab.h5", [a, b])
    assert merged.repeated == ("SUBJECT-002",)
    expected = features.select([4, 2, 9, 0])
    back = read_store(tmp_path / "ab.h5")[1]
    assert back.patient_id == expected.patient_id
    assert [back.checksum(i) for i in range(4)] == [expected.checksum(i) for i in range(4)]


def test_a_patient_with_other_content_is_refused(tmp_path, features):
    a, b = write(tmp_path / "a.h5", features), write(tmp_path / "b.h5", changed(features, 3))
    with pytest.raises(StopRun, match=r"patient SUBJECT-003 is in .*a\.h5 and in .*b\.h5") as caught:
        merge_stores(tmp_path / "ab.h5", [a, b])
    assert caught.value.code == "store_conflict"
    assert not (tmp_path / "ab.h5").exists()


@pytest.mark.fault("D13")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"encoder": HEADER.encoder | {"sha256": "cd"}}, "encoder.sha256: ab -> cd"),
        ({"encoder": HEADER.encoder | {"input_size": 64}}, "encoder.input_size: 32 -> 64"),
        ({"recipe": HEADER.recipe | {"slices": {"policy": "all", "n": 2}}}, "recipe.slices.n: 8 -> 2"),
        ({"recipe": HEADER.recipe | {"n4": True}}, "recipe.n4: missing -> True"),
        ({"probe": PROBE * 1.5}, "probe: a drift of 0.5"),
    ],
)
def test_stores_that_were_made_differently_are_not_joined(tmp_path, features, changes, expected):
    a = write(tmp_path / "a.h5", features.select(range(5)))
    b = write(tmp_path / "b.h5", features.select(range(5, 12)), dataclasses.replace(HEADER, **changes))
    with pytest.raises(StopRun) as caught:
        merge_stores(tmp_path / "ab.h5", [a, b])
    assert caught.value.code == "store_mixed"
    assert expected in caught.value.message
    assert list(tmp_path.glob("ab*")) == []


@pytest.mark.fault("D13")
def test_other_views_widths_and_facts_are_not_joined(tmp_path, features, make_features):
    a = write(tmp_path / "a.h5", features)
    others = {
        "views: pre, rgb -> rgb": make_features(n=3, seed=1),
        "features: 6 -> 12": make_features(n=3, n_features=12, views=VIEWS),
        "only one of them has n_slices, spacing_row_mm": dataclasses.replace(features, acquisition={}),
    }
    for expected, content in others.items():
        with pytest.raises(StopRun) as caught:
            merge_stores(tmp_path / "ab.h5", [a, write(tmp_path / "b.h5", content)])
        assert expected in caught.value.message


def test_versions_license_and_one_exam_under_two_ids_are_told(tmp_path, features):
    renamed = dataclasses.replace(features.select([1]), patient_id=("OTHER",))
    newer = dataclasses.replace(HEADER, versions={"numpy": "2.5"}, encoder=HEADER.encoder | {"license": "GPL"})
    a, b = write(tmp_path / "a.h5", features), write(tmp_path / "b.h5", renamed, newer)
    merged = merge_stores(tmp_path / "ab.h5", [a, b])
    assert [(note.patient_id, note.code) for note in merged.notes] == [("SUBJECT-001", "image_duplicate")]
    header = read_header(tmp_path / "ab.h5")
    assert header.versions == {"numpy": "2.4 | 2.5"}
    assert header.encoder["license"] == "MIT"


def test_a_damaged_store_is_not_joined(tmp_path, features):
    a, b = write(tmp_path / "a.h5", features.select([0])), write(tmp_path / "b.h5", features.select([1, 2]))
    data = bytearray(b.read_bytes())
    data[data.find(features.select([2]).views["rgb"].tobytes())] ^= 1
    b.write_bytes(data)
    with pytest.raises(StopRun, match="SUBJECT-002"):
        merge_stores(tmp_path / "ab.h5", [a, b])
    assert not (tmp_path / "ab.h5").exists()


# Comparing


def test_a_store_equals_itself_in_any_order_and_with_other_versions(tmp_path, features):
    a = write(tmp_path / "a.h5", features)
    newer = dataclasses.replace(HEADER, versions={"numpy": "2.5"})
    b = write(tmp_path / "b.h5", features.select(range(11, -1, -1)), newer)
    found = compare_stores(a, b)
    assert found.is_equal
    assert found.is_reordered
    assert found.cosmetic == ("libraries.numpy: 2.4 -> 2.5",)
    assert {view: (one.largest, one.cosine) for view, one in found.views.items()} == {"pre": (0, 1), "rgb": (0, 1)}


def test_every_difference_is_named(tmp_path, features):
    a = write(tmp_path / "a.h5", features.select(range(10)))
    other = dataclasses.replace(changed(features, 4, by=0.01), acquisition={})
    inputs = list(other.input_sha256)
    inputs[5] = "f" * 64
    other = dataclasses.replace(other, input_sha256=tuple(inputs)).select(range(2, 12))
    recipe = HEADER.recipe | {"slices": {"policy": "all", "n": 2}}
    b = write(tmp_path / "b.h5", other, dataclasses.replace(HEADER, recipe=recipe))
    found = compare_stores(a, b)
    assert found.only_a == ("SUBJECT-000", "SUBJECT-001")
    assert found.only_b == ("SUBJECT-010", "SUBJECT-011")
    assert found.other_input == ("SUBJECT-005",)
    assert found.other_embeddings == ("SUBJECT-004",)
    assert found.essential == (
        "recipe.slices.n: 8 -> 2",
        "facts.n_slices: there -> missing",
        "facts.spacing_row_mm: there -> missing",
    )
    assert found.views["pre"].largest == 0
    rows = features.views["rgb"][features.rows(4)]
    assert found.views["rgb"].largest == pytest.approx(0.01 / np.abs(rows).max(), rel=0.05)
    assert not found.is_equal


def test_small_differences_count_as_none_under_a_tolerance(tmp_path, features):
    a, b = write(tmp_path / "a.h5", features), write(tmp_path / "b.h5", changed(features, 4, by=1e-5))
    assert not compare_stores(a, b).is_equal
    assert compare_stores(a, b, tolerance=1e-3).is_equal


@pytest.mark.parametrize(
    ("a", "b", "largest", "cosine"),
    [
        ([[3, 4]], [[3, 4]], 0, 1),
        ([[3, 4]], [[6, 8]], 0.5, 1),
        ([[1, 0]], [[0, 1]], 1, 0),
        ([[1, 0], [1, 1]], [[1, 0], [-1, -1]], 2, -1),
        ([[0, 0]], [[0, 1]], 1, 0),
        ([[0, 0], [2, 0]], [[0, 0], [1, 0]], 0.5, 1),
        ([[np.nan, 1]], [[np.nan, 1]], 0, 1),
        ([[np.nan, 1]], [[1, 1]], np.inf, -1),
        ([[1, 1]], [[1, 1, 1]], np.inf, -1),
    ],
)
def test_distances(a, b, largest, cosine):
    found = distance(np.array(a, np.float32), np.array(b, np.float32))
    assert (found.largest, found.cosine) == pytest.approx((largest, cosine))


def test_the_golden_store_can_be_joined_with_itself(tmp_path):
    golden = Path(__file__).parent / "data" / "features-v1.h5"
    merge_stores(tmp_path / "g.h5", [golden, golden])
    assert read_index(tmp_path / "g.h5").content == read_index(golden).content
