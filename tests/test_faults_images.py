"""Bad images, one patient of three at a time: a stable code, the patient's name, and the other two done."""

import gzip
import tracemalloc
import unicodedata
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from extract.cache import Entry, ensure_slab
from extract.exam import read_exam
from extract.preflight import check_cohorts, refuse_ambiguous
from extract.problems import Checked
from extract.recipe import SlabRecipe
from extract.slabbing import Slabs, in_threads
from triher.codes import CODES
from triher.cohort import Cohort, Patient, read_cohort
from triher.errors import SkipPatient, StopRun
from triher.files import sha256_of_file
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import CohortConfig
from triher.tables import write_table

IDS = ("P1", "P2", "P3")
PHASES = ("pre", "early", "late")
RECIPE = SlabRecipe("box", 5.0)
Affine = np.ndarray


@dataclass(frozen=True)
class Clinic:
    """Three exams, of which P2 is going to be spoiled."""

    root: Path

    def path(self, name: str) -> Path:
        """A file of P2."""
        return self.root / f"images/P2_{name}.nii.gz"

    def cohort(self, **options) -> tuple[CohortConfig, Cohort]:
        """The cohort as configured."""
        files = {name: f"images/{{patient_id}}_{name}.nii.gz" for name in PHASES}
        given = {"phases": files, "mask": "images/{patient_id}_mask.nii.gz"} | options
        config = CohortConfig(table=self.root / "cohort.csv", root=self.root, **given)
        return config, read_cohort(config)

    def run(self, **options) -> tuple[dict[str, str], dict[str, list[str]]]:
        """Code of each patient in ``skipped.csv``, and codes of the notes of each who is done."""
        config, cohort = self.cohort(**options)
        folder = RunFolder(self.root / "run")
        folder.prepare()
        slabs = Slabs(folder.slabs, cohort, SlabRecipe("box", 5.0, mask_label=config.mask_label), in_threads(2))
        list(slabs)
        folder.write_skipped("extract", slabs.skipped)
        slabs.require_somebody()
        skipped = {row.patient_id: row.code for row in folder.read_skipped()}
        done = {patient.patient_id: [note.code for note in entry.notes] for patient, entry in slabs.entries}
        assert sorted([*skipped, *done]) == sorted(cohort.ids())
        return skipped, done

    def slabs(self) -> list[Path]:
        """Every file of the slab cache."""
        return [path for path in (self.root / "run/slabs").rglob("*") if path.is_file()]

    def check(self, *, voxels: bool = False, **options) -> list[tuple[str, str, str]]:
        """What a look beforehand finds."""
        config, cohort = self.cohort(**options)
        problems = check_cohorts([Checked("clinic", config, cohort, "triple")], Reporter(quiet=True), voxels=voxels)
        return sorted((p.outcome, p.patient_id, p.code) for p in problems)

    def message(self, **options) -> str:
        """What is said about P2."""
        with pytest.raises(SkipPatient) as caught:
            read_exam(self.cohort(**options)[1].patients[1])
        return str(caught.value)


@pytest.fixture
def clinic(write_exam, tmp_path) -> Clinic:
    """Write three exams and their table."""
    for seed, patient_id in enumerate(IDS):
        write_exam(patient_id, seed=seed, shape=(20, 18, 8))
    (tmp_path / "cohort.csv").write_text("patient_id\nP1\nP2\nP3\n", encoding="utf-8")
    return Clinic(tmp_path)


def save(path: Path, array: np.ndarray, affine: Affine, *, sform: int = 1, qform: int = 1) -> None:
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=sform)
    if qform:
        image.set_qform(affine, code=qform)
    else:
        image.header["qform_code"] = 0
    nib.save(image, path)


def voxels_of(path: Path) -> tuple[np.ndarray, Affine]:
    image = nib.load(path)
    return np.asarray(image.dataobj).copy(), image.affine


def changed(name: str, change):
    """Rewrite a file of P2 with other voxels or another affine."""

    def spoil(clinic: Clinic) -> None:
        save(clinic.path(name), *change(*voxels_of(clinic.path(name))))

    return spoil


