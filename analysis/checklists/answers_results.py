"""What the run answers about performance: measures, intervals, subgroups, robustness and errors."""

from analysis.checklists.answer import Answer, answered, left, not_applicable, partly
from analysis.checklists.facts import Facts, spoken
from analysis.discrimination.questions import QUESTIONS
from analysis.explained_run import failed_tests
from analysis.patients.samples import class_label
from analysis.sections.beside import companion_name
from analysis.wording import count, split_name

NOBODY = "Nobody predicted in this run has a HER2 label, so performance cannot be judged."
_EXPLAINING = ("explanations", "maps", "attributions", "sanity", "matched", "projection")
"""Anchors of sections that show why the model said so."""
_SANITY = "explanations/sanity.csv"
_NOISE = "label noise"


def measures(facts: Facts) -> Answer:
    """Which measures were used."""
    if not facts.labeled:
        return left(f"{NOBODY} Name the measures and say why they fit the question.")
    return answered(
        "Discrimination: AUC of each class against the others and their mean, the nested questions, sensitivity, "
        "specificity and predictive values. Calibration: slopes, intercepts, calibration error beside that of a "
        f"calibrated model of this size, Brier score and log loss.{_further(facts)}",
        "discrimination",
        "nested",
        "calibration",
        "decision",
        "comparisons",
        "beside",
        "prognosis",
        "survival-measures",
        files=("metrics.csv",),
    )


def uncertainty(facts: Facts) -> Answer:
    """Intervals and p values."""
    if not facts.labeled:
        return left(f"{NOBODY} Say how intervals and p values were computed.")
    primary = "; ".join(QUESTIONS[name].label.lower() for name in facts.config.analysis.primary)
    corrected = (
        f" P values of the primary AUCs ({primary}) were corrected after Holm, all others after Benjamini and "
        "Hochberg."
        if "multiplicity" in facts.sections
        else ""
    )
    return answered(
        f"95 % intervals: DeLong for single AUCs, {facts.config.analysis.resamples} bootstrap resamples of patients "
        "within classes for means over classes, wider ones for cross-validated estimates. "
        f"Seed {facts.config.seed}.{corrected}",
        "discrimination",
        "multiplicity",
        files=("metrics.csv",),
    )


def performance(facts: Facts) -> Answer:
    """Performance with intervals, overall and in subgroups."""
    if not facts.labeled:
        return left(f"{NOBODY} Report performance with intervals.")
    said = "; ".join(told(facts, split.sample.split) for split in facts.labeled)
    anchors = ("discrimination", "nested", "calibration", "subgroups", "prognosis")
    if "subgroups" in facts.sections:
        names = ", ".join(facts.groupings)
        return answered(f"{said}. Subgroups by {names} are shown with intervals.", *anchors, files=("metrics.csv",))
    return partly(
        f"{said}.",
        "No subgroups were named beforehand in this run. Name those that matter (age, menopause, receptor status) "
        "under analysis.subgroups, or say why there are none.",
        *anchors,
        files=("metrics.csv",),
    )


def accuracy(facts: Facts) -> Answer:
    """Estimates of diagnostic performance and their precision."""
    if not facts.labeled:
        return left(f"{NOBODY} Report sensitivity, specificity and predictive values with intervals.")
    parts = []
    for name in facts.evaluation.classes:
        sensitivity, specificity = (spoken(facts.value(q, name)) for q in ("sensitivity", "specificity"))
        if sensitivity and specificity:
            parts.append(f"{class_label(name)}, sensitivity {sensitivity}, specificity {specificity}")
    where = split_name(facts.first)
    if not parts:
        return partly(
            f"{where}: sensitivity and specificity are not estimable.",
            "Say why, and report what can be estimated.",
            "discrimination",
        )
    return answered(
        f"{where}, likeliest class: {'; '.join(parts)}. ROC curves are drawn.",
        "discrimination",
        "operating",
        files=("metrics.csv",),
    )


