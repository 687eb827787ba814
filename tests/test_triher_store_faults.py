"""Bad stores of the catalogue: each has its outcome, and no flipped bit gives a wrong number."""

import contextlib
import dataclasses
import errno
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from triher.errors import StopRun
from triher.store import Features, Header, read_index, read_store, write_store
from triher.store_check import verify_store
from triher.store_parts import read_parts
from triher.store_salvage import salvage, saved_parts

HEADER = Header({"name": "toy", "license": "MIT"}, {"slices": {"n": 8}}, {"numpy": "2"}, np.ones((2, 4), np.float32))


@pytest.fixture
def features(make_features) -> Features:
    return make_features(n=8, views=("pre", "rgb"))


@pytest.fixture
def store(features, tmp_path) -> Path:
    return write(tmp_path / "s.h5", features)


def write(path: Path, content: Features) -> Path:
    write_store(path, HEADER, [content], n_slices=len(content.slice_index))
    return path


def edit(path: Path, change) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def checksums(content: Features) -> dict[str, str]:
    return {name: content.checksum(i) for i, name in enumerate(content.patient_id)}


def replaced_views(content: Features, **blocks: np.ndarray) -> Features:
    return dataclasses.replace(content, views=content.views | blocks)


# Damage


@pytest.mark.slow
@pytest.mark.fault("D6")
def test_300_flipped_bits_give_a_refusal_or_the_right_numbers(make_features, tmp_path):
    """Every reader, wherever the bit flips: nothing crashes, and no patient is given out with other numbers."""
    features = make_features(n=4, n_features=48, views=("rgb",))
    store = write(tmp_path / "s.h5", features)
    good, expected = store.read_bytes(), checksums(features)
    outcomes = Counter()
    for bit in np.random.default_rng(1).choice(len(good) * 8, 300, replace=False).tolist():
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        store.write_bytes(data)
        outcomes[flipped_outcome(store, expected)] += 1
    store.write_bytes(good)
    assert set(outcomes) <= {"equal", "named", "store_corrupt", "store_bomb", "store_unknown"}
    assert outcomes["named"] > 30
    assert outcomes["equal"] > 10


def flipped_outcome(store: Path, expected: dict[str, str]) -> str:
    """What a damaged store did, with every way of reading it held against what was written."""
    with contextlib.suppress(StopRun):
        found = salvage(store)
        saved = {name: part.checksum(0) for part in saved_parts(store, found) for name in part.patient_id}
        assert saved.items() <= expected.items()
        assert found.header is None or found.header.recipe == HEADER.recipe
    try:
        damaged = verify_store(store).damaged
        parts = {name: part.checksum(i) for part in read_parts(store) for i, name in enumerate(part.patient_id)}
        whole = read_store(store)[1]
    except StopRun as stop:
        return "named" if "differ from their checksums" in stop.message else stop.code
    assert damaged == ()
    assert parts == checksums(whole) == expected
    return "equal"


@pytest.mark.fault("D6")
def test_verification_names_every_damaged_patient(store, features):
    def change(file):
        for i in (1, 5):
            file["views/rgb/embeddings"][features.rows(i).start, 0] += 1

    found = verify_store(edit(store, change))
    assert found.damaged == ("SUBJECT-001", "SUBJECT-005")
    assert (found.n_patients, found.n_slices) == (8, len(features.slice_index))


def test_a_changed_checksum_does_not_pass(store):
    def change(file):
        file["checksum"][3] = file["checksum"][2]

    with pytest.raises(StopRun, match="checksums differ from the checksum over them"):
        verify_store(edit(store, change))


# Interrupted writers

KILLED = """
import os, signal, sys
from pathlib import Path
from triher.store import read_store, write_store
path = Path(sys.argv[1])
header, features = read_store(path)
def parts():
    for i in range(len(features.patient_id)):
        if i == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        yield features.select([i])
write_store(path, header, parts(), n_slices=len(features.slice_index))
"""