def edited(name: str, **fields: object):
    """Put other values into the header of a file of P2, whatever nibabel thinks of them."""

    def spoil(clinic: Clinic) -> None:
        data = bytearray(gzip.decompress(clinic.path(name).read_bytes()))
        header = nib.Nifti1Header(bytes(data[:348]), check=False)
        for field, value in fields.items():
            header[field] = value
        data[:348] = header.binaryblock
        clinic.path(name).write_bytes(gzip.compress(bytes(data), 1))

    return spoil


def raw(name: str, change):
    """Change the bytes of a file of P2."""

    def spoil(clinic: Clinic) -> None:
        clinic.path(name).write_bytes(change(clinic.path(name).read_bytes()))

    return spoil


def flip_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]


def with_value(value: float):
    def change(array: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
        other = array.astype(np.float32)
        other[3, 4, 5] = value
        return other, affine

    return change


def moved(*shift_mm: float):
    def change(array: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
        other = affine.copy()
        other[:3, 3] += shift_mm
        return array, other

    return change


def scaled(axis: int, spacing_mm: float):
    def change(array: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
        other = affine.copy()
        other[:3, axis] *= spacing_mm / np.linalg.norm(other[:3, axis])
        return array, other

    return change


def turned_by(radians: float):
    def change(array: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]
        center = affine @ [*(np.array(array.shape) / 2), 1]
        other = affine.copy()
        other[:3, :3] = turn[:3, :3] @ affine[:3, :3]
        other[:3, 3] += center[:3] - (other @ [*(np.array(array.shape) / 2), 1])[:3]
        return array, other

    return change


def sheared(clinic: Clinic) -> None:
    array, affine = voxels_of(clinic.path("early"))
    affine[0, 1] = 0.4
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    nib.save(image, clinic.path("early"))


def not_oriented(clinic: Clinic) -> None:
    for name in (*PHASES, "mask"):
        array, affine = voxels_of(clinic.path(name))
        image = nib.Nifti1Image(array, affine)
        image.set_sform(affine, code=0)
        image.set_qform(affine, code=0)
        nib.save(image, clinic.path(name))


def plain(clinic: Clinic) -> None:
    """The phase as a plain file that is cut in half, under the name of a compressed one."""
    data = gzip.decompress(clinic.path("early").read_bytes())
    clinic.path("early").write_bytes(data[: len(data) // 2])


def copy_of_pre(clinic: Clinic) -> None:
    save(clinic.path("late"), *voxels_of(clinic.path("pre")))


def loop(clinic: Clinic) -> None:
    clinic.path("early").unlink()
    clinic.path("early").symlink_to(clinic.path("early"))


def two_voxels(array: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
    other = np.zeros_like(array)
    other[4, 4, 3:5] = 1
    return other, affine


HEADERS, VOXELS = "seen in headers", "seen in voxels"
FAULTS = {
    "A1 at 20 %": (raw("early", lambda data: data[: len(data) // 5]), "image_truncated", VOXELS),
    "A1 at 60 %": (raw("early", lambda data: data[: len(data) * 3 // 5]), "image_truncated", VOXELS),
    "A1 at 99 %": (raw("early", lambda data: data[: len(data) * 99 // 100]), "image_truncated", VOXELS),
    "A2": (plain, "image_truncated", HEADERS),
    "A3": (raw("late", flip_bit), "image_corrupt", VOXELS),
    "C5": (lambda clinic: [path.unlink() for path in clinic.root.glob("images/P2_*")], "no_images", HEADERS),
    "A4 nothing": (raw("pre", lambda data: b""), "image_unreadable", HEADERS),
    "A4 a web page": (raw("pre", lambda data: b"<html>404"), "image_unreadable", HEADERS),
    "A5 NaN": (changed("early", with_value(np.nan)), "image_nonfinite", VOXELS),
    "A5 infinity": (changed("early", with_value(np.inf)), "image_nonfinite", VOXELS),
    "A6": (changed("late", lambda array, affine: (np.zeros_like(array), affine)), "image_constant", VOXELS),
    "A6 another value": (changed("pre", lambda array, affine: (array * 0 + 7, affine)), "image_constant", VOXELS),
    "A7": (changed("early", lambda array, affine: (array[:, :, 0], affine)), "image_not_3d", HEADERS),
    "A8": (changed("early", lambda array, affine: (np.stack([array] * 5, -1), affine)), "image_4d", HEADERS),
    "A10": (lambda clinic: clinic.path("early").unlink(), "phase_missing", HEADERS),
    "A12": (changed("late", lambda array, affine: (array[:-3], affine)), "phase_shape", HEADERS),
    "A13": (changed("late", moved(6.0, 0, 0)), "phase_geometry", HEADERS),
    "A15": (copy_of_pre, "phase_duplicate", VOXELS),
    "A16 large": (changed("early", scaled(2, 11.0)), "spacing_implausible", HEADERS),
    "A16 small": (changed("early", scaled(0, 0.05)), "spacing_implausible", HEADERS),
    "A16 zero": (edited("early", srow_x=[0, 0, 0, 0]), "spacing_implausible", HEADERS),
    "A16 zero without a sform": (
        edited("early", sform_code=0, pixdim=[1, 1.2, 1.2, 0, 1, 1, 1, 1]),
        "spacing_implausible",
        HEADERS,
    ),
    "A16 negative": (
        edited("early", sform_code=0, pixdim=[1, -1.2, 1.2, 2.5, 1, 1, 1, 1]),
        "spacing_implausible",
        HEADERS,
    ),
    "A17": (not_oriented, "orientation_unknown", HEADERS),
    "A18": (sheared, "affine_sheared", HEADERS),
    "A19": (edited("early", srow_y=[0, np.nan, 0, 0]), "affine_invalid", HEADERS),
    "A22": (edited("early", dim=[3, 2000, 2000, 2000, 1, 1, 1, 1]), "image_too_large", HEADERS),
    "A22 a million millions": (edited("early", dim=[3, *[10_000] * 3, 1, 1, 1, 1]), "image_too_large", HEADERS),
    "A23": (lambda clinic: clinic.path("mask").unlink(), "mask_missing", HEADERS),
    "A24": (changed("mask", lambda array, affine: (array * 0, affine)), "mask_empty", VOXELS),
    "A25": (changed("mask", moved(500.0, 0, 0)), "mask_geometry", HEADERS),
    "A26": (changed("mask", moved(19.0, 0, 0)), "mask_outside", VOXELS),
    "A28": (changed("mask", two_voxels), "mask_empty", VOXELS),
    "A31 a loop of links": (loop, "file_unreadable", HEADERS),
}


@pytest.mark.fault(
    "A1",
    "A2",
    "A3",
    "A4",
    "A5",
    "A6",
    "A7",
    "A8",
    "A10",
    "A12",
    "A13",
    "A15",
    "A16",
    "A17",
    "A18",
    "A19",
    "A22",
    "A23",
    "A24",
    "A25",
    "A26",
    "A28",
    "A31",
    "C5",
)
@pytest.mark.parametrize("case", FAULTS)
def test_the_patient_is_skipped_with_a_code_and_the_others_are_done(clinic, case):
    spoil, code, seen = FAULTS[case]
    spoil(clinic)
    skipped, done = clinic.run()
    assert skipped == {"P2": code}
    assert done == {"P1": [], "P3": []}
    assert "P2" in clinic.message()
    assert sorted(path.suffix for path in clinic.slabs()) == [".json"] * 2 + [".safetensors"] * 2
    headers, voxels = clinic.check(), clinic.check(voxels=True)
    assert (("skip", "P2", code) in headers) == (seen == HEADERS)
    assert ("skip", "P2", code) in voxels
    assert {patient_id for _, patient_id, _ in headers + voxels} <= {"P2"}


def four_axes(array: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
    return array[..., None], affine


def as_255(array: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
    return (array * 255).astype(np.float32), affine


def almost_all(array: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
    other = np.ones_like(array)
    other[:2] = 0
    return other, affine


def two_parts(array: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
    other = array.copy()
    other[0:2, 0:2, 0:2] = 1
    return other, affine


def larger_grid(array: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
    other = affine.copy()
    other[:3, 3] -= other[:3, 2]
    return np.pad(array, ((0, 0), (0, 0), (1, 2))), other


def swapped(clinic: Clinic) -> None:
    pre, early = (voxels_of(clinic.path(name)) for name in ("pre", "early"))
    save(clinic.path("pre"), *early)
    save(clinic.path("early"), *pre)


REMARKS = {
    "A9": (changed("early", four_axes), "image_squeezed"),
    "A13": (changed("late", moved(0.3, 0, 0)), "phase_resampled"),
    "A13 turned": (changed("late", turned_by(0.01)), "phase_resampled"),
    "A14": (swapped, "phase_order_suspect"),
    "A21": (edited("early", scl_slope=0.5), "image_scaled"),
    "A25": (changed("mask", larger_grid), "mask_resampled"),
    "A27": (changed("mask", as_255), "mask_binarized"),
    "A28": (changed("mask", almost_all), "mask_implausible"),
    "A29": (changed("mask", two_parts), "lesions_several"),
}


@pytest.mark.fault("A9", "A13", "A14", "A21", "A25", "A27", "A28", "A29")
@pytest.mark.parametrize("case", REMARKS)
def test_the_patient_is_done_with_a_remark(clinic, case):
    spoil, code = REMARKS[case]
    spoil(clinic)
    skipped, done = clinic.run()
    assert skipped == {}
    assert code in done["P2"]
    assert code in CODES
    assert done["P1"] == done["P3"] == []
    assert ("note", "P2", code) in clinic.check(voxels=True)


@pytest.mark.fault("A5")
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_values_that_are_not_finite_can_count_as_zero(clinic, value):
    changed("early", with_value(value))(clinic)
    assert "1 voxels are NaN or infinite" in clinic.message()
    skipped, done = clinic.run(nonfinite="zero")
    assert (skipped, done["P2"]) == ({}, ["image_nonfinite"])
    exam = read_exam(clinic.cohort(nonfinite="zero")[1].patients[1])
    assert np.isfinite(exam.voxels).all()


@pytest.mark.fault("A8")
def test_several_volumes_say_what_to_set(clinic):
    changed("early", lambda array, affine: (np.stack([array] * 5, -1), affine))(clinic)
    assert "holds 5 volumes" in clinic.message()
    assert "cohort.exam" in clinic.message()


@pytest.mark.fault("A11")
def test_a_phase_that_nobody_has_stops_the_run(clinic):
    for patient_id in IDS:
        (clinic.root / f"images/{patient_id}_late.nii.gz").unlink()
    with pytest.raises(StopRun, match=r"0 of 3 patients.*phase 'late' is not there") as caught:
        clinic.run()
    assert caught.value.code == "phases_config"
    assert ("stop", "", "phases_config") in clinic.check()
    clinic.path("late").symlink_to(clinic.path("early"))
    assert "phases_config" not in {code for _, _, code in clinic.check()}


@pytest.mark.fault("A15")
def test_one_file_that_is_named_for_two_phases_is_seen_in_headers(clinic):
    (clinic.root / "cohort.csv").write_text("patient_id,late\nP1,late\nP2,early\nP3,late\n", encoding="utf-8")
    phases = {name: f"images/{{patient_id}}_{name}.nii.gz" for name in PHASES} | {
        "late": "images/{patient_id}_{late}.nii.gz"
    }
    assert clinic.run(phases=phases)[0] == {"P2": "phase_duplicate"}
    assert clinic.check(phases=phases) == [("note", "", "no_label"), ("skip", "P2", "phase_duplicate")]


@pytest.mark.fault("A17")
def test_an_orientation_can_be_stated(clinic):
    not_oriented(clinic)
    spacing_mm = "1.2 1.2 2.5"
    skipped, done = clinic.run(geometry={"orientation": "RAS", "spacing_mm": spacing_mm})
    assert skipped == {}
    assert "geometry_assumed" in done["P2"]


def turned(clinic: Clinic, orders: dict[str, np.ndarray]) -> Entry:
    """The slab of P1, each file with its axes in another order and direction."""
    _, cohort = clinic.cohort()
    files = cohort.patients[0].files()
    paths = {name: clinic.root / f"turned_{name}.nii" for name in files}
    for name, order in orders.items():
        image = nib.load(files[name]).as_reoriented(order)
        save(paths[name], np.asarray(image.dataobj), image.affine)
    phases = {name: paths[name] for name in PHASES}
    return ensure_slab(clinic.root / "slabs", Patient("P1", "", "", "", phases, paths["mask"]), RECIPE)


@pytest.mark.fault("A20")
def test_all_48_axis_orders_and_flips_give_one_slab(clinic):
    orders = [
        np.column_stack([order, flips]).astype(float)
        for order, flips in product(permutations(range(3)), product((1, -1), repeat=3))
    ]
    names = (*PHASES, "mask")
    slabs = {turned(clinic, dict.fromkeys(names, order)).sha256 for order in orders}
    mixed = dict(zip(names, (orders[0], orders[7], orders[19], orders[46]), strict=True))
    assert {turned(clinic, mixed).sha256} == slabs
    assert slabs == {ensure_slab(clinic.root / "slabs", clinic.cohort()[1].patients[0], RECIPE).sha256}
    assert len(list((clinic.root / "slabs").glob("*.safetensors"))) == 1


@pytest.mark.fault("A22")
def test_a_header_that_claims_more_than_is_there_takes_no_memory(clinic):
    edited("early", dim=[3, 900, 1000, 1000, 1, 1, 1, 1])(clinic)
    tracemalloc.start()
    assert "of the 1800000352 bytes" in clinic.message()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_800_000_352 / 50


@pytest.mark.fault("A21")
@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_of_nothing_is_one(clinic, slope):
    expected = read_exam(clinic.cohort()[1].patients[1])
    edited("early", scl_slope=slope)(clinic)
    found = read_exam(clinic.cohort()[1].patients[1])
    assert np.array_equal(found.voxels, expected.voxels)


@pytest.mark.fault("A21")
def test_slopes_that_differ_from_phase_to_phase_are_applied_before_enhancement(clinic):
    expected = read_exam(clinic.cohort()[1].patients[1])
    for name, slope in zip(PHASES, (2.0, 0.5, 4.0), strict=True):
        array, affine = voxels_of(clinic.path(name))
        image = nib.Nifti1Image(np.rint(array / slope).astype(np.int16), affine)
        image.header.set_slope_inter(slope, 0)
        image.set_sform(affine, code=1)
        nib.save(image, clinic.path(name))
    found = read_exam(clinic.cohort()[1].patients[1])
    assert np.abs(found.voxels - expected.voxels).max() <= 2
    assert [note.code for note in found.notes] == ["image_scaled"] * 3


@pytest.mark.fault("A27")
def test_a_mask_of_several_labels_stops_until_one_is_chosen(clinic):
    changed("mask", lambda array, affine: (array + two_parts(array, affine)[0], affine))(clinic)
    with pytest.raises(StopRun) as caught:
        clinic.run()
    assert caught.value.code == "mask_labels"
    assert "P2_mask" in caught.value.message
    assert ("stop", "P2", "mask_labels") in clinic.check(voxels=True)
    assert clinic.run(mask_label=2)[0] == {"P1": "mask_empty", "P3": "mask_empty"}


@pytest.mark.fault("A27")
@pytest.mark.parametrize("label", [None, 1])
def test_a_map_of_probabilities_is_no_mask(clinic, label):
    changed("mask", lambda array, affine: (array * np.linspace(0.3, 1, array.size).reshape(array.shape), affine))(
        clinic
    )
    with pytest.raises(
        StopRun, match=r"P2_mask.* values that are no whole numbers, such as 0\.\d+ .*threshold"
    ) as caught:
        clinic.run(mask_label=label)
    assert caught.value.code == "mask_labels"


@pytest.mark.fault("A27")
def test_one_value_beside_zero_is_the_lesion_whatever_it_is(clinic):
    edited("mask", scl_slope=1 / 255, scl_inter=0)(clinic)
    assert clinic.run()[0] == {}


NAMES = {
    "spaces": "a b  c",
    "composed": unicodedata.normalize("NFC", "Zo\u00eb"),
    "decomposed": unicodedata.normalize("NFD", "Zo\u00eb"),
    "a dash": "-rf",
    "a line break": "a\nb",
    "quotes and a shell word": "$(x) 'y' \"z\" ;",
    "as long as the system allows": "x" * 230,
}


@pytest.mark.fault("A30")
@pytest.mark.parametrize("case", NAMES)
def test_any_file_name_works(clinic, case):
    files = {}
    for name in (*PHASES, "mask"):
        files[name] = f"images/{NAMES[case]}_{name}.nii.gz"
        clinic.path(name).rename(clinic.root / files[name])
    write_table(clinic.root / "other.csv", ["patient_id", *files], [["P2", *files.values()]])
    config = CohortConfig(table=clinic.root / "other.csv", root=clinic.root)
    (patient,) = read_cohort(config).patients
    assert ensure_slab(clinic.root / "slabs", patient, RECIPE).path.exists()


@pytest.mark.fault("A30")
def test_a_name_that_the_system_refuses_costs_one_patient(clinic):
    rows = "".join(f"{one},images/{one if one != 'P2' else 'x' * 300}\n" for one in IDS)
    (clinic.root / "cohort.csv").write_text(f"patient_id,stem\n{rows}", encoding="utf-8")
    phases = {name: f"{{stem}}_{name}.nii.gz" for name in PHASES}
    assert clinic.run(phases=phases, mask="{stem}_mask.nii.gz")[0] == {"P2": "file_unreadable"}


@pytest.mark.fault("A30")
@pytest.mark.parametrize(
    ("said", "found"),
    [("Zo\u00eb.nii.gz", "Zoe\u0308.nii.gz"), ("Zoe\u0308.nii", "Zo\u00eb.nii.gz"), ("a.nii.gz", "a.nii")],
)
def test_the_file_that_may_be_meant_is_named(clinic, said, found):
    clinic.path("early").rename(clinic.root / "images" / found)
    rows = "".join(f"{one},images/{said if one == 'P2' else f'{one}_early.nii.gz'}\n" for one in IDS)
    (clinic.root / "cohort.csv").write_text(f"patient_id,early\n{rows}", encoding="utf-8")
    phases = {name: f"images/{{patient_id}}_{name}.nii.gz" for name in PHASES} | {"early": "{early}"}
    assert clinic.run(phases=phases)[0] == {"P2": "phase_missing"}
    assert f"; there is {found!a}" in clinic.message(phases=phases)


@pytest.mark.fault("A31")
def test_a_file_without_permission(clinic, monkeypatch):
    open_file = Path.open

    def opening(path: Path, *arguments, **options):
        if path == clinic.path("early"):
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", opening)
    assert clinic.run() == ({"P2": "file_unreadable"}, {"P1": [], "P3": []})
    assert "Permission denied" in clinic.message()


@pytest.mark.fault("A31")
def test_a_file_that_vanishes_while_the_exam_is_read(clinic, monkeypatch):
    read_bytes = Path.read_bytes

    def reading(path: Path) -> bytes:
        if path == clinic.path("pre"):
            clinic.path("late").unlink()
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", reading)
    assert clinic.run() == ({"P2": "file_unreadable"}, {"P1": [], "P3": []})


@pytest.mark.fault("A32")
@pytest.mark.parametrize("twin", ["P2_pre.nii", "p2_PRE.nii.gz"])
def test_a_file_with_a_twin_stops_before_any_work(clinic, twin):
    (clinic.root / "images" / twin).write_bytes(b"x")
    with pytest.raises(StopRun) as caught:
        refuse_ambiguous(clinic.cohort()[1])
    assert caught.value.code == "ambiguous_file"
    assert {twin, "P2_pre.nii.gz"} <= set(caught.value.message.split("'"))
    assert ("stop", "", "ambiguous_file") in clinic.check()


def test_what_was_skipped_is_done_when_it_is_mended_and_the_rest_is_not_read_again(clinic, opened_sources):
    sound = clinic.path("early").read_bytes()
    clinic.path("early").write_bytes(sound[:500])
    assert clinic.run()[0] == {"P2": "image_truncated"}
    before = {path.name: sha256_of_file(path) for path in clinic.slabs()}
    clinic.path("early").write_bytes(sound)
    opened_sources.clear()
    assert clinic.run()[0] == {}
    assert {path.name.split("_")[0] for path in opened_sources} == {"P2"}
    after = {path.name: sha256_of_file(path) for path in clinic.slabs()}
    assert before.items() <= after.items()
    assert (len(before), len(after)) == (4, 6)
