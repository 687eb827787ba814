"""Damaged DICOM: whatever byte is changed or cut off, the answer is a volume or a named reason."""

import re
from pathlib import Path

import numpy as np
import pytest

from extract.dicom.elements import EndOfData, NotDicom, read_content
from extract.dicom.exam import open_dicom
from extract.dicom.values import WANTED, _seconds
from extract.phantom.dicom import write_dicom
from triher.codes import CODES
from triher.errors import SkipPatient

SHAPE = (8, 7, 3)
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
VENDORS = ("ge", "philips-enhanced")


@pytest.fixture
def exam(tmp_path):
    """Write a small exam; give its folder and its first file."""

    def make(vendor: str, syntax: str = "explicit") -> tuple[Path, Path]:
        phases = [np.random.default_rng(k).integers(1, 900, SHAPE).astype(np.int16) for k in range(2)]
        given = {"vendor": vendor, "patient_id": "P-1", "transfer_syntax": syntax}
        return tmp_path, write_dicom(tmp_path, phases, AFFINE, (-30.0, 90.0), **given)[0]

    return make


def outcome(folder: Path) -> str:
    """``read``, or the code."""
    try:
        source = open_dicom(folder)
        images = source.read(range(source.n_volumes))
    except SkipPatient as reason:
        return reason.code
    assert all(image.voxels.ndim == 3 and np.isfinite(image.voxels).all() for image in images)
    return "read"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big-endian", "rle"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_any_flipped_bit_is_read_or_named(exam, vendor, syntax):
    folder, path = exam(vendor, syntax)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    places = rng.integers(128, len(data), 70).tolist()
    outcomes = set()
    for place in places:
        other = bytearray(data)
        other[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(other))
        outcomes.add(outcome(folder))
    assert "read" in outcomes
    assert outcomes - {"read"} <= set(CODES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", ["explicit", "rle"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_file_that_is_cut_off_is_never_read(exam, vendor, syntax):
    folder, path = exam(vendor, syntax)
    data = path.read_bytes()
    for size in sorted({*np.linspace(1, len(data) - 10, 60).astype(int).tolist(), len(data) // 2}):
        path.write_bytes(data[:size])
        assert outcome(folder) != "read"


def test_sequences_within_sequences_come_to_an_end():
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff"
    data = bytes(128) + b"DICM" + b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + item * 5000
    with pytest.raises(NotDicom, match="without end"):
        read_content(data, WANTED)


def test_a_length_beyond_the_end_takes_no_memory():
    data = bytes(128) + b"DICM" + b"\x08\x00\x16\x00UT\x00\x00\xfe\xff\xff\xff" + b"x"
    with pytest.raises(EndOfData):
        read_content(data, WANTED)


def test_bytes_that_were_put_into_the_pixels_are_noticed_at_their_end(exam):
    folder, path = exam("ge")
    data = path.read_bytes()
    path.write_bytes(data[:-20] + data[-40:])
    assert outcome(folder) == "image_corrupt"
    path.write_bytes(data + bytes(30))  # filled up to a block of a tape
    assert outcome(folder) == "read"
    path.write_bytes(data + b"\xfc\xff\xfc\xffOB\x00\x00\x04\x00\x00\x00abcd")  # padding, PS3.10 section 7.2
    assert outcome(folder) == "read"


def test_pixels_that_are_more_than_the_header_speaks_of(exam):
    folder, path = exam("philips-enhanced")
    data = path.read_bytes()
    rows = b"\x28\x00\x10\x00US\x02\x00"
    at = data.index(rows) + len(rows)
    path.write_bytes(data[:at] + b"\x03\x00" + data[at + 2 :])
    assert outcome(folder) == "image_size"


@pytest.mark.parametrize("tag", [b"\x28\x00\x52\x10", b"\x28\x00\x53\x10"])
def test_a_slope_or_an_intercept_alone_is_damage(exam, tag):
    folder, path = exam("philips-enhanced")
    data = path.read_bytes()
    at = data.index(tag + b"DS") + 8  # the value, behind tag, type and length
    path.write_bytes(data[:at] + b"?" + data[at + 1 :])
    assert outcome(folder) == "image_corrupt"


def test_a_time_that_cannot_be_read_whole_is_none():
    assert _seconds(b"100130.5", has_date=False) == 36090.5
    assert _seconds(b"20000101100130+0100", has_date=True) == 36090
    assert _seconds(b"10013U.0", has_date=False) is None


def test_no_text_of_a_damaged_header_is_quoted(exam):
    """A length that swallows what follows makes a UID out of dates and names."""
    folder, path = exam("ge")
    data = path.read_bytes()
    for tag in (b"\x08\x00\x16\x00UI", b"\x02\x00\x10\x00UI"):
        at = data.index(tag) + len(tag)
        path.write_bytes(data[:at] + b"\xf0\x00" + data[at + 2 :])
        for other in folder.iterdir():
            if other != path and other.is_file():
                other.unlink()
        with pytest.raises(SkipPatient) as caught:
            open_dicom(folder)
        assert not re.search(r"20000101|1\.2\.826", caught.value.message)
