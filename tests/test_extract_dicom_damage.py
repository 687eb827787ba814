"""Damaged DICOM: whatever byte is changed or cut off, the answer is a volume or a named reason."""

from pathlib import Path

import numpy as np
import pytest

from extract.dicom import open_dicom
from extract.dicom_elements import EndOfData, NotDicom, read_content
from extract.dicom_values import WANTED
from extract.phantom_dicom import write_dicom
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
