"""Maps as DICOM images: a parametric map with the numbers, and secondary captures to look at."""

from collections.abc import Sequence

import numpy as np
from highdicom import (
    CoordinateSystemNames,
    PhotometricInterpretationValues,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
    VOILUTTransformation,
)
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sc import SCImage
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from analysis.figures.overlay import enlarged, gray, with_heat, with_outline
from extract.dicom.frames import Frame
from triher import __version__
from triher.dicom_results.labels import (
    MAKER,
    NO_UNITS,
    NOTICE,
    SERIES_NUMBERS,
    Origin,
    describe,
    digest_of,
    own_code,
    own_uid,
)
from triher.dicom_results.originals import Originals
from triher.dicom_results.placing import Placed
from triher.window import window_of

_SMALLEST = 384  # pixels along a side, below which a picture is enlarged so that its notice can be read
_TOWARD = (("L", "R"), ("P", "A"), ("H", "F"))  # of each axis of the patient, with and against it
_INK, _BAR = (255, 255, 255), 14


def parametric_map(placed: Placed, originals: Originals, classes: Sequence[str], origin: Origin) -> ParametricMap:
    """The maps of all classes as one object of floating-point frames that lie on the source images.

    Args:
        placed: the maps.
        originals: the images they lie on.
        classes: names, in the order of the maps.
        origin: the model.
    """
    frames = [originals.frames[position] for position in placed.positions]
    first = frames[0]
    sources = originals.used(placed.positions.tolist())
    study = str(sources[0].StudyInstanceUID)
    values = np.ascontiguousarray(np.moveaxis(placed.maps, 0, -1), dtype=np.float32)
    said = digest_of(values, placed.positions)
    key = (study, str(sources[0].SeriesInstanceUID), origin.bundle_sha256, "map", said)
    limit = float(max(np.abs(values).max(), np.finfo(np.float32).tiny))
    made = ParametricMap(
        source_images=sources,
        pixel_array=values,
        series_instance_uid=own_uid(*key),
        series_number=SERIES_NUMBERS["map"],
        sop_instance_uid=own_uid(*key, "1"),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=__version__,
        device_serial_number=origin.bundle_sha256[:16],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[[_mapping(name, limit)] for name in classes],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.0, window_width=2 * limit)],
        content_description=NOTICE,
        content_label="HER2_MAP",
        pixel_measures=PixelMeasuresSequence(first.pixel_spacing, _thickness_mm(originals)),
        plane_orientation=PlaneOrientationSequence(CoordinateSystemNames.PATIENT, first.orientation),
        plane_positions=[PlanePositionSequence(CoordinateSystemNames.PATIENT, frame.position) for frame in frames],
    )
    describe(made, "map", sources[0])
    return made


def _mapping(name: str, limit: float) -> RealWorldValueMapping:
    """What the numbers of a class's frames mean: contributions to its log-odds, from -limit to limit."""
    return RealWorldValueMapping(
        lut_label=name[:16],
        lut_explanation=f"speaks for HER2-{name}, {NOTICE}"[:64],
        unit=NO_UNITS,
        value_range=(-limit, limit),
        slope=1.0,
        intercept=0.0,
        quantity_definition=own_code(f"map-{name}", f"Contribution to the log-odds of HER2-{name}"),
    )


def _thickness_mm(originals: Originals) -> float:
    """Distance of the slices, which the maps fill."""
    return float(np.linalg.norm(originals.source.grid.affine[:3, 2]))


def captures(placed: Placed, originals: Originals, target: int, caption: str, origin: Origin) -> list[SCImage]:
    """A color picture of each slice with the lesion's outline and what speaks for one class.

    Args:
        placed: maps and images.
        originals: the images.
        target: position of the class.
        caption: lines that are burned in beside the notice; they name no patient.
        origin: the model.
    """
    window, heat = window_of(placed.pixels), placed.maps[target]
    hottest = float(heat.max())
    factor = max(1, -(-_SMALLEST // min(placed.pixels.shape[1:])))
    pictures = []
    for number in range(len(placed.positions)):
        shown = with_heat(gray(placed.pixels[number], window), heat[number], hottest)
        large = with_outline(enlarged(shown, factor), enlarged(placed.lesion[number], factor))
        pictures.append(_with_notice(large, caption))
    said = digest_of(np.stack(pictures), placed.positions)
    made = []
    for number, position in enumerate(placed.positions.tolist()):
        header = originals.header(position)
        study, series = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        key = (study, series, origin.bundle_sha256, "picture", said)
        image = SCImage.from_ref_dataset(
            ref_dataset=header,
            pixel_array=pictures[number],
            photometric_interpretation=PhotometricInterpretationValues.RGB,
            bits_allocated=8,
            coordinate_system=CoordinateSystemNames.PATIENT,
            series_instance_uid=own_uid(*key),
            series_number=SERIES_NUMBERS["picture"],
            sop_instance_uid=own_uid(*key, str(number)),
            instance_number=number + 1,
            manufacturer=MAKER,
            patient_orientation=_orientation(originals.frames[position]),
        )
        describe(image, "picture", header)
        image.ImageComments = NOTICE
        image.BurnedInAnnotation = "NO"  # nothing in the pixels names the patient (PS3.3 C.7.6.1.1)
        made.append(image)
    return made


def _orientation(frame: Frame) -> tuple[str, str]:
    """Where columns and rows count to in the patient, by the nearest axis (PS3.3 C.7.6.1.1.1)."""
    cosines = np.array(frame.orientation).reshape(2, 3)
    nearest = np.abs(cosines).argmax(axis=1)
    along, down = (_TOWARD[axis][int(direction[axis] < 0)] for axis, direction in zip(nearest, cosines, strict=True))
    return along, down


def _with_notice(picture: UInt8[np.ndarray, "row col 3"], caption: str) -> UInt8[np.ndarray, "high col 3"]:
    """The picture between the notice and the lines of the caption."""
    rows, cols = picture.shape[:2]
    lines = caption.split("\n")
    canvas = Image.new("RGB", (cols, rows + (1 + len(lines)) * _BAR))
    canvas.paste(Image.fromarray(picture), (0, _BAR))
    pen = ImageDraw.Draw(canvas)
    pen.text((3, 1), NOTICE, fill=_INK)
    for k, line in enumerate(lines, start=1):
        pen.text((3, rows + k * _BAR + 1), line, fill=_INK)
    return np.asarray(canvas)