@pytest.mark.fault("D1", "D2", "D4")
@pytest.mark.parametrize("killed_at", [0, 1, 7])
def test_a_writer_that_is_killed_leaves_the_earlier_store(store, killed_at):
    before = store.read_bytes()
    command = [sys.executable, "-c", KILLED, str(store), str(killed_at)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -9
    assert store.read_bytes() == before
    assert {path.suffix for path in store.parent.iterdir()} == {".h5", ".part"}


@pytest.mark.fault("D9")
@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_full_disk_stops_before_hdf5_meets_it(store, features, monkeypatch, fails_at):
    """HDF5 1.14 crashes the program when the disk is full while it closes a file, so space is reserved before."""
    before, calls = store.read_bytes(), []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    needed = r"no space left to write .*s\.h5: No space left on device; \d+ bytes are needed"
    with pytest.raises(StopRun, match=needed) as caught:
        write(store, features)
    assert caught.value.code == "disk_full"
    assert store.read_bytes() == before
    assert list(store.parent.iterdir()) == [store]


def test_what_is_reserved_on_disk_is_more_than_what_is_needed(features, tmp_path, monkeypatch):
    """Long ids and patients with one slice included."""
    asked = []
    reserve = os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", lambda *given: asked.append(given[2]) or reserve(*given))
    ids = tuple(f"{i}".zfill(3000) for i in range(len(features.patient_id)))
    path = write(tmp_path / "t.h5", dataclasses.replace(features, patient_id=ids))
    assert len(asked) == 2
    assert path.stat().st_size < asked[1]
    assert path.stat().st_size < 100_000  # the rest was given back


# Other writers


@pytest.mark.fault("D3")
def test_a_file_that_its_writer_left_open_names_h5clear(tmp_path):
    code = "import h5py, os, sys; f = h5py.File(sys.argv[1], 'w', libver='latest'); f.flush(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.h5")], check=True, timeout=60)
    with pytest.raises(StopRun, match="already open for write") as caught:
        read_index(tmp_path / "s.h5")
    assert caught.value.code == "store_locked"
    assert "h5clear -s" in caught.value.remedy


@pytest.mark.fault("D7", "D8")
def test_a_file_that_another_program_writes_is_locked_not_damaged(store):
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read();f.close()"
    command = [sys.executable, "-c", code, str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "open\n"
        for read in (read_index, read_store, verify_store, salvage):
            with pytest.raises(StopRun) as caught:
                read(store)
            assert caught.value.code == "store_locked"
        writer.communicate("", timeout=60)
    assert read_index(store).n_slices > 0


@pytest.mark.fault("D7", "D8")
def test_reading_locks_nobody_out(store):
    """Two readers at once, and a new store that takes the name of one that is being read."""
    first, second = read_parts(store, max_slices=1), read_parts(store, max_slices=1)
    assert next(first).patient_id == next(second).patient_id
    write(store, read_store(store)[1].select([7, 6]))
    assert [name for part in first for name in part.patient_id][-1] == "SUBJECT-007"
    assert list(read_index(store).inputs) == ["SUBJECT-007", "SUBJECT-006"]
    second.close()


# Odd embeddings


@pytest.mark.fault("D15")
def test_equal_embeddings_of_two_patients_are_noted(features, tmp_path):
    twin = features.select([2, 4, 2])
    twin = dataclasses.replace(twin, patient_id=("A", "B", "C"), input_sha256=("1" * 64, "2" * 64, "3" * 64))
    notes = verify_store(write(tmp_path / "t.h5", twin)).notes
    assert [(note.patient_id, note.code) for note in notes] == [("A", "embedding_duplicate")]
    assert notes[0].text == "the embeddings of A and C are equal to the bit"


def test_of_three_equal_patients_each_is_paired_with_the_first(features, tmp_path):
    inputs = ("1" * 64, "2" * 64, "3" * 64)
    three = dataclasses.replace(features.select([1, 1, 1]), patient_id=("A", "B", "C"), input_sha256=inputs)
    notes = verify_store(write(tmp_path / "t.h5", three)).notes
    assert [note.text for note in notes] == [f"the embeddings of A and {b} are equal to the bit" for b in "BC"]


def test_patients_without_slices_are_no_duplicates(features, tmp_path):
    nobody = features.select([])
    empty = dataclasses.replace(
        nobody,
        patient_id=("A", "B"),
        input_sha256=("1" * 64, "2" * 64),
        indptr=np.zeros(3, np.int64),
        acquisition={name: np.zeros(2) for name in nobody.acquisition},
    )
    assert verify_store(write(tmp_path / "t.h5", empty)).notes == ()


@pytest.mark.fault("D15")
def test_zeros_nan_and_one_exam_under_two_ids_are_noted(features, tmp_path):
    pre, rgb = features.views["pre"].copy(), features.views["rgb"].copy()
    pre[features.rows(1).start, 2] = np.nan
    rgb[features.rows(3).start] = 0
    inputs = list(features.input_sha256)
    inputs[6] = inputs[0][:32] + "f" * 32
    content = replaced_views(dataclasses.replace(features, input_sha256=tuple(inputs)), pre=pre, rgb=rgb)
    notes = verify_store(write(tmp_path / "t.h5", content)).notes
    assert [(note.patient_id, note.code) for note in notes] == [
        ("SUBJECT-001", "embedding_nonfinite"),
        ("SUBJECT-003", "embedding_zero"),
        ("SUBJECT-000", "image_duplicate"),
    ]


# Ids


@pytest.mark.fault("D16")
def test_ids_with_zero_bytes_slashes_and_dots_stay_apart(features, tmp_path):
    ids = ("P\0x", "P\0y", "P", "../../etc/P1", "A/B", ".", "..", "/a")
    path = write(tmp_path / "t.h5", dataclasses.replace(features, patient_id=ids))
    assert read_store(path)[1].patient_id == ids
    assert [name for part in read_parts(path, max_slices=2) for name in part.patient_id] == list(ids)
    with h5py.File(path) as file:
        assert set(file) == {
            *("patient_id", "input_sha256", "checksum", "indptr", "slice_index", "area_mm2", "views"),
            *("acquisition", "probe"),
        }


# Numbers of other kinds


@pytest.mark.fault("D21")
@pytest.mark.parametrize(("kind", "n_notes"), [("<f2", 1), (">f4", 0), ("<f8", 0), (">f8", 0)])
def test_big_endian_and_double_are_read_alike_and_half_is_noted(features, tmp_path, kind, n_notes):
    halves = {name: rows.astype(np.float16).astype(np.float32) for name, rows in features.views.items()}
    content = replaced_views(features, **halves)

    def rewrite(file):
        for name, dtype in (("views/rgb/embeddings", kind), ("area_mm2", ">f8"), ("slice_index", ">i8")):
            rows = file[name][:]
            del file[name]
            file[name] = rows.astype(dtype)

    path = edit(write(tmp_path / "t.h5", content), rewrite)
    back = read_store(path)[1]
    assert checksums(back) == checksums(content)
    assert back.views["rgb"].dtype == np.float32
    assert [note.code for note in verify_store(path).notes] == ["store_half"] * n_notes
    assert salvage(path).is_whole


# Plug-ins of HDF5


def filtered(file):
    """A view whose chunks ask for a filter that nobody has; HDF5 looks for it among the plug-ins."""
    rows = file["views/rgb/embeddings"][:]
    del file["views/rgb/embeddings"]
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk(rows.shape)
    layout.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL)
    space, kind = h5py.h5s.create_simple(rows.shape), h5py.h5t.IEEE_F32LE
    data = h5py.h5d.create(file["views/rgb"].id, b"embeddings", kind, space, layout)
    data.write_direct_chunk((0, 0), rows.tobytes(), 0)


