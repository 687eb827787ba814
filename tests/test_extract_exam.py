"""One patient's files: whatever keeps them from being used is named, with the patient's file."""

import nibabel as nib
import numpy as np
import pytest

from extract.exam import read_exam
from extract.preflight import check_cohort
from triher.cohort import Cohort
from triher.errors import SkipPatient


def rewrite(path, change):
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj), image.affine)
    out = nib.Nifti1Image(array, affine)
    out.set_sform(affine, code=1)
    out.set_qform(affine, code=1)
    nib.save(out, path)


def shifted(array, affine):
    moved = affine.copy()
    moved[0, 3] += 5
    return array, moved


FAULTS = {
    "phase_missing": ("early", None),
    "mask_missing": ("mask", None),
    "mask_empty": ("mask", lambda a, m: (np.zeros_like(a), m)),
    "mask_labels": ("mask", lambda a, m: (a * np.arange(1, a.shape[0] + 1, dtype=np.uint8)[:, None, None], m)),
    "mask_geometry": ("mask", shifted),
    "phase_shape": ("late", lambda a, m: (a[:-1], m)),
    "phase_geometry": ("late", shifted),
    "image_constant": ("early", lambda a, m: (np.full_like(a, 7), m)),
    "image_nonfinite": ("pre", lambda a, m: (np.where(a == a.max(), np.nan, a).astype(np.float32), m)),
}


@pytest.mark.parametrize("code", FAULTS)
def test_each_fault_has_its_code_and_names_the_file(write_exam, code):
    patient = write_exam().patient
    which, change = FAULTS[code]
    path = {**patient.phases, "mask": patient.mask}[which]
    if change is None:
        path.unlink()
    else:
        rewrite(path, change)
    with pytest.raises(SkipPatient) as caught:
        read_exam(patient)
    assert caught.value.code == code
    assert path.name in caught.value.message


def test_one_image_for_two_phases(write_exam):
    patient = write_exam().patient
    patient.phases["late"].write_bytes(patient.phases["early"].read_bytes())
    with pytest.raises(SkipPatient, match="'early' and 'late'"):
        read_exam(patient)


def test_the_lesion_label_can_be_chosen(write_exam):
    files = write_exam()
    rewrite(files.patient.mask, lambda a, m: (a * 2 + (a == 0) * (np.indices(a.shape)[0] == 0), m))
    exam = read_exam(files.patient, mask_label=2)
    assert exam.mask.sum() == files.mask.sum()


def test_a_mask_of_0_and_255_is_one_label(write_exam):
    files = write_exam()
    rewrite(files.patient.mask, lambda a, m: (a * 255, m))
    assert read_exam(files.patient).mask.sum() == files.mask.sum()


def test_a_lesion_that_darkens_is_noted(write_exam):
    patient = write_exam().patient
    pre, early = patient.phases["pre"], patient.phases["early"]
    first, second = pre.read_bytes(), early.read_bytes()
    pre.write_bytes(second)
    early.write_bytes(first)
    assert [note.code for note in read_exam(patient).notes] == ["phase_order_suspect"]


def test_preflight_lists_all_patients_from_headers_alone(write_exam, opened_sources):
    good, bad = write_exam("P1").patient, write_exam("P2").patient
    bad.phases["late"].unlink()
    cohort = Cohort((good, bad), (), frozenset({"patient_id"}))
    problems = check_cohort(cohort, "triple")
    assert [(p.patient_id, p.code) for p in problems] == [("P2", "phase_missing")]
    assert opened_sources == []


def test_a_path_that_the_system_refuses_costs_one_patient(write_exam):
    patient = write_exam().patient
    patient.phases["early"] = patient.mask.with_name("x" * 300)
    with pytest.raises(SkipPatient) as caught:
        read_exam(patient)
    assert caught.value.code == "file_unreadable"
