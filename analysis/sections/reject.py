"""The report's section on reject options: how right the model is when doubtful patients go to pathology."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from analysis.decisions.coverage import split_sets
from analysis.decisions.reject import NAMED_SHARES, Option, RiskCoverage, judge_option, risk_coverage, surest
from analysis.figures.decision import risk_figure
from analysis.inference.cross_validation import folds_of
from analysis.metrics import ESTIMATE_COLUMNS, Cell, Metric, estimate_cells
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.part import Material, Part
from analysis.patients.samples import Sample, class_label
from analysis.sections.conformal import promised_alpha
from analysis.wording import split_name, told
from triher.estimate import Estimate

_INTRO = (
    "A model need not answer for every patient: those of whom it is least sure can go to pathology. They are sent "
    "away by their largest probability (Chow, IEEE Trans Inf Theory 1970;16:41), by a prediction set of none or of "
    "several classes, or because they lie outside the training range. No label takes part in the choice, but a "
    "threshold that keeps a certain share is that of these patients, and another cohort's share will differ."
)
_MIX = (
    "Sending patients away changes who is left: the classes of which the model is least sure go first. If nearly all "
    "of one class are sent away, a better accuracy among the kept says little of that class. Intervals in the tables "
    "take the kept patients as given; the band of the curve repeats the choice in every resample."
)

_POOLED = (
    "Out of fold, several models gave the probabilities. The intervals of this section are not widened for that, so "
    "they are narrower than that of the same AUC in the section on telling the classes apart, and too narrow."
)


def judge_reject(material: Material) -> Part:
    """Every rule in every split.

    Raises:
        StopRun: as `analysis.decisions.coverage.split_sets`.
    """
    splits: list[list[Block]] = []
    metrics: list[Metric] = []
    summary: tuple[str, ...] = ()
    for sample in material.samples:
        if not len(sample.y):
            continue
        summary = summary if splits else _summary(_inside(material, sample))
        draws = {"resamples": material.config.analysis.resamples, "seed": material.config.seed}
        curve = risk_coverage(sample.y, sample.probabilities, **draws)
        options = [
            judge_option(name, label, kept, sample.y, sample.probabilities, material.classes, **draws)
            for name, label, kept in _rules(material, sample)
        ]
        metrics += _metrics(sample.split, curve, options, material.classes)
        splits.append(_split_blocks(sample.split, curve, options, material.classes))
    if not splits:
        return Part()
    pooled = any(folds_of(material.frame, sample.split) is not None for sample in material.samples if len(sample.y))
    blocks = [Paragraph(_INTRO), Paragraph(_MIX), *([Paragraph(_POOLED)] if pooled else []), *fold_later(splits)]
    section = Section("reject", "Sending doubtful patients to pathology", blocks)
    return Part(tuple(metrics), section, summary=summary)


def _summary(inside: Bool[np.ndarray, " patient"] | None) -> tuple[str, ...]:
    """How many patients are not like those of the training; nothing where all are."""
    if inside is None:
        return ()
    n_outside = int((~inside).sum())
    who = f"All {len(inside)}" if not inside.any() else f"{n_outside} of {len(inside)}"
    verb = "lies" if n_outside == 1 else "lie"
    return (f"{who} patients {verb} outside the range of the features that the model was trained on.",)


def _rules(material: Material, sample: Sample) -> Iterator[tuple[str, str, Bool[np.ndarray, " patient"]]]:
    """Name, words and whom it keeps, for every rule that can be applied."""
    yield "none", "Nobody", np.ones(len(sample.y), dtype=bool)
    if np.ptp(sample.probabilities.max(axis=1)) > 0:
        for share in NAMED_SHARES:
            yield f"share_{100 * share:.0f}", f"The least sure {share:.0%}", surest(sample.probabilities, share)
    alpha = promised_alpha(material.record, material.config)
    sets = split_sets(material.frame, material.config.scheme, sample.split, alpha)
    if not isinstance(sets, str):
        single = dict(zip(sets.patient_id, sets.members.sum(axis=1) == 1, strict=True))
        yield "single_set", "Sets of none or several", np.array([single[name] for name in sample.patient_id])
    inside = _inside(material, sample)
    if inside is not None:
        yield "inside", "Outside the training range", inside


def _inside(material: Material, sample: Sample) -> Bool[np.ndarray, " patient"] | None:
    """Who lies inside the training range; None where it was not looked at, or nobody lies outside."""
    rows = material.frame[material.frame["split"] == sample.split]
    if "outside" not in rows:
        return None
    flagged = set(rows.loc[rows["outside"].fillna("") != "", "patient_id"].astype(str))
    inside = np.array([name not in flagged for name in sample.patient_id])
    return None if inside.all() else inside


def _metrics(
    split: str, curve: RiskCoverage, options: Sequence[Option], classes: tuple[str, ...]
) -> Iterator[Metric]:
    """The curve's named shares and every rule as rows."""
    yield Metric("reject", split, "aurc", curve.aurc)
    for share in NAMED_SHARES:
        i = curve.shares.index(share)
        yield Metric("reject", split, f"accuracy_gain_at_{100 * share:.0f}", curve.gain[i])
    for option in options:
        for quantity, class_name, estimate in _quantities(option, classes):
            yield Metric("reject", split, f"{quantity}_{option.name}", estimate, class_name)


