"""One patient's files: whatever keeps them from being used is named, with the patient's file."""

import nibabel as nib
import numpy as np
import pytest

from extract.exam import read_exam
from triher.cohort import Patient, Reading
from triher.errors import SkipPatient, StopRun


def rewrite(path, change):
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj), image.affine)
    out = nib.Nifti1Image(array, affine)
    out.set_sform(affine, code=1)
    out.set_qform(affine, code=1)
    nib.save(out, path)


def shifted(mm):
    def change(array, affine):
        moved = affine.copy()
        moved[0, 3] += mm
        return array, moved

    return change


FAULTS = {
    "phase_missing": ("early", None),
    "mask_missing": ("mask", None),
    "mask_empty": ("mask", lambda a, m: (np.zeros_like(a), m)),
    "mask_geometry": ("mask", shifted(500)),
    "mask_outside": ("mask", shifted(40)),
    "phase_shape": ("late", lambda a, m: (a[:-1], m)),
    "phase_geometry": ("late", shifted(5)),
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


def codes(exam):
    return [note.code for note in exam.notes]


def test_a27_a_mask_of_0_and_255_is_one_label(write_exam):
    files = write_exam()
    rewrite(files.patient.mask, lambda a, m: (a * 255, m))
    exam = read_exam(files.patient)
    assert exam.mask.sum() == files.mask.sum()
    assert codes(exam) == ["mask_binarized"]


def test_a27_several_labels_stop_the_run_until_one_is_chosen(write_exam):
    files = write_exam()
    rewrite(files.patient.mask, lambda a, m: (a + a * (np.indices(a.shape)[0] > 20).astype(np.uint8), m))
    with pytest.raises(StopRun) as caught:
        read_exam(files.patient)
    assert caught.value.code == "mask_labels"
    assert "cohort.mask_label" in caught.value.remedy


def test_a13_a_phase_on_a_slightly_shifted_grid_is_resampled(write_exam):
    files = write_exam()
    whole = read_exam(files.patient)
    rewrite(files.patient.phases["late"], shifted(1.2))
    exam = read_exam(files.patient)
    assert codes(exam) == ["phase_resampled"]
    # One voxel of 1.2 mm to the right: the columns point to the left.
    np.testing.assert_array_equal(exam.voxels[2][:, :, :-1], whole.voxels[2][:, :, 1:])
    np.testing.assert_array_equal(exam.voxels[:2], whole.voxels[:2])


def test_a25_a_mask_on_another_grid_is_resampled(write_exam):
    files = write_exam()
    whole = read_exam(files.patient)
    rewrite(files.patient.mask, lambda a, m: (a[4:-4, 4:-4, :], m @ translation(4, 4, 0)))
    exam = read_exam(files.patient)
    assert codes(exam) == ["mask_resampled"]
    np.testing.assert_array_equal(exam.mask, whole.mask)


def translation(*steps):
    moved = np.eye(4)
    moved[:3, 3] = steps
    return moved


def test_a28_a_mask_of_almost_everything_is_doubted(write_exam):
    files = write_exam()
    rewrite(files.patient.mask, lambda a, m: (np.ones_like(a), m))
    assert codes(read_exam(files.patient)) == ["mask_implausible"]


def test_a29_two_lesions_are_taken_together_and_counted(write_exam):
    files = write_exam()

    def second(array, affine):
        array = array.copy()
        array[1:4, 1:4, 1:4] = 1
        return array, affine

    rewrite(files.patient.mask, second)
    exam = read_exam(files.patient)
    assert exam.mask.sum() == files.mask.sum() + 27
    assert "2 separate parts" in exam.notes[0].text


@pytest.mark.fault("A8")
def test_a8_a_4d_file_gives_all_phases_when_the_configuration_says_so(write_exam, tmp_path):
    files = write_exam()
    whole = read_exam(files.patient)
    images = [nib.load(path) for path in files.patient.phases.values()]
    stack = np.stack([np.asarray(image.dataobj) for image in images], axis=-1)
    path = tmp_path / "all.nii.gz"
    nib.save(nib.Nifti1Image(stack, images[0].affine), path)
    with pytest.raises(SkipPatient) as caught:
        read_exam(Patient("P1", "test", "A", "", {"pre": path}, files.patient.mask))
    assert caught.value.code == "image_4d"
    rules = {"pre": "pre", "early": "first post", "late": "last"}
    patient = Patient("P1", "test", "A", "", dict.fromkeys(rules, path), files.patient.mask, Reading(rules))
    exam = read_exam(patient)
    np.testing.assert_array_equal(exam.voxels, whole.voxels)
    assert exam.sha256 == whole.sha256
    assert "early = volume 1 (first post" in exam.notes[-1].text


def test_a_pattern_gives_the_files_in_the_order_of_their_numbers(write_exam):
    files = write_exam()
    whole = read_exam(files.patient)
    folder = files.patient.mask.parent
    for k, path in zip((2, 9, 10), files.patient.phases.values(), strict=True):
        path.rename(folder / f"p1_{k}.nii.gz")
    rules = {"pre": "pre", "early": "first post", "late": "last"}
    source = folder / "p1_*.nii.gz"
    patient = Patient("P1", "test", "A", "", dict.fromkeys(rules, source), files.patient.mask, Reading(rules))
    np.testing.assert_array_equal(read_exam(patient).voxels, whole.voxels)


def test_seconds_from_the_table_choose_the_phases_and_the_rule_is_logged(write_exam):
    files = write_exam()
    folder = files.patient.mask.parent
    for k, path in enumerate(files.patient.phases.values()):
        path.rename(folder / f"p1_{k}.nii.gz")
    rules = {"pre": "pre", "early": "nearest 90 s"}
    reading = Reading(rules, starts_s=(0.0, 120.0, 205.0))
    source = folder / "p1_*.nii.gz"
    patient = Patient("P1", "test", "A", "", dict.fromkeys(rules, source), files.patient.mask, reading)
    exam = read_exam(patient)
    assert [n.text for n in exam.notes if n.code == "phases_chosen"] == [
        "of 3 volumes: pre = volume 0 (pre, -120 s); early = volume 2 (nearest 90 s, 85 s)"
    ]


def test_a_box_stands_for_a_mask(write_exam):
    files = write_exam()
    stored = np.zeros(files.mask.shape, np.uint8)
    stored[10:20, 12:24, 3:8] = 1
    image = nib.load(files.patient.mask)
    nib.save(nib.Nifti1Image(stored, image.affine, image.header), files.patient.mask)
    masked = read_exam(files.patient)
    boxed = Patient("P1", "t", "A", "", files.patient.phases, None, Reading(box=(10, 20, 12, 24, 3, 8)))
    np.testing.assert_array_equal(read_exam(boxed).mask, masked.mask)
    outside = Patient("P1", "t", "A", "", files.patient.phases, None, Reading(box=(10, 20, 12, 24, 3, 99)))
    with pytest.raises(SkipPatient) as caught:
        read_exam(outside)
    assert caught.value.code == "mask_outside"


def test_stated_geometry_replaces_the_headers(write_exam):
    files = write_exam()
    whole = read_exam(files.patient)
    for path in (*files.patient.phases.values(), files.patient.mask):
        image = nib.load(path)
        turned = np.asarray(image.dataobj)[::-1, ::-1].transpose(2, 1, 0)  # (z, y, x), as BreastDCEDL stores it
        nib.save(nib.Nifti1Image(turned, np.eye(4)), path)
    reading = Reading(orientation="SPL", spacing_mm=(2.5, 1.2, 1.2))
    patient = Patient("P1", "t", "A", "", files.patient.phases, files.patient.mask, reading)
    exam = read_exam(patient)
    np.testing.assert_array_equal(exam.voxels, whole.voxels)
    assert exam.spacing_mm == pytest.approx(whole.spacing_mm)
    assert "geometry_assumed" in codes(exam)


def test_a_lesion_that_darkens_is_noted(write_exam):
    patient = write_exam().patient
    pre, early = patient.phases["pre"], patient.phases["early"]
    first, second = pre.read_bytes(), early.read_bytes()
    pre.write_bytes(second)
    early.write_bytes(first)
    assert [note.code for note in read_exam(patient).notes] == ["phase_order_suspect"]


def test_a_path_that_the_system_refuses_costs_one_patient(write_exam):
    patient = write_exam().patient
    patient.phases["early"] = patient.mask.with_name("x" * 300)
    with pytest.raises(SkipPatient) as caught:
        read_exam(patient)
    assert caught.value.code == "file_unreadable"
