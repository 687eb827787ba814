"""What the run answers about testing elsewhere: sites, subgroups, and what was updated after."""

from analysis.checklists.answer import Answer, answered, left, not_applicable, partly
from analysis.checklists.answers_results import NOBODY, told
from analysis.checklists.facts import Facts, spoken
from analysis.patients.groupings import PLACES
from analysis.wording import count, places


def heterogeneity(facts: Facts) -> Answer:
    """How differences between sites were handled."""
    sites = facts.sites()
    if len(sites) < 2:
        return not_applicable("All predicted patients come from one site.", "patients")
    if not facts.labeled:
        return left(f"{NOBODY} Say how differences between sites were handled.")
    method = facts.settings.get("harmonize", {}).get("method", "none")
    handled = f" Features were harmonized between sites by {method}." if method not in ("none", "") else ""
    each = any(metric.site or metric.cohort for metric in facts.metrics if metric.part == "discrimination")
    within = bool(spoken(facts.value("auc_within_site")))
    looked = [
        *(["for each cohort and site of a split, each with its interval"] if each else []),
        *(["among patients of one site alone"] if within else []),
    ]
    if not looked:
        return partly(
            f"Every split is of one site, so measures by split are measures by site.{handled}",
            "Say how differences between sites were handled.",
            "discrimination",
            "shortcuts",
        )
    return answered(
        f"Measures were computed {' and '.join(looked)}.{handled}",
        "discrimination",
        "shortcuts",
        "comparisons",
        files=("metrics.csv",),
    )


def heterogeneity_found(facts: Facts) -> Answer:
    """What differences between sites were found."""
    sites = facts.sites()
    if len(sites) < 2:
        return not_applicable("All predicted patients come from one site.", "patients")
    rows = [
        m for m in facts.metrics if m.quantity == "auc_macro" and m.part == "discrimination" and (m.site or m.cohort)
    ]
    values = [m.estimate.value for m in rows if m.estimate.value == m.estimate.value]
    within = spoken(facts.value("auc_within_site"))
    same = f" Among patients of one site the macro AUC is {within}." if within else ""
    if not values and not same:
        return partly(
            "The sites are too small, or lie in different splits, so that no measure was computed for each of them.",
            "Say what is known of differences between sites.",
            "discrimination",
        )
    span = (
        f"The macro AUC of single cohorts and sites lies between {min(values):z.2f} and {max(values):z.2f} "
        f"({count(len(values), 'estimate')})."
        if values
        else ""
    )
    return answered(f"{span}{same}".strip(), "discrimination", "comparisons", files=("metrics.csv",))


def fairness(facts: Facts) -> Answer:
    """Whether fairness was looked at."""
    if "subgroups" not in facts.sections:
        return left(
            "No subgroups were analyzed in this run. Say which groups could be served worse, and what was done about "
            "it; subgroups can be named under analysis.subgroups."
        )
    if all(name in PLACES for name in facts.groupings):
        return left(
            f"Performance was compared by {' and '.join(facts.groupings)} alone, which is no group of people. Say "
            "which groups could be served worse, and what was done about it; name them under analysis.subgroups."
        )
    return partly(
        f"Performance was compared between subgroups by {', '.join(facts.groupings)}, with tests of interaction.",
        "Say why these groups, which sociodemographic groups are missing, and what follows from the differences.",
        "subgroups",
    )


def internal(facts: Facts) -> Answer:
    """Evaluation on data of the same source."""
    if not facts.is_trained:
        return left("The model was not trained in this run; cite how it did on its own development patients.")
    if facts.is_in_turn:
        return not_applicable(
            "Every site or cohort was tested by models of all others, so no patient was tested within an own source.",
            "discrimination",
        )
    found = told(facts, "oof") if any(s.sample.split == "oof" for s in facts.labeled) else ""
    within = facts.is_held_out and not facts.unseen
    test = f" Held out at the same sites: {told(facts, 'test')}." if within else ""
    if not found and not test:
        return left("No labeled development patients were predicted out of fold; report internal validation.")
    if facts.flow.learned and found:
        return partly(
            f"No cross-validation of the whole model: its encoder was trained once, on "
            f"{count(len(facts.flow.learned), 'patient')}, who are left out. On the others, {found[0].lower()}"
            f"{found[1:]}.{test}",
            "Those by whom the training was stopped are among them, so the estimate is a little too good: train with "
            "finetune.folds for one of all development patients.",
            "discrimination",
            "calibration",
            files=("metrics.csv",),
        )
    how = "nested cross-validation" if facts.fits_head else "cross-validation"
    return answered(f"By {how}. {found}.{test}", "discrimination", "calibration", files=("metrics.csv",))


def external(facts: Facts) -> Answer:
    """Testing on data from elsewhere."""
    if not facts.is_held_out:
        if not facts.is_trained and facts.labeled:
            return partly(
                f"A model trained elsewhere was tested: {told(facts, facts.first)}.",
                "Say that these patients are of other institutions than those of the training; the run cannot know.",
                "discrimination",
                "calibration",
            )
        return left("Nobody was held out in this run: test on patients of another institution, or say why not.")
    found = told(facts, "test")
    if facts.unseen_cohorts:
        names = places(facts.unseen_cohorts).removeprefix("sites ").removeprefix("site ")
        return answered(
            f"Cohorts that trained no model that predicted them: {names}. {found}.", "discrimination", "calibration"
        )
    if facts.unseen:
        return partly(
            f"Patients of sites that trained no model that predicted them: {places([s for _, s in facts.unseen])}. "
            f"{found}. The sites belong to cohorts that were trained on, so this tests the transfer to other places.",
            "Say whether these sites are institutions with scanners of their own, and add a test on another "
            "cohort, or say why there is none.",
            "discrimination",
            "calibration",
            "shortcuts",
        )
    return left(
        "The held-out patients are of sites that were trained on, which is no external test: test on patients of "
        "another institution, or say why not."
    )


def updating(facts: Facts) -> Answer:
    """Whether the model was updated after its evaluation."""
    how = facts.config.analysis.recalibrate
    if how == "none" or "recalibration" not in facts.sections:
        tried = (
            " What other recalibrations would change was judged on patients they were not fitted on; none was kept."
            if "calibrators" in facts.sections
            else ""
        )
        return not_applicable(f"The model was not updated after it was evaluated.{tried}", "calibrators")
    what = {"prevalence": "to stated class shares", "site": "with an intercept for each site"}[how]
    return answered(
        f"Predictions were recalibrated {what}; the section says how, and how they did before and after.",
        "recalibration",
        files=("recalibrated.csv",),
    )
