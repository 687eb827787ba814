"""What the run answers about where the model and its code can be had, and what using them takes."""

from analysis.checklists.answer import Answer, left, partly
from analysis.checklists.facts import MANIFEST, Facts


def specification(facts: Facts) -> Answer:
    """Where the whole model is."""
    asked = (
        "Give the address where others can have the model and under which terms; a model that cannot be shared needs "
        "a reason."
    )
    if MANIFEST not in facts.files:
        return left(f"This run folder holds no locked bundle. {asked}")
    return partly(
        f"The whole model lies in the run folder as a locked bundle with checksums and without patients' data; "
        f"triher apply predicts new patients with it.{_license(facts)}",
        asked,
        "model",
        files=(MANIFEST,),
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
    held = " The model lies in the run folder as a locked bundle." if MANIFEST in facts.files else ""
    asked = "Say where code, configuration, model and data can be had, and on which terms; if they cannot, say why."
    if not shared.said:
        return left(asked)
    return partly(f"{shared.said}{held}{_license(facts)}", asked, *shared.anchors, files=("run.json", MANIFEST))


def poor_input(facts: Facts) -> Answer:
    """What happens to poor or missing input."""
    outside = (
        " Patients outside the range of the training data are marked as such in the prediction table."
        if "outside" in facts.material.frame.columns
        else ""
    )
    impute = facts.settings.get("missing") == "impute"
    filled = " Missing features and covariates are filled with medians of the training part." if impute else ""
    return partly(
        f"Input that fails a check is refused with a reason.{filled}{outside}",
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


def _license(facts: Facts) -> str:
    """Terms of the encoder's weights."""
    encoder = facts.encoder
    if not encoder.get("license"):
        return ""
    return f" The weights of the encoder {encoder['name']} are under {encoder['license']}."
