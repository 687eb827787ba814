"""Reads the headers of all DICOM images of a folder: one record a frame.

The PatientID is kept as a hash alone, other attributes of the patient not at all.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from extract.dicom.elements import DEFLATED, UNDEFINED, Content, EndOfData, NotDicom, read_content
from extract.dicom.frames import Frame, Notes, Series, Storage
from extract.dicom.values import FRAME_GROUPS, SHARED_GROUPS, WANTED, Values
from extract.volumes import source_files
from triher.errors import SkipPatient

MR_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
}
"""SOP classes that hold volumes: DICOM PS3.6 table A-1."""
_FIRST_BYTES = 1 << 16  # holds the whole header of a classic image
_GROWTH = 16
_IDENTIFYING = (
    "PatientName",
    "PatientBirthDate",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientAddress",
    "PatientTelephoneNumbers",
)
_ACQUISITION_TIMES = ("FrameAcquisitionDateTime", "AcquisitionTime", "AcquisitionDateTime")
_Value = TypeVar("_Value", int, float)


def scan_dicom(path: Path) -> tuple[list[Frame], Notes]:
    """Read the headers of a file, or of all files below a folder.

    Returns:
        One record a frame, in the order of paths; and notes (code, text): ``dicom_ignored`` with the number of files
        of each other kind, ``phi_present`` with the names of attributes that could identify the patient,
        ``burned_in_annotation``.

    Raises:
        SkipPatient: ``no_dicom`` for an empty folder, ``no_mr_image`` when no file holds one, ``file_unreadable``.
    """
    files = source_files(path)
    if not files:
        raise SkipPatient("no_dicom", f"{path} holds no file")
    frames: list[Frame] = []
    ignored: Counter[str] = Counter()
    identifying: set[str] = set()
    n_annotated = 0
    for file in files:
        found = _mr_header(file)
        if isinstance(found, str):
            ignored[found] += 1
            continue
        values = Values(found.elements)
        frames += _frames(file, found, values)
        identifying |= _identifying(values)
        n_annotated += values.text("BurnedInAnnotation") == "YES"
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(ignored.items()))
    if not frames:
        raise SkipPatient("no_mr_image", f"{path} holds no MR image among {len(files)} files ({kinds})")
    notes: Notes = []
    if ignored:
        notes.append(("dicom_ignored", f"{ignored.total()} of {len(files)} files are no MR image: {kinds}"))
    if identifying:
        listed = ", ".join(sorted(identifying))
        notes.append(("phi_present", f"the headers hold attributes that may identify the patient: {listed}"))
    if n_annotated:
        notes.append(("burned_in_annotation", f"{n_annotated} files have text burned into the image"))
    return frames, notes


def peek(path: Path) -> Series | None:
    """The series of an MR image; none for any other file.

    Raises:
        SkipPatient: ``file_unreadable``.
    """
    found = _mr_header(path)
    return None if isinstance(found, str) else _series(Values(found.elements))


def _mr_header(path: Path) -> Content | str:
    """The header of an MR image; of any other file, what kind it is."""
    try:
        content = read_header(path)
    except NotDicom:
        return "not DICOM"
    except EndOfData:
        return "cut off within the header"
    except OSError as error:
        raise SkipPatient("file_unreadable", f"cannot read {path}: {error.strerror}") from error
    values = Values(content.elements)
    sop_class = values.text("SOPClassUID") or content.sop_class
    if sop_class not in MR_IMAGES:
        return _kind_name(sop_class)
    if values.binary("SamplesPerPixel") not in (None, 1):
        return "color image"
    return content


def read_header(path: Path) -> Content:
    """Read as much of a file as its header is long.

    Raises:
        NotDicom: it is none.
        EndOfData: the file ends within its header.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        data = file.read(_FIRST_BYTES)
        while True:
            is_whole = len(data) >= size
            try:
                content = read_content(data, WANTED)
            except EndOfData:
                if is_whole:
                    raise
            else:
                if is_whole:
                    return content
                if content.pixels_at is not None and content.syntax != DEFLATED:
                    return replace(content, n_bytes=size)
            more = file.read((_GROWTH - 1) * len(data))
            if not more:
                raise EndOfData(f"{path} became shorter")
            data += more


def _kind_name(sop_class: str) -> str:
    """What the standard calls a kind of file."""
    if not sop_class:
        return "without SOP class"
    from pydicom.uid import UID_dictionary

    return UID_dictionary[sop_class][0] if sop_class in UID_dictionary else "of a kind that is not in the standard"


