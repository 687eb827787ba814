"""What the run answers about how patients were divided for training and test."""

from analysis.checklists.answer import Answer, answered, left, not_applicable, partly
from analysis.checklists.facts import Facts
from analysis.wording import count, places

_KINDS = {
    "none": "nobody was held out",
    "column": "a column of the cohort table says who was held out",
    "sites": "whole sites were held out",
    "cohorts": "whole cohorts were held out",
    "leave-one-site-out": "every site was held out in turn",
    "leave-one-cohort-out": "every cohort was held out in turn",
}
"""``classify.split.kind`` -> what it means."""


def partition(facts: Facts) -> Answer:
    """How patients were assigned to training and test."""
    if not facts.is_trained:
        return left(
            "The model was not trained in this run. Say how its development patients were divided for training and "
            "tuning, and that none of them is among the patients here."
        )
    held = facts.sites("test")
    where = f" ({places(held)})" if held and not facts.is_in_turn else ""
    kind = _KINDS.get(facts.split_kind, facts.split_kind)
    return answered(
        f"Held-out patients: {kind}{where}.{folds(facts)} {_balance(facts)}",
        "patients",
        "model",
        files=("predictions.csv", "run.json"),
    )


def disjoint(facts: Facts) -> Answer:
    """At which level parts are disjoint."""
    if not facts.is_trained:
        return left("Say at which level (patient, examination, image) development and test data are disjoint.")
    sites = "; no site is on both sides" if facts.unseen and not _shared(facts) else ""
    return answered(
        f"At the level of patients: one row a patient, and all slices of a patient on one side{sites}. The program "
        "stops where ids, images or features show one person on both sides.",
        "model",
    )


def imbalance(facts: Facts) -> Answer:
    """Whether class imbalance was met by a method."""
    if not facts.is_trained:
        return left("Say whether the model was trained with weights or resampling against class imbalance.")
    if not _alike(facts):
        by_class = f" By class, {facts.counts()}." if facts.counts() else ""
        return not_applicable(
            f"No method against class imbalance was used: no weights and no resampling.{by_class}",
            "patients",
        )
    return partly(
        f"{_balance(facts)} One temperature, fitted on predictions for patients whom the "
        "predicting model had not seen, was meant to bring the probabilities back.",
        "Say why the classes were weighed alike. The weights spoil calibration, so point to what is found there.",
        "calibration",
        "model",
    )


def subsets(facts: Facts) -> Answer:
    """Which part of the data was used."""
    if not facts.config.has_images:
        return partly(
            "The run was given a table of features, one row a patient.",
            "Say which images, regions or measurements the table was made from.",
            "model",
        )
    return partly(
        f"The program selected no patients on its own account beyond those named as left out. Of each examination it "
        f"used {_slices(facts)}.",
        "Say whether the cohort table is itself a selection, by whom and by which rule.",
        "model",
        "patients",
    )


def _slices(facts: Facts) -> str:
    """Which slices and region were seen."""
    slices, region = facts.recipe.get("slices", {}), facts.recipe.get("region", {})
    policy = {
        "all": "all slices that hold lesion",
        "largest": f"up to {slices.get('n', '')} slices with the most lesion",
        "central": f"up to {slices.get('n', '')} slices about the lesion's middle",
        "spread": f"up to {slices.get('n', '')} slices spread over the lesion",
    }.get(str(slices.get("policy", "")), "slices that the record of the run does not name")
    return f"{policy}, region '{region['kind']}'" if region.get("kind") else policy


def folds(facts: Facts) -> str:
    """How development patients were cross-validated."""
    if not facts.is_trained or facts.is_in_turn or not facts.settings.get("folds"):
        return ""
    folds, repeats = facts.settings["folds"], facts.settings.get("repeats", 1)
    often = f", repeated {repeats} times" if repeats > 1 else ""
    if facts.flow.learned:
        return (
            f" {count(len(facts.flow.learned), 'development patient')} trained the encoder, and nothing predicts "
            f"them. The other development patients were predicted by it, with what is learned on top of it (at least "
            f"a temperature) from others of them, in {folds} outer folds{often}."
        )
    if not facts.fits_head:
        return (
            f" Development patients were predicted by networks of other patients; a temperature was learned in "
            f"{folds} outer folds{often}, stratified by class and cohort."
        )
    return (
        f" Development patients were predicted in {folds} outer folds{often}, with {folds} inner folds for tuning "
        "inside each (nested cross-validation, stratified by class and cohort)."
    )


def _balance(facts: Facts) -> str:
    """What was done about class imbalance."""
    return " ".join(_alike(facts)) or "No weights or resampling against class imbalance."


def _alike(facts: Facts) -> list[str]:
    """What was done that classes count alike, in sentences."""
    own = facts.trained_encoder.get("choices", {}).get("finetune", {})
    done = {
        "All classes weighed alike in training.": facts.settings.get("class_weights") == "balanced",
        "All classes weighed alike in the training of the encoder.": own.get("class_weights") == "balanced",
        "All classes were drawn equally often in the training of the encoder.": own.get("balanced_sampling", False),
    }
    return [sentence for sentence, is_so in done.items() if is_so]


def _shared(facts: Facts) -> bool:
    """Whether a site has both development and held-out patients."""
    return not facts.is_in_turn and len(facts.unseen) < len(set(facts.sites("test")))
