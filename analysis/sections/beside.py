"""The report's section on what stands beside the model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.discrimination.aucs import GUESSING
from analysis.discrimination.beside import BASELINES, CONTROL
from analysis.evaluation import Evaluation
from analysis.figures.canvas import plain
from analysis.figures.discrimination import ForestRow, forest_figure
from analysis.long_table import long_data
from analysis.metrics import find
from analysis.page import Block, Gallery, Heading, Paragraph, Section, Table
from analysis.wording import interval, split_name, told
from triher.estimate import Estimate
from triher.trained import FINAL

_NAMES = {
    "majority": "Class shares alone",
    "clinical": "Covariates of the cohort table",
    "volume": "Lesion volume",
    "acquisition": "How the images were taken",
    "unharmonized": "Model without harmonization",
    "images only": "Model without covariates",
    CONTROL: "Model on regions without lesion",
}
_NOISY = ("companion_auc_macro", "auc_macro_ahead")


def beside_section(evaluation: Evaluation, record: Mapping[str, Any]) -> list[Section]:
    """What the model adds to simpler ones, and what it loses with one part changed; none without companions.

    Args:
        evaluation: all numbers.
        record: contents of ``run.json``; says which baselines could not be had.
    """
    if not any(metric.part == "beside" for metric in evaluation.metrics):
        return []
    text = (
        "Each of these was trained and tested on the same patients in the same folds. Baselines know the class "
        "shares, the covariates, the lesion's volume or the way the images were taken, but not what the lesion looks "
        "like; the others are the model with one part changed. Differences are paired: model and companion on the "
        "patients they have in common, in the same bootstrap resamples. Above 0 the model is better."
    )
    stages = record.get("stages", {})
    if stages.get("finetune", {}).get("networks") == [FINAL]:
        text += (
            " But the model's encoder learned from further patients, whom it may not score and who are therefore in "
            "no fold: part of a lead may come from them."
        )
    blocks: list[Block] = [Paragraph(text)]
    for split in _splits(evaluation):
        blocks += _split_blocks(evaluation, split)
    blocks += _noise_blocks(evaluation)
    left_out = stages.get("classify", {}).get("baselines_left_out", {})
    if left_out:
        reasons = "; ".join(f"{companion_name(name)} ({reason})" for name, reason in left_out.items())
        blocks.append(Paragraph(f"Baselines that could not be had: {reasons}."))
    return [Section("beside", "Beside the model", blocks)]


def _splits(evaluation: Evaluation) -> list[str]:
    """The splits that have companions, in the order of the report."""
    there = {metric.split for metric in evaluation.metrics if metric.part == "beside"}
    return [split.sample.split for split in evaluation.splits if split.sample.split in there]


def _companions(evaluation: Evaluation, split: str) -> tuple[list[str], list[str]]:
    """The names of a split's companions, and of its rates of label noise."""
    rows = [m for m in evaluation.metrics if m.part == "beside" and m.split == split]
    noisy = {m.class_name for m in rows if m.quantity == "companion_draws"}
    names = list(dict.fromkeys(m.class_name for m in rows))
    return [name for name in names if name not in noisy], [name for name in names if name in noisy]


def _split_blocks(evaluation: Evaluation, split: str) -> list[Block]:
    """Sentences, table and figure of one split."""
    names, _ = _companions(evaluation, split)
    blocks: list[Block] = [Heading(split_name(split))]
    blocks += [Paragraph(text) for text in baseline_sentences(evaluation, split)]
    blocks += _control_note(evaluation, split)
    blocks.append(_table(evaluation, split, names))
    rows = [
        ForestRow(companion_name(name), find(evaluation.metrics, split, "auc_macro_ahead", name)) for name in names
    ]
    if any(row.estimate is not None and math.isfinite(row.estimate.value) for row in rows):
        label = "Macro AUC of the model minus that of the companion"
        title = "How far the model is ahead, with 95 % intervals"
        blocks.append(Gallery("", [forest_figure(f"beside-{split}", title, rows, x_label=label, line_at=0.0)]))
    return blocks


