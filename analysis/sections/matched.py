"""The report's section on matched cases."""

import math
from collections.abc import Iterator, Sequence

from analysis.explained_run import explained_files, failed_tests
from analysis.figures.matched import pairs_figure
from analysis.inference.cross_validation import Folds, folds_of
from analysis.metrics import ESTIMATE_COLUMNS, Metric, estimate_cells
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Picture, Pictures, Section, Table, fold_later
from analysis.part import Material, Part
from analysis.patients.matched import (
    Matched,
    Member,
    matched_pairs,
    repaired_auc,
    share_right,
    share_strictly_right,
    shown_pairs,
    unmatched_auc,
)
from analysis.patients.matched_table import alone_table, balance_table, pairs_table
from analysis.patients.slides import Slide, Slides
from analysis.patients.words import known_of, shares_of, truth_of
from analysis.wording import count, split_name, told
from triher.estimate import Estimate
from triher.settings import ExplainConfig

_TEXT = (
    "Two patients, both HER2-negative for a test with two answers, of the same clinicopathology: one HER2-zero by "
    "pathology, one HER2-low. Does the image tell them apart? Pairs were made before any prediction was looked at, "
    "by optimal one-to-one matching, and nobody is in two pairs. A pair is told apart rightly when the model gives "
    "the low patient the higher probability of low among zero and low; equal scores count one half, and 0.5 is "
    "guessing. What the model knows only through the columns matched on, it cannot use here; what it knows through "
    "others (the scanner, the site) it still can."
)
_POOLED = (
    "Out of fold, several models gave the scores, and members of a pair may have theirs from two; the intervals are "
    "widened for what the models have in common."
)
_CHOICE = (
    "Which pairs are shown is fixed by rule, not by looks: the one told apart most surely, the one told apart most "
    "wrongly, and the one in the middle of all margins. Each slice is the one with most lesion, all phases in one "
    "window; the line is the edge of the lesion. Maps show what speaks for low rather than zero, and for zero rather "
    "than low, from violet (weak) to yellow, the strongest place in any slice of that patient, so colors of two "
    "patients are not to be compared."
)
_QUANTITIES = {
    "matched_pairs_right": "Pairs told apart rightly",
    "matched_pairs_strictly_right": "Pairs whose members both get their own class",
    "auc_zero_vs_low_matched": "AUC, zero against low, the same patients with the pairs broken up",
    "auc_zero_vs_low": "AUC, zero against low, all patients of the two classes",
}


def judge_matched(material: Material) -> Part:
    """The share of pairs told apart rightly, beside pictures of some; nothing in a scheme without zero and low.

    Raises:
        StopRun: as `analysis.patients.matching.criteria`; as the readers of the run's feature store and maps.
    """
    if not {"zero", "low"} <= set(material.classes):
        return Part()
    options = material.config.explain or ExplainConfig()
    found = []
    for sample in material.samples:
        rows = material.frame[material.frame["split"] == sample.split]
        found.append(matched_pairs(rows, material.cohort, options, material.config.scheme))
    metrics = [metric for matched in found for metric in _metrics(matched, material)]
    paired = [matched for matched in found if matched.pairs]
    if not paired:
        reasons = [f"{split_name(matched.split)}: {matched.reason}" for matched in found]
        blocks: list[Block] = [Paragraph(_TEXT), Paragraph(f"There are no such pairs. {'; '.join(reasons)}.")]
        return Part(tuple(metrics), Section("matched", "Matched cases", blocks) if found else None)
    blocks = [Paragraph(_TEXT)]
    if any(folds_of(material.frame, matched.split) is not None for matched in paired):
        blocks.append(Paragraph(_POOLED))
    explained = (
        material.run is not None and bool(explained_files(material.run)) and not material.run.explanations_are_stale
    )
    splits = [_split_blocks(matched, material, with_ids=explained) for matched in paired]
    named: tuple[str, ...] = ()
    if explained and material.run is not None:
        splits[0] += _pictures(paired[0], material.classes, Slides(material.run), failed_tests(material.run))
        members = [member for matched in paired for pair in matched.pairs for member in (pair.zero, pair.low)]
        named = tuple(member.patient.patient_id for member in members)
    else:
        splits[0].append(Paragraph("`triher explain CONFIG` adds who they are, with slices and maps of some."))
    section = Section("matched", "Matched cases", [*blocks, *fold_later(splits)])
    return Part(tuple(metrics), section, summary=_summary(paired[0], material), named=named)


def _estimates(matched: Matched, material: Material) -> dict[str, Estimate]:
    """Quantity -> its estimate, in the order of print."""
    folds: Folds | None = folds_of(material.frame, matched.split)
    return {
        "matched_pairs_right": share_right(matched, folds),
        "matched_pairs_strictly_right": share_strictly_right(matched, folds),
        "auc_zero_vs_low_matched": repaired_auc(matched, folds),
        "auc_zero_vs_low": unmatched_auc(matched, material.classes, folds),
    }


