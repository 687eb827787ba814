"""What the run answers about the model: what it is, how it was trained, and where it can be had."""

from analysis.checklists.answer import Answer, answered, left, not_applicable, partly
from analysis.checklists.facts import Facts
from analysis.wording import class_list, count, places, question_of

_MANIFEST = "bundle/manifest.json"
_ELSEWHERE = "The model was not trained in this run."
_SEVERAL = 2


def objective(facts: Facts) -> Answer:
    """Whether a model was developed, evaluated, or both."""
    return partly(
        f"The run {_done(facts)}, for {class_list(facts.evaluation.classes)}.",
        "State aim and hypotheses in clinical terms, and whether the study is exploratory or confirmatory.",
        "discrimination",
        "limits",
    )


def title(facts: Facts) -> Answer:
    """What the title has to name."""
    images = "the technique (frozen pretrained network with a trained head, on breast MRI)"
    technique = images if facts.config.has_images else "where the features come from"
    return left(
        f"Name in the title that a multivariable prediction model was {_verbs(facts)}, the patients, the outcome "
        f"({class_list(facts.evaluation.classes)}) and {technique}."
    )


def development(facts: Facts) -> Answer:
    """Type of model, tuning and internal validation."""
    if not facts.is_trained:
        return left(f"{_ELSEWHERE} Describe type, tuning and internal validation, or cite where they are described.")
    return partly(
        f"{_head(facts)} {_search(facts)}{_calibrated(facts)}",
        "Say why this kind of model was chosen and how many others were tried on the same patients before.",
        "model",
        "discrimination",
        files=("run.json",),
    )


def description(facts: Facts) -> Answer:
    """The architecture."""
    if not facts.is_trained:
        return left(f"{_ELSEWHERE} Describe architecture, inputs and outputs, or cite where they are described.")
    return partly(
        f"{_network(facts)}{_head(facts)} Output: the probability of each class.",
        "Add a figure or a reference from which the network can be rebuilt layer by layer.",
        "model",
        files=(_MANIFEST, "run.json"),
    )


def software(facts: Facts) -> Answer:
    """Program, libraries and versions."""
    record = facts.material.record
    libraries = record.get("libraries", {})
    main = ", ".join(f"{name} {libraries[name]}" for name in ("torch", "scikit-learn", "numpy") if name in libraries)
    if not record.get("triher"):
        return left("The record of this run does not name its program; give program, libraries and versions.")
    commit = f", commit {str(record['commit'])[:12]}" if record.get("commit") else ""
    return answered(
        f"TriHER {record['triher']}{commit}, Python {record.get('python', '')}; {main}. The report lists "
        f"{count(len(libraries), 'library', 'libraries')} with their versions.",
        "provenance",
        files=("run.json",),
    )


def initialization(facts: Facts) -> Answer:
    """Where the weights come from."""
    encoder = facts.encoder
    seed = f" The seed {facts.config.seed} decides everything random in the head, the folds and the intervals."
    if not encoder.get("name"):
        return left("Name the pretrained weights, their version and license, if the features come from a network.")
    digest = f", SHA-256 {str(encoder['sha256'])[:12]}…" if encoder.get("sha256") else ""
    license_ = f", license {encoder['license']}" if encoder.get("license") else ""
    cited = f" ({encoder['citation']})" if encoder.get("citation") else ""
    return answered(
        f"The encoder {encoder['name']} kept its published weights{cited}{license_}{digest}; none was "
        f"trained here.{seed}",
        "model",
        files=("run.json",),
    )


def training(facts: Facts) -> Answer:
    """How it was trained."""
    if not facts.is_trained:
        return left(f"{_ELSEWHERE} Give augmentation, hyperparameters, their search and the stopping rule.")
    return answered(
        f"{_head(facts)} {_search(facts)}{_calibrated(facts)} Images were not augmented, as the encoder stayed as it "
        f"is. Seed {facts.classified.get('seed', facts.config.seed)}."
        if facts.config.has_images
        else f"{_head(facts)} {_search(facts)}{_calibrated(facts)} "
        f"Seed {facts.classified.get('seed', facts.config.seed)}.",
        "model",
        files=("run.json",),
    )


