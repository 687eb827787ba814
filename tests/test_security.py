"""One chain from images to report, watched: nothing unpickled, nobody called, no word of a header written."""

import gzip
import json
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import h5py
import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
import torch
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from extract.phantom.dicom import write_dicom
from triher.tables import read_table

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
SHAPE = (30, 28, 6)
AFFINE = np.diag([1.2, 1.2, 2.5, 1.0])
CLASSES = (("0", ""), ("1+", ""), ("3+", ""))
HEALTHY = tuple(f"P{n:02d}" for n in range(12))
SPOILED = {
    "S-AMBIGUOUS": "series_ambiguous",
    "S-MIXED": "series_mixed",
    "S-MISSING": "series_not_a_grid",
    "S-STRANGERS": "patient_mismatch",
}
WORD, UID, DATE, TIME = "Zqxj", "1.3.9999.47110815.", "19041217", "070503.919293"
"""Begin everything that is planted: text, UIDs; all days and all times that no phase is told by."""
SECRETS = (WORD.lower(), UID, DATE, TIME, "1904-12-17")
_NEEDED = {
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "AcquisitionTime", "ContentTime", "FrameType",
}  # fmt: skip
_TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "UR"}
_GROUPS = (0x0008, 0x0010, 0x0032, 0x0038, 0x0040)
WATCH = """
import os, sys, traceback
log = open(os.environ["WATCHED"], "a", buffering=1)
WATCHED = ("pickle.", "socket.", "urllib.", "http.", "ftplib.", "os.system", "os.posix_spawn", "subprocess.Popen")
def hook(event, details):
    if event.startswith(WATCHED) and event not in ("socket.__new__", "socket.gethostname"):
        frames = " ".join(frame.filename for frame in traceback.extract_stack(limit=60))
        log.write(f"{event}\\t{[str(detail)[:80] for detail in details]}\\t{frames}\\n")
sys.addaudithook(hook)
import triher.explain.attributed
triher.explain.attributed.METHODS = {}
from triher.cli import main
for line in sys.stdin.read().splitlines():
    print("$", line, flush=True)
    try:
        main(line.split("|"))
    except SystemExit as left:
        print("exit code", int(left.code or 0), flush=True)
from pathlib import Path
from extract.checkpoints import read_tensors
print(sorted(read_tensors(Path("network.pt"))))
log.write("control\\n")
import contextlib, pickle, socket
pickle.loads(pickle.dumps(Path))
with contextlib.suppress(OSError):
    socket.create_connection(("127.0.0.1", 9), 1)
"""


def planted(keyword: str) -> str:
    """A word for an attribute."""
    return WORD + keyword[-8:]


@cache
def secrets() -> Dataset:
    """Every attribute of the groups that tell of patient, visit, order and institution, and private ones."""
    made = Dataset()
    fixed = {"DA": DATE, "TM": TIME, "DT": DATE + TIME}
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if (
            tag >> 16 in _GROUPS
            and keyword
            and not retired
            and keyword not in _NEEDED
            and vr in {*_TEXT, *fixed, "UI"}
        ):
            value = f"{UID}{tag}" if vr == "UI" else fixed.get(vr, planted(keyword))
            made.add_new(tag, vr, value.upper() if vr == "CS" else value)
    made.ProtocolName, made.DeviceSerialNumber = planted("ProtocolName"), planted("Serial")
    step = Dataset()
    step.ScheduledProcedureStepID = planted("Step")
    made.RequestAttributesSequence = [step]
    made.add_new(0x00090010, "LO", planted("Creator"))
    made.add_new(0x00091001, "LO", planted("Private"))
    return made


def spoil(header: Dataset, patient_id: str, n: int) -> None:
    """Plant words everywhere, and UIDs of our own that keep images and series apart."""
    series = header.SeriesInstanceUID[-12:].replace(".", "")
    header.update(secrets())
    header.PatientID = f"{WORD}-{patient_id}"
    own = zlib.crc32(patient_id.encode())
    header.StudyInstanceUID, header.FrameOfReferenceUID = f"{UID}1.{own}", f"{UID}2.{own}"
    header.SeriesInstanceUID = f"{UID}3{series}"
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"{UID}4.{own}.{n}"


