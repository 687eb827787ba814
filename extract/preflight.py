"""Look at a cohort before any long work: every problem of every patient, from headers alone."""

from extract.exam import require_files
from extract.volumes import check_header
from triher.cohort import Cohort, Patient, labels
from triher.errors import SkipPatient, Skipped


def check_cohort(cohort: Cohort, scheme: str) -> list[Skipped]:
    """List who would be left out, at which stage and why; no voxel is read.

    Args:
        cohort: the table.
        scheme: the label scheme; patients without a class are listed when the table has labels at all.
    """
    problems = [problem for patient in cohort.patients for problem in _check_images(patient)]
    if "ihc" in cohort.columns:
        problems += labels(cohort, scheme)[1]
    return problems


def _check_images(patient: Patient) -> list[Skipped]:
    """Problems of one patient's files."""
    try:
        require_files(patient)
        grids = {name: check_header(path) for name, path in patient.files().items()}
        first_name, first = next(iter(grids.items()))
        for name, shape in grids.items():
            if shape != first:
                code = "mask_geometry" if name == "mask" else "phase_shape"
                raise SkipPatient(code, f"'{name}' has the shape {shape}, '{first_name}' {first}")  # noqa: TRY301
    except SkipPatient as reason:
        return [reason.row(patient.patient_id, patient.cohort, "extract")]
    return []
