"""Registering a study: what is compared, with which data, is fixed before held-out patients are predicted."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from triher.ablation.axes import Lattice
from triher.ablation.data_hashes import compare_data, data_of, hash_cells
from triher.cohort import read_cohort
from triher.config import build_config, dump_config
from triher.errors import StopRun
from triher.files import locked, write_json
from triher.held_out import is_held_out
from triher.predicted import predicted, that_saw
from triher.progress import Reporter
from triher.registered import Registration
from triher.registration_record import (
    IN_TURN_SPLITS,
    DataCheck,
    DataHashes,
    Record,
    RegisteredCell,
    check_file,
    differences,
    load_check,
    load_record,
    seal_of,
    settings_of,
)
from triher.settings import AblationConfig, Config
from triher.study import BASE, StudyFolder

_COMPARISON = (
    "difference to the base on the patients whom all cells predicted, the mean over the seeds; paired bootstrap of "
    "the patients, two-sided p of the difference over its bootstrap standard deviation"
)
_NOT_CONTENT = ("date", "triher", "commit", "python", "libraries", "remarks", "seal")
"""What may differ between two registrations of one and the same study."""
NOBODY_HELD_OUT = (
    "no patients are held out of the base: everybody is predicted by cross-validation, so what is registered is the "
    "analysis, and nothing keeps models from having been chosen on these patients before"
)


def register(
    lattice: Lattice, tree: Mapping[str, Any], path: Path, folder: StudyFolder, reporter: Reporter
) -> Registration:
    """Write ``registration.json``, and print its seal.

    Every image file is read once to be hashed, which takes about as long as copying the images.

    Args:
        lattice: the cells, as `triher.ablation.axes.read_lattice` gives them.
        tree: the configuration as it was read.
        path: of its file.
        folder: of the study.
        reporter: where progress and the seal go.

    Returns:
        The registration; nothing is confirmed yet.

    Raises:
        StopRun: ``registration_primary`` without a cell under ``ablation.primary``; ``output_folder`` for the folder
            of an ordinary run; ``registration_late`` where held-out patients were predicted in this folder;
            ``registration_exists`` where something else is registered here, ``registration_damaged`` where that was
            changed; ``weights_missing`` where the weights of the base or of a primary cell are not to be had; as the
            reading of their data.
    """
    config = build_config(tree, {}, path)
    own = config.ablation or AblationConfig()
    if not own.primary:
        raise StopRun(
            "registration_primary", f"{path}: ablation.primary names no cell, so there is nothing to confirm"
        )
    refuse_ordinary_run(folder)
    folder.run.prepare()
    with locked(folder.run.path / "study.lock"):
        earlier = load_record(folder)
        held_out = _held_out(lattice, own)
        if earlier is None:
            _refuse_late(folder, held_out)
        known = {} if earlier is None else earlier.data
        weights = _weights(lattice, own)
        data = hash_cells(lattice.configs, reporter, known, needed=(BASE, *own.primary))
        if earlier is None:  # what is refused leaves the record of earlier commands as it is
            folder.run.record_command("triher ablate --register", dump_config(config))
        machine = folder.run.read_record() if earlier is None else earlier.model_dump()
        record = _record(lattice, config, own, held_out, data, weights, machine)
        if earlier is not None:
            _refuse_other(earlier, record, folder)
            reporter.say(f"registered already on {earlier.date}, seal {earlier.seal}")
            return Registration(earlier, earlier.remarks, frozenset())
        sealed = record.model_copy(update={"seal": seal_of(record)})
        write_json(folder.registration_file, sealed.model_dump(mode="json"))
    _say_sealed(sealed, reporter)
    return Registration(sealed, sealed.remarks, frozenset())


def _say_sealed(sealed: Record, reporter: Reporter) -> None:
    """Print the seal, after what the registration cannot promise."""
    for remark in sealed.remarks:
        reporter.say(f"note: {remark}")
    reporter.say(f"registered {sealed.date}, seal {sealed.seal}")
    reporter.say("publish the seal (with a preregistration, for instance): only that proves the date")


def check_data(lattice: Lattice, folder: StudyFolder, reporter: Reporter) -> tuple[str, ...]:
    """Compare the data with those registered, before they are used; without a registration do nothing.

    What each registered cell reads now is compared with what was registered for it, which is the base's data where
    it read no others; where it lies does not matter. What differs is said.

    Returns:
        What differs.

    Raises:
        StopRun: ``registration_damaged``; as the reading of the base's cohort.
    """
    record = load_record(folder)
    if record is None:
        return ()
    found = hash_cells(lattice.configs, reporter, record.data, needed=(BASE,))
    changed = {
        name: compare_data(data_of(record.data, name), data_of(found, name))
        for name in lattice.configs
        if name in record.cells
    } | {BASE: compare_data(record.data[BASE], found[BASE])}
    remarks = []
    if found[BASE].table != record.data[BASE].table and not changed[BASE]:
        remarks.append("the cohort table is another file, but all that a study reads of it is as registered")
    remarks += [f"data: {text}" for text in changed[BASE]]
    for name, texts in changed.items():
        remarks += [f"data of '{name}': {text}" for text in texts if text not in changed[BASE]]
    other = tuple(name for name, texts in changed.items() if texts)
    check = DataCheck(seal=record.seal, date=_now(), other=other, remarks=tuple(remarks))
    before = load_check(record, folder)
    if before is None or before.model_copy(update={"date": check.date}) != check:  # or the report would be stale
        write_json(check_file(folder), check.model_dump(mode="json"))
    for remark in remarks:
        reporter.say(f"registration: {remark}")
    return tuple(remarks)


def _record(
    lattice: Lattice,
    config: Config,
    own: AblationConfig,
    held_out: tuple[str, ...],
    data: dict[str, DataHashes],
    located: tuple[dict[str, str], dict[str, str]],
    machine: Mapping[str, Any],
) -> Record:
    """All that is registered, not yet sealed; `machine` is the record of the run folder."""
    settings = {name: settings_of(cell) for name, cell in lattice.configs.items()}
    base = settings[BASE]
    cells = {
        cell.name: RegisteredCell(
            levels=cell.levels,
            changes=cell.changes,
            settings={key: value for key, value in settings[cell.name].items() if value != base[key]},
        )
        for cell in lattice.cells
        if not cell.is_base
    }
    weights, missing = located
    remarks = [NOBODY_HELD_OUT] if config.classify.split.kind in IN_TURN_SPLITS else []
    remarks += [f"the weights of {name} are not registered: {reason}" for name, reason in missing.items()]
    return Record(
        date=_now(),
        **{key: machine[key] for key in ("triher", "commit", "python", "libraries")},
        config=dump_config(config),
        settings=base,
        cells=cells,
        primary=own.primary,
        metric=own.metric,
        comparison=_COMPARISON,
        correction="Holm over the primary cells",
        seeds=tuple(config.seed + i for i in range(own.seeds)),
        resamples=config.analysis.resamples,
        perturbed=own.perturbed,
        split=config.classify.split.model_dump(mode="json"),
        held_out=held_out,
        data=data,
        weights=weights,
        remarks=tuple(remarks),
    )


def _now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _judged(lattice: Lattice, own: AblationConfig) -> dict[str, Config]:
    """The base and the primary cells."""
    return {name: lattice.configs[name] for name in (BASE, *own.primary)}


def _held_out(lattice: Lattice, own: AblationConfig) -> tuple[str, ...]:
    """Whom no model of the base, or of a primary cell, is trained on; everybody where folds take turns."""
    found: dict[str, None] = {}
    for config in _judged(lattice, own).values():
        split = config.classify.split
        for patient in read_cohort(config.cohort, survival=False, images=config.has_images).patients:
            if split.kind in IN_TURN_SPLITS or is_held_out(split, patient):
                found[patient.patient_id] = None
    return tuple(found)


def _weights(lattice: Lattice, own: AblationConfig) -> tuple[dict[str, str], dict[str, str]]:
    """Encoder -> SHA-256 of its weights, and encoder -> why they are not to be had.

    Where a cell trains its encoder, the weights are those to start from: they, the section ``finetune``, the
    seed and the data fix what is trained. Random weights to start from are fixed by the seed.

    Raises:
        StopRun: as `extract.weights.locate_weights`, for the base and the primary cells.
    """
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    needed = {config.extract.encoder for config in _judged(lattice, own).values() if _has_weights(config)}
    for config in lattice.configs.values():
        name = config.extract.encoder
        if name in found or name in missing or not _has_weights(config):
            continue
        try:
            found[name] = _weights_of(config)
        except StopRun as error:
            if name in needed:
                raise
            missing[name] = error.message
    return found, missing


def _has_weights(config: Config) -> bool:
    """Whether a cell uses the weights that its encoder comes with; not where a training begins with random ones."""
    begins_at_random = config.finetune is not None and not config.finetune.pretrained
    return config.has_images and not begins_at_random


def _weights_of(config: Config) -> str:
    """The SHA-256 of an encoder's weights, as it came; empty for one that has none."""
    from extract.encoders import find_encoder
    from extract.weights import locate_weights

    spec = find_encoder(config.extract.encoder)
    if not spec.weights:
        return ""
    return locate_weights(spec, config.extract.weights_dir, config.extract.accept_license)[1]


