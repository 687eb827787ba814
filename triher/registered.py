"""What of a study is as it was registered, and therefore confirmatory; all else is exploratory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triher.config import build_config
from triher.judged import judged_on, that_change_split
from triher.listing import quoted
from triher.predicted import Predicted, predicted, that_saw
from triher.registration_record import (
    IN_TURN_SPLITS,
    DataCheck,
    Record,
    differences,
    load_check,
    load_record,
    settings_of,
)
from triher.runfolder import changed_libraries
from triher.settings import Config
from triher.store import read_index
from triher.study import BASE, CellRun, Embedding, Study, StudyFolder

_LISTED = 10  # names in one remark


@dataclass(frozen=True)
class Registration:
    """A sound registration, and what of the study in its folder is confirmatory by it."""

    record: Record
    remarks: tuple[str, ...]
    """What differs from what was registered, and what the registration cannot promise."""
    confirmed: frozenset[str]
    """Primary cells that are as registered, with data, base and measure."""

    @property
    def seal(self) -> str:
        """SHA-256 over all that was registered, 64 hex digits."""
        return self.record.seal

    @property
    def date(self) -> str:
        """When, in UTC, ISO 8601."""
        return self.record.date

    @property
    def metric(self) -> str:
        """The one measure that was registered; every other is exploratory."""
        return self.record.metric

    def confirmatory(self, cell: str) -> bool:
        """Whether the comparison of a cell with the base, in the registered metric, is as it was registered."""
        return cell in self.confirmed


@dataclass(frozen=True)
class _Present:
    """A study as it is now."""

    study: Study
    config: Config
    settings: Mapping[str, Mapping[str, Any]]
    """Name of a cell -> `settings_of`."""
    runs: Mapping[str, tuple[CellRun, ...]]
    """Name of a cell -> its runs that are done."""
    tables: tuple[Predicted, ...]
    check: DataCheck | None
    """How the data compare with those registered."""

    def has_other_data(self, cell: str) -> bool:
        """Whether a cell reads data that were not registered for it."""
        return self.check is not None and cell in self.check.other


def read_registration(folder: StudyFolder) -> Registration | None:
    """What of the study in a folder is confirmatory; None where nothing was registered.

    A comparison is confirmatory where the cell is one of the registered primary ones; its settings and the base's,
    metric, seeds, resamples, data and weights are the registered ones; p values are corrected for all comparisons
    that were registered; and no cell that was added or changed later moves the comparison to other patients.

    Raises:
        StopRun: ``registration_damaged`` where ``registration.json`` is not as it was written; as
            `triher.study.StudyFolder.read_study`.
    """
    record = load_record(folder)
    if record is None:
        return None
    present = _look(folder, record)
    obstacles = [*_data(present), *_whole(record, present)]
    obstacles += _other_split(record, present) or _other_patients(record, present)
    reasons = {name: _cell(record, name, present, folder) for name in record.primary}
    confirmed = frozenset() if obstacles else frozenset(name for name, why in reasons.items() if not why)
    remarks = [f"nothing is confirmatory: {reason}" for reason in obstacles]
    remarks += [f"'{name}' is exploratory: {reason}" for name, why in reasons.items() for reason in why]
    remarks += [*_added(record, present), *_software(record), *_looks(record, present, confirmed)]
    checked = () if present.check is None else present.check.remarks
    return Registration(record, (*record.remarks, *checked, *remarks), confirmed)


def _look(folder: StudyFolder, record: Record) -> _Present:
    """Resolve what ``study.json`` says."""
    study = folder.read_study()
    bare = {key: value for key, value in study.config.items() if key != "ablation"}
    path = folder.study_file
    settings = {cell.name: settings_of(build_config(bare, cell.changes, path)) for cell in study.cells}
    found = {name: [folder.read_cell(key) for key in keys] for name, keys in study.runs.items()}
    runs = {name: tuple(run for run in of if run is not None and run.state == "done") for name, of in found.items()}
    config, check = build_config(study.config, {}, path), load_check(record, folder)
    return _Present(study, config, settings, runs, predicted(folder), check)


def _data(present: _Present) -> list[str]:
    """Whether the data are others."""
    if present.check is None:
        return ["the data were not compared with those registered; run 'triher ablate' again"]
    return ["the data are not those registered"] if present.has_other_data(BASE) else []


def _whole(record: Record, present: _Present) -> list[str]:
    """What concerns all comparisons: the base, the measure, the resamples, the family of tests."""
    own = present.config.ablation
    if own is None or BASE not in present.settings:
        return ["the study has no base"]
    found = {
        "ablation.metric": own.metric,
        "seeds": [present.config.seed + i for i in range(own.seeds)],
        "ablation.perturbed": own.perturbed,
        "analysis.resamples": present.config.analysis.resamples,
    }
    registered = {
        "ablation.metric": record.metric,
        "seeds": list(record.seeds),
        "ablation.perturbed": record.perturbed,
        "analysis.resamples": record.resamples,
    }
    changed = differences(registered | record.settings, found | dict(present.settings[BASE]))
    if dropped := [name for name in record.primary if name not in own.primary]:
        names = quoted(dropped, _LISTED)
        changed.append(f"ablation.primary no longer names {names}, so p values are corrected for too few")
    if len(present.runs.get(BASE, ())) < len(record.seeds):
        changed.append("the base was not computed")
    return changed


def _cell(record: Record, name: str, present: _Present, folder: StudyFolder) -> list[str]:
    """Why a primary cell is not as registered."""
    if name not in present.settings:
        return ["it is no longer in the study"]
    changed = differences(record.settings | record.cells[name].settings, present.settings[name])
    if present.has_other_data(name):
        changed.append("its data are not those registered")
    runs = present.runs.get(name, ())
    if len(runs) < len(record.seeds):
        changed.append("it was not computed with every seed")
    return [*changed, *_weights(record, (*runs, *present.runs.get(BASE, ())), folder)]


def _weights(record: Record, runs: Sequence[CellRun], folder: StudyFolder) -> list[str]:
    """Encoders whose weights are others than registered, or are not there to look at."""
    found = []
    for key in dict.fromkeys(key for run in runs for key in (run.embedding, run.shown) if key):
        embedding = folder.read_embedding(key)
        if embedding is None:
            found.append("its feature store is gone, so nothing tells whether its weights are those registered")
            continue
        digest = read_index(folder.run.features / embedding.store).encoder.get("sha256", "")
        found += _trained(record, embedding, digest, folder) if embedding.training else []
        if not embedding.training and digest != record.weights.get(embedding.encoder, ""):
            found.append(f"the weights of {embedding.encoder} are not those registered")
    return list(dict.fromkeys(found))


def _trained(record: Record, embedding: Embedding, digest: str, folder: StudyFolder) -> list[str]:
    """What keeps a trained encoder from being what was registered: other weights to start from, or another file.

    Its section ``finetune`` is one of the cell's settings.
    """
    training = folder.read_training(embedding.training)
    if training is None:
        return ["its trained encoder is gone, so nothing tells what it was trained from"]
    found = []
    if training.start_sha256 and training.start_sha256 != record.weights.get(training.encoder, ""):
        found.append(f"the weights of {training.encoder} that its training started from are not those registered")
    if digest != training.sha256:
        found.append(f"its feature store was made by another encoder than {training.file}")
    return found


def _is_as_registered(record: Record, name: str, present: _Present) -> bool:
    """Whether a cell, primary or not, has the settings and data it was registered with."""
    if (name != BASE and name not in record.cells) or present.has_other_data(name):
        return False
    own = {} if name == BASE else record.cells[name].settings
    return not differences(record.settings | own, present.settings[name])


def _other_patients(record: Record, present: _Present) -> list[str]:
    """Cells are compared on the patients they have in common; ones added or changed later must not move that."""
    if BASE not in present.settings:
        return []
    tables = {run.key: run for run in present.tables}
    found = {
        name: [tables[key] for key in keys if key in tables]
        for name, keys in sorted(present.study.runs.items(), key=lambda item: item[0] != BASE)
        if len(present.runs[name]) == len(keys) and present.settings[name]["scheme"] == record.settings["scheme"]
    }
    pooled = bool(that_change_split(record.settings, present.settings))
    known = [runs for name, runs in found.items() if _is_as_registered(record, name, present)]
    before, after = judged_on(known, pooled=pooled), judged_on(found.values(), pooled=pooled)
    if not before.split:
        return []
    if before.split != after.split:
        now = f"in the split '{after.split}'" if after.split else "on no patients"
        return [f"by cells that were not registered, cells are compared {now}, and not in '{before.split}'"]
    if n := len(before.patients - after.patients):
        return [f"cells that were not registered lack {n} patients, so that no cell is compared on them"]
    others = before.split == "oof" or (before.split == "test" and not after.patients <= frozenset(record.held_out))
    if record.split["kind"] not in IN_TURN_SPLITS and others:
        return ["cells are compared on other patients than those who were to be held out"]
    return []


def _other_split(record: Record, present: _Present) -> list[str]:
    """Where splits differ between cells, all are judged on development patients, too; see `analysis.ablation`."""
    registered = {name: cell.settings for name, cell in record.cells.items()}
    before = that_change_split(record.settings, registered)
    now = that_change_split(record.settings, present.settings)
    if bool(before) == bool(now):
        return []
    what = f"{quoted(now, _LISTED)} changes" if now else f"{quoted(before, _LISTED)} no longer changes"
    return [f"{what} classify.split, so that cells are judged on other patients than registered"]


def _added(record: Record, present: _Present) -> list[str]:
    """Cells that were added or changed later."""
    names = [n for n in present.settings if n not in record.primary and not _is_as_registered(record, n, present)]
    return [f"not registered as they are, and exploratory: {quoted(names, _LISTED)}"] if names else []


def _software(record: Record) -> list[str]:
    """Libraries that changed, which is said and forbids nothing."""
    changed = changed_libraries(record.libraries)
    return [f"libraries are others than at registration: {', '.join(changed)}"] if changed else []


def _looks(record: Record, present: _Present, confirmed: frozenset[str]) -> list[str]:
    """How often held-out patients were predicted by other cells before the last confirmatory result was there."""
    known = {key for n, keys in present.study.runs.items() if _is_as_registered(record, n, present) for key in keys}
    own = {key for name in (BASE, *confirmed) for key in present.study.runs.get(name, ())}
    last = max((run.time_s for run in present.tables if run.key in own), default=0.0)
    saw = [run for run in that_saw(present.tables, record.held_out) if run.key not in known]
    n = sum(not confirmed or run.time_s < last for run in saw)
    if not n:
        return []
    times = "once" if n == 1 else f"{n} times"
    until = " before the last confirmatory result was there" if confirmed else ""
    return [f"held-out patients were predicted {times} by runs that were not registered{until}"]