def voxels(seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Three phases and the lesion."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.int16)
    mask[10:18, 9 : 15 + seed % 4, 1:5] = 1
    return [rng.integers(200, 300, SHAPE).astype(np.int16) + gain * mask for gain in (0, 300, 200)], mask


def save_nifti(array: np.ndarray, path: Path) -> None:
    """With words in every field and extension that has room for them."""
    image = nib.Nifti1Image(array, AFFINE)
    image.set_sform(AFFINE, code=1)
    image.header["descrip"], image.header["aux_file"] = planted("descrip"), planted("aux")
    image.header["intent_name"], image.header["db_name"] = planted("intent"), planted("db")
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", planted("comment").encode()))
    nib.save(image, path)


def write_exam(folder: Path, patient_id: str, seed: int) -> str:
    """Write an exam in one of four formats; return where it is."""
    phases, mask = voxels(seed)
    save_nifti(mask.astype(np.uint8), folder / f"{patient_id}_mask.nii.gz")
    kind = "dicom" if patient_id in SPOILED else ("dicom", "nifti", "nrrd", "metaimage")[seed % 4]
    stack = np.stack(phases, axis=-1)
    if kind == "nifti":
        save_nifti(stack, folder / f"{WORD}_{patient_id}.nii.gz")
        return f"{WORD}_{patient_id}.nii.gz"
    if kind == "nrrd":
        header = {"space": "right-anterior-superior", "space directions": [*AFFINE[:3, :3].tolist(), [np.nan] * 3]}
        header |= {"space origin": [0, 0, 0], "kinds": ["domain"] * 3 + ["list"], "content": planted("content")}
        header |= {"DICOM_0010_0010": planted("name"), "sample units": planted("units")}
        nrrd.write(str(folder / f"{patient_id}.nrrd"), stack, header)
        return f"{patient_id}.nrrd"
    if kind == "metaimage":
        sizes, spacing = " ".join(map(str, stack.shape)), "1.2 1.2 2.5 1"
        lines = [
            "ObjectType = Image",
            "NDims = 4",
            f"Comment = {planted('comment')}",
            f"0010|0010 = {planted('name')}",
        ]
        lines += ["BinaryData = True", "TransformMatrix = -1 0 0 0 0 -1 0 0 0 0 1 0 0 0 0 1"]
        lines += ["Offset = 0 0 0 0", f"ElementSpacing = {spacing}", f"DimSize = {sizes}", "ElementType = MET_SHORT"]
        text = "\n".join([*lines, "ElementDataFile = LOCAL", ""])
        (folder / f"{patient_id}.mha").write_bytes(text.encode() + stack.tobytes(order="F"))
        return f"{patient_id}.mha"
    given = {"vendor": "ge", "patient_id": "X"}
    for n, path in enumerate(write_dicom(folder / patient_id, phases, AFFINE, (-30.0, 90.0, 390.0), **given)):
        header = pydicom.dcmread(path)
        spoil(header, patient_id, n)
        disturb(header, patient_id, n)
        header.save_as(path)
    return patient_id


def disturb(header: Dataset, patient_id: str, n: int) -> None:
    """What makes an exam one that must be left out with a message."""
    if patient_id == "S-AMBIGUOUS" and n % 2:
        header.SeriesInstanceUID, header.SeriesNumber, header.RepetitionTime = f"{UID}77", 9, 4000
    if patient_id == "S-MIXED" and n % 2:
        header.ImageType = ["DERIVED", planted("kind").upper()]
    if patient_id == "S-STRANGERS" and n % 2:
        header.PatientID = planted("other")
    if patient_id == "S-MISSING" and n == 2:
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = f"{UID}5"


def everything(folder: Path, *, deep: bool) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file but the cohort's own, and of what is packed in it."""
    for path in sorted(folder.rglob("*") if deep else folder.iterdir()):
        if not path.is_file() or path.name in ("cohort.csv", "seen.txt"):
            continue
        data = path.read_bytes()
        yield str(path.relative_to(folder)), data
        if data[:2] == b"\x1f\x8b":
            yield f"{path.name} inflated", gzip.decompress(data)
        if data[:2] == b"PK":
            with zipfile.ZipFile(path) as archive:
                yield from ((f"{path.name}/{name}", archive.read(name)) for name in archive.namelist())
        if data[:4] == b"\x89HDF":
            yield f"{path.name} read", h5_text(path)


def h5_text(path: Path) -> bytes:
    """Every name, attribute and value of a file, behind its filters."""
    found: list[bytes] = []
    with h5py.File(path) as file:

        def visit(name: str, item: h5py.Group) -> None:
            found.append(f"{name} {dict(item.attrs)}".encode())
            if isinstance(item, h5py.Dataset):
                values = np.asarray(item[()])
                found.append(str(values.tolist()).encode() if values.dtype.kind in "OS" else values.tobytes())

        visit("/", file)
        file.visititems(visit)
    return b"\n".join(found)


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Path:
    """A folder with `run`, `new`, `model.zip`, `card.md`, what was said, and what the hook has seen."""
    folder = tmp_path_factory.mktemp("chain")
    images = folder / "images"
    images.mkdir()
    rows = ["patient_id,cohort,site,ihc,ish,age,exam"]
    for seed, name in enumerate((*HEALTHY, *SPOILED)):
        ihc, ish = CLASSES[seed // 2 % 3]
        exam = write_exam(images, name, seed)
        rows.append(f"{name},c,site{seed % 2},{ihc},{ish},{40 + seed},{exam}")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    config = {
        "cohort": {
            "table": "cohort.csv", "root": str(images), "exam": "{exam}", "mask": "{patient_id}_mask.nii.gz",
            "dicom_id": "",
            "phases": {"pre": "pre", "early": "first post", "late": "last"}, "times": "[0, 120, 420]",
            "covariates": ["age"],
        },
        "extract": {"encoder": "toy", "slices": {"n": 2}, "runtime": "torch", "readers": 1, "device": "cpu"},
        "classify": {"trials": 1, "folds": 2, "workers": 1},
        "explain": {"patients": 2, "sanity_patients": 0},
        "analysis": {"resamples": 100},
    }  # fmt: skip
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    torch.save({"weight": torch.ones(2)}, folder / "network.pt")
    commands = [
        "cohort|check|config.yaml|--no-cost", "cohort|labels|config.yaml", "run|config.yaml|--out|run",
        "bundle|info|run/bundle", "bundle|card|run/bundle|--out|card.md", "bundle|pack|run/bundle|model.zip",
        "apply|model.zip|config.yaml|--out|new", "encoders", "doctor",
    ]  # fmt: skip
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "data" / "plugin")))
    environment = os.environ | {"PYTHONPATH": paths, "WATCHED": str(folder / "seen.txt")}
    done = subprocess.run(
        [sys.executable, "-c", WATCH],
        input="\n".join(commands),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    (folder / "said.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return folder


def test_every_command_has_done_its_work(chain):
    """Else the other tests would prove little; those who cannot be used are named, with the codes of their faults."""
    said = (chain / "said.txt").read_text(encoding="utf-8")
    codes = [line[-1] for line in said.splitlines() if line.startswith("exit code")]
    assert codes == list("303000300")
    assert "\n['weight']\n" in said
    rows = read_table(chain / "run" / "skipped.csv").to_dict("records")
    assert {row["patient_id"]: row["code"] for row in rows} == SPOILED
    assert sorted(read_table(chain / "run" / "predictions.csv")["patient_id"]) == list(HEALTHY)
    notes = {(row["patient_id"], row["code"]) for row in read_table(chain / "run" / "notes.csv").to_dict("records")}
    assert ("P00", "phi_present") in notes
    assert (chain / "run" / "report.html").is_file()
    assert (chain / "run" / "explanations" / "maps.h5").is_file()


def test_nothing_is_unpickled_and_nobody_is_called(chain):
    """Files, bundles, stores, slabs and weights are read and applied while the interpreter reports on itself.

    What may: numba copies functions that it has just compiled, or kept beside its source as Python keeps its own; and
    urllib3 asks the kernel once whether it has IPv6, by taking a port of this machine and giving it back.
    """
    watched, _, control = (chain / "seen.txt").read_text(encoding="utf-8").partition("control\n")
    lines = [line.split("\t") for line in watched.splitlines()]
    left = [
        (event, details)
        for event, details, frames in lines
        if not (event.startswith("pickle.") and "/numba/core/" in frames)
        and not (event == "socket.bind" and "'::1', 0" in details and "urllib3/util/connection.py" in frames)
        and not (event == "subprocess.Popen" and details.startswith(("['git'", "['uname'")))
    ]
    assert left == []
    assert {line.partition("\t")[0] for line in control.splitlines()} >= {"pickle.find_class", "socket.connect"}


def test_no_word_of_a_header_is_in_what_is_written_or_said(chain):
    """Groups 0008, 0010, 0032, 0038, 0040, UIDs and private ones of DICOM; text of NIfTI, NRRD and MetaImage."""
    sources = b"".join(path.read_bytes() for path in sorted((chain / "images").rglob("*.dcm"))).lower()
    assert all(secret.encode() in sources for secret in SECRETS[:4])
    n_files = 0
    for folder in (chain / "run", chain / "new", chain):
        for name, data in everything(folder, deep=folder != chain):
            n_files += 1
            small = data.lower()
            found = [
                text for secret in SECRETS for text in map(secret.encode, ("utf-8", "utf-16-le")) if text in small
            ]
            assert found == [], name
    assert n_files > 60
