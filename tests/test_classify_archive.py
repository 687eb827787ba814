"""The files of a bundle: zips from anywhere do no harm, and ours are the same on every machine."""

import hashlib
import io
import os
import stat
import struct
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classify.archive import MOST_FILES, open_files, pack
from triher.errors import StopRun

CONTENT = {"manifest.json": b'{"a": 1}\n', "head.safetensors": bytes(range(256)) * 40, "range.safetensors": b""}


def code_of(path: Path, *, part: str = "") -> str:
    """The code that a bundle is refused with, whether at once or when its files are read."""
    with pytest.raises(StopRun) as caught:
        read(path)
    assert part in caught.value.message
    return caught.value.code


def read(path: Path) -> dict[str, bytes]:
    files = open_files(path)
    return {name: files.read(name) for name in files.sizes}


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def write_zip(
    path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes], compression: int = zipfile.ZIP_STORED
) -> Path:
    """A zip as any program may write it."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore", UserWarning)  # names that are there twice
        for info, data in entries:
            archive.writestr(info, data, compress_type=compression)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "bundle"
    place.mkdir()
    for name, data in CONTENT.items():
        (place / name).write_bytes(data)
    return place


@pytest.fixture
def packed(folder, tmp_path) -> Path:
    pack(open_files(folder), tmp_path / "bundle.zip")
    return tmp_path / "bundle.zip"


def test_folder_and_zip_hold_the_same(folder, packed):
    assert read(folder) == CONTENT
    assert read(packed) == CONTENT
    assert open_files(packed).sizes == {name: len(data) for name, data in CONTENT.items()}


def test_equal_files_give_equal_bytes_whenever_they_were_written(folder, packed, tmp_path):
    for path in folder.iterdir():
        os.utime(path, (0, 1_000_000_000))
        path.chmod(0o600)
    pack(open_files(folder), tmp_path / "again.zip")
    pack(open_files(packed), tmp_path / "of-the-zip.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()
    assert (tmp_path / "of-the-zip.zip").read_bytes() == packed.read_bytes()


def test_the_bytes_of_a_zip_are_pinned(packed):
    """Golden file: a bundle's zip can be cited by its hash, so no library may change it."""
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    assert digest == "6c6af9d25c0c65bdcf8d359772cb71f77c73a546572b69ba174832083577ca8b"
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist() == sorted(CONTENT)
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_zip_that_others_deflated_is_read(tmp_path):
    path = write_zip(tmp_path / "x.zip", *CONTENT.items(), compression=zipfile.ZIP_DEFLATED)
    assert read(path) == CONTENT


def test_an_interrupted_packing_leaves_nothing_and_keeps_the_old(folder, packed, tmp_path):
    before = packed.read_bytes()
    files = open_files(folder)
    (folder / "head.safetensors").unlink()
    with pytest.raises(StopRun, match=r"cannot read .*head.safetensors: No such file") as caught:
        pack(files, packed)
    assert caught.value.code == "bundle_corrupt"
    assert packed.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "bundle.zip"]


@pytest.mark.fault("G6")
@pytest.mark.parametrize(
    "name",
    [
        "../evil.json", "/etc/evil.json", "a/manifest.json", "a\\manifest.json", "C:\\evil.json", "C:evil.json",
        "..", ".", "", "folder/", ".hidden", "manifest.json\0.exe", "männifest.json", "a" * 300, "x\ny.json",
        "__MACOSX/._manifest.json",
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(tmp_path, name):
    path = write_zip(tmp_path / "x.zip", ("head.json", b"{}"), (renamed(name), b"{}"))
    assert code_of(path, part="no file directly in the zip") == "bundle_tampered"
    assert [item.name for item in tmp_path.iterdir()] == ["x.zip"]


def renamed(name: str) -> zipfile.ZipInfo:
    """An entry with any name, which the constructor would mend."""
    info = entry("x")
    info.filename = info.orig_filename = name
    return info


@pytest.mark.fault("G6")
@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o644, stat.S_IFIFO | 0o644])
def test_links_and_devices_are_refused(tmp_path, mode):
    path = write_zip(tmp_path / "x.zip", (entry("manifest.json", mode), b"/etc/passwd"))
    assert code_of(path, part="a link or a device") == "bundle_tampered"


@pytest.mark.fault("G6")
def test_an_entry_that_is_there_twice_is_refused(tmp_path):
    """Two programs could each read another one of them."""
    for second in ("manifest.json", "Manifest.JSON"):
        path = write_zip(tmp_path / "x.zip", ("manifest.json", b"{}"), (second, b"{}"))
        assert code_of(path, part="there twice") == "bundle_tampered"


@pytest.mark.fault("G6")
def test_a_million_entries_are_refused_before_they_are_listed(tmp_path):
    few = write_zip(tmp_path / "few.zip", *((f"f{i}", b"") for i in range(MOST_FILES + 1)))
    assert code_of(few) == "bundle_tampered"
    path = tmp_path / "many.zip"
    record = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"x"
    directory = record * 1_000_000
    start = b"PK\x03\x04" + bytes(26)
    for claimed in (65535, 3):  # also when it claims to have few
        end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, claimed, claimed, len(directory), len(start), 0)
        path.write_bytes(start + directory + end)
        began = time.monotonic()
        assert code_of(path) == "bundle_tampered"
        assert time.monotonic() - began < 1


