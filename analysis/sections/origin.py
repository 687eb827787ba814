"""The report's sections on how the model was made, and with which versions."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.page import Block, Data, Facts, Folded, Paragraph, Section, Table
from analysis.wording import count, question_of
from triher.config import dump_config
from triher.settings import Config

_HIDDEN = {
    "key",
    "outputs",
    "seconds",
    "weights_dir",
    "reference",
    "study",
    "table",
    "root",
    "expression",
    "gene_sets",
    "compare",
}
_TOLD_ELSEWHERE = {"encoder", "recipe", "settings", "thresholds", "baselines_left_out", "openings"}
_COUNTS = ("n_patients", "n_done", "n_skipped", "n_slices", "n_features")
_LONG = 60
_FEW = 6


def model_section(record: Mapping[str, Any], config: Config) -> Section:
    """Encoder, recipe, head and settings as the predictions were made, from the record of the stages."""
    stages = record.get("stages", {})
    extracted, classified = stages.get("extract", {}), stages.get("classify", {})
    blocks: list[Block] = []
    titles = {
        "Encoder": classified.get("encoder", {}),
        "Pictures and recipe": classified.get("recipe", {}),
        "Extraction": {name: extracted[name] for name in _COUNTS if name in extracted},
        "Head, as trained": {k: v for k, v in classified.items() if k not in _TOLD_ELSEWHERE},
        "Settings of the classification": classified.get("settings", {}),
        "Settings of the analysis": {"seed": config.seed, **dump_config(config)["analysis"]},
    }
    for title, facts in titles.items():
        pairs = _pairs(facts)
        if pairs:
            blocks.append(Facts(title, pairs))
    if blocks:
        blocks = [*blocks[:1], Folded("All settings, and what the training found", blocks[1:])]
    blocks += _thresholds(classified.get("thresholds", ()))
    if not extracted and not classified:
        text = "The record of the run (run.json) says nothing about extraction or training."
        blocks.insert(0, Paragraph(text, tone="note"))
    return Section("model", "How the model was made", blocks)


def _thresholds(thresholds: Sequence[Mapping[str, Any]]) -> list[Block]:
    """The operating points that the model came with; none is ever chosen here."""
    if not thresholds:
        return []
    rows = [
        [
            question_of(t["task"]),
            f"{t['threshold']:.3f}",
            f"{t['sensitivity']:.2f}",
            f"{t['specificity']:.2f}",
            str(t["n"]),
        ]
        for t in thresholds
    ]
    caption = (
        "Operating points, chosen on out-of-fold predictions of the development patients (Youden's index) and on "
        "no held-out patient; sensitivity and specificity are those of the choice, and so a little too good"
    )
    header = ["Question", "Yes at or above", "Sensitivity", "Specificity", "n"]
    names = ["task", "threshold", "sensitivity", "specificity", "n"]
    data = Data(names, [[t[name] for name in names] for t in thresholds])
    return [Table(caption, header, rows, name="operating-points-training", data=data)]


def provenance_section(record: Mapping[str, Any], version: str) -> Section:
    """Program, machine and libraries."""
    program = {name: record.get(name, "") for name in ("command", "commit", "python", "platform")}
    blocks: list[Block] = [Facts("Program", _pairs({"TriHER": version, **program}))]
    libraries = _pairs(record.get("libraries", {}))
    return Section("provenance", "Versions", [*blocks, *([Facts("Libraries", libraries)] if libraries else [])])


def _pairs(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as flat names and texts; empty values and file paths of this machine are left away."""
    pairs: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}".replace("_", " ")
        if key in _HIDDEN or value in ("", None, [], {}):
            continue
        if isinstance(value, Mapping):
            pairs += _pairs(value, f"{name}: ")
        else:
            pairs.append((name, _value(value)))
    return pairs


def _value(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """One fact as text of bounded length."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(filter(None, map(_value, value))) if len(value) <= _FEW else count(len(value), "value")
    text = str(value)
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text):
        return text[:12]
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
