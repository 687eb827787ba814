"""The feature store: exact round trips, and no wrong number from a damaged or hostile file."""

import dataclasses
import hashlib
import itertools
import json
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triher.errors import StopRun
from triher.store import Features, Header, concatenate, identity, read_index, read_store, write_store

GOLDEN = Path(__file__).parent / "data" / "features-v1.h5"
IDS = ("001", "../../etc/P1", "A/B", ".", "\u00c4\u6f22", "P\0x", "=1", "1", "a" * 300)


def digest(text: str) -> str:
    """A SHA-256 of anything."""
    return hashlib.sha256(text.encode()).hexdigest()


def features(ids=IDS, *, views=("early", "pre,early,early-pre", "\u00c4 b"), facts=("spacing_mm", "signal"), seed=0):
    """Random embeddings, one to three slices a patient."""
    rng = np.random.default_rng(seed)
    indptr = np.cumsum([0, *(1 + i % 3 for i in range(len(ids)))]).astype(np.int64)
    n = int(indptr[-1])
    return Features(
        tuple(ids),
        tuple(digest(patient_id) for patient_id in ids),
        indptr,
        rng.integers(0, 200, n).astype(np.int32),
        rng.uniform(1, 100, n).astype(np.float32),
        {view: rng.normal(size=(n, 4 + i)).astype(np.float32) for i, view in enumerate(views)},
        {fact: rng.normal(size=len(ids)) for fact in facts},
    )


def header(**changes):
    """What made them."""
    encoder = {"name": "toy", "sha256": "ab", "license": "MIT", "input_px": 32}
    recipe = {"slices": {"n": 8}, "phases": ["pre", "early"], "margin_mm": 0.1}
    probe = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    return dataclasses.replace(Header(encoder, recipe, {"numpy": "2"}, probe), **changes)


def write(path, content=None, head=None):
    """Write the patients in one part."""
    content = content or features()
    write_store(path, head or header(), [content], n_slices=len(content.slice_index))
    return path


def same(a: tuple[Header, Features], b: tuple[Header, Features]) -> bool:
    """Whether everything is equal to the bit."""
    for left, right in zip(a, b, strict=True):
        for item in dataclasses.fields(left):
            x, y = getattr(left, item.name), getattr(right, item.name)
            pairs = [(x[k], y[k]) for k in x] if isinstance(x, dict) and x.keys() == y.keys() else [(x, y)]
            if not all(np.array_equal(p, q) and np.asarray(p).dtype == np.asarray(q).dtype for p, q in pairs):
                return False
    return True


def refusal(path, read=read_store):
    """The code of the refusal."""
    with pytest.raises(StopRun) as caught:
        read(path)
    assert path.name in caught.value.message
    return caught.value.code


def edit(path, change):
    """Change a store in place."""
    with h5py.File(path, "r+") as file:
        change(file)
    return path


# Round trips


@pytest.mark.fault("D16")
def test_round_trip_of_several_views_and_odd_ids(tmp_path):
    content = features()
    back = read_store(write(tmp_path / "s.h5", content))
    assert same(back, (header(), content))
    assert back[1].patient_id == IDS
    index = read_index(tmp_path / "s.h5")
    assert index.inputs == dict(zip(content.patient_id, content.input_sha256, strict=True))
    assert (index.n_slices, index.n_features) == (18, 4)
    assert index.views == tuple(sorted(content.views))
    assert index.identity == header().identity
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]


@pytest.mark.parametrize("changes", [{"facts": ()}, {"ids": ("x",)}, {"views": ("v",)}])
def test_small_stores(tmp_path, changes):
    content = features(**changes)
    assert same(read_store(write(tmp_path / "s.h5", content)), (header(), content))


@pytest.mark.fault("D22")
def test_equal_input_gives_equal_bytes_at_any_time(tmp_path):
    first = write(tmp_path / "a.h5").read_bytes()
    time.sleep(1.1)  # HDF5 keeps dates in whole seconds
    assert write(tmp_path / "b.h5").read_bytes() == first


