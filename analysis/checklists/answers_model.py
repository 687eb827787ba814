"""What the run answers about the model: what it is, how it was trained, and where it can be had."""

from analysis.checklists.answer import Answer, answered, left, partly
from analysis.checklists.answers_training import ELSEWHERE, head
from analysis.checklists.facts import MANIFEST, Facts
from analysis.wording import class_list, count, places, question_of


def objective(facts: Facts) -> Answer:
    """Whether a model was developed, evaluated, or both."""
    return partly(
        f"For {class_list(facts.evaluation.classes)}, the run {_done(facts)}.",
        "State aim and hypotheses in clinical terms, and whether the study is exploratory or confirmatory.",
        "discrimination",
        "limits",
    )


def title(facts: Facts) -> Answer:
    """What the title has to name."""
    network = (
        "network trained end to end" if facts.has_trained_encoder else "frozen pretrained network with a trained head"
    )
    images = f"the technique ({network}, on breast MRI)"
    technique = images if facts.config.has_images else "where the features come from"
    return left(
        f"Name in the title that a multivariable prediction model was {_verbs(facts)}, the patients, the outcome "
        f"({class_list(facts.evaluation.classes)}) and {technique}."
    )


def description(facts: Facts) -> Answer:
    """The architecture."""
    if not facts.is_trained:
        return left(f"{ELSEWHERE} Describe architecture, inputs and outputs, or cite where they are described.")
    return partly(
        f"{_network(facts)}{head(facts)} Output: the probability of each class.",
        "Add a figure or a reference from which the network can be rebuilt layer by layer.",
        "model",
        files=(MANIFEST, "run.json"),
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
    if not facts.encoder.get("name"):
        return left("Name the pretrained weights, their version and license, if the features come from a network.")
    seed = f"The seed {facts.config.seed} decides everything random in the head, the folds and the intervals."
    return answered(f"{weights(facts)} {seed}", "model", files=("run.json",))


def weights(facts: Facts) -> str:
    """Name, origin, license and hash of the encoder's weights, in a sentence."""
    encoder = facts.encoder
    digest = f", SHA-256 {str(encoder['sha256'])[:12]}…" if encoder.get("sha256") else ""
    terms = f", license {encoder['license']}" if encoder.get("license") else ""
    cited = f" ({encoder['citation']})" if encoder.get("citation") else ""
    if facts.trained_encoder:
        return f"The encoder {encoder.get('name', '')} was trained end to end in this run{cited}{terms}{digest}."
    if facts.has_trained_encoder:
        return f"The encoder {encoder.get('name', '')} was trained end to end in another run{cited}{terms}{digest}."
    return f"The encoder {encoder.get('name', '')} stayed as published{cited}{terms}{digest}; it was not trained."


def output(facts: Facts) -> Answer:
    """What comes out, and how thresholds were found."""
    classes = class_list(facts.evaluation.classes)
    thresholds = facts.classified.get("thresholds") or facts.stage("apply").get("thresholds", ())
    alpha = (facts.settings or facts.stage("apply").get("settings", {})).get("alpha")
    sets = (
        f" A prediction set names the classes that cannot be ruled out at an error rate of {100 * alpha:.0f} %."
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


def _done(facts: Facts) -> str:
    """What the run did, as a verb phrase."""
    if not facts.is_trained:
        return "evaluated the predictions of a model that was trained elsewhere"
    if facts.is_in_turn:
        return "developed a model and tested it on every site or cohort in turn, by models of all others"
    if facts.is_held_out:
        return f"developed a model, {_validated(facts)} and tested it on held-out patients"
    return f"developed a model and {_validated(facts)}; nobody was held out"


def _validated(facts: Facts) -> str:
    """How the model was validated internally, as a verb phrase."""
    if facts.flow.learned:
        return "judged it on the development patients whom its encoder was not trained on"
    return "validated it by nested cross-validation" if facts.fits_head else "validated it by cross-validation"


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
    kind = "Encoder trained end to end, then frozen:" if facts.has_trained_encoder else "Frozen encoder"
    return f"{kind} {encoder['name']}{size}{features}. "
