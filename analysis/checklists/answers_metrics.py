"""What the run answers to METRICS, whose items are met, not met, or open to the author."""

from analysis.checklists import answers_images as images
from analysis.checklists import answers_partition as division
from analysis.checklists import answers_results as results
from analysis.checklists import answers_testing as testing
from analysis.checklists.answer import Answer, answered, lacking, left, partly
from analysis.checklists.facts import Facts, spoken
from analysis.discrimination.beside import TOLD_BY
from analysis.discrimination.shortcut import FROM_SITE
from analysis.wording import count, places

_CLINICAL = ("clinical", "volume")
_BESIDE = {"clinical": "covariates alone", "volume": "lesion volume alone"}


def guideline(facts: Facts) -> Answer:
    """Adherence to a guideline."""
    return partly(
        f"TRIPOD+AI and CLAIM 2024 are filled from this run as far as it goes, for "
        f"{count(len(facts.flow.done), 'predicted patient')}.",
        "Complete them, name the guideline in the paper, and attach the filled form.",
        "checklists",
        files=("checklists/tripod_ai.md", "checklists/claim.md"),
    )


def reference_standard(facts: Facts) -> Answer:
    """Whether the reference standard is of quality and defined."""
    found = images.outcome(facts)
    if "ihc" not in facts.material.cohort.columns:
        return found
    return answered(found.said, *found.anchors, files=found.files)


def multi_center(facts: Facts) -> Answer:
    """More than one institution."""
    sites = facts.sites()
    if len(sites) > 1:
        return answered(f"Images of {places(sites)}, as the cohort table names them.", "patients")
    return lacking(
        "All predicted patients come from one site, as the cohort table says.",
        "Add patients of another institution; or, if the table does not tell sites apart, name them in it.",
        "patients",
    )


def partitioning(facts: Facts) -> Answer:
    """Whether data were divided properly."""
    found = division.partition(facts)
    if facts.is_held_out and facts.is_trained:
        said = (
            f"{found.said} {division.disjoint(facts).said} Whatever is learned was learned from training parts alone."
        )
        return answered(said, *found.anchors, files=found.files)
    if found.state == "author":
        return found
    return partly(
        found.said,
        "No test data were kept apart from cross-validation, which the item asks for; say why.",
        *found.anchors,
        files=found.files,
    )


def confounding(facts: Facts) -> Answer:
    """Whether confounders were looked for."""
    targets = facts.names("shortcut_auc")
    looked = [name for name in targets if name in ("site", "vendor", "cohort")]
    beside = [name for name in facts.names("companion_auc_macro") if name in ("acquisition", "clinical")]
    if not looked and not beside:
        return left(
            "Confounders were not looked at in this run: analyze scanner, site and patients' characteristics, and "
            "say what was done about them."
        )
    parts = [f"whether the features tell the {' and '.join(looked)}"] if looked else []
    parts += ["how well the site alone tells the class"] if FROM_SITE in targets else []
    parts += [f"what {' and '.join(TOLD_BY[name] for name in beside)} tell without the images"] if beside else []
    return answered(f"Looked at: {'; '.join(parts)}.", "shortcuts", "beside", "discrimination")


def suitable_metrics(facts: Facts) -> Answer:
    """Whether the metrics fit."""
    found = results.measures(facts)
    if found.state == "author":
        return found
    return answered(f"{found.said} Confusion matrices are shown.", *found.anchors, files=found.files)


def calibration(facts: Facts) -> Answer:
    """Whether calibration was assessed."""
    error, chance = facts.value("ece_top_label"), facts.value("ece_top_label_if_calibrated")
    if not spoken(error):
        return left("Calibration could not be assessed in this run: assess it once there are labeled patients.")
    expected = f"; a calibrated model of this size would show {spoken(chance)}" if spoken(chance) else ""
    return answered(f"Calibration error {spoken(error)}{expected}. Slopes and curves are given.", "calibration")


def uni_parametric(facts: Facts) -> Answer:
    """Whether a single image set would do."""
    if not facts.config.has_images:
        return left("Say whether the features come from one image set, or show that several are better than one.")
    used = _phases_used(facts)
    if len(used) == 1:
        return answered(f"The model uses one phase, {used[0]}.", "model")
    return partly(
        f"The model uses the phases {', '.join(used)}." if used else "The record names no phases.",
        "Show, by a formal comparison on the same patients, that several phases are better than one (triher ablate "
        "over extract.fusions, or analysis.compare with a run on one phase).",
        "model",
        "comparisons",
    )


def non_radiomic(facts: Facts) -> Answer:
    """Whether a clinical method stands beside the model."""
    names = [name for name in facts.names("auc_macro_ahead") if name in _CLINICAL]
    told = [
        f"{_BESIDE[name]} by {spoken(facts.value('auc_macro_ahead', name))}"
        for name in names
        if spoken(facts.value("auc_macro_ahead", name))
    ]
    benefit = " Decision curves are given, too." if "decision" in facts.sections else ""
    if told:
        return answered(
            f"In macro AUC the model differs from {' and from '.join(told)}; above 0 it is better.{benefit}",
            "beside",
            "decision",
        )
    if benefit:
        return partly(
            "Decision curves compare the model with treating all and none.",
            "Compare with what is known without radiomics: covariates, lesion size, or a reader.",
            "decision",
        )
    return left("Compare with a method without radiomics: covariates, lesion size, or a reader, with a formal test.")


def simple_models(facts: Facts) -> Answer:
    """Whether a simple model stands beside the model."""
    names = facts.names("companion_auc_macro")
    simple = [name for name in names if name in ("majority", *_CLINICAL)]
    if not simple:
        return lacking(
            "No simple baseline stands beside the model in this run.",
            "Compare with class shares alone or a logistic model of a few variables.",
        )
    listed = ", ".join({"majority": "class shares alone", **_BESIDE}[name] for name in simple)
    return answered(f"Beside the model, in the same folds and paired: {listed}.", "beside", "multiplicity")


def internal_testing(facts: Facts) -> Answer:
    """Testing on independent data of the same source."""
    if facts.is_held_out and not facts.is_in_turn and (set(facts.sites("test")) & set(facts.sites("oof"))):
        return answered(testing.internal(facts).said, "discrimination", "calibration")
    found = testing.internal(facts)
    if found.state == "answered":
        return partly(
            found.said,
            "The item asks for independent data of the same source; say why cross-validation stands for it.",
            *found.anchors,
            files=found.files,
        )
    if found.state == "not applicable":
        return lacking(found.said, "Hold out patients of the same sites, too, or say why not.", *found.anchors)
    return found


def external_testing(facts: Facts) -> Answer:
    """Testing on independent data of other institutions."""
    found = testing.external(facts)
    if facts.unseen and facts.is_held_out:
        return answered(found.said, *found.anchors)
    if found.state == "author":
        return lacking("Nobody of another institution was held out in this run.", found.asked, "limits")
    return found


def _phases_used(facts: Facts) -> list[str]:
    """The phases in the channels of the views that the model takes."""
    fusions = facts.recipe.get("fusions", {})
    wanted = set(facts.settings.get("views", [])) & set(fusions)
    named = [channel for name, view in fusions.items() if not wanted or name in wanted for channel in view]
    return list(dict.fromkeys(str(phase) for channel in named for phase in channel if phase))