@pytest.mark.parametrize("cuts", [(3,), (1, 2, 8), tuple(range(1, len(IDS)))])
def test_parts_that_are_streamed_equal_one_part(tmp_path, cuts):
    content = features()
    edges = [0, *cuts, len(IDS)]
    parts = [content.select(range(a, b)) for a, b in itertools.pairwise(edges)]
    write_store(tmp_path / "parts.h5", header(), iter(parts), n_slices=len(content.slice_index))
    assert (tmp_path / "parts.h5").read_bytes() == write(tmp_path / "one.h5", content).read_bytes()
    assert same((header(), concatenate(parts)), (header(), content))


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(len(IDS))), n=st.integers(1, len(IDS)))
def test_selecting_keeps_every_patient_whole(order, n):
    content = features()
    chosen = content.select(order[:n])
    assert chosen.patient_id == tuple(IDS[i] for i in order[:n])
    assert [chosen.checksum(k) for k in range(n)] == [content.checksum(i) for i in order[:n]]


def test_selecting_nobody_is_empty():
    nobody = features().select([])
    assert nobody.indptr.tolist() == [0]
    assert all(len(rows) == 0 for rows in nobody.views.values())


def test_the_checksum_covers_everything():
    content = features()
    before = content.checksum(1)
    row = content.rows(1).start
    for name in ("slice_index", "area_mm2"):
        changed = getattr(content, name).copy()
        changed[row] += 1
        assert dataclasses.replace(content, **{name: changed}).checksum(1) != before
    for name in ("views", "acquisition"):
        arrays = {key: rows.copy() for key, rows in getattr(content, name).items()}
        next(iter(arrays.values()))[row if name == "views" else 1] += 1
        assert dataclasses.replace(content, **{name: arrays}).checksum(1) != before
    assert dataclasses.replace(content, input_sha256=("x",) * len(IDS)).checksum(1) != before
    assert dataclasses.replace(content, patient_id=("x",) * len(IDS)).checksum(1) != before


def test_identity_is_what_embeddings_depend_on():
    encoder, recipe = header().encoder, header().recipe
    same_weights = {**encoder, "name": "other name", "license": "GPL", "citation": "x"}
    assert identity(encoder, recipe) == identity(same_weights, recipe)
    assert identity(encoder, recipe) == identity(encoder, dict(reversed(recipe.items())))
    assert identity(encoder, recipe) != identity({**encoder, "sha256": "cd"}, recipe)
    assert identity(encoder, recipe) != identity(encoder, {**recipe, "phases": ["early", "pre"]})


@pytest.mark.fault("D21")
@pytest.mark.parametrize("kind", [">f4", "<f8", ">f8"])
def test_other_number_formats_of_equal_value_are_read(tmp_path, kind):
    """Another program may rewrite the arrays in its own byte order or width."""

    def rewrite(file):
        rows = file["views/early/embeddings"][:]
        del file["views/early/embeddings"]
        file["views/early/embeddings"] = rows.astype(kind)

    assert same(read_store(edit(write(tmp_path / "s.h5"), rewrite)), (header(), features()))


def test_what_is_not_known_is_ignored(tmp_path):
    def add(file):
        file["future/thing"] = np.ones(3)
        file.attrs["color"] = "blue"

    assert same(read_store(edit(write(tmp_path / "s.h5"), add)), (header(), features()))


# Faults of the program when writing


