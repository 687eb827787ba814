"""What is written down when a study is registered, and the seal over it.

``registration.json`` (format ``triher-registration`` v1) is written by `triher.ablation.registration` before held-out
patients are predicted. Its seal is the SHA-256 of all the rest in canonical JSON, so that one published line fixes
everything. ``registration_check.json`` says whether the data are still those that were registered. Whoever can write
into the folder can forge both; what proves the date is the seal, published elsewhere.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from triher.effective import HOW, training_choices, trains
from triher.errors import StopRun
from triher.files import sha256_of_json
from triher.held_out import IN_TURN
from triher.settings import Config, FinetuneConfig, Section
from triher.study import StudyFolder

IN_TURN_SPLITS = ("none", *IN_TURN)
"""Kinds of split that hold everybody out in turn."""


class RegisteredCell(Section):
    """A cell as it was registered."""

    levels: dict[str, str]
    changes: dict[str, Any]
    settings: dict[str, Any]
    """Of `settings_of`, those that differ from the base's."""


class ImageFiles(Section):
    """The files of a patient's phases and mask, all together."""

    n_files: int
    n_bytes: int
    sha256: str
    """Of each file's place below the images' folder and of its bytes; empty where files are missing."""
    stamp: str
    """Hash of each file's place, size and time of change: where it is the same, the files are not read again."""


class DataHashes(Section):
    """The data of a configuration, told apart without being told."""

    table: str
    """SHA-256 of the bytes of the cohort table; empty where the data cannot be read."""
    features: str
    """SHA-256 of a table of features; empty where they come from images."""
    columns: tuple[str, ...]
    """What each patient's hashes are of."""
    patients: dict[str, tuple[str, ...]]
    """Patient id -> hash of each column's value."""
    images: dict[str, ImageFiles]
    """Patient id -> files; empty where features come from a table."""


class Record(Section):
    """What ``registration.json`` says."""

    format: Literal["triher-registration"] = "triher-registration"
    version: Literal[1] = 1
    date: str
    """UTC, ISO 8601."""
    triher: str
    commit: str
    python: str
    libraries: dict[str, str]
    config: dict[str, Any]
    """Of the base, whole."""
    settings: dict[str, Any]
    """Of the base: `settings_of`."""
    cells: dict[str, RegisteredCell]
    """Without the base."""
    primary: tuple[str, ...]
    """Cells whose comparison with the base is confirmatory."""
    metric: str
    comparison: str
    """How a primary cell is compared with the base, in words."""
    correction: str
    seeds: tuple[int, ...]
    resamples: int
    perturbed: str
    split: dict[str, Any]
    """Of the base."""
    held_out: tuple[str, ...]
    """Patients whom no model of the base, or of a primary cell, is trained on; all where folds take turns."""
    data: dict[str, DataHashes]
    """Name of the base -> its data, and of each cell that reads others than the base."""
    weights: dict[str, str]
    """Encoder -> SHA-256 of its weights; empty where they were not there, or there are none."""
    remarks: tuple[str, ...]
    """What the registration cannot promise."""
    seal: str = ""


class DataCheck(Section):
    """What ``registration_check.json`` says."""

    seal: str
    """Of the registration that was compared with."""
    date: str
    other: tuple[str, ...]
    """Cells whose data are not those registered for them; a cell that was not registered must read the base's."""
    remarks: tuple[str, ...]


def check_file(folder: StudyFolder) -> Path:
    """Where it stands whether the data are still those that were registered."""
    return folder.run.path / "registration_check.json"


def settings_of(config: Config) -> dict[str, Any]:
    """Whatever decides a cell's predictions, as ``section.key`` -> JSON value.

    Left out is how and where it is computed (device, threads, folders): files are known by their hashes instead.
    """
    sections = {
        "cohort": config.cohort.model_dump(mode="json", exclude={"table", "root"}),
        "extract": config.extract.choices() | {"perturb": config.extract.perturb.model_dump(mode="json")},
        "classify": config.classify.model_dump(
            mode="json",
            exclude={"features": True, "control": True, "workers": True, "storage": True, "split": {"reopen"}},
        ),
    }
    if trains(config):
        sections["finetune"] = training_choices(config)["finetune"]
    else:  # named all the same, so that a cell that does not train differs from one that does key by key
        sections["finetune"] = dict.fromkeys(key for key in FinetuneConfig.model_fields if key not in HOW)
    found = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return {"scheme": config.scheme, "seed": config.seed, **found}


def seal_of(record: Record) -> str:
    """SHA-256 over all of a registration but the seal itself."""
    return sha256_of_json(record.model_dump(mode="json", exclude={"seal"}))


def load_record(folder: StudyFolder) -> Record | None:
    """What was registered, if anything was; its seal is checked.

    Raises:
        StopRun: ``registration_damaged`` where the file is not as it was written.
    """
    path = folder.registration_file
    if not path.exists():
        return None
    try:
        record = Record.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise StopRun("registration_damaged", f"{path} is no registration that can be read: {error}") from error
    expected = seal_of(record)
    if record.seal != expected:
        message = f"{path} was changed after it was sealed: it carries the seal {record.seal or 'none'}, "
        raise StopRun("registration_damaged", message + f"but its content has {expected}")
    return record


def load_check(record: Record, folder: StudyFolder) -> DataCheck | None:
    """What the last comparison of the data with this registration found; None where there was none."""
    try:
        check = DataCheck.model_validate(json.loads(check_file(folder).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
    return check if check.seal == record.seal else None


def differences(registered: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Which settings are others now, each with what it was and is."""
    keys = [*registered, *(key for key in found if key not in registered)]
    return [
        f"{key}: {registered.get(key)} -> {found.get(key)}" for key in keys if registered.get(key) != found.get(key)
    ]
