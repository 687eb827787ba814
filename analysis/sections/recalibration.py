"""The part that recalibrates where the configuration names it, and the section that says what was done."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.calibration.calibrators import FOLDS
from analysis.calibration.comparison import LEAST
from analysis.calibration.recalibration import (
    Shares,
    SiteIntercepts,
    recalibrate_sites,
    shift_prevalence,
    stated_shares,
    training_shares,
)
from analysis.calibration.recalibration_metrics import before_and_after
from analysis.figures.canvas import Drawing, plain
from analysis.figures.discrimination import ForestRow, forest_figure
from analysis.long_table import long_data
from analysis.metrics import Metric, find
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.part import Material, Part
from analysis.patients.samples import class_label, split_samples
from analysis.wording import split_name, told
from triher.errors import Note
from triher.predictions import probability_columns

FILE = "recalibrated"
"""Name of the prediction table that is written, without ending."""
_SCORES = {"log_loss": "Log loss", "brier": "Brier score"}
_ONLY = (
    f"The recalibrated predictions stand in {FILE}.csv, for every patient and repeat. Nothing else in this report "
    f"uses them: all other sections judge the predictions as the model made them."
)


@dataclass(frozen=True)
class _Act:
    """What was done, and what is to be said of it."""

    frame: pd.DataFrame
    blocks: tuple[Block, ...]
    shares: Shares | None = None
    notes: tuple[Note, ...] = ()


def recalibration_part(material: Material) -> Part:
    """Recalibrate as ``analysis.recalibrate`` says; nothing for ``none``.

    Raises:
        StopRun: ``unknown_name`` or ``config_value`` where ``analysis.prevalence`` does not fit, or the class shares
            of the training are not known.
    """
    act = _ACTS[material.config.analysis.recalibrate](material)
    if act is None:
        return Part()
    metrics: list[Metric] = []
    after = {sample.split: sample for sample in split_samples(act.frame, material.config.scheme)}
    judged = [sample.split for sample in material.samples if len(sample.y)]
    for sample in material.samples:
        if len(sample.y):
            metrics += before_and_after(
                sample, after[sample.split], material.classes, material.config, shares=act.shares
            )
    blocks = [*act.blocks, Paragraph(_ONLY)]
    at_shares = act.shares is not None
    blocks += fold_later([_split_blocks(metrics, split, material.classes, at_shares=at_shares) for split in judged])
    section = Section("recalibration", "Recalibrated predictions", blocks)
    return Part(tuple(metrics), section, act.notes, {FILE: act.frame})


def _nothing(_: Material) -> None:
    """Leave all as it is."""
    return


def _for_prevalence(material: Material) -> _Act:
    """Shift to the stated class shares."""
    classes = material.classes
    new = stated_shares(material.config.analysis.prevalence, classes)
    old, origin = training_shares(material.samples, material.record.get("stages", {}), classes)
    columns = probability_columns(material.config.scheme)
    frame = material.frame.copy()
    frame[columns] = shift_prevalence(frame[columns].to_numpy(np.float64), old, new)
    text = (
        "As the configuration asks (analysis.recalibrate: prevalence), the predictions were moved to a population "
        f"with other class shares: each probability times its stated share over its share in training ({origin}), "
        "then divided by the sum (Saerens et al. 2002). This is right where the classes look the same in both "
        "populations and only their shares differ, which the data here cannot show. On the patients as they are, "
        "whose shares are not the stated ones, the scores may get worse; what counts are the scores at the stated "
        "shares, for which each class is weighed to its share."
    )
    rows = [[class_label(c), f"{a:z.3f}", f"{b:z.3f}"] for c, a, b in zip(classes, old, new, strict=True)]
    data = Data(("class", "training", "stated"), list(zip(classes, old.tolist(), new.tolist(), strict=True)))
    table = Table("Class shares", ["Class", "In training", "Stated"], rows, name="recalibration-shares", data=data)
    return _Act(frame, (Paragraph(text), table), new)


def _for_sites(material: Material) -> _Act:
    """Intercepts for each site."""
    frame, done = recalibrate_sites(material.frame, material.config.scheme, material.config.seed)
    text = (
        "As the configuration asks (analysis.recalibrate: site), each site got class intercepts of its own, the "
        f"slopes untouched. They were fitted over {FOLDS} stratified folds of the site's labeled patients, each "
        "patient getting those of the other folds; unlabeled patients get those of all. This needs labeled patients "
        "of the site where the model is to be used; the scores below say what to expect with as many. Sites with "
        f"fewer than {LEAST} labeled patients of a class were left as they are."
    )
    notes = tuple(_too_few(site, material.classes) for site in done if site.intercepts is None)
    return _Act(frame, (Paragraph(text), _site_table(done, material.classes)), notes=notes)


def _too_few(site: SiteIntercepts, classes: Sequence[str]) -> Note:
    """Name a site that was left as it is."""
    counts = ", ".join(f"{n} {class_label(name)}" for name, n in zip(classes, site.counts, strict=True))
    where = f"site '{site.site}' of cohort '{site.cohort}' (split '{site.split}')"
    return Note("", "recalibration_small", f"{where} was not recalibrated: {counts}")


def _site_table(done: Sequence[SiteIntercepts], classes: Sequence[str]) -> Table:
    """What was added at each site."""
    rows, exact = [], []
    for site in done:
        found = site.intercepts
        cells = ["left as it is" if found is None else f"{value:+z.2f}" for value in found or (0.0,) * len(classes)]
        counts = " / ".join(map(str, site.counts))
        rows.append([f"{plain(site.site)} ({plain(site.cohort)}), {split_name(site.split)}", counts, *cells[1:]])
        exact.append([site.split, site.cohort, site.site, *site.counts, *(found or (None,) * len(classes))])
    columns = ("split", "cohort", "site", *(f"n_{c}" for c in classes), *(f"intercept_{c}" for c in classes))
    header = ["Site", "Patients " + " / ".join(classes), *(class_label(c) for c in classes[1:])]
    caption = f"Intercept added to the log probability of each class against {class_label(classes[0])}"
    return Table(caption, header, rows, name="recalibration-sites", data=Data(columns, exact))


_ACTS: dict[str, Callable[[Material], _Act | None]] = {
    "none": _nothing,
    "prevalence": _for_prevalence,
    "site": _for_sites,
}


def _split_blocks(metrics: Sequence[Metric], split: str, classes: Sequence[str], *, at_shares: bool) -> list[Block]:
    """Before and after in one split."""
    endings = {"": ""} | ({"_at_stated_shares": ", at the stated shares"} if at_shares else {})
    rows = []
    for ending, words in endings.items():
        for score, label in _SCORES.items():
            cells = [told(find(metrics, split, f"{score}_{w}{ending}")) for w in ("before", "after", "change")]
            rows.append([f"{label}{words}", *cells])
    own = [metric for metric in metrics if metric.split == split]
    header = ["", "Before", "After", "Change"]
    caption = f"{split_name(split)}: scores, lower is better"
    table = Table(caption, header, rows, name=f"recalibration-{split}", data=long_data(own))
    blocks: list[Block] = [Heading(split_name(split)), table]
    drawing = _shares_figure(metrics, split) if at_shares else _sites_figure(metrics, split, classes)
    return [*blocks, Gallery("", [drawing])] if drawing is not None else blocks


def _shares_figure(metrics: Sequence[Metric], split: str) -> Drawing | None:
    """The change of the log loss in both populations."""
    lines = [
        ForestRow("On the patients as they are", find(metrics, split, "log_loss_change")),
        ForestRow("At the stated shares", find(metrics, split, "log_loss_change_at_stated_shares")),
    ]
    title = "Change in log loss with 95 % intervals; below 0 is better"
    return _forest(split, title, lines, "Log loss after minus before")


def _sites_figure(metrics: Sequence[Metric], split: str, classes: Sequence[str]) -> Drawing | None:
    """Calibration in the large of each class, after and before."""
    lines = [
        ForestRow(
            class_label(name),
            find(metrics, split, "calibration_in_the_large_after", name),
            find(metrics, split, "calibration_in_the_large_before", name),
            name,
        )
        for name in classes
    ]
    title = "Calibration in the large after recalibration, with 95 % intervals; hollow: before"
    return _forest(split, title, lines, "Intercept at slope 1 (ideal 0)")


def _forest(split: str, title: str, lines: list[ForestRow], x_label: str) -> Drawing | None:
    """The figure of one split, None where nothing can be estimated."""
    if not any(line.estimate is not None and math.isfinite(line.estimate.value) for line in lines):
        return None
    return forest_figure(f"recalibration-{split}", title, lines, x_label=x_label, line_at=0.0)
