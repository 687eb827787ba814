"""What the run answers about how the model was trained, tuned and chosen."""

from analysis.checklists.answer import Answer, answered, left, not_applicable, partly
from analysis.checklists.facts import Facts

ELSEWHERE = "The model was not trained in this run."
_SEVERAL = 2


def development(facts: Facts) -> Answer:
    """Type of model, tuning and internal validation."""
    if not facts.is_trained:
        return left(f"{ELSEWHERE} Describe type, tuning and internal validation, or cite where they are described.")
    return partly(
        f"{head(facts)} {_search(facts)}{_calibrated(facts)}",
        "Say why this kind of model was chosen and how many others were tried on the same patients before.",
        "model",
        "discrimination",
        files=("run.json",),
    )


def training(facts: Facts) -> Answer:
    """How it was trained."""
    if not facts.is_trained:
        return left(f"{ELSEWHERE} Give augmentation, hyperparameters, their search and the stopping rule.")
    seed = f"Seed {facts.classified.get('seed', facts.config.seed)}."
    said = f"{head(facts)} {_search(facts)}{_calibrated(facts)} {_end_to_end(facts)}{seed}"
    return answered(said, "model", files=("run.json",))


def _end_to_end(facts: Facts) -> str:
    """How the encoder was trained, in sentences."""
    if not facts.config.has_images:
        return ""
    if not facts.trained_encoder:
        return "Images were not augmented, as the encoder stayed as it is. "
    own = facts.trained_encoder["choices"]["finetune"]
    varied = ", ".join(f"{name} {value}" for name, value in own["augment"].items() if value not in (0, "none"))
    return (
        f"The encoder was trained end to end: AdamW, learning rate {own['learning_rate']:g} at most, batches of "
        f"{own['batch_size']}, at most {own['epochs']} epochs, stopped after {own['patience']} without a better loss "
        f"of its validation patients. Training pictures were varied ({varied or 'not at all'}). "
    )


def selection(facts: Facts) -> Answer:
    """How the final model was chosen."""
    if not facts.is_trained:
        return left(f"{ELSEWHERE} Say by which measure, on which patients, the final model was chosen.")
    opened = int(facts.classified.get("test_opened", 0))
    often = (
        f" The held-out patients were predicted with {opened} different settings in this run folder."
        if opened >= _SEVERAL
        else ""
    )
    said = f"{_search(facts)}{_kept(facts)}{often}"
    if opened >= _SEVERAL:
        asked = "Say which setting was chosen before the held-out patients were looked at, and report all of them."
        return partly(said, asked, "model", "discrimination", files=("run.json",))
    return answered(said, "model", files=("run.json",))


def ensembling(facts: Facts) -> Answer:
    """Whether several models vote."""
    if not facts.is_trained:
        return left(f"{ELSEWHERE} Say whether it is an ensemble and how its members are combined.")
    if facts.settings.get("join") == "late" and facts.settings.get("covariates"):
        names = ", ".join(facts.settings["covariates"])
        return answered(
            f"A second model joins the probabilities of the first with {names} (stacking), trained on "
            "predictions for patients whom the first had not seen.",
            "model",
        )
    return not_applicable("One model predicts; no ensemble was built.", "model")


def head(facts: Facts) -> str:
    """The head with its parameters."""
    params = facts.classified.get("params", {})
    chosen = ", ".join(f"{name} = {value:.4g}" for name, value in params.items() if name != "unused")
    return f"Head '{facts.classified.get('head', '')}'{f' ({chosen})' if chosen else ''}."


def _search(facts: Facts) -> str:
    """How parameters were found."""
    if not facts.fits_head:
        return "It is the network's own probabilities: nothing was fitted or tuned on them but one temperature."
    search = facts.classified.get("search", {})
    folds = search.get("inner_folds") or facts.settings.get("folds", "")
    trials = search.get("complete", search.get("trials", facts.settings.get("trials", "")))
    objective = facts.settings.get("objective", "log-loss")
    return (
        f"Tuned by the {'mean log loss' if objective == 'log-loss' else 'AUC'} of {folds} inner folds "
        f"({trials} complete trials), on development patients alone."
    )


def _kept(facts: Facts) -> str:
    """What the final model is."""
    stopped = (
        " Of each network the weights of the epoch with the least loss of its validation patients were kept, none of "
        "whom was held out."
        if facts.trained_encoder
        else ""
    )
    fitted = " The chosen setting was fitted anew on all development patients" if facts.fits_head else ""
    but = " whom the encoder was not trained on" if facts.flow.learned else ""
    return stopped + (f"{fitted}{but}." if fitted else "")


def _calibrated(facts: Facts) -> str:
    """The temperature."""
    temperature = facts.classified.get("temperature")
    return "" if temperature is None else f" Probabilities calibrated by one temperature ({temperature:.2f})."
