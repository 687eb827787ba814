"""Bad DICOM: each patient who cannot be used is named with a stable code, and everybody else is done."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from extract.cache import ensure_slab
from extract.phantom.dicom import write_dicom
from extract.preflight import check_cohorts
from extract.problems import Checked
from extract.recipe import SlabRecipe
from triher.cohort import Cohort, read_cohort
from triher.errors import SkipPatient
from triher.progress import Reporter
from triher.settings import CohortConfig

IDS = ("P1", "P2", "P3")
TIMES_S = (-30.0, 90.0, 390.5)
RECIPE = SlabRecipe("box", 5.0)
N_SLICES = 6
SHAPE = (34, 32, N_SLICES)  # JPEG 2000 needs 32 pixels
MASK = np.zeros(SHAPE, np.int16)
MASK[10:20, 12:22, 1:5] = 1
AFFINE = np.diag([1.2, 1.2, 2.5, 1.0])


@dataclass(frozen=True)
class Hospital:
    """Three exams as DICOM, of which P2 is going to be spoiled."""

    root: Path
    spoiled: list[Path]
    """The files of P2, phase after phase and slice after slice."""

    @property
    def folder(self) -> Path:
        """Of P2."""
        return self.root / "P2"

    def cohort(self, **options) -> tuple[CohortConfig, Cohort]:
        """The cohort as configured."""
        rules = {"pre": "pre", "early": "first post", "late": "last"}
        given = {"exam": "{patient_id}", "mask": "masks/{patient_id}_mask.nii.gz", "phases": rules}
        config = CohortConfig(table=self.root / "cohort.csv", root=self.root, **(given | options))
        return config, read_cohort(config)

    def run(self, **options) -> tuple[dict[str, str], dict[str, list[str]]]:
        """Code of each patient who is skipped, and codes of the notes of each who is done."""
        skipped, done = {}, {}
        for patient in self.cohort(**options)[1].patients:
            try:
                entry = ensure_slab(self.root / "slabs", patient, RECIPE)
            except SkipPatient as reason:
                skipped[patient.patient_id] = reason.code
            else:
                done[patient.patient_id] = [note.code for note in entry.notes if note.code != "phases_chosen"]
        assert sorted({**skipped, **done}) == list(IDS)
        return skipped, done

    def check(self, **options) -> list[tuple[str, str, str]]:
        """What a look at the headers alone finds."""
        config, cohort = self.cohort(**options)
        problems = check_cohorts([Checked("hospital", config, cohort, "triple")], Reporter(quiet=True))
        return sorted((p.outcome, p.patient_id, p.code) for p in problems)

    def message(self, **options) -> str:
        """What is said about P2."""
        with pytest.raises(SkipPatient) as caught:
            ensure_slab(self.root / "slabs", self.cohort(**options)[1].patients[1], RECIPE)
        return str(caught.value)


@pytest.fixture(scope="module")
def exams(tmp_path_factory):
    """Write the exam of a patient once for every kind that is asked for; give its folder and its files in order."""
    written: dict[tuple[str, str, str], tuple[Path, list[Path]]] = {}

    def exam_of(patient_id: str, vendor: str, syntax: str) -> tuple[Path, list[Path]]:
        key = (patient_id, vendor, syntax)
        if key not in written:
            folder = tmp_path_factory.mktemp(patient_id)
            rng = np.random.default_rng(IDS.index(patient_id))
            phases = [rng.integers(200, 400, SHAPE).astype(np.int16) + gain * MASK for gain in (0, 300, 200)]
            given = {"vendor": vendor, "patient_id": patient_id, "transfer_syntax": syntax}
            written[key] = (folder, write_dicom(folder, phases, AFFINE, TIMES_S, **given))
        return written[key]

    return exam_of


@pytest.fixture
def hospital(exams, tmp_path):
    """Copy three exams in the habits of a vendor."""

    def make(vendor="ge", syntax="explicit") -> Hospital:
        spoiled: list[Path] = []
        (tmp_path / "masks").mkdir()
        for patient_id in IDS:
            folder, paths = exams(patient_id, vendor, syntax if patient_id == "P2" else "explicit")
            shutil.copytree(folder, tmp_path / patient_id)
            spoiled = (
                [tmp_path / patient_id / p.relative_to(folder) for p in paths] if patient_id == "P2" else spoiled
            )
            save_nifti(MASK.astype(np.uint8), AFFINE, tmp_path / f"masks/{patient_id}_mask.nii.gz")
        (tmp_path / "cohort.csv").write_text("patient_id\n" + "\n".join(IDS) + "\n", encoding="utf-8")
        return Hospital(tmp_path, spoiled)

    return make


def save_nifti(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write with sform and qform."""
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    nib.save(image, path)


