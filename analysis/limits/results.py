"""Limits that follow from the numbers of a run: few patients, no gain, shortcuts, probabilities, few events."""

import math

from analysis.calibration.metrics import joint_test
from analysis.calibration.recalibration import weighed_alike
from analysis.discrimination.beside import TOLD_BY
from analysis.discrimination.shortcut import EVERYBODY, FROM_SITE, STRONG
from analysis.inference.corrected_p import SMALL_P
from analysis.limits.facts import Facts, Limit
from analysis.metrics import find
from analysis.patients.samples import class_label
from analysis.survival.cox import STABLE_EVENTS
from analysis.wording import count, interval, p_value, split_name

SMALL_CLASS = 20
"""Patients of a class; with fewer, an AUC of 0.7 has a 95 % interval of about +-0.15 or more."""


def small_classes(facts: Facts) -> list[Limit]:
    """Few patients of a class, with the width of the interval."""
    split = facts.split
    if split is None:
        return []
    classes = enumerate(facts.evaluation.classes)
    counts = {class_label(name): int((split.sample.y == c).sum()) for c, name in classes}
    small = [f"{n} {name}" for name, n in counts.items() if n < SMALL_CLASS]
    if not small:
        return []
    macro = find(facts.evaluation.metrics, split.sample.split, "auc_macro")
    wide = ""
    if macro is not None and math.isfinite(macro.low):
        wide = f" The macro AUC is known to lie within {interval(macro)} only (95 % interval)."
    text = (
        f"{split_name(split.sample.split)}: {', '.join(small)}.{wide} A difference that was not found is no proof of "
        "equality."
    )
    return [Limit(70, "Few patients", text)]


def baselines(facts: Facts) -> list[Limit]:
    """Not ahead of something simpler."""
    if facts.split is None:
        return []
    name = facts.split.sample.split
    ahead = {
        m.class_name: m.estimate
        for m in facts.evaluation.metrics
        if m.split == name and m.quantity == "auc_macro_ahead" and m.class_name in TOLD_BY
    }
    even = [f"{TOLD_BY[k]} (difference {interval(e)})" for k, e in ahead.items() if e.low <= 0]
    if not even:
        return []
    text = f"The images may add nothing to {' or '.join(even)}: the interval of the difference holds 0."
    return [Limit(72, "No sure gain over something simpler", text)]


def shortcuts(facts: Facts) -> list[Limit]:
    """Features that give the site away, and sites that differ in their classes."""
    told = find(facts.evaluation.metrics, EVERYBODY, "shortcut_auc", FROM_SITE)
    found = []
    if told is not None and told.low > 0.5:
        text = (
            f"The site alone tells the HER2 class with an AUC of {told.value:.2f} ({interval(told)}). Part of any "
            "result over several sites can be knowledge of the site and none of the tumor."
        )
        found.append(Limit(75, "Sites differ in their classes", text))
    strong = {
        m.class_name: m.estimate.value
        for m in facts.evaluation.metrics
        if m.quantity == "shortcut_auc" and m.class_name != FROM_SITE and m.estimate.value > STRONG
    }
    if strong:
        listed = " and ".join(f"the {name} (AUC {value:.2f})" for name, value in strong.items())
        text = f"They give away {listed}. Results on sites that also trained the model may rest on that."
        found.append(Limit(55, "The features know more than the tumor", text))
    return found


def calibration(facts: Facts) -> list[Limit]:
    """Probabilities that are off beyond chance, or were never meant."""
    found = []
    if facts.config.classify.class_weights == "balanced" or weighed_alike(facts.stages):
        text = (
            "All classes weighed alike in training (class_weights or balanced_sampling), so probabilities do not "
            "follow the class shares."
        )
        found.append(Limit(64, "Probabilities are shifted", text))
    if facts.split is None:
        return found
    name, metrics = facts.split.sample.split, facts.evaluation.metrics
    error, chance = (find(metrics, name, f"ece_top_label{end}") for end in ("", "_if_calibrated"))
    joint = joint_test(metrics, name)
    said = []
    if error is not None and chance is not None and error.value > chance.high:
        said.append(
            f"Their error is {error.value:.2f}, and a well calibrated model would show {interval(chance)} with as "
            "many patients."
        )
    if joint is not None and joint.value < SMALL_P:
        p = p_value(joint.value)
        said.append(f"The test of all classes together finds them off (p {p if p.startswith('<') else f'= {p}'}).")
    if said:
        said.append("Do not read a predicted 30 % as 30 of 100 patients before recalibration.")
        found.append(Limit(65, "Probabilities are off", " ".join(said)))
    return found


def survival(facts: Facts) -> list[Limit]:
    """Few events."""
    part = next((split.prognosis for split in facts.evaluation.splits if split.prognosis is not None), None)
    if part is None:
        return []
    model = part.adjusted or part.alone
    events = int(part.follow_up.event.sum())
    n = max(1, len(model.coefficients) or len(part.follow_up.names) + 1)
    if events / n >= STABLE_EVENTS:
        return []
    text = (
        f"{count(events, 'event')} in {count(len(part.follow_up.patient_id), 'patient')}, {events / n:.1f} for each "
        "coefficient of the Cox model (10 are wanted). Hazard ratios are unstable, and one near 1 is no proof that "
        "there is no effect."
    )
    return [Limit(50, "Few events", text)]


RESULTS = (small_classes, baselines, shortcuts, calibration, survival)