def refuse_ordinary_run(folder: StudyFolder) -> None:
    """Keep studies out of the folder of an ordinary run: they share one cache among cells, and overwrite its record.

    Raises:
        StopRun: ``output_folder``.
    """
    is_study = folder.study_file.is_file() or (folder.run.path / "embeddings").is_dir()
    if not is_study and folder.run.read_record()["stages"]:
        raise StopRun("output_folder", f"{folder.run.path} holds a run that is no ablation study")


def _refuse_late(folder: StudyFolder, held_out: tuple[str, ...]) -> None:
    """Refuse where results of held-out patients may have been seen."""
    saw = that_saw(predicted(folder), held_out)
    opened = folder.run.read_record()["stages"].get("classify", {}).get("openings", ())
    if saw or opened:
        n = len(frozenset().union(*(run.patients for run in saw)) & frozenset(held_out))
        whom = f"{n} of the {len(held_out)} held-out patients were" if saw else "held-out patients were"
        raise StopRun("registration_late", f"{whom} predicted in {folder.run.path} already")


def _refuse_other(earlier: Record, record: Record, folder: StudyFolder) -> None:
    """Refuse to replace what is registered by something else."""
    before, now = (one.model_dump(mode="json", exclude={*_NOT_CONTENT, "data"}) for one in (earlier, record))
    changed = differences(before.pop("settings"), now.pop("settings"))
    changed += [key for key in before if key != "config" and before[key] != now[key]]
    for name in dict.fromkeys([*earlier.data, *record.data]):
        texts = compare_data(data_of(earlier.data, name), data_of(record.data, name))
        changed += [text for text in texts if text not in changed]
    if changed:
        message = f"{folder.registration_file} fixes another study since {earlier.date}: {'; '.join(changed)}"
        raise StopRun("registration_exists", message)