@pytest.mark.fault("G6")
def test_zip64_and_comments_are_refused(packed, tmp_path):
    data = packed.read_bytes()
    large = tmp_path / "zip64.zip"
    large.write_bytes(data[:-22] + b"PK\x06\x07" + bytes(16) + data[-22:])
    assert code_of(large) == "bundle_tampered"
    noted = tmp_path / "noted.zip"
    noted.write_bytes(data[:-2] + b"\x05\0hello")
    assert code_of(noted) == "bundle_corrupt"


@pytest.mark.fault("G6")
def test_gigabytes_in_a_few_megabytes_are_not_inflated(tmp_path):
    """Zeros shrink a thousandfold; what they announce is enough to refuse them."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(10_000_000))
    deflated = zipfile.ZipFile(path).infolist()[0]
    claimed = 2_000_000_000
    data = path.read_bytes().replace(struct.pack("<I", deflated.file_size), struct.pack("<I", claimed))
    path.write_bytes(data)
    tracemalloc.start()
    assert code_of(path, part="no bundle has more") == "bundle_tampered"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.fault("G6")
def test_an_entry_that_inflates_to_more_than_it_announces_is_not_inflated(tmp_path):
    path = write_zip(tmp_path / "x.zip", ("head.json", bytes(50_000_000)), compression=zipfile.ZIP_DEFLATED)
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 50_000_000), struct.pack("<I", 1000)))
    tracemalloc.start()
    assert code_of(path) == "bundle_corrupt"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.fault("G6")
def test_encrypted_and_oddly_compressed_entries_are_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", ("manifest.json", b"{}" * 99), compression=zipfile.ZIP_BZIP2)
    assert code_of(path, part="not read") == "bundle_tampered"
    path = write_zip(tmp_path / "x.zip", ("manifest.json", b"{}"))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    assert code_of(path, part="encrypted") == "bundle_tampered"


@pytest.mark.fault("G4", "G6")
@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\x03\x04", b"\x80\x04K\x01.", b"x" * 1000, b"PK\x05\x06" + bytes(18)]
)
def test_what_is_no_zip_is_corrupt(tmp_path, content):
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    assert code_of(path, part="neither a folder nor a zip") == "bundle_corrupt"
    assert code_of(tmp_path / "none", part="No such file") == "bundle_corrupt"


@pytest.mark.fault("G6")
def test_a_folder_of_links_pipes_folders_or_many_files_is_refused(folder, tmp_path):
    odd = folder / "head.json"
    for make in (lambda: odd.symlink_to(tmp_path), odd.mkdir, lambda: os.mkfifo(odd)):
        make()
        assert code_of(folder, part="no plain file: head.json") == "bundle_tampered"
        odd.rmdir() if odd.is_dir() and not odd.is_symlink() else odd.unlink()
    assert read(folder) == CONTENT
    for i in range(MOST_FILES):
        (folder / f"x{i}").touch()
    assert code_of(folder, part="more than") == "bundle_tampered"


@pytest.mark.fault("G6")
def test_a_file_is_read_up_to_what_is_on_record(folder, packed):
    for place in (folder, packed):
        files = open_files(place)
        assert files.read("manifest.json", most=9) == CONTENT["manifest.json"]
        with pytest.raises(StopRun, match="9 bytes, more than the 8 on record") as caught:
            files.read("manifest.json", most=8)
        assert caught.value.code == "bundle_tampered"
        with pytest.raises(StopRun, match="there is no such file") as caught:
            files.read("golden.safetensors")
        assert caught.value.code == "bundle_corrupt"


def test_a_file_that_grew_since_is_noticed(folder):
    files = open_files(folder)
    (folder / "range.safetensors").write_bytes(b"x")
    with pytest.raises(StopRun, match="another size"):
        files.read("range.safetensors")


@pytest.mark.fault("G6")
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_zip_gives_a_clear_error_or_the_right_bytes(tmp_path_factory, data):
    good = packed_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    if data.draw(st.booleans()):
        bad = good[:place]
    else:
        bad = good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))]) + good[place + 1 :]
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(bad)
    try:
        found, code = read(path), ""
    except StopRun as error:
        found, code = {}, error.code
    assert code in {"", "bundle_corrupt", "bundle_tampered"}
    assert all(CONTENT.get(name, content) == content for name, content in found.items())


def packed_bytes() -> bytes:
    """A small zip as `pack` writes it, made without a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(entry(name), content)
    return buffer.getvalue()


def test_a_run_folder_is_told_from_its_bundle(folder):
    with pytest.raises(StopRun, match="is a run folder") as caught:
        open_files(folder.parent)
    assert caught.value.code == "file_unreadable"
    assert str(folder) in caught.value.remedy
