"""What the run answers to METRICS about image processing and features."""

from analysis.checklists import answers_images as images
from analysis.checklists import answers_model as model
from analysis.checklists.answer import Answer, answered, lacking, left, not_applicable, partly
from analysis.checklists.facts import Facts, spoken
from analysis.wording import count

_RADIOMICS = "radiomics"
_RESAMPLED = "Say which statistic or earlier work supports this number of patients for this model."


def preprocessing(facts: Facts) -> Answer:
    """Whether preprocessing fits and is described."""
    if not facts.recipe.get("normalization"):
        return images.preprocessing(facts)
    return answered(images.pictures(facts), "model", files=("run.json",))


def feature_software(facts: Facts) -> Answer:
    """Whether hand-crafted features come from standardized software."""
    if not facts.encoder.get("name"):
        return left(
            "If the model was given hand-crafted features, name the program, its version and IBSI compliance."
        )
    if facts.encoder.get("name") != _RADIOMICS:
        return not_applicable(f"No hand-crafted features: the encoder is {facts.encoder['name']}.", "model")
    return partly(
        "Hand-crafted features were computed by TriHER's own implementation of the IBSI definitions, whose settings "
        "and version are recorded.",
        "Cite the IBSI reference values that this version reproduces, and name its version in the paper.",
        "model",
        files=("run.json",),
    )


def feature_parameters(facts: Facts) -> Answer:
    """Whether extraction can be repeated."""
    if not facts.encoder.get("name"):
        return left("Describe the features of the table and all parameters of their extraction.")
    return answered(
        f"{model.weights(facts)} {images.pictures(facts)} All settings of the extraction are recorded.",
        "model",
        files=("run.json",),
    )


def non_robust_features(facts: Facts) -> Answer:
    """Whether unstable features were removed."""
    if not facts.is_trained:
        return left("The model was not trained in this run; say whether unstable features were removed, and how.")
    return lacking(
        "No feature was removed for being unstable.",
        "Show by test and retest, other outlines or disturbed images that the features are stable, or say why all "
        "were kept.",
        "model",
    )


def redundant_features(facts: Facts) -> Answer:
    """Whether features were reduced."""
    if not facts.is_trained:
        return left("The model was not trained in this run; say how redundant features were removed.")
    n = facts.settings.get("components", 0)
    if n:
        return answered(f"Features were reduced to {count(n, 'principal component')} in each training part.", "model")
    return lacking(
        f"No feature was removed as redundant before the head '{facts.classified.get('head', '')}'.",
        "If the head's own penalty or selection is meant to do it, say so and show how many features remain; or set "
        "classify.components.",
        "model",
    )


def dimensionality(facts: Facts) -> Answer:
    """Whether there are enough patients for the features."""
    n = facts.stage("extract").get("n_features")
    trained = facts.classified.get("class_counts", {}).get("oof", {})
    if not n or not trained:
        return left(f"Give the number of features and of training patients. {_RESAMPLED}")
    both = [spoken(facts.value("auc_macro", split=split)) for split in ("oof", "test")]
    alike = f" Macro AUC out of fold {both[0]}, held out {both[1]}." if all(both) else ""
    tuned = "the head's penalty was tuned on inner folds" if facts.fits_head else "no head was fitted on them"
    return partly(
        f"{n} features for {count(sum(trained.values()), 'development patient')}; {tuned}.{alike}",
        _RESAMPLED,
        "model",
        "discrimination",
    )


def end_to_end(facts: Facts) -> Answer:
    """Robustness of end-to-end networks."""
    if not facts.encoder.get("name"):
        return left("If the features come from a network trained end to end, show that it is robust.")
    if facts.has_trained_encoder:
        return partly(
            "The network was trained end to end; what it looks at was tested with shuffled weights, deletion and "
            "insertion where the run has explanations.",
            "Show that it is robust: several seeds, disturbed images (extract.perturb), another cohort.",
            "explanations",
            "model",
        )
    return not_applicable(
        "No end-to-end learning: the encoder stayed as published, and a head was trained on it.", "model"
    )