def selection(facts: Facts) -> Answer:
    """How the final model was chosen."""
    if not facts.is_trained:
        return left(f"{_ELSEWHERE} Say by which measure, on which patients, the final model was chosen.")
    opened = int(facts.classified.get("test_opened", 0))
    often = (
        f" The held-out patients were predicted with {opened} different settings in this run folder."
        if opened >= _SEVERAL
        else ""
    )
    said = f"{_search(facts)} The chosen setting was fitted anew on all development patients.{often}"
    if opened >= _SEVERAL:
        asked = "Say which setting was chosen before the held-out patients were looked at, and report all of them."
        return partly(said, asked, "model", "discrimination", files=("run.json",))
    return answered(said, "model", files=("run.json",))


def ensembling(facts: Facts) -> Answer:
    """Whether several models vote."""
    if not facts.is_trained:
        return left(f"{_ELSEWHERE} Say whether it is an ensemble and how its members are combined.")
    if facts.settings.get("join") == "late" and facts.settings.get("covariates"):
        names = ", ".join(facts.settings["covariates"])
        return answered(
            f"A second model joins the probabilities of the first with the covariates {names} (stacking), trained on "
            "predictions for patients whom the first had not seen.",
            "model",
        )
    return not_applicable("One model predicts; no ensemble was built.", "model")


def output(facts: Facts) -> Answer:
    """What comes out, and how thresholds were found."""
    classes = class_list(facts.evaluation.classes)
    thresholds = facts.classified.get("thresholds") or facts.stage("apply").get("thresholds", ())
    alpha = (facts.settings or facts.stage("apply").get("settings", {})).get("alpha")
    sets = (
        f" A prediction set names the classes that cannot be ruled out at an error rate of {alpha:.0%}."
        if alpha
        else ""
    )
    if not thresholds:
        return partly(
            f"Probabilities of {classes}, which sum to 1.{sets}",
            "If patients are classified, give the thresholds and how they were chosen.",
            "model",
            "conformal",
        )
    rules = "; ".join(f"{question_of(t['task']).lower()}: yes at or above {t['threshold']:.3f}" for t in thresholds)
    return partly(
        f"Probabilities of {classes}, which sum to 1. Thresholds by Youden's index on out-of-fold predictions of the "
        f"development patients: {rules}.{sets}",
        "Say why Youden's index, which weighs both errors alike, or another threshold fits the clinical decision.",
        "operating",
        "conformal",
        "model",
    )


def calculation(facts: Facts) -> Answer:
    """How the predictions under evaluation were calculated."""
    bundle = facts.stage("apply")
    if bundle:
        return answered(
            "By triher apply from a locked bundle, after its checksums and stored predictions were proved.",
            "provenance",
            files=("run.json", "predictions.csv"),
        )
    if facts.is_trained:
        return answered(
            f"By the program itself: {_predicting(facts)} Every single prediction is kept in a table.",
            "model",
            "provenance",
            files=("predictions.csv", "run.json"),
        )
    return left("The run was given finished predictions: say by which formula, code or program they were calculated.")


def specification(facts: Facts) -> Answer:
    """Where the whole model is."""
    asked = (
        "Give the address where others can have the model and under which terms; a model that cannot be shared needs "
        "a reason."
    )
    if _MANIFEST not in facts.files:
        return left(f"This run folder holds no locked bundle. {asked}")
    return partly(
        f"The whole model lies in the run folder as a locked bundle with checksums and without patients' data; "
        f"triher apply predicts new patients with it.{_license(facts)}",
        asked,
        "model",
        files=(_MANIFEST,),
    )


def code(facts: Facts) -> Answer:
    """Where the analytical code is."""
    record = facts.material.record
    asked = "Give the address of this version of the code, and of the configuration of the run."
    if not record.get("triher"):
        return left(asked)
    commit = f", commit {str(record['commit'])[:12]}" if record.get("commit") else ""
    return partly(
        f"The analysis was made by TriHER {record['triher']}{commit}, open source (Apache-2.0); configuration and "
        "command are in the record of the run.",
        asked,
        "provenance",
        files=("run.json",),
    )


