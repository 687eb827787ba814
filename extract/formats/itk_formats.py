"""Read NRRD and MetaImage files of one volume or of several, with the checks that NIfTI files get.

ITK itself is not used: it reads a truncated file as zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from extract.formats.itk_header import AT_END, ItkHeader, beside
from extract.formats.metaimage_header import parse_metaimage
from extract.formats.nrrd_header import parse_nrrd
from extract.formats.voxel_bytes import GZIP_MARK, Layout, Packing, read_volumes, unreadable
from extract.image import Affine, Assumed, Grid, Image, canonical_image, check_grid
from triher.errors import SkipPatient

_START_BYTES = 1 << 20  # headers that hold all DICOM fields are below this
_NRRD = (".nrrd", ".nhdr")


@dataclass(frozen=True)
class ItkSource:
    """An NRRD or MetaImage file, known from its header."""

    data_path: Path
    """The file that holds the voxels."""
    data_start: int
    """Where in it they begin, or `AT_END`."""
    packing: Packing
    layout: Layout
    grid: Grid
    notes: tuple[tuple[str, str], ...]
    zero_nonfinite: bool = False

    @property
    def n_volumes(self) -> int:
        """How many volumes there are."""
        return self.layout.n_volumes

    @property
    def times_s(self) -> tuple[float, ...]:
        """Neither format states them in a field of its own."""
        return ()

    def read(self, volumes: Sequence[int]) -> list[Image]:
        """The volumes with these positions in time, the file of voxels opened once.

        Raises:
            SkipPatient: ``file_unreadable``, ``image_truncated``, ``image_corrupt`` or ``image_nonfinite``.
        """
        try:
            data = self.data_path.read_bytes()
        except OSError as error:
            raise unreadable(self.data_path, error) from error
        start = max(len(data) - self.layout.end, 0) if self.data_start == AT_END else self.data_start
        data, where = data[start:], str(self.data_path)
        packing = "gzip" if self.packing == "zlib" and data[:2] == GZIP_MARK else self.packing
        found = read_volumes(data, self.layout, packing, volumes, where)
        zero = self.zero_nonfinite
        return [canonical_image(stored, self.grid.affine, where, zero_nonfinite=zero) for stored in found]


def open_itk(path: Path, assumed: Assumed | None = None, *, zero_nonfinite: bool = False) -> ItkSource:
    """Read the header of an NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd) file.

    Args:
        path: the file with the header.
        assumed: geometry that replaces that of the header.
        zero_nonfinite: put 0 in place of NaN and infinity, with a remark.

    Raises:
        SkipPatient: ``file_unreadable``, also where the file of voxels is not there; ``image_parts``,
            ``image_unreadable``, ``image_truncated``, ``image_4d``, ``orientation_unknown``, and those of
            `extract.image.check_grid`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error
    header = (parse_nrrd if path.suffix.casefold() in _NRRD else parse_metaimage)(start, path)
    data_path = beside(path, header.data_file) if header.data_file else path
    if not data_path.is_file():
        raise SkipPatient("file_unreadable", f"the voxels of {path} are not there: looked for {data_path}")
    shape = tuple(n for axis, n in enumerate(header.layout.shape) if axis != header.layout.time_axis)
    grid = check_grid(shape, _affine(header, assumed, path), str(path))
    place = (data_path, header.data_start, header.packing, header.layout)
    return ItkSource(*place, grid, _notes(header, assumed, path), zero_nonfinite)


def _affine(header: ItkHeader, assumed: Assumed | None, path: Path) -> Affine:
    """From voxel indices to RAS millimeters."""
    if assumed is not None:
        if not assumed.spacing_mm and len(header.spacing_mm) != 3:
            raise SkipPatient("affine_invalid", f"{path} does not state the spacing of its voxels")
        return assumed.affine(header.spacing_mm)
    if header.affine is None:
        raise SkipPatient("orientation_unknown", f"{path} does not say how its axes lie in the patient")
    return header.affine


def _notes(header: ItkHeader, assumed: Assumed | None, path: Path) -> tuple[tuple[str, str], ...]:
    """What was noticed in the header."""
    notes = []
    if header.was_squeezed:
        notes.append(("image_squeezed", f"{path} has further axes of length 1"))
    if assumed is not None:
        notes.append(("geometry_assumed", f"{path}: the axes are taken to point to {assumed.orientation}"))
    return tuple(notes)