def _metrics(matched: Matched, material: Material) -> Iterator[Metric]:
    """The rows of a split."""
    for quantity, estimate in _estimates(matched, material).items():
        yield Metric("matched", matched.split, quantity, estimate)


def _summary(matched: Matched, material: Material) -> tuple[str, ...]:
    """The share in the foremost split with pairs."""
    share = _estimates(matched, material)["matched_pairs_right"]
    columns = " and ".join(criterion.name for criterion in matched.on)
    return (
        f"In {count(share.n, 'pair')} of a HER2-zero and a HER2-low patient matched on {columns}, the model put the "
        f"low one higher in {share.value:.0%} ({_spread(share)}50% is guessing).",
    )


def _spread(share: Estimate) -> str:
    """The interval of a share, as far as there is one."""
    return f"95 % interval {share.low:.0%} to {share.high:.0%}; " if math.isfinite(share.low) else ""


def _split_blocks(matched: Matched, material: Material, *, with_ids: bool) -> list[Block]:
    """Numbers and figure of one split."""
    patients = {patient.patient_id: patient for patient in material.cohort.patients}
    one_site = sum(pair.one_site for pair in matched.pairs)
    text = (
        f"{count(len(matched.pairs), 'pair')}; {count(len(matched.unmatched), 'patient')} of the two classes in no "
        f"pair. Site and cohort were not matched on: both members are of one site in {one_site} of the pairs."
    )
    tables = [balance_table(matched, patients), *([alone_table(matched)] if matched.unmatched else [])]
    return [
        Heading(split_name(matched.split)),
        Paragraph(text),
        _number_table(matched.split, _estimates(matched, material)),
        Gallery("", [pairs_figure(matched)]),
        *tables,
        *([pairs_table(matched, material.classes)] if with_ids else []),
    ]


def _number_table(split: str, estimates: dict[str, Estimate]) -> Table:
    """What matching changes: the share of pairs beside the AUC of the same question without pairs."""
    rows = [[_QUANTITIES[name], told(estimate), str(estimate.n)] for name, estimate in estimates.items()]
    data = Data(["quantity", *ESTIMATE_COLUMNS], [[name, *estimate_cells(e)] for name, e in estimates.items()])
    caption = f"Matched cases, {split_name(split)}: estimate (95 % interval); n counts pairs or patients"
    return Table(caption, ["", "Estimate", "n"], rows, name=f"matched-{split}", data=data)


def _pictures(matched: Matched, classes: Sequence[str], slides: Slides, failed: Sequence[str]) -> list[Block]:
    """The pairs that stand for all, patient by patient; `failed` names sanity tests of the maps."""
    blocks: list[Block] = [Heading("Pairs as pictures"), Paragraph(_CHOICE)]
    if failed:
        text = f"The maps failed sanity tests ({', '.join(failed)}): they are no reasons of the model."
        blocks.append(Paragraph(text, tone="note"))
    shown = shown_pairs(matched)
    if not any("wrong" in kind for kind, _ in shown):
        blocks.append(Paragraph("No pair is told apart wrongly here."))
    missing = []
    for kind, pair in shown:
        blocks.append(Heading("The pair of the median margin" if kind == "median" else f"The {kind} pair"))
        for name, member in (("zero", pair.zero), ("low", pair.low)):
            slide = slides.of(member.patient.patient_id)
            title = f"{member.patient.patient_id}: {truth_of(member.patient, name)}"
            if slide is None:
                missing.append(member.patient.patient_id)
                blocks.append(Paragraph(f"{title}."))
            else:
                blocks.append(Pictures(title, _slices(slide, classes, member)))
            blocks.append(Paragraph(_said(member, classes)))
    if missing:
        text = f"No pictures of {', '.join(missing)}: the run folder holds no readable slab of them any more."
        blocks.append(Paragraph(text, tone="note"))
    return blocks


def _said(member: Member, classes: Sequence[str]) -> str:
    """Probabilities and covariates."""
    return (
        f"Predicted: {shares_of(member.probabilities, classes)}; among zero and low, low {member.score:.2f}. "
        f"{known_of(member.patient)}."
    )


def _slices(slide: Slide, classes: Sequence[str], member: Member) -> list[Picture]:
    """Every phase, and the maps where there are any."""
    who = member.patient.patient_id
    pictures = [slide.picture(who, k) for k in range(len(slide.phases))]
    if slide.heat is None:
        return pictures
    zero, low = classes.index("zero"), classes.index("low")
    for c, against, said in ((low, zero, "low rather than zero"), (zero, low, "zero rather than low")):
        pictures.append(slide.heated(who, said, c, against))
    return pictures
