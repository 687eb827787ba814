"""The report's section on shortcuts: what else the features tell."""

import math

from analysis.discrimination.aucs import GUESSING
from analysis.discrimination.shortcut import EVERYBODY, FROM_SITE, STRONG
from analysis.evaluation import Evaluation
from analysis.figures.canvas import plain
from analysis.long_table import long_data
from analysis.metrics import find
from analysis.page import Block, Paragraph, Section, Table
from analysis.wording import interval, told
from triher.estimate import Estimate


def shortcut_section(evaluation: Evaluation) -> list[Section]:
    """How well the features tell where and how the images were taken; none where it was not looked at."""
    targets = [m.class_name for m in evaluation.metrics if m.quantity == "shortcut_auc"]
    if not targets:
        return []
    text = (
        "A model can guess the class from where a patient was imaged, if sites differ in their class shares and the "
        "features give the site away. So the same features were asked for other things, each patient by a model that "
        "had not seen them; groups with fewer than 10 patients were left out. The AUC is the mean over the groups, "
        "each against all others."
    )
    rows, sentences, strong = [], [], []
    for target in targets:
        area = find(evaluation.metrics, EVERYBODY, "shortcut_auc", target)
        groups = find(evaluation.metrics, EVERYBODY, "shortcut_groups", target)
        if area is None or groups is None:
            continue
        rows.append([_question(target), told(area), f"{groups.value:.0f}", str(area.n)])
        sentences += _told_shortcut(target, area)
        if area.value > STRONG and target != FROM_SITE:
            strong.append(f"the {plain(target)}")
    header = ["Asked for", "Macro AUC (95 % interval)", "Groups", "n"]
    data = long_data([m for m in evaluation.metrics if m.quantity == "shortcut_auc"])
    table = Table("What else is told", header, rows, name="shortcuts", data=data)
    blocks: list[Block] = [Paragraph(text), table, *map(Paragraph, sentences)]
    if strong:
        caution = (
            f"The features give away {' and '.join(strong)} (AUC above {STRONG}). A result on patients of sites "
            "that also trained the model may rest on that; trust results on sites that were held out, and the AUC "
            "among patients of one site."
        )
        blocks.append(Paragraph(caution, tone="note"))
    return [Section("shortcuts", "What else the features tell", blocks)]


def _question(target: str) -> str:
    """A target as the heading of a row."""
    return "HER2 class, from the site alone" if target == FROM_SITE else plain(target[:1].upper() + target[1:])


def _told_shortcut(target: str, area: Estimate) -> list[str]:
    """What the site alone tells as a sentence; the table says the others."""
    if target != FROM_SITE or not math.isfinite(area.value):
        return []
    spread = f" ({interval(area)})" if math.isfinite(area.low) else ""
    below = (
        " Below 0.5 is no help either: where class shares hardly differ between sites, those of the training parts "
        "run against those of the part left out."
    )
    return [
        f"The site alone tells the HER2 class at AUC {area.value:.2f}{spread}; 0.5 would be no help."
        f"{below if area.high < GUESSING else ''}"
    ]
