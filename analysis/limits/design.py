"""Limits that follow from how a run was made: who was in, who was held out, what was trained."""

import re

from analysis.limits.facts import Facts, Limit
from analysis.wording import count, places
from triher.trained import LEARNED_FROM

_MANY_LEFT_OUT = 0.1  # of all patients: our choice, which decides about a sentence alone
_PHOTOGRAPHS = re.compile(r"(?<!Rad)ImageNet|LVD-|LAION|\bweb", re.IGNORECASE)


def synthetic(facts: Facts) -> list[Limit]:
    """Phantoms are no people."""
    if "phantom" not in facts.stages:
        return []
    text = (
        f"All {count(len(facts.flow.done), 'patient')} were computed by the program. The numbers show that it works; "
        "about women with breast cancer they say nothing."
    )
    return [Limit(100, "No real patients", text)]


def shuffled(facts: Facts) -> list[Limit]:
    """A negative control."""
    if not facts.stages.get("classify", {}).get("labels_shuffled", False):
        return []
    return [Limit(95, "Shuffled labels", "This run is a negative control; none of its numbers is a model's quality.")]


def validation(facts: Facts) -> list[Limit]:
    """Who the judged patients are in relation to those trained on."""
    judged = [s.sample.split for s in facts.evaluation.splits if s.sample.split in ("test", "new")]
    if not judged:
        n, each = len(facts.frame[["repeat", "fold"]].drop_duplicates()), int(facts.frame["repeat"].nunique())
        models = f"{'one' if each == 1 else each} of {count(n, 'model')}"
        text = (
            f"No patients were held out: all {len(facts.flow.done)} took part in the development, each predicted by "
            f"{models} that had not seen that patient. How the model does elsewhere is not known. See classify.split."
        )
        return [Limit(90, "Internal validation only", text)]
    test = facts.sites(judged[0])
    n_test = int(facts.frame.loc[facts.frame["split"] == judged[0], "patient_id"].nunique())
    shared = test & {*facts.sites("oof"), *facts.flow.learned}
    if shared:
        text = (
            f"The {count(n_test, 'held-out patient')} come from {places(sorted(site for _, site in test))}, and "
            f"{'that' if len(test) == 1 else f'{len(shared)} of these'} also trained the model. A new hospital can "
            "do worse."
        )
        return [Limit(80, "Held-out patients of the same sites", text)]
    if len(test) > 1:
        return []
    text = (
        f"All {count(n_test, 'held-out patient')} are of {places([site for _, site in test])}. One site cannot tell "
        "how much results differ between hospitals."
    )
    return [Limit(60, "One site held out", text)]


def opened(facts: Facts) -> list[Limit]:
    """Several looks at the held-out patients."""
    times = int(facts.stages.get("classify", {}).get("test_opened", 0))
    if times < 2:
        return []
    text = f"They were predicted with {times} settings, so the best-looking result is too good by an unknown amount."
    return [Limit(85, "Held-out patients looked at more than once", text)]


def outside(facts: Facts) -> list[Limit]:
    """Judged patients unlike those trained on."""
    if facts.split is None or "outside" not in facts.frame:
        return []
    rows = facts.frame[facts.frame["split"] == facts.split.sample.split].drop_duplicates("patient_id")
    n = int((rows["outside"].fillna("") != "").sum())
    if facts.split.sample.split == "oof" or not n:
        return []
    text = f"{n} of {len(rows)} lie outside the range of images or features trained on, where no guarantee holds."
    return [Limit(58 if n > len(rows) / 10 else 35, "Patients unlike those trained on", text)]


def left_out(facts: Facts) -> list[Limit]:
    """Many who are not in the numbers."""
    learned = sum(one.reasons.get(LEARNED_FROM, 0) for one in facts.flow.exits)
    n, total = facts.flow.n_cohort - len(facts.flow.done) - learned, facts.flow.n_cohort
    unlabeled = sum(end.unlabeled for end in facts.flow.ends)
    found = []
    if total and n / total > _MANY_LEFT_OUT:
        text = f"{n} of {total} ({n / total:.0%}) were left out; the others may be a selection, with clearer images."
        found.append(Limit(62, "Many left out", text))
    if unlabeled:
        text = f"{unlabeled} predicted without a HER2 class are in no number on right and wrong."
        found.append(Limit(42, "Classes not known", text))
    return found


def repeats(facts: Facts) -> list[Limit]:
    """One division into folds."""
    folded = facts.frame[facts.frame["split"] == "oof"]
    if folded.empty or len(folded["repeat"].unique()) > 1 or facts.config.classify.split.kind.startswith("leave"):
        return []
    n = int(folded["fold"].nunique())
    text = (
        f"Patients were divided into {n} folds once (seed {facts.config.seed}); another division gives other numbers."
    )
    held_out = facts.split is not None and facts.split.sample.split != "oof"
    return [Limit(20 if held_out else 40, "One draw of the folds", text)]


def encoder(facts: Facts) -> list[Limit]:
    """An encoder that saw photographs only, as far as its citation says."""
    stages = facts.stages
    encoder = stages.get("extract", {}).get("encoder", {}) or stages.get("classify", {}).get("encoder", {})
    citation = str(encoder.get("citation", ""))
    if encoder.get("builder") == "trained":  # it began with photographs, and did not end with them
        return []
    if not _PHOTOGRAPHS.search(citation):
        return []
    text = f"{encoder.get('name', 'It')} learned from everyday pictures ({citation}), and from no MRI."
    return [Limit(30, "Encoder without medical training", text)]


def trained_encoder(facts: Facts) -> list[Limit]:
    """An encoder that was trained end to end on this cohort, with one seed."""
    stage = facts.stages.get("finetune", {})
    if not stage:
        return []
    n = sum(stage["class_counts"].values())
    text = (
        f"The encoder was trained end to end on {count(n, 'patient')} with seed {stage['choices']['seed']}; nobody "
        "is scored by a network that was trained on her. Another seed gives other numbers: in an independent "
        "replication on public data two seeds of one setting lay up to 0.067 of AUC apart. See triher ablate, seeds."
    )
    return [Limit(50, "One training of the network", text)]


def unequal_material(facts: Facts) -> list[Limit]:
    """A network that learned from more patients than whatever stands beside it."""
    n, left = len(facts.flow.learned), int(facts.frame.loc[facts.frame["split"] == "oof", "patient_id"].nunique())
    if not n or "new" in set(facts.frame["split"]):
        return []
    text = (
        f"The encoder learned from {count(n, 'patient')}, who are left out; baselines, temperature and prediction "
        f"sets only from the {count(left, 'development patient')} who remain. So a lead over the baselines may come "
        "from that, and out-of-fold numbers are of those who remain, among them whoever decided when the training "
        "stopped. Baselines of all development patients stand in the run of a frozen encoder; or train with "
        "finetune.folds."
    )
    return [Limit(71, "Baselines learned from fewer patients", text)]


DESIGN = (
    synthetic, shuffled, validation, opened, outside, left_out, repeats, encoder, trained_encoder, unequal_material,
)  # fmt: skip
