"""Helpers of the tests of adapters: what was imported as a cohort, and images to import."""

from pathlib import Path

import nibabel as nib
import numpy as np

from extract.adapters.contract import Imported
from triher.cohort import Cohort, read_cohort
from triher.settings import CohortConfig
from triher.tables import write_table


def as_cohort(imported: Imported, folder: Path) -> Cohort:
    """Write the rows as a cohort table, as the command does, and read it."""
    table = folder / "cohort.csv"
    header = list(imported.rows[0])
    write_table(table, header, [[row[name] for name in header] for row in imported.rows])
    return read_cohort(CohortConfig(table=table, root=imported.root, **imported.settings))


def save(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)


def codes(imported: Imported) -> dict[str, str]:
    """Patient -> code of those who were left out."""
    return {one.patient_id: one.code for one in imported.skipped}
