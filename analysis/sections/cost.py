"""The report's section on what the run took: time, models trained, memory and disk."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.evaluation import Evaluation
from analysis.metrics import Cell
from analysis.page import Block, Data, Facts, Paragraph, Section, Table
from analysis.wording import count
from triher.runfolder import RunFolder

_STAGES = {
    "phantom": "Computing the phantoms",
    "finetune": "Training the encoder end to end",
    "extract": "Reading volumes, cutting out lesions, embedding slices",
    "classify": "Tuning, training and predicting",
    "apply": "Predicting with a locked bundle",
    "explain": "Explanations",
}
_FOLDERS = ("slabs", "encoders", "features", "bundle", "explanations")
_NAMES = {
    "slabs": "Lesion slabs",
    "encoders": "Trained encoders",
    "features": "Feature stores",
    "bundle": "Locked bundle",
    "explanations": "Maps",
}
_STEP = 1000


def sizes_of(run: RunFolder) -> dict[str, int]:
    """Bytes below each folder of the earlier stages, of those that are there."""
    folders = {name: run.path / name for name in _FOLDERS}
    return {
        name: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        for name, folder in folders.items()
        if folder.is_dir()
    }


def cost_section(
    evaluation: Evaluation, frame: pd.DataFrame, record: Mapping[str, Any], sizes: Mapping[str, int]
) -> list[Section]:
    """What the run took; none where the record says nothing of it.

    Args:
        evaluation: which models stand beside the model.
        frame: the prediction table.
        record: contents of ``run.json``.
        sizes: bytes of what the earlier stages left, by name.
    """
    stages = record.get("stages", {})
    timed = {name: stages[name] for name in _STAGES if "seconds" in stages.get(name, {})}
    if not timed:
        return []
    text = (
        "Wall clock of the last time that each stage computed something, on the machine named below; slabs that were "
        "there already are not cut out again, so that a repeated extraction looks faster. The time of this analysis "
        "is written into run.json. No energy was measured, and none is guessed."
    )
    blocks: list[Block] = [Paragraph(text), _time_table(timed, frame)]
    blocks += [Paragraph(sentence) for sentence in _models(evaluation, frame, stages.get("classify", {}))]
    facts = _facts(record, stages.get("extract", {}))
    if facts:
        blocks.append(Facts("Machine", facts))
    if sizes:
        rows = [[_NAMES.get(name, name), in_bytes(n)] for name, n in sizes.items()]
        data = Data(["what", "bytes"], [[name, n] for name, n in sizes.items()])
        blocks.append(Table("Disk", ["What", "Size"], rows, name="cost-disk", data=data))
    return [Section("cost", "What the run took", blocks)]


def _time_table(timed: Mapping[str, Mapping[str, Any]], frame: pd.DataFrame) -> Table:
    """A line a stage, with patients and slices a second."""
    rows: list[list[str]] = []
    data: list[list[Cell]] = []
    for name, facts in timed.items():
        seconds = float(facts["seconds"])
        n_patients = _patients(name, facts, frame)
        n_slices = int(facts.get("n_slices", 0))
        rates = [n / seconds if n and seconds > 0 else None for n in (n_patients, n_slices)]
        told = ["-" if rate is None else f"{rate:.3g}" for rate in rates]
        rows.append(
            [
                _STAGES[name],
                in_time(seconds),
                str(n_patients),
                told[0],
                str(n_slices or "-"),
                told[1],
            ]
        )
        data.append([name, seconds, n_patients, rates[0], n_slices or None, rates[1]])
    header = ["Stage", "Time", "Patients", "Patients a second", "Slices", "Slices a second"]
    columns = ["stage", "seconds", "patients", "patients_a_second", "slices", "slices_a_second"]
    return Table("Time", header, rows, name="cost-time", data=Data(columns, data))


def _patients(name: str, facts: Mapping[str, Any], frame: pd.DataFrame) -> int:
    """How many patients a stage worked on."""
    own = "n_done" if name == "extract" else "n_patients"
    return int(facts.get(own) or (0 if name == "phantom" else frame["patient_id"].nunique()))


def _models(evaluation: Evaluation, frame: pd.DataFrame, classified: Mapping[str, Any]) -> list[str]:
    """How many models were trained, and how each was tuned."""
    if not classified:
        return []
    folded = frame[frame["split"] == "oof"]
    n_outer = len(folded[["repeat", "fold"]].drop_duplicates())
    n_final = int(any(str(name).startswith("bundle/") for name in classified.get("outputs", {})))
    said = [f"{count(n_outer, 'model')} for predictions out of fold"] * bool(n_outer)
    said += ["1 final model on all development patients"] * n_final
    if not said:
        return []
    sentences = [f"Tuned and trained: {' and '.join(said)}."]
    search, settings = classified.get("search", {}), classified.get("settings", {})
    trials, inner = search.get("trials", 0), search.get("inner_folds", 0)
    if trials and inner:
        most = (n_outer + n_final) * trials * inner
        pruned = " (trials that fall behind are given up before their last fold)" if settings.get("prune") else ""
        sentences.append(
            f"Each was tuned in {count(trials, 'trial')} over {count(inner, 'inner fold')}, so up to {most} fits"
            f"{pruned}."
        )
    beside = {m.class_name for m in evaluation.metrics if m.quantity == "companion_auc_macro"}
    if beside:
        verb = "was" if len(beside) == 1 else "were"
        sentences.append(f"{count(len(beside), 'model')} beside the model {verb} trained on the same folds.")
    return [" ".join(sentences)]


def _facts(record: Mapping[str, Any], extracted: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Machine and memory."""
    peak = extracted.get("peak_memory_mb")
    facts = {
        "Extraction computed on": extracted.get("device") or ("not recorded" if extracted else ""),
        "Largest memory of the extraction's process": f"{peak} MB" if peak else "",
        "Platform": record.get("platform", ""),
    }
    return [(name, str(value)) for name, value in facts.items() if value]


def in_time(seconds: float) -> str:
    """A duration in print.

    >>> [in_time(seconds).split() for seconds in (4.92, 75.0, 4000.0)]
    [['4.9', 's'], ['1', 'min', '15', 's'], ['1', 'h', '7', 'min']]
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, over = divmod(round(seconds / 60), 60)
    if minutes == 0:
        text = f"{seconds:.1f} s"
    else:
        text = f"{minutes} min {rest} s" if minutes < 60 else f"{hours} h {over} min"
    return text.replace(" ", "\u00a0")  # a unit stays with its number


def in_bytes(n: int) -> str:
    """A size in print.

    >>> in_bytes(512), in_bytes(4_971_474)
    ('512 B', '5.0 MB')
    """
    size = float(n)
    for unit in ("B", "kB", "MB"):
        if size < _STEP:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} GB"