def _quantities(option: Option, classes: tuple[str, ...]) -> Iterator[tuple[str, str, Estimate]]:
    """Quantity, class and estimate of one rule."""
    yield "sent", "", option.sent
    yield "kept_accuracy", "", option.accuracy
    yield "kept_balanced_accuracy", "", option.balanced_accuracy
    yield "kept_auc_macro", "", option.auc_macro
    for c, name in enumerate(classes):
        yield "sent", name, option.sent_by_class[c]
        yield "kept_mix", name, option.mix_kept[c]
        yield "sent_mix", name, option.mix_sent[c]


def _split_blocks(
    split: str, curve: RiskCoverage, options: Sequence[Option], classes: tuple[str, ...]
) -> list[Block]:
    """Sentence, tables and figure of one split."""
    blocks: list[Block] = [Heading(split_name(split)), Paragraph(_sentence(curve))]
    blocks += [_option_table(split, options, classes), _mix_table(split, options, classes)]
    if math.isfinite(curve.aurc.value):
        title = "Error among those kept, with 95 % band"
        blocks.append(Gallery("", [risk_figure(f"risk-coverage-{split}", title, curve)]))
    blocks.append(_curve_table(split, curve))
    return blocks


def _sentence(curve: RiskCoverage) -> str:
    """What the area says."""
    if not math.isfinite(curve.aurc.value):
        return f"The risk-coverage curve is not estimable: {curve.aurc.reason}."
    low, half = curve.shares.index(0.2), curve.shares.index(0.5)
    return (
        f"The mean error over all numbers of kept patients (AURC) is {told(curve.aurc)}; sending them away by lot "
        f"gives {curve.at_random:.2f}, sending the wrong answers first {curve.at_best:.2f}. With the least sure 20 % "
        f"sent away the accuracy changes by {told(curve.gain[low])}, with 50 % by {told(curve.gain[half])}."
    )


def _option_table(split: str, options: Sequence[Option], classes: tuple[str, ...]) -> Table:
    """How right the model is on the kept, one rule a line."""
    rows = [
        [
            option.label,
            f"{option.sent.value:.0%}" if math.isfinite(option.sent.value) else "-",
            str(option.kept),
            *(told(e) for e in (option.accuracy, option.balanced_accuracy, option.auc_macro)),
        ]
        for option in options
    ]
    header = ["Sent to pathology", "Share", "Kept", "Accuracy", "Balanced accuracy", "Macro AUC"]
    caption = f"{split_name(split)}: how right the model is on those whom it keeps, estimate (95 % interval)"
    return Table(caption, header, rows, name=f"reject-options-{split}", data=_data(split, options, classes))


def _mix_table(split: str, options: Sequence[Option], classes: tuple[str, ...]) -> Table:
    """Who is sent away, and who is left."""
    rows = []
    for option in options[1:]:
        sent = [f"{e.value:.0%}" if math.isfinite(e.value) else "-" for e in option.sent_by_class]
        kept = [f"{e.value:.0%}" if math.isfinite(e.value) else "-" for e in option.mix_kept]
        gone = [f"{e.value:.0%}" if math.isfinite(e.value) else "-" for e in option.mix_sent]
        rows.append([option.label, *sent, " / ".join(gone), " / ".join(kept)])
    labels = [class_label(name) for name in classes]
    mix = " / ".join(classes)
    header = ["Sent to pathology", *(f"Of {label}" for label in labels), f"Sent: {mix}", f"Kept: {mix}"]
    caption = f"{split_name(split)}: share of each class that is sent away, and the classes of those sent and kept"
    return Table(
        caption,
        header,
        rows,
        folded="Who is sent away, by class",
        name=f"reject-classes-{split}",
        data=_data(split, options, classes),
    )


def _data(split: str, options: Sequence[Option], classes: tuple[str, ...]) -> Data:
    """Every rule in full precision."""
    rows = [
        [split, option.name, quantity, class_name, *estimate_cells(estimate)]
        for option in options
        for quantity, class_name, estimate in _quantities(option, classes)
    ]
    return Data(("split", "rule", "quantity", "class", *ESTIMATE_COLUMNS), rows)


def _curve_table(split: str, curve: RiskCoverage) -> Table:
    """The whole curve, folded."""
    lines = list(zip(curve.shares, curve.error, curve.gain, strict=True))
    rows = [[f"{share:.0%}", told(error), told(gain)] for share, error, gain in lines]
    data: list[list[Cell]] = []
    for share, error, gain in lines:
        data.append([split, "error", share, *estimate_cells(error)])
        data.append([split, "accuracy_gain", share, *estimate_cells(gain)])
    data.append([split, "aurc", None, *estimate_cells(curve.aurc)])
    return Table(
        f"{split_name(split)}: error among those kept, estimate (95 % interval)",
        ["Sent to pathology", "Error among those kept", "Gain in accuracy"],
        rows,
        folded="The whole curve as numbers",
        name=f"risk-coverage-{split}",
        data=Data(("split", "quantity", "share_sent", *ESTIMATE_COLUMNS), data),
    )