@pytest.mark.parametrize(
    "parts",
    [
        [features(("a", "b")), features(("b",))],
        [features(("a\0",))],
        [features(("", "b"))],
        [features(("a",)), features(("b",), views=("early",))],
        [features(("a",), views=("early",)), features(("b",))],
        [features(("a",)), features(("b",), facts=("signal",))],
        [features(("a",), facts=("signal",)), features(("b",))],
        [features(("a",), views=("pre/post",))],
        [features(("a",), views=(".",))],
        [features(("a",), facts=("",))],
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, parts):
    path = tmp_path / "s.h5"
    path.write_text("old")
    n_slices = sum(len(part.slice_index) for part in parts)
    with pytest.raises(ValueError, match=r"unique|views|cannot be the name"):
        write_store(path, header(), parts, n_slices=n_slices)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_too_few_slices_and_numbers_that_are_no_json(tmp_path):
    with pytest.raises(ValueError, match="19 slices were announced and 18 came"):
        write_store(tmp_path / "s.h5", header(), [features()], n_slices=19)
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "s.h5", head=header(recipe={"margin_mm": float("nan")}))
    assert list(tmp_path.iterdir()) == []


def test_parts_with_different_views_are_not_joined():
    with pytest.raises(ValueError, match="different views"):
        concatenate([features(), features(views=("early",))])


# Damage


@pytest.mark.fault("D6")
def test_any_flipped_bit_is_found_or_harmless(tmp_path):
    """Whatever bit flips, a reader gets the right numbers or a refusal, never anything else."""
    path = write(tmp_path / "s.h5")
    good, expected = path.read_bytes(), read_store(path)
    outcomes = []
    for bit in np.random.default_rng(0).choice(len(good) * 8, 60, replace=False).tolist():
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            read_index(path)
            outcomes.append(same(read_store(path), expected))
        except StopRun as stop:
            outcomes.append(stop.code)
    assert set(outcomes) <= {True, "store_corrupt", "store_bomb", "store_unknown"}
    assert outcomes.count("store_corrupt") > 10


@pytest.mark.fault("D6")
def test_every_flipped_byte_of_the_numbers_is_found(tmp_path):
    path = write(tmp_path / "s.h5")
    good = path.read_bytes()
    content = features()
    arrays = [content.area_mm2, content.slice_index, header().probe, *content.views.values()]
    arrays += [*content.acquisition.values(), content.indptr]
    for array in arrays:
        start = good.find(array.tobytes())
        assert start > 0
        data = bytearray(good)
        data[start + array.nbytes // 2] ^= 1
        path.write_bytes(data)
        assert refusal(path) == "store_corrupt"


@pytest.mark.fault("D6")
def test_the_damaged_patient_is_named(tmp_path):
    def change(file):
        file["views/early/embeddings"][0, 0] += 1

    path = edit(write(tmp_path / "s.h5"), change)
    with pytest.raises(StopRun, match="1 of 9 patients differ from their checksums: 001") as caught:
        read_store(path)
    assert caught.value.code == "store_corrupt"
    assert read_index(path).n_slices == 18  # which looks at no embedding


@pytest.mark.fault("D5")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_truncated_file(tmp_path, share):
    path = write(tmp_path / "s.h5")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal(path) == "store_corrupt"
    assert refusal(path, read_index) == "store_corrupt"


def test_what_is_no_store(tmp_path):
    path = tmp_path / "s.h5"
    assert refusal(path) == "file_unreadable"
    path.mkdir()
    assert refusal(path) == "file_unreadable"
    path.rmdir()
    for data in (b"", b"<html>", b"PK\x03\x04" * 100):
        path.write_bytes(data)
        assert refusal(path) == "store_unknown"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones(3)
    assert refusal(path) == "store_unknown"
    with h5py.File(path, "w") as file:
        file.attrs["format"] = np.bytes_(b"triher-slabs")
    assert refusal(path) == "store_unknown"


@pytest.mark.fault("D20")
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (2, "store_version"),
        (99, "store_version"),
        ("new", "store_corrupt"),
        ([1, 2], "store_corrupt"),
        (None, "store_corrupt"),
    ],
)
def test_other_versions(tmp_path, value, code):
    def change(file):
        del file.attrs["version"]
        if value is not None:
            file.attrs["version"] = value

    path = edit(write(tmp_path / "s.h5"), change)
    assert refusal(path) == code
    assert refusal(path, read_index) == code