def availability(facts: Facts) -> Answer:
    """Code, model and data together."""
    shared = code(facts)
    held = " The model lies in the run folder as a locked bundle." if _MANIFEST in facts.files else ""
    asked = "Say where code, configuration, model and data can be had, and on which terms; if they cannot, say why."
    if not shared.said:
        return left(asked)
    return partly(f"{shared.said}{held}{_license(facts)}", asked, *shared.anchors, files=("run.json", _MANIFEST))


def poor_input(facts: Facts) -> Answer:
    """What happens to poor or missing input."""
    outside = (
        " Patients outside the range of the training data are marked as such in the prediction table."
        if "outside" in facts.material.frame.columns
        else ""
    )
    return partly(
        f"Input that fails a check is refused with a reason and never guessed.{outside}",
        "Say what a user is to do in practice with a refused or marked patient.",
        "patients",
        files=("skipped.csv", "predictions.csv"),
    )


def interaction(facts: Facts) -> Answer:
    """What a user has to do."""
    if not facts.config.has_images:
        return left("Say what users have to measure or enter, and which expertise that needs.")
    given = "a box around the lesion" if facts.config.cohort.box else "the outline of the lesion"
    return partly(
        f"The model needs {given} beside the images; everything after that runs without a user.",
        "Say who can provide it, with which training and in how much time, and who reads the result.",
        "model",
    )


def _done(facts: Facts) -> str:
    """What the run did, as a verb phrase."""
    if not facts.is_trained:
        return "evaluated the predictions of a model that was trained elsewhere"
    if facts.is_in_turn:
        return "developed a model and tested it on every site or cohort in turn, by models of all others"
    if facts.is_held_out:
        return "developed a model, validated it by nested cross-validation and tested it on held-out patients"
    return "developed a model and validated it by nested cross-validation; nobody was held out"


def _verbs(facts: Facts) -> str:
    """Developed, evaluated, or both."""
    if not facts.is_trained:
        return "evaluated"
    return "developed and evaluated" if facts.is_held_out else "developed"


def _predicting(facts: Facts) -> str:
    """Which models predicted whom."""
    if facts.is_in_turn:
        return "each site or cohort by a model of all others."
    held = facts.sites("test")
    final = f"; the held-out patients of {places(held)} by the final model" if held else ""
    return f"development patients each by a model of other patients{final}."


def _network(facts: Facts) -> str:
    """The encoder in a sentence."""
    encoder = facts.encoder
    if not encoder.get("name"):
        return ""
    size = f", input of {encoder['input_size']} pixels a side" if encoder.get("input_size") else ""
    n = facts.stage("extract").get("n_features")
    features = f", {n} features a patient and slice" if n else ""
    return f"Frozen encoder {encoder['name']}{size}{features}. "


def _head(facts: Facts) -> str:
    """The head with its parameters."""
    params = facts.classified.get("params", {})
    chosen = ", ".join(f"{name} = {value:.4g}" for name, value in params.items())
    return f"Head '{facts.classified.get('head', '')}'{f' ({chosen})' if chosen else ''}."


def _search(facts: Facts) -> str:
    """How parameters were found."""
    search = facts.classified.get("search", {})
    folds = search.get("inner_folds") or facts.settings.get("folds", "")
    trials = search.get("complete", search.get("trials", facts.settings.get("trials", "")))
    objective = facts.settings.get("objective", "log-loss")
    return (
        f"Tuned by the {'mean log loss' if objective == 'log-loss' else 'AUC'} of {folds} inner folds "
        f"({trials} complete trials), on development patients alone."
    )


def _calibrated(facts: Facts) -> str:
    """The temperature."""
    temperature = facts.classified.get("temperature")
    return "" if temperature is None else f" Probabilities calibrated by one temperature ({temperature:.2f})."


def _license(facts: Facts) -> str:
    """Terms of the encoder's weights."""
    encoder = facts.encoder
    if not encoder.get("license"):
        return ""
    return f" The weights of the encoder {encoder['name']} are under {encoder['license']}."
