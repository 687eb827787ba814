"""Fixtures that several test modules share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from triher.cohort import Patient


@dataclass(frozen=True)
class ExamFiles:
    """A small exam on disk, and what was written."""

    patient: Patient
    voxels: dict[str, np.ndarray]
    mask: np.ndarray


@pytest.fixture
def write_exam(tmp_path: Path) -> Callable[..., ExamFiles]:
    """Write a three-phase exam with an ellipsoid lesion as NIfTI; arrays are (x, y, z)."""

    def write(
        patient_id: str = "P1", *, seed: int = 0, shape: tuple[int, int, int] = (40, 36, 12), folder: str = "images"
    ) -> ExamFiles:
        rng = np.random.default_rng(seed)
        grid = np.indices(shape)
        center = np.array(shape) / 2 + rng.integers(-2, 3, 3)
        distance = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, (7, 6, 3), strict=True))
        mask = distance < 1
        affine = np.diag([1.2, 1.2, 2.5, 1.0])
        affine[:3, 3] = (-20, -30, 5)
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        voxels, paths = {}, {}
        for gain, name in zip((1.0, 2.5, 2.0), ("pre", "early", "late"), strict=True):
            noise = rng.normal(300, 20, shape)
            voxels[name] = (noise + mask * 200 * gain + gain).astype(np.int16)
            paths[name] = place / f"{patient_id}_{name}.nii.gz"
            save_nifti(voxels[name], affine, paths[name])
        mask_path = place / f"{patient_id}_mask.nii.gz"
        save_nifti(mask.astype(np.uint8), affine, mask_path)
        return ExamFiles(Patient(patient_id, "test", "A", "train", paths, mask_path), voxels, mask)

    return write


def save_nifti(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write with sform and qform."""
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)


@pytest.fixture
def opened_sources(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every source file that is opened from now on."""
    opened: list[Path] = []
    read = Path.read_bytes

    def counting(path: Path) -> bytes:
        if ".nii" in path.name:
            opened.append(path)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", counting)
    return opened


@pytest.fixture
def shared() -> Path:
    """The folder of real data and golden values beside the project; tests that need it skip where it is not."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no folder ../shared with real data and golden values")
    return folder