@pytest.mark.parametrize("name", ["encoder", "recipe", "versions", "identity"])
def test_a_changed_origin_is_found(tmp_path, name):
    def change(file):
        text = json.dumps({"name": "another"}) if name != "identity" else digest("another")
        file.attrs[name] = np.bytes_(text.encode())

    assert refusal(edit(write(tmp_path / "s.h5"), change)) == "store_corrupt"


@pytest.mark.parametrize("text", ["[]", "5", "{", "NaN", "\xff", "[" * 100_000])
def test_an_attribute_that_is_no_json_object(tmp_path, text):
    def change(file):
        file.attrs["recipe"] = np.bytes_(text.encode("latin-1"))

    assert refusal(edit(write(tmp_path / "s.h5"), change), read_index) == "store_corrupt"


DATASETS = (
    "patient_id",
    "input_sha256",
    "checksum",
    "indptr",
    "slice_index",
    "area_mm2",
    "probe",
    "acquisition",
    "views",
)


@pytest.mark.parametrize("name", [*DATASETS, "views/early/embeddings", "views/early", "acquisition/signal"])
def test_a_missing_part(tmp_path, name):
    def change(file):
        del file[name]

    assert refusal(edit(write(tmp_path / "s.h5"), change)) == "store_corrupt"


@pytest.mark.parametrize("name", [*DATASETS[:7], "views/early/embeddings", "acquisition/signal"])
@pytest.mark.parametrize("how", ["shorter", "scalar", "deeper", "text", "void"])
def test_a_part_of_another_shape_or_kind(tmp_path, name, how):
    def change(file):
        data = file[name][:]
        del file[name]
        odd = {
            "shorter": data[:-1],
            "scalar": data.reshape(-1)[0],
            "deeper": data[..., None],
            "text": np.full(data.shape, b"x"),
            "void": h5py.Empty(data.dtype),
        }
        file[name] = odd[how]

    assert refusal(edit(write(tmp_path / "s.h5"), change)) == "store_corrupt"


def test_arrays_that_do_not_fit_although_their_checksums_do(tmp_path):
    """A foreign writer may compute checksums over nonsense."""
    content = features(("a", "b", "c"))

    def shift(file):
        indptr = np.array([0, 5, 3, 6])
        wrong = dataclasses.replace(content, indptr=indptr)
        file["indptr"][:] = indptr
        sums = [wrong.checksum(i) for i in range(3)]
        file["checksum"][:] = np.array([s.encode() for s in sums])
        file.attrs["content"] = np.bytes_(hashlib.sha256("".join(sums).encode()).hexdigest().encode())

    assert refusal(edit(write(tmp_path / "s.h5", content), shift)) == "store_corrupt"


def test_one_patient_twice(tmp_path):
    def change(file):
        file["patient_id"][1] = file["patient_id"][0]

    path = edit(write(tmp_path / "s.h5"), change)
    assert refusal(path) == "store_corrupt"
    assert refusal(path, read_index) == "store_corrupt"


# Hostile files


def replaced(name, **options):
    """Put another dataset in the place of one."""

    def change(file):
        data = file[name][:]
        del file[name]
        file.create_dataset(name, data=data, **options)

    return change


def soft_link(file):
    del file["views/early/embeddings"]
    file["views/early/embeddings"] = h5py.SoftLink("/probe")


def external_link(file):
    del file["views/early"]
    file["views/early"] = h5py.ExternalLink("other.h5", "/views/early")


def dangling_link(file):
    file["extra"] = h5py.SoftLink("/nowhere")


