"""Whether a patient's files are there, without opening any."""

import stat
import unicodedata
from pathlib import Path

from extract.volumes import source_files
from triher.cohort import Patient
from triher.errors import SkipPatient


def require_files(patient: Patient) -> None:
    """Look whether every source of the patient is there, without opening any.

    Raises:
        SkipPatient: ``no_images`` when no phase is there, ``phase_missing``, ``mask_missing`` or ``file_unreadable``.
    """
    files = patient.files()
    images = [name for name in files if name != "mask"]
    absent = [name for name, path in files.items() if not _is_there(path)]
    if not absent:
        return
    first = absent[0]
    looked = f"looked for {files[first]}{_other_spelling(files[first])}"
    if set(images) <= set(absent):
        raise SkipPatient("no_images", f"none of the patient's images is there: {looked}")
    if first == "mask":
        raise SkipPatient("mask_missing", looked)
    raise SkipPatient("phase_missing", f"phase '{first}' is not there: {looked}")


def _is_there(path: Path) -> bool:
    """Whether a path names a file, a folder or at least one file of a pattern."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return bool(source_files(path))
    except OSError as error:
        raise SkipPatient("file_unreadable", f"{error.filename}: {error.strerror}") from error
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode)


def _other_spelling(path: Path) -> str:
    """Which file may be meant: the other of .nii and .nii.gz, or the same name in another form of Unicode."""
    bare = path.name.removesuffix(".gz")
    spellings = {unicodedata.normalize(form, bare + end) for form in ("NFC", "NFD") for end in ("", ".gz")}
    others = [path.with_name(name) for name in sorted(spellings - {path.name, ""})]
    try:
        found = next((other for other in others if other.exists()), None)
    except OSError:  # a name with .gz may be too long
        return ""
    return f"; there is {found.name!a}" if found else ""