@pytest.mark.fault("D19")
def test_no_plug_in_is_loaded_for_a_filter(store, tmp_path):
    """HDF5 runs whatever library lies in HDF5_PLUGIN_PATH; a filtered store is refused before it looks there."""
    edit(store, filtered)
    with pytest.raises(StopRun, match="embeddings") as caught:
        read_store(store)
    assert caught.value.code == "store_corrupt"
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "libfilter.so").write_bytes(b"no library")
    env = os.environ | {
        "HDF5_PLUGIN_PATH": str(plugins),
        "LD_DEBUG": "files",
        "LD_DEBUG_OUTPUT": str(tmp_path / "ld"),
    }
    ours = "from triher.store import read_store\ntry: read_store(Path(sys.argv[1]))\nexcept StopRun: pass"
    plain = "import h5py\ntry: h5py.File(sys.argv[1])['views/rgb/embeddings'][:]\nexcept OSError: pass"
    for code, is_loaded in ((ours, False), (plain, True)):
        begin = "import sys\nfrom pathlib import Path\nfrom triher.errors import StopRun\n"
        subprocess.run([sys.executable, "-c", begin + code, str(store)], env=env, check=True, timeout=120)
        logs = list(tmp_path.glob("ld.*"))
        if not logs:
            pytest.skip("the loader of this system keeps no log")
        assert any("libfilter.so" in log.read_text(errors="replace") for log in logs) == is_loaded
        for log in logs:
            log.unlink()


# Clocks


@pytest.mark.fault("D22")
def test_neither_clock_nor_time_zone_matters(store, features, tmp_path, monkeypatch):
    good = store.read_bytes()
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        os.utime(store, (0, 0))
        assert verify_store(store).damaged == ()
        later = write(tmp_path / "later.h5", features)
        os.utime(later, (2**33, 2**33))
        assert later.read_bytes() == good
        assert read_index(later) == read_index(store)
    finally:
        monkeypatch.undo()
        time.tzset()
