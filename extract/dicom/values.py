"""The attributes of a DICOM image that are read, and their values as Python's.

An attribute that is absent, empty or cannot be read as what it ought to be is None (or empty text): headers are full
of such, and whether that matters is known only where the value is used. Types: DICOM PS3.5 section 6.2.
"""

import hashlib
import math
import re
import struct
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from extract.dicom.elements import Elements, Wanted
from triher.errors import SkipPatient
from triher.overlaps import public_key
from triher.tables import matching_key

TAGS = {
    "SpecificCharacterSet": 0x00080005,
    "ImageType": 0x00080008,
    "SOPClassUID": 0x00080016,
    "StudyDate": 0x00080020,
    "AcquisitionDateTime": 0x0008002A,
    "AcquisitionTime": 0x00080032,
    "ContentTime": 0x00080033,
    "SeriesDescription": 0x0008103E,
    "PatientName": 0x00100010,
    "PatientID": 0x00100020,
    "PatientBirthDate": 0x00100030,
    "OtherPatientIDs": 0x00101000,
    "OtherPatientNames": 0x00101001,
    "PatientAddress": 0x00101040,
    "PatientTelephoneNumbers": 0x00102154,
    "RepetitionTime": 0x00180080,
    "EchoTime": 0x00180081,
    "ContrastBolusStartTime": 0x00181042,
    "TriggerTime": 0x00181060,
    "FlipAngle": 0x00181314,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
    "SeriesNumber": 0x00200011,
    "AcquisitionNumber": 0x00200012,
    "InstanceNumber": 0x00200013,
    "ImagePositionPatient": 0x00200032,
    "ImageOrientationPatient": 0x00200037,
    "TemporalPositionIdentifier": 0x00200100,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "PixelSpacing": 0x00280030,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
    "BurnedInAnnotation": 0x00280301,
    "RescaleIntercept": 0x00281052,
    "RescaleSlope": 0x00281053,
    # of the frames of an enhanced image
    "FrameType": 0x00089007,
    "FrameAcquisitionDateTime": 0x00189074,
    "EffectiveEchoTime": 0x00189082,
    "FrameReferenceDateTime": 0x00189151,
    "NominalCardiacTriggerDelayTime": 0x00209153,
    "TemporalPositionIndex": 0x00209128,
    "TemporalPositionTimeOffset": 0x0020930D,
}
"""Keyword -> tag, as in DICOM PS3.6."""

_GROUPS = {
    # functional group -> its attributes: PS3.3 C.7.6.16.2 and C.8.13.5
    0x00189112: ("RepetitionTime", "FlipAngle"),
    0x00189114: ("EffectiveEchoTime",),
    0x00189118: ("NominalCardiacTriggerDelayTime",),
    0x00189226: ("FrameType",),
    0x00209111: ("FrameAcquisitionDateTime", "FrameReferenceDateTime", "TemporalPositionIndex"),
    0x00209113: ("ImagePositionPatient",),
    0x00209116: ("ImageOrientationPatient",),
    0x00209310: ("TemporalPositionTimeOffset",),
    0x00289110: ("PixelSpacing",),
    0x00289145: ("RescaleIntercept", "RescaleSlope"),
}
SHARED_GROUPS, FRAME_GROUPS = 0x52009229, 0x52009230
_IN_GROUPS: Wanted = {group: {TAGS[name]: None for name in names} for group, names in _GROUPS.items()}
WANTED: Wanted = dict.fromkeys(TAGS.values()) | {SHARED_GROUPS: _IN_GROUPS, FRAME_GROUPS: _IN_GROUPS}
"""All that is read of a file."""

_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2}(?:\.\d*)?)?(?:[+-]\d{4})?")
_DATE_DIGITS = 8
_N_HASH = 12  # hex digits: 48 bits tell any two patients of a cohort apart
_N_SHOWN = 3  # of them in a message; 4096 values, too few to find somebody's number by trying all there are