def errors(facts: Facts) -> Answer:
    """Failure analysis."""
    if not facts.labeled:
        return left(f"{NOBODY} Analyze the errors once labels are there.")
    split = facts.labeled[0]
    wrong = int((split.sample.probabilities.argmax(axis=1) != split.sample.y).sum())
    return partly(
        f"{split_name(split.sample.split)}: {wrong} of {count(len(split.sample.y), 'patient')} got another likeliest "
        "class than their own, shown as a confusion matrix.",
        "Show examples of the errors and say what they have in common, and what they would have meant for a patient.",
        "discrimination",
        "conformal",
        "reject",
        *_EXPLAINING,
        files=("predictions.csv",),
    )


def robustness(facts: Facts) -> Answer:
    """What was disturbed on purpose."""
    asked = (
        "Say which changes of scanner, protocol and outline the model has to stand, and show that it does "
        "(triher ablate with levels of extract.perturb, or test and retest)."
    )
    tried = _tried(facts)
    if not tried:
        return left(asked)
    return partly(f"Looked at: {'; '.join(tried)}.", asked, "shortcuts", "beside", "comparisons")


def explainability(facts: Facts) -> Answer:
    """Whether predictions were explained."""
    shown = [anchor for anchor in _EXPLAINING if anchor in facts.sections]
    if not shown:
        return not_applicable("No method of explanation was applied in this run; triher explain would add some.")
    tested = (
        " The explanations were put to tests that they can fail (shuffled weights, deletion, overlap with lesions)."
        f"{_failures(facts)}"
        if _SANITY in facts.files
        else ""
    )
    return partly(
        f"Single predictions were explained.{tested}",
        "Say what the explanations are meant for, how they were validated, and what readers found in them.",
        *shown,
        files=(_SANITY,),
    )


def _failures(facts: Facts) -> str:
    """The sanity tests that the maps failed, as a sentence."""
    failed = failed_tests(facts.material.run) if facts.material.run is not None else []
    return f" The maps failed {', '.join(failed)}, and so must not be read as the model's reasons." if failed else ""


def limitations(facts: Facts) -> Answer:
    """What limits the numbers."""
    return partly(
        "The report says in plain words what its numbers cannot show.",
        "Discuss representativeness, label noise, missing data and overfitting in this study, and which way each "
        "would push the results.",
        "limits",
        "shortcuts",
    )


def told(facts: Facts, split: str) -> str:
    """The macro AUC of a split in words."""
    estimate = facts.value("auc_macro", split=split)
    reason = f": {estimate.reason}" if estimate is not None and estimate.reason else ""
    value = spoken(estimate) or f"not estimable{reason}"
    n = next((len(s.sample.y) for s in facts.labeled if s.sample.split == split), 0)
    return f"{split_name(split)}, n = {n}: macro AUC {value}"


def _further(facts: Facts) -> str:
    """Measures of clinical use, comparison and survival."""
    more = {
        "decision": "net benefit (decision curves)",
        "comparisons": "paired comparisons of models",
        "beside": "comparisons with simpler models",
        "conformal": "coverage of prediction sets",
        "survival-measures": "measures of survival",
    }
    there = [text for anchor, text in more.items() if anchor in facts.sections]
    return f" Besides: {', '.join(there)}." if there else ""


def _tried(facts: Facts) -> list[str]:
    """Analyses of robustness in this run."""
    tried = []
    if "shortcuts" in facts.sections:
        targets = [name for name in facts.names("shortcut_auc") if name in ("site", "vendor", "cohort")]
        tried.append(f"what else the features tell ({', '.join(targets) or 'site and maker of the scanner'})")
    names = [name for name in facts.names("companion_auc_macro") if name not in ("majority", "clinical", "volume")]
    if "beside" in facts.sections and names:
        noise = any(name.startswith(_NOISE) for name in names)
        others = [companion_name(name).lower() for name in names if not name.startswith(_NOISE)]
        tried += [f"the model beside {name}" for name in others] + (["exchanged training labels"] if noise else [])
    if not facts.config.extract.perturb.is_none:
        tried.append("images or masks disturbed on purpose")
    return tried
