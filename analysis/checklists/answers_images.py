"""What the run answers about images, predictors and the reference standard."""

from collections.abc import Sequence

from analysis.checklists.answer import Answer, answered, left, partly
from analysis.checklists.facts import Facts
from analysis.wording import class_list, count
from triher.label_rules import RULE_SETS

_N4 = {"none": "not corrected", "shared": "one by N4 for all phases", "per-phase": "one by N4 for each phase"}


def preprocessing(facts: Facts) -> Answer:
    """What was done to the data before the model."""
    if not facts.config.has_images:
        return partly(
            f"The run was given a table of features. {_prepared(facts)}",
            "Describe how the images were preprocessed and the features computed, with software and version, and "
            "whether quality checks were the same for all groups of patients.",
            "model",
        )
    return partly(
        f"{pictures(facts)} {_prepared(facts)} Files that failed a check are listed by reason.",
        "Say whether image quality and preprocessing differ between sociodemographic groups or sites, and describe "
        "any step before the files reached the program (registration, conversion).",
        "model",
        "patients",
        files=("run.json",),
    )


def acquisition(facts: Facts) -> Answer:
    """How the images were acquired."""
    asked = (
        "Give manufacturer, model and field strength, sequence, contrast agent and dose, times of the phases, slice "
        "thickness, matrix and field of view, for each site."
    )
    phases = facts.recipe.get("phases", [])
    if not phases:
        return left(asked)
    vendors = " Whether the features tell the scanner's maker was looked at." if "vendor" in _targets(facts) else ""
    return partly(
        f"The model uses the phases {', '.join(map(str, phases))} of the dynamic series.{vendors}",
        asked,
        "model",
        *(("shortcuts",) if vendors else ()),
    )


def outcome(facts: Facts) -> Answer:
    """What is predicted, and by which rule it was determined."""
    scheme = f"{class_list(facts.evaluation.classes)} (scheme '{facts.evaluation.scheme}')"
    asked = (
        "Say which antibody and assay, which laboratory, core biopsy or resection, how long before or after the "
        "images, why this outcome, and whether HER2 was determined in the same way for all groups of patients."
    )
    if "ihc" not in facts.material.cohort.columns:
        return partly(f"Predicted are {scheme}; the cohort table holds no IHC.", asked, "discrimination")
    rules = RULE_SETS[facts.material.cohort.her2_rules]
    survival = _horizons(facts)
    event = " Name the event of survival, and the day from which its time runs." if survival else ""
    return partly(
        f"Predicted are {scheme}, from immunohistochemistry and in-situ hybridization by the rules {rules.title} "
        f"({rules.source}). How every entry was read is counted in a table.{survival}",
        f"{asked}{event}",
        "patients",
        *(("prognosis",) if survival else ()),
        files=("label_audit.csv",),
    )


def predictors(facts: Facts) -> Answer:
    """Which predictors went in, and whether any was chosen beforehand."""
    return partly(
        _inputs(facts),
        "Say why these predictors were chosen, from which literature, and whether "
        "others were tried on the same patients.",
        "model",
    )


def predictors_defined(facts: Facts) -> Answer:
    """What each predictor is."""
    if not facts.config.has_images:
        return partly(
            _inputs(facts),
            "Define every column of the table: how, when and by whom it was measured, and whether blinded to HER2.",
            "model",
        )
    return partly(
        f"{_inputs(facts)} {pictures(facts)}",
        "Say when the images were taken in relation to biopsy and therapy, and whether the lesions were outlined "
        "without knowledge of HER2; define each covariate with its unit.",
        "model",
    )


def predictor_assessors(facts: Facts) -> Answer:
    """Who made what of the predictors needs a human."""
    if not facts.config.has_images:
        return left(
            "If a column of the table needs interpretation, give qualification and experience of the readers."
        )
    return left(
        "The outline of the lesion is drawn by somebody or some program: give number, qualification, experience and "
        "demographics of the readers, or name the program and its version."
    )


