"""Repair a feature store: keep whole patients, and let extraction embed the others again."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from triher.effective import effective
from triher.errors import StopRun
from triher.files import locked
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import read_index, write_store
from triher.store_check import verify_store
from triher.store_guard import DAMAGE_CODES
from triher.store_parts import read_checksums
from triher.store_salvage import Memory, Salvaged, salvage, saved_parts

_EXTRACT = "extract the cohort again: triher extract CONFIG --out RUN"


@dataclass(frozen=True)
class Repaired:
    """What became of a store."""

    found: Salvaged
    set_aside: Path | None
    """Where the damaged file lies now; None when the store is sound."""
    was_completed: bool
    """Whether the damaged patients, or those that an interrupted repair left, were embedded again."""
    restored: tuple[str, ...] = ()
    """Damaged patients who are equal to the bit to what their checksum was made from."""
    differing: tuple[str, ...] = ()
    """Damaged patients who are not: batches, threads or libraries were others, or the checksum was damaged."""


def repair_store(path: Path, reporter: Reporter) -> Repaired:
    """Save the whole patients of a damaged store, and embed the others again where the run folder is there.

    The damaged file is kept beside under the name ``<name>.damaged``. At every moment there is a file with all
    whole patients: the damaged one, or the one that takes its place in one step.

    Raises:
        StopRun: as `salvage` and extraction; ``store_corrupt`` when nothing can be saved and no run folder says
            how to extract again, or when whole patients cannot be extracted as before.
    """
    run = RunFolder(path.absolute().parent.parent)
    config = _config_of(run, path)
    with locked(path.with_suffix(".lock")):
        found = salvage(path, _memory(run) if config else None)
        is_sound = found.is_whole and _verifies(path)
        if is_sound and (config is None or len(found.ids) == _stage(run)["n_done"]):
            return Repaired(found, None, was_completed=True)
        if is_sound:
            aside = None  # an earlier repair was interrupted while the damaged patients were embedded
        elif config is None and not (found.is_proved and found.positions):
            message = f"nothing can be saved of {path}: {'; '.join(found.lost.values()) or 'no patient is whole'}"
            raise StopRun("store_corrupt", message, remedy=f"{_EXTRACT}, into a new folder")
        else:
            aside = _set_aside(path)
            _put_saved(aside, found, path)
    if config is None:
        return Repaired(found, aside, was_completed=False)
    from extract.stage import extract

    extract(config, run, reporter)
    if aside is not None:
        _refuse_losses(path, aside, found)
    before, now = dict(zip(found.ids, found.checksums, strict=False)), read_checksums(path)
    mended = [name for name in found.damaged if name in now]
    restored = tuple(name for name in mended if now[name] == before.get(name))
    return Repaired(
        found,
        aside,
        was_completed=True,
        restored=restored,
        differing=tuple(name for name in mended if name not in restored),
    )


def _config_of(run: RunFolder, store: Path) -> Config | None:
    """The configuration that made the store, where it lies in the run folder that made it."""
    if run.features.absolute() != store.parent.absolute() or not run.record_file.is_file():
        return None
    record = run.read_record()
    stage = record["stages"].get("extract", {})
    try:
        config = effective(Config.model_validate(record.get("config")), run)
    except (ValidationError, StopRun):
        return None
    return config if stage.get("store") == store.name and stage["choices"] == config.extract.choices() else None


def _memory(run: RunFolder) -> Memory:
    """What the run folder wrote down when the store was complete."""
    stage = _stage(run)
    return Memory(stage["encoder"], stage["recipe"], stage["key"])


def _stage(run: RunFolder) -> dict[str, Any]:
    """What the last extraction wrote down."""
    stage: dict[str, Any] = run.read_record()["stages"]["extract"]
    return stage


def _verifies(path: Path) -> bool:
    """Whether readers accept the store, parts that we do not know included."""
    try:
        return not verify_store(path).damaged
    except StopRun as error:
        if error.code not in DAMAGE_CODES:
            raise
        return False


def _set_aside(path: Path) -> Path:
    """Give the damaged file a second name, under which it stays."""
    names = (path.with_name(f"{path.name}.damaged{suffix}") for suffix in ("", *(f"-{i}" for i in range(2, 1000))))
    aside = next(name for name in names if not name.exists())
    try:
        os.link(path, aside)
    except OSError:  # a file system without second names
        shutil.copy2(path, aside)
    return aside


def _put_saved(aside: Path, found: Salvaged, path: Path) -> None:
    """Let a store of the whole patients take the place of the damaged one in one step."""
    # What is not proved must not be taken for complete: extraction then compares the probe with a new one, and
    # takes the others over only if both are alike.
    kept = found if found.is_proved or found.damaged else found.without_last()
    if kept.header is None or not kept.positions:
        path.unlink()
    else:
        write_store(path, kept.header, saved_parts(aside, kept), n_slices=kept.n_slices)


def _refuse_losses(path: Path, aside: Path, found: Salvaged) -> None:
    """Extraction leaves out whose images are gone; whole patients are not given up for that."""
    held = read_index(path).inputs
    missing = [found.ids[i] for i in found.positions if found.ids[i] not in held]
    if not missing:
        return
    if found.is_proved:
        _put_saved(aside, found, path)
    message = (
        f"{len(missing)} patients of {path} are whole, but could not be extracted as before: "
        f"{', '.join(missing[:5])}; {path if found.is_proved else aside} holds them"
    )
    raise StopRun("store_stale", message, remedy="see skipped.csv, and bring the images back")
