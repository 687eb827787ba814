"""What the run answers about performance: measures, intervals, subgroups, robustness and errors."""

from analysis.checklists.answer import Answer, answered, left, not_applicable, partly
from analysis.checklists.facts import Facts, spoken
from analysis.samples import class_label
from analysis.sections_beside import companion_name
from analysis.wording import count, places, split_name

_NOBODY = "Nobody predicted in this run has a HER2 label, so performance cannot be judged."
_EXPLAINING = ("explanations", "maps", "attributions", "sanity", "matched", "projection")
"""Anchors of sections that show why the model said so."""
_SANITY = "explanations/sanity.csv"
_NOISE = "label noise"


def measures(facts: Facts) -> Answer:
    """Which measures were used."""
    if not facts.labeled:
        return left(f"{_NOBODY} Name the measures and say why they fit the question.")
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
        return left(f"{_NOBODY} Say how intervals and p values were computed.")
    primary = ", ".join(name.replace("_", " ") for name in facts.config.analysis.primary)
    corrected = (
        f" P values of the primary quantities ({primary}) were corrected after Holm, all others after Benjamini and "
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
        return left(f"{_NOBODY} Report performance with intervals.")
    said = "; ".join(_told(facts, split.sample.split) for split in facts.labeled)
    anchors = ("discrimination", "nested", "calibration", "subgroups", "prognosis")
    if "subgroups" in facts.sections:
        names = ", ".join(facts.config.analysis.subgroups)
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
        return left(f"{_NOBODY} Report sensitivity, specificity and predictive values with intervals.")
    parts = []
    for name in facts.evaluation.classes:
        sensitivity, specificity = (spoken(facts.value(q, name)) for q in ("sensitivity", "specificity"))
        if sensitivity and specificity:
            parts.append(f"{class_label(name)}, sensitivity {sensitivity}, specificity {specificity}")
    where = split_name(facts.first)
    said = f"{where}, likeliest class: {'; '.join(parts)}." if parts else f"{where}: see the section named here."
    return answered(f"{said} ROC curves are drawn.", "discrimination", "operating", files=("metrics.csv",))


def errors(facts: Facts) -> Answer:
    """Failure analysis."""
    if not facts.labeled:
        return left(f"{_NOBODY} Analyze the errors once labels are there.")
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


def heterogeneity(facts: Facts) -> Answer:
    """How differences between sites were handled."""
    sites = facts.sites()
    if len(sites) < 2:
        return not_applicable("All predicted patients come from one site.", "patients")
    if not facts.labeled:
        return left(f"{_NOBODY} Say how differences between sites were handled.")
    method = facts.settings.get("harmonize", {}).get("method", "none")
    handled = f" Features were harmonized between sites by {method}." if method not in ("none", "") else ""
    return answered(
        f"Measures were computed for each cohort and site with its own interval, and among patients of one site "
        f"alone.{handled}",
        "discrimination",
        "shortcuts",
        "comparisons",
        files=("metrics.csv",),
    )


def heterogeneity_found(facts: Facts) -> Answer:
    """What differences between sites were found."""
    sites = facts.sites()
    if len(sites) < 2:
        return not_applicable("All predicted patients come from one site.", "patients")
    rows = [
        m for m in facts.metrics if m.quantity == "auc_macro" and m.part == "discrimination" and (m.site or m.cohort)
    ]
    values = [m.estimate.value for m in rows if m.estimate.value == m.estimate.value]
    within = spoken(facts.value("auc_within_site"))
    same = f" Among patients of one site the macro AUC is {within}." if within else ""
    if not values and not same:
        return partly(
            "The sites are too small, or lie in different splits, so that no measure was computed for each of them.",
            "Say what is known of differences between sites.",
            "discrimination",
        )
    span = (
        f"The macro AUC of single cohorts and sites lies between {min(values):z.2f} and {max(values):z.2f} "
        f"({count(len(values), 'estimate')})."
        if values
        else ""
    )
    return answered(f"{span}{same}".strip(), "discrimination", "comparisons", files=("metrics.csv",))


def fairness(facts: Facts) -> Answer:
    """Whether fairness was looked at."""
    if "subgroups" not in facts.sections:
        return left(
            "No subgroups were analyzed in this run. Say which groups could be served worse, and what was done about "
            "it; subgroups can be named under analysis.subgroups."
        )
    names = ", ".join(facts.config.analysis.subgroups)
    return partly(
        f"Performance was compared between subgroups by {names}, with tests of interaction.",
        "Say why these groups, which sociodemographic groups are missing, and what follows from the differences.",
        "subgroups",
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
        if _SANITY in facts.files
        else ""
    )
    return partly(
        f"Single predictions were explained.{tested}",
        "Say what the explanations are meant for, how they were validated, and what readers found in them.",
        *shown,
        files=(_SANITY,),
    )


def internal(facts: Facts) -> Answer:
    """Evaluation on data of the same source."""
    if not facts.is_trained:
        return left("The model was not trained in this run; cite how it did on its own development patients.")
    if facts.is_in_turn:
        return not_applicable(
            "Every site or cohort was tested by models of all others, so no patient was tested within an own source.",
            "discrimination",
        )
    found = _told(facts, "oof") if any(s.sample.split == "oof" for s in facts.labeled) else ""
    within = facts.is_held_out and not facts.unseen
    test = f" Held out at the same sites: {_told(facts, 'test')}." if within else ""
    if not found and not test:
        return left("No labeled development patients were predicted out of fold; report internal validation.")
    return answered(
        f"Nested cross-validation, {found}.{test}", "discrimination", "calibration", files=("metrics.csv",)
    )


def external(facts: Facts) -> Answer:
    """Testing on data from elsewhere."""
    if not facts.is_held_out:
        if not facts.is_trained and facts.labeled:
            return partly(
                f"A model trained elsewhere was tested: {_told(facts, facts.first)}.",
                "Say that these patients are of other institutions than those of the training; the run cannot know.",
                "discrimination",
                "calibration",
            )
        return left("Nobody was held out in this run: test on patients of another institution, or say why not.")
    found = _told(facts, "test")
    if facts.unseen_cohorts:
        names = places(facts.unseen_cohorts).removeprefix("sites ").removeprefix("site ")
        return answered(
            f"Cohorts that trained no model that predicted them: {names}. {found}.", "discrimination", "calibration"
        )
    if facts.unseen:
        return partly(
            f"Patients of sites that trained no model that predicted them: {places([s for _, s in facts.unseen])}. "
            f"{found}. The sites belong to cohorts that were trained on, so this tests the transfer to other places.",
            "Say whether these sites are institutions with scanners of their own, and add a test on another "
            "cohort, or say why there is none.",
            "discrimination",
            "calibration",
            "shortcuts",
        )
    return left(
        "The held-out patients are of sites that were trained on, which is no external test: test on patients of "
        "another institution, or say why not."
    )


def updating(facts: Facts) -> Answer:
    """Whether the model was updated after its evaluation."""
    how = facts.config.analysis.recalibrate
    if how == "none" or "recalibration" not in facts.sections:
        tried = (
            " What other recalibrations would change was judged on patients they were not fitted on; none was kept."
            if "calibrators" in facts.sections
            else ""
        )
        return not_applicable(f"The model was not updated after it was evaluated.{tried}", "calibrators")
    what = {"prevalence": "to stated class shares", "site": "with an intercept for each site"}[how]
    return answered(
        f"Predictions were recalibrated {what}; the section says how, and how they did before and after.",
        "recalibration",
        files=("recalibrated.csv",),
    )


def limitations(facts: Facts) -> Answer:
    """What limits the numbers."""
    return partly(
        "The report says in plain words what its numbers cannot show: size, held-out sites, multiplicity, use.",
        "Discuss representativeness, label noise, missing data and overfitting in this study, and which way each "
        "would push the results.",
        "limits",
        "shortcuts",
    )


def _told(facts: Facts, split: str) -> str:
    """The macro AUC of a split in words."""
    value = spoken(facts.value("auc_macro", split=split))
    n = next((len(s.sample.y) for s in facts.labeled if s.sample.split == split), 0)
    return f"{split_name(split).lower()}, n = {n}: macro AUC {value or 'not estimable'}"


def _further(facts: Facts) -> str:
    """Measures of clinical use, comparison and survival."""
    more = {
        "decision": "net benefit (decision curves)",
        "comparisons": "comparisons with other models",
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