def handling(facts: Facts) -> Answer:
    """How predictors were handled in the analysis."""
    if not facts.is_trained:
        return left("The model was not trained in this run. Say how its predictors were scaled and transformed.")
    return answered(f"{_prepared(facts)} {_inputs(facts)}", "model", files=("run.json",))


def segmentation(facts: Facts) -> Answer:
    """How the lesion was delineated."""
    region = facts.recipe.get("region", {}).get("kind", "")
    given = "a box around the lesion" if facts.config.cohort.box else "a mask of the lesion"
    asked = "Say who delineated the lesions, with which program, by which rule and with how many years of experience."
    if not facts.config.has_images:
        return left(f"If the features come from regions: {asked[0].lower()}{asked[1:]}")
    used = f", of which the region '{region}' is cut" if region else ""
    return partly(f"Each patient comes with {given}{used}.", asked, "model")


def pictures(facts: Facts) -> str:
    """How the images were prepared, in a sentence; empty without a record of it."""
    recipe = facts.recipe
    region, slices = recipe.get("region", {}), recipe.get("slices", {})
    views = "; ".join(f"{name} of {_channels(view)}" for name, view in recipe.get("fusions", {}).items())
    most = f", at most {slices['n']}" if slices.get("n") else ""
    steps = {
        "gray values by": recipe.get("normalization"),
        "region": region.get("kind"),
        "slices": f"{slices['policy']}{most}" if slices.get("policy") else "",
        "bias field:": _N4.get(recipe["n4"], recipe["n4"]) if "n4" in recipe else "",
        "views for the encoder:": views,
    }
    told = "; ".join(f"{name} {value}" for name, value in steps.items() if value)
    if not told:
        return "The record of the run does not say how the images were prepared."
    return f"Images were prepared in the same way for all patients: {told}."


def _channels(view: Sequence[Sequence[str]]) -> str:
    """The channels of a view: a phase, or a phase minus another.

    >>> _channels([["early", ""], ["early", "pre"]])
    'early, early minus pre'
    """
    return ", ".join(" minus ".join(filter(None, channel)) for channel in view)


def _inputs(facts: Facts) -> str:
    """What the model is given."""
    n = facts.stage("extract").get("n_features")
    name = facts.encoder.get("name", "")
    encoder = f" of the encoder {name}" if name else ""
    if not facts.is_trained:
        return f"What went in was fixed when the model was trained{f': features{encoder}' if name else ''}."
    source = f"All {n} features{encoder}" if n else f"All features{encoder}" if name else "All columns of the table"
    covariates = facts.settings.get("covariates", [])
    also = f" and the {'covariate' if len(covariates) == 1 else 'covariates'} {', '.join(covariates)}"
    return f"{source}{also if covariates else ''} went in; none was selected beforehand."


def _prepared(facts: Facts) -> str:
    """Steps between the features and the head."""
    own = facts.settings
    if not own:
        return "The steps between features and head are those of the bundle that was applied."
    pooling = "+".join(map(str, own.get("pooling", ())))
    pooled = f"The slices of a patient were pooled by {pooling}. " if facts.config.has_images and pooling else ""
    n, method = own.get("components", 0), own.get("harmonize", {}).get("method", "none")
    reduced = f"reduced to {count(n, 'principal component')}" if n else "not reduced in number"
    between = f"harmonized between sites by {method}" if method != "none" else "not harmonized between sites"
    return f"{pooled}Features were {reduced} and {between}; each step was learned from training parts alone."


def _targets(facts: Facts) -> list[str]:
    """What the features were asked for in the shortcut audit."""
    return facts.names("shortcut_auc")


def _horizons(facts: Facts) -> str:
    """Survival as a second outcome."""
    if not facts.material.follow_ups:
        return ""
    months = ", ".join(f"{m:g}" for m in facts.config.analysis.horizons_months)
    return f" Survival was looked at besides, at {months} months as far as the follow-up reaches."