def _table(evaluation: Evaluation, split: str, names: Sequence[str]) -> Table:
    """The model and its companions, one a line."""
    of_one_site = find(evaluation.metrics, split, "auc_within_site")
    within = of_one_site is not None and math.isfinite(of_one_site.value)
    lines = [("The model", "auc_macro", "", "auc_within_site", "")]
    lines += [
        (companion_name(n), "companion_auc_macro", "auc_macro_ahead", "companion_auc_within_site", n) for n in names
    ]
    rows = []
    for label, macro, ahead, of_site, name in lines:
        found = find(evaluation.metrics, split, macro, name)
        cells = [told(found), told(find(evaluation.metrics, split, ahead, name)) if ahead else "-"]
        cells += [told(find(evaluation.metrics, split, of_site, name))] if within else []
        rows.append([label, *cells, str(found.n) if found else "-"])
    header = [
        "Trained on the same folds",
        "Macro AUC",
        "Model minus this",
        *(["Among patients of one site"] * within),
        "n",
    ]
    quantities = {quantity for line in lines for quantity in line[1:4] if quantity}
    own = [
        m for m in evaluation.metrics if m.split == split and m.quantity in quantities and not (m.cohort or m.site)
    ]
    data = long_data([m for m in own if not m.class_name or m.class_name in names])
    return Table(f"{split_name(split)}: estimate (95 % interval)", header, rows, name=f"beside-{split}", data=data)


def _noise_blocks(evaluation: Evaluation) -> list[Block]:
    """What happens when some labels are exchanged before training."""
    rows = []
    for split in _splits(evaluation):
        for rate in _companions(evaluation, split)[1]:
            draws = find(evaluation.metrics, split, "companion_draws", rate)
            cells = [told(find(evaluation.metrics, split, q, rate)) for q in _NOISY]
            n = (f"{draws.value:z.0f}", str(draws.n)) if draws else ("-", "-")
            rows.append([f"{companion_name(rate)}: {split_name(split)}", *cells, *n])
    if not rows:
        return []
    text = (
        "Immunohistochemistry tells zero from low with little agreement between pathologists. Here a share of these "
        "labels was exchanged before training, and the model judged by the labels on record. Each line is the mean "
        "of several draws with the smallest and the largest, which is no interval."
    )
    header = ["Trained with", "Macro AUC", "Model minus this", "Draws", "n"]
    table = Table("Label noise: mean (smallest to largest draw)", header, rows)
    return [Heading("With other labels"), Paragraph(text), table]


def _control_note(evaluation: Evaluation, split: str) -> list[Block]:
    """A warning where regions without lesion tell the classes apart."""
    found = find(evaluation.metrics, split, "companion_auc_macro", CONTROL)
    if found is None or not found.low > GUESSING:
        return []
    text = (
        f"Trained on regions without lesion the model tells the classes apart, too, with a macro AUC of "
        f"{found.value:z.2f} ({interval(found)}). Its result may rest on something else than the lesion."
    )
    return [Paragraph(text, tone="note")]


def baseline_sentences(evaluation: Evaluation, split: str) -> list[str]:
    """Which baseline is strongest in a split, and whether the model is ahead of it; none without baselines."""
    found = {name: find(evaluation.metrics, split, "companion_auc_macro", name) for name in BASELINES}
    values = {name: e.value for name, e in found.items() if e is not None and math.isfinite(e.value)}
    if not values:
        return []
    name = max(values, key=lambda key: values[key])
    ahead = find(evaluation.metrics, split, "auc_macro_ahead", name)
    strongest = f"The strongest baseline ({companion_name(name).lower()}) reaches a macro AUC of {values[name]:z.2f}"
    return [f"{strongest}; {_lead(ahead)}."] if ahead is not None else []


def _lead(ahead: Estimate) -> str:
    """Whether a difference is more than chance."""
    side = "ahead of" if ahead.value >= 0 else "behind"
    distance = f"the model is {side} it by {abs(ahead.value):z.2f}"
    if not math.isfinite(ahead.low):
        return f"{distance} (no interval: {ahead.reason})"
    sign = "" if ahead.value >= 0 else f"difference {ahead.value:z.2f}, "
    bounds = f"{sign}95 % interval {interval(ahead)}"
    if ahead.low <= 0 <= ahead.high:
        return f"{distance} ({bounds}), which may be chance: the interval includes 0"
    return f"{distance} ({bounds}), and the interval excludes 0"


def companion_name(companion: str) -> str:
    """What a companion is called in print."""
    return _NAMES.get(companion, plain(companion[:1].upper() + companion[1:]))