def change(path: Path, **values) -> None:
    """Give an image other attributes; None takes one out."""
    header = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            del header[keyword]
        else:
            setattr(header, keyword, value)
    header.save_as(path)


def other_file(path: Path, sop_class: str) -> None:
    """A DICOM file that is no MR image."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID, header.file_meta = sop_class, meta.MediaStorageSOPInstanceUID, meta
    header.save_as(path, enforce_file_format=True)


def remove_slice(hospital: Hospital) -> None:
    hospital.spoiled[2].unlink()


def remove_slice_of_all_phases(hospital: Hospital) -> None:
    for phase in range(3):
        hospital.spoiled[phase * N_SLICES + 2].unlink()


def halve_last_phase(hospital: Hospital) -> None:
    for path in hospital.spoiled[-3:]:
        path.unlink()


def erase_times(hospital: Hospital) -> None:
    names = ("TemporalPositionIdentifier", "TriggerTime", "AcquisitionTime", "ContentTime", "AcquisitionNumber")
    for path in hospital.spoiled:
        change(path, **dict.fromkeys(names))


def another_slice_in_one_place(hospital: Hospital) -> None:
    header = pydicom.dcmread(hospital.spoiled[2])
    header.SOPInstanceUID, header.InstanceNumber = generate_uid(), 999
    header.PixelData = bytes(reversed(header.PixelData))
    header.save_as(hospital.folder / "zzz.dcm")


def another_matrix(hospital: Hospital) -> None:
    header = pydicom.dcmread(hospital.spoiled[3])
    header.Rows //= 2
    header.PixelData = header.PixelData[: len(header.PixelData) // 2]
    header.save_as(hospital.spoiled[3])


def half_of_another_kind(hospital: Hospital) -> None:
    for path in hospital.spoiled[::2]:
        change(path, ImageType=["DERIVED", "PRIMARY", "WATER"])


def another_series(hospital: Hospital) -> None:
    for k, path in enumerate(hospital.spoiled[:N_SLICES]):
        copy = Path(shutil.copy(path, hospital.folder / f"t2_{k}.dcm"))
        change(copy, SeriesInstanceUID="1.2.3.4", SeriesNumber=9, SeriesDescription="t2 tirm", RepetitionTime=4000)


def another_study(hospital: Hospital) -> None:
    for k, path in enumerate(hospital.spoiled):
        copy = Path(shutil.copy(path, hospital.folder / f"later_{k}.dcm"))
        change(copy, StudyInstanceUID="1.2.3.5", SeriesInstanceUID="1.2.3.6", AcquisitionTime="150000")


def cut_pixels(hospital: Hospital) -> None:
    data = hospital.spoiled[4].read_bytes()
    hospital.spoiled[4].write_bytes(data[:-100])


def no_position(hospital: Hospital) -> None:
    change(hospital.spoiled[4], ImagePositionPatient=None)


def no_orientation(hospital: Hospital) -> None:
    change(hospital.spoiled[4], ImageOrientationPatient=None)


def no_spacing(hospital: Hospital) -> None:
    for path in hospital.spoiled:
        change(path, PixelSpacing=None)


def uneven_slices(hospital: Hospital) -> None:
    for phase in range(3):
        path = hospital.spoiled[phase * N_SLICES + 2]
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        change(path, ImagePositionPatient=[x, y, z + 0.6])


def only_other_files(hospital: Hospital) -> None:
    for path in hospital.spoiled:
        path.unlink()
    other_file(hospital.folder / "report.dcm", EncapsulatedPDFStorage)
    (hospital.folder / "readme.txt").write_text("nothing", encoding="utf-8")


def empty_folder(hospital: Hospital) -> None:
    for path in hospital.spoiled:
        path.unlink()


def another_patient(hospital: Hospital) -> None:
    for path in hospital.spoiled:
        change(path, PatientID="HOSPITAL-77")


def two_patients(hospital: Hospital) -> None:
    change(hospital.spoiled[-1], PatientID="HOSPITAL-77")


FAULTS = {
    "B1 in one of several series": ("siemens", remove_slice, "slice_missing"),
    "B1 in all phases": ("ge", remove_slice_of_all_phases, "slice_missing"),
    "B2 an interrupted phase": ("ge", halve_last_phase, "series_not_a_grid"),
    "B2 one image of a phase": ("ge", remove_slice, "series_not_a_grid"),
    "B2 in an enhanced file": ("philips", remove_slice, "series_not_a_grid"),
    "B2 nothing tells phases apart": ("ge", erase_times, "series_not_a_grid"),
    "B3 with other pixels": ("ge", another_slice_in_one_place, "slice_duplicate"),
    "B4 half of the series": ("ge", half_of_another_kind, "series_mixed"),
    "B5": ("ge", another_matrix, "slice_matrix"),
    "B6": ("ge", another_series, "series_ambiguous"),
    "B6 two studies": ("ge", another_study, "series_ambiguous"),
    "B10 nothing else": ("ge", only_other_files, "no_mr_image"),
    "B11": ("ge", empty_folder, "no_dicom"),
    "B12": ("ge", cut_pixels, "pixeldata_short"),
    "B13 position": ("ge", no_position, "dicom_geometry"),
    "B13 orientation": ("ge", no_orientation, "dicom_geometry"),
    "B13 spacing": ("ge", no_spacing, "dicom_geometry"),
    "B13 uneven slices": ("ge", uneven_slices, "dicom_geometry"),
    "B14": ("ge", another_patient, "patient_mismatch"),
    "B14 two patients in one folder": ("ge", two_patients, "patient_mismatch"),
}


@pytest.mark.fault("B1", "B2", "B3", "B4", "B5", "B6", "B10", "B11", "B12", "B13", "B14")
@pytest.mark.parametrize("case", FAULTS)
def test_the_patient_is_skipped_with_a_code_and_the_others_are_done(hospital, case):
    vendor, spoil, code = FAULTS[case]
    found = hospital(vendor)
    spoil(found)
    skipped, done = found.run()
    assert skipped == {"P2": code}
    assert sorted(done) == ["P1", "P3"]
    assert ("skip", "P2", code) in found.check()
    assert str(found.folder) in found.message()


@pytest.mark.fault("B6")
def test_two_series_are_listed_and_a_rule_chooses(hospital):
    found = hospital()
    another_series(found)
    message = found.message()
    assert "2 (18 images, 34 x 32, repetition time 5.2 ms)" in message
    assert "9 (6 images, 34 x 32, repetition time 4000.0 ms)" in message
    assert "Vibrant" not in message
    assert found.run(series="vibrant")[0] == {}
    assert found.run(series="1.2.3.4")[0] == {"P1": "series_missing", "P2": "phase_missing", "P3": "series_missing"}
    assert found.run(series="sagittal")[0] == dict.fromkeys(IDS, "series_missing")


@pytest.mark.fault("B1")
@pytest.mark.parametrize(
    ("vendor", "spoil", "where"),
    [
        ("siemens", remove_slice, "1 of 6 positions lack images; position 3 (0, 0, 5 mm) is not there in series"),
        ("ge", remove_slice_of_all_phases, "no slice between 2.50 and 7.50 mm along the normal"),
    ],
)
def test_the_place_of_a_missing_slice_is_named(hospital, vendor, spoil, where):
    found = hospital(vendor)
    spoil(found)
    assert where in found.message()


@pytest.mark.fault("B3")
def test_a_copy_of_a_slice_is_dropped_and_noted(hospital):
    found = hospital()
    clean = ensure_slab(found.root / "slabs", found.cohort()[1].patients[1], RECIPE).sha256
    shutil.copy(found.spoiled[2], found.folder / "copy of 3.dcm")
    assert found.run() == ({}, {"P1": [], "P2": ["slice_repeated"], "P3": []})
    assert ensure_slab(found.root / "slabs", found.cohort()[1].patients[1], RECIPE).sha256 == clean


@pytest.mark.fault("B3")
def test_a_folder_that_holds_every_file_twice(hospital):
    found = hospital()
    for path in found.spoiled:
        shutil.copy(path, path.with_suffix(".copy"))
    assert found.run() == ({}, {"P1": [], "P2": ["slice_repeated"], "P3": []})


@pytest.mark.fault("B4")
def test_a_localizer_in_the_series_is_left_out_and_noted(hospital):
    found = hospital()
    for k, path in enumerate(found.spoiled[:3]):
        copy = Path(shutil.copy(path, found.folder / f"scout{k}.dcm"))
        change(copy, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert found.run() == ({}, {"P1": [], "P2": ["series_strays"], "P3": []})


@pytest.mark.fault("B8")
def test_a_missing_decoder_is_named_with_what_to_install(hospital, monkeypatch):
    found = hospital(syntax="jpeg2000")
    decoder = pydicom.pixels.decoders.base.get_decoder(JPEG2000Lossless)
    monkeypatch.setattr(decoder, "_available", {})
    assert found.run()[0] == {"P2": "transfer_syntax"}
    assert ("skip", "P2", "transfer_syntax") in found.check()
    assert f"JPEG 2000 Image Compression (Lossless Only) ({JPEG2000Lossless})" in found.message()
    assert "pip install pylibjpeg pylibjpeg-openjpeg" in found.message()


@pytest.mark.fault("B8")
@pytest.mark.parametrize("syntax", ["rle", "jpeg2000", "jpeg-ls"])
def test_compressed_pixels_that_are_cut_off(hospital, syntax):
    found = hospital(syntax=syntax)
    data = found.spoiled[4].read_bytes()
    found.spoiled[4].write_bytes(data[:-100])
    assert found.run()[0] == {"P2": "image_corrupt"}


@pytest.mark.fault("B10")
def test_files_that_are_no_images_are_ignored_with_a_note(hospital):
    found = hospital()
    (found.folder / "junk.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 500)
    (found.folder / "empty").write_bytes(b"")
    (found.folder / "notes.txt").write_text("to do: ask the radiologist", encoding="utf-8")
    other_file(found.folder / "DICOMDIR", MediaStorageDirectoryStorage)
    other_file(found.folder / "report", EncapsulatedPDFStorage)
    other_file(found.folder / "screen", SecondaryCaptureImageStorage)
    assert found.run() == ({}, {"P1": [], "P2": ["dicom_ignored"], "P3": []})
    assert ("note", "P2", "dicom_ignored") in found.check()


@pytest.mark.fault("B14")
def test_another_id_in_the_headers_is_hashed_and_can_be_configured(hospital):
    found = hospital()
    another_patient(found)
    assert "HOSPITAL-77" not in found.message()
    assert found.run()[0] == {"P2": "patient_mismatch"}
    assert found.run(dicom_id="")[0] == {}
    rows = "patient_id,mrn\nP1,P1\nP2,HOSPITAL-77\nP3,P3\n"
    (found.root / "cohort.csv").write_text(rows, encoding="utf-8")
    assert found.run(dicom_id="{mrn}")[0] == {}


SECRETS = {
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19610412",
    "OtherPatientNames": "Roe^Jane",
    "PatientAddress": "1 Lantern Lane",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "House^Gregory",
    "AccessionNumber": "ACC-4711",
}


@pytest.mark.fault("B15", "G22")
def test_nothing_of_the_patient_reaches_what_is_written(hospital):
    found = hospital()
    for path in found.spoiled:
        change(path, **SECRETS)
    skipped, done = found.run()
    assert (skipped, done["P2"]) == ({}, ["phi_present"])
    assert ("note", "P2", "phi_present") in found.check()
    written = [path.read_bytes() for path in (found.root / "slabs").rglob("*") if path.is_file()]
    assert len(written) == 6
    for secret in SECRETS.values():
        assert not any(secret.encode() in data for data in written)


@pytest.mark.fault("B16")
def test_a_dicomdir_is_never_followed(hospital):
    found = hospital()
    outside = found.root / "outside.dcm"
    shutil.copy(found.spoiled[0], outside)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = generate_uid(), ExplicitVRLittleEndian
    directory, record = Dataset(), Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.add(DataElement("ReferencedFileID", "CS", ["..", "outside.dcm"], validation_mode=0))
    directory.file_meta, directory.FileSetID, directory.DirectoryRecordSequence = meta, "X", [record]
    directory.save_as(found.folder / "DICOMDIR", enforce_file_format=True)
    assert found.run() == ({}, {"P1": [], "P2": ["dicom_ignored"], "P3": []})


@pytest.mark.fault("B17")
def test_text_burned_into_the_images_is_noted(hospital):
    found = hospital()
    for path in found.spoiled[:4]:
        change(path, BurnedInAnnotation="YES")
    assert found.run() == ({}, {"P1": [], "P2": ["burned_in_annotation"], "P3": []})
    assert ("note", "P2", "burned_in_annotation") in found.check()


def test_a_file_of_another_users_that_cannot_be_read(hospital, monkeypatch):
    found = hospital()
    refused, open_path = found.spoiled[0], Path.open

    def opening(path, *arguments, **options):
        if path == refused:
            raise PermissionError(13, "Permission denied", str(path))
        return open_path(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", opening)
    assert found.run()[0] == {"P2": "file_unreadable"}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_header_that_is_cut_off_is_no_image(hospital, share):
    found = hospital()
    data = found.spoiled[0].read_bytes()
    header_size = len(data) - SHAPE[0] * SHAPE[1] * 2
    found.spoiled[0].write_bytes(data[: int(share * header_size)])
    assert found.run()[0]["P2"] in ("series_not_a_grid", "pixeldata_short")