def _identifying(values: Values) -> set[str]:
    """Attributes that are filled and may identify the patient; a name that repeats the id is a pseudonym."""
    found = {name for name in _IDENTIFYING if values.raw(name)[0].strip(b" \0^")}
    if values.raw("PatientName")[0].strip(b" \0^") == values.raw("PatientID")[0].strip(b" \0"):
        found.discard("PatientName")
    return found


def _frames(path: Path, content: Content, values: Values) -> Iterator[Frame]:
    """One record a frame of an MR image."""
    storage = _storage(path, content, values)
    series = _series(values)
    shared = content.elements.items.get(SHARED_GROUPS, [])
    groups = content.elements.items.get(FRAME_GROUPS, [])
    common = [group for item in shared for inner in item.items.values() for group in inner]
    for index in range(storage.n_frames):
        own = groups[index].items.values() if index < len(groups) else ()
        layers = [group for inner in own for group in inner]
        yield _frame(Values(*layers, *common, content.elements), storage, series, index)


def _series(values: Values) -> Series:
    """The series that an image belongs to."""
    return Series(
        values.text("SeriesInstanceUID"),
        values.text("StudyInstanceUID"),
        values.text("StudyDate"),
        values.text("SeriesDescription"),
        values.whole("SeriesNumber"),
        values.patient(),
    )


def _storage(path: Path, content: Content, values: Values) -> Storage:
    """How the values are stored; what is not said is as usual."""
    allocated = values.binary("BitsAllocated") or 16
    stored = values.binary("BitsStored") or allocated
    high = values.binary("HighBit")
    available = -1
    if content.n_pixel_bytes != UNDEFINED:
        at = content.n_bytes if content.pixels_at is None else content.pixels_at
        available = max(0, min(content.n_pixel_bytes, content.n_bytes - at))
    return Storage(
        path,
        content.syntax,
        max(1, values.whole("NumberOfFrames") or 1),
        values.binary("Rows") or 0,
        values.binary("Columns") or 0,
        allocated,
        stored,
        stored - 1 if high is None else high,
        values.binary("PixelRepresentation") == 1,
        content.pixels_at or 0,
        available,
    )


def _frame(values: Values, storage: Storage, series: Series, index: int) -> Frame:
    """Read what a frame, or the file where it is silent, says."""
    trigger_ms = values.number("TriggerTime")
    if trigger_ms is None:
        trigger_ms = values.double("NominalCardiacTriggerDelayTime")
    offset_s = values.double("TemporalPositionTimeOffset")
    slope, intercept = _rescaling(values, storage.path)
    return Frame(
        storage,
        index,
        series,
        (
            values.text("FrameType") or values.text("ImageType"),
            *(f"{values.number(name)}" for name in ("RepetitionTime", "EchoTime", "FlipAngle")),
            f"{values.double('EffectiveEchoTime')}",
        ),
        _exactly(6, values.numbers("ImageOrientationPatient")),
        _exactly(3, values.numbers("ImagePositionPatient")),
        _exactly(2, values.numbers("PixelSpacing")),
        _first(values.binary("TemporalPositionIndex"), values.whole("TemporalPositionIdentifier")),
        _first(offset_s, None if trigger_ms is None else trigger_ms / 1000),
        _first(*(values.time_s(name) for name in _ACQUISITION_TIMES)),
        values.whole("AcquisitionNumber"),
        _first(values.time_s("FrameReferenceDateTime"), values.time_s("ContentTime")),
        values.time_s("ContrastBolusStartTime"),
        values.whole("InstanceNumber"),
        slope,
        intercept,
    )


def _rescaling(values: Values, path: Path) -> tuple[float, float]:
    """Slope and intercept; each is required where the other is there (PS3.3 C.7.6.16.2.9)."""
    slope, intercept = values.number("RescaleSlope"), values.number("RescaleIntercept")
    if (slope is None) != (intercept is None):
        lacking = "RescaleSlope" if slope is None else "RescaleIntercept"
        remedy = "copy the image again from its origin, or export it again"
        raise SkipPatient(
            "image_corrupt", f"{path} has an image without {lacking}, and what goes with it", remedy=remedy
        )
    return (1.0, 0.0) if slope is None or intercept is None else (slope, intercept)


def _exactly(n: int, numbers: tuple[float, ...]) -> tuple[float, ...] | None:
    """The numbers, where they are as many as they ought to be."""
    return numbers if len(numbers) == n else None


def _first(*values: _Value | None) -> _Value | None:
    """The first value that is there."""
    return next((value for value in values if value is not None), None)