class Values:
    """The attributes of a data set by keyword."""

    def __init__(self, *layers: Elements) -> None:
        """Look an attribute up in the first of the layers that has it."""
        self._layers = layers

    def raw(self, keyword: str) -> tuple[bytes, str]:
        """Bytes as they are stored, and the order in numbers of several bytes; no bytes where there are none."""
        tag = TAGS[keyword]
        for layer in self._layers:
            value = layer.values.get(tag)
            if value:
                return value, layer.order
        return b"", "<"

    def text(self, keyword: str) -> str:
        """Text in the character set of the data set."""
        value = self.raw(keyword)[0].strip(b" \0")
        if value.isascii():
            return value.decode("ascii")
        return _decoded(value, self.text("SpecificCharacterSet"))

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Decimal strings (DS, IS)."""
        return _numbers(self.raw(keyword)[0])

    def number(self, keyword: str) -> float | None:
        """The first decimal string."""
        found = self.numbers(keyword)
        return found[0] if found else None

    def whole(self, keyword: str) -> int | None:
        """The first decimal string, where it is a whole number."""
        found = self.number(keyword)
        return int(found) if found is not None and found.is_integer() else None

    def binary(self, keyword: str) -> int | None:
        """An unsigned number of two or four bytes (US, UL)."""
        value, order = self.raw(keyword)
        return int.from_bytes(value, "little" if order == "<" else "big") if len(value) in (2, 4) else None

    def double(self, keyword: str) -> float | None:
        """A number of eight bytes (FD)."""
        value, order = self.raw(keyword)
        found = float(struct.unpack(f"{order}d", value)[0]) if len(value) == struct.calcsize("d") else math.nan
        return found if math.isfinite(found) else None

    def time_s(self, keyword: str) -> float | None:
        """Seconds since midnight of a time (TM) or of a date with time (DT)."""
        return _seconds(self.raw(keyword)[0], has_date=keyword.endswith("DateTime"))

    def patient(self) -> str:
        """PatientID as `hashed_id` makes it."""
        return hashed_id(self.text("PatientID"))


@lru_cache(maxsize=4096)
def _numbers(value: bytes) -> tuple[float, ...]:
    """Decimal strings; empty where any is none."""
    try:
        found = tuple(float(part) for part in value.strip(b" \0").split(b"\\")) if value else ()
    except ValueError:
        return ()
    return found if all(map(math.isfinite, found)) else ()


@lru_cache(maxsize=256)
def _seconds(value: bytes, *, has_date: bool) -> float | None:
    """Seconds since midnight, of the first of several; the offset from UTC does not matter within an exam."""
    text = value.partition(b"\\")[0].strip(b" \0").decode("ascii", "replace")
    found = _TIME.fullmatch(text[_DATE_DIGITS:] if has_date else text)
    if not found:
        return None
    hours, minutes, seconds = found.groups()
    return 3600.0 * int(hours) + 60.0 * int(minutes or 0) + float(seconds or 0)


@lru_cache(maxsize=256)
def hashed_id(patient_id: str) -> str:
    """A hash that is equal for all spellings of one person's id; empty where there is none.

    >>> hashed_id("ISPY2_102212") == hashed_id(" ispy2-102212")
    True
    """
    key = public_key(patient_id) or matching_key(patient_id)
    return hashlib.sha256(key.encode()).hexdigest()[:_N_HASH] if key else ""


def require_patient(hashes: Iterable[str], header_id: str, path: Path) -> None:
    """Refuse images of somebody else; ids of headers appear as a hash alone.

    Args:
        hashes: `hashed_id` of PatientID of each image; empty where there is none.
        header_id: what it must be; anything if empty.
        path: the file or folder, for messages.

    Raises:
        SkipPatient: ``patient_mismatch``.
    """
    found = dict.fromkeys(filter(None, hashes))
    listed = ", ".join(digest[:_N_SHOWN] for digest in found)
    if len(found) > 1:
        message = f"{path} holds images of {len(found)} patients (PatientID with hashes that begin with {listed})"
        raise SkipPatient("patient_mismatch", message, remedy="keep one patient a folder")
    if header_id and found and hashed_id(header_id) not in found:
        message = f"the headers in {path} are not of '{header_id}': the hash of their PatientID begins with {listed}"
        raise SkipPatient("patient_mismatch", message)


@lru_cache(maxsize=256)
def _decoded(value: bytes, character_sets: str) -> str:
    """Text that is not ASCII; what the character set does not have is replaced."""
    from pydicom.charset import convert_encodings, decode_bytes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom tells of every letter that it replaces
        known = convert_encodings(character_sets.split("\\") if character_sets else "ISO_IR 100")
        return decode_bytes(value, known, set())