def external_storage(file):
    shape = file["views/early/embeddings"].shape
    del file["views/early/embeddings"]
    secret = Path(file.filename).with_name("secret.bin")
    secret.write_bytes(b"S" * 4 * int(np.prod(shape)))
    file.create_dataset("views/early/embeddings", shape, "<f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(file):
    layout = h5py.VirtualLayout((18, 4), "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "views/early/embeddings", (18, 4))
    del file["views/early/embeddings"]
    file.create_virtual_dataset("views/early/embeddings", layout)


def bomb(file):
    del file["views/early/embeddings"]
    file.create_dataset("views/early/embeddings", (10**11, 4), "<f4")


def variable_length(file):
    del file["patient_id"]
    file["patient_id"] = list("abcdefghi")


def variable_length_attribute(file):
    file.attrs["recipe"] = json.dumps(header().recipe)


def variable_length_format(file):
    file.attrs["format"] = "triher-features"


def references(file):
    file["extra"] = np.array([file["probe"].ref], dtype=h5py.ref_dtype)


def compound(file):
    file["extra"] = np.zeros(3, dtype=[("a", "<f4"), ("b", "<i4")])


def named_type(file):
    file["extra"] = np.dtype("<f4")


@pytest.mark.fault("D17", "D18", "D19")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (soft_link, "store_external"),
        (external_link, "store_external"),
        (dangling_link, "store_external"),
        (external_storage, "store_external"),
        (virtual, "store_external"),
        (bomb, "store_bomb"),
        (variable_length, "store_corrupt"),
        (variable_length_attribute, "store_corrupt"),
        (variable_length_format, "store_corrupt"),
        (references, "store_corrupt"),
        (compound, "store_corrupt"),
        (named_type, "store_corrupt"),
        (replaced("views/early/embeddings", chunks=(2, 4)), "store_corrupt"),
        (replaced("views/early/embeddings", compression="gzip"), "store_corrupt"),
        (replaced("area_mm2", fletcher32=True), "store_corrupt"),
        (replaced("area_mm2", maxshape=(None,)), "store_corrupt"),
    ],
)
def test_a_hostile_file_is_refused_before_its_data_are_read(tmp_path, change, code):
    path = edit(write(tmp_path / "s.h5"), change)
    assert refusal(path) == code
    assert refusal(path, read_index) == code


def test_groups_that_hold_themselves_end(tmp_path):
    def change(file):
        file["extra/a/b"] = file["extra"] if "extra" in file else file.create_group("extra")
        file["extra/root"] = file["/"]

    assert same(read_store(edit(write(tmp_path / "s.h5"), change)), (header(), features()))


# The golden file of version 1


def test_golden_file_of_version_1():
    """Written once, never again: version 1 stays readable, number for number."""
    head, content = read_store(GOLDEN)
    assert head.encoder == {"name": "toy", "license": "MIT", "sha256": "0" * 64, "input_px": 32}
    assert head.recipe == {"normalization": "clip98-volume", "phases": ["pre", "early"], "slices": {"n": 2}}
    assert head.versions == {"numpy": "2.4.6"}
    assert head.probe.tolist() == [[0.5, -0.25, 1.0], [2.0, 0.0, -1.5]]
    assert content.patient_id == ("001", "\u00c4/=1")
    assert content.input_sha256 == ("a" * 64, "b" * 64)
    assert content.indptr.tolist() == [0, 2, 3]
    assert content.slice_index.tolist() == [11, 12, 40]
    assert content.area_mm2.tolist() == [20.5, 31.25, 7.0]
    assert content.views["rgb"].tolist() == [[0.5, 1.5, -2.0], [0.25, -0.125, 4.0], [8.0, 0.0, -1.0]]
    assert content.views["pre,early,early-pre"].tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]
    assert content.acquisition["spacing_row_mm"].tolist() == [0.75, 0.859375]
    index = read_index(GOLDEN)
    assert index.identity == "943c3e80121b8eb82c8e362160a378eab7ebb517712760777b8586fd54d3e7c1"
    assert index.content == "b61b70b8dae44ac2cd961c0dc31c40aba6d4fd6fad23ac5f5297944d4a1d726c"


def test_the_golden_store_written_anew_holds_the_same(tmp_path):
    head, content = read_store(GOLDEN)
    write_store(tmp_path / "s.h5", head, [content], n_slices=3)
    assert same(read_store(tmp_path / "s.h5"), (head, content))
    assert read_index(tmp_path / "s.h5") == read_index(GOLDEN)
