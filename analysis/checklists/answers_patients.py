"""What the run answers about patients: where from, who was left out, how many, and how they were divided."""

from collections import Counter

from analysis.checklists.answer import Answer, answered, left, partly
from analysis.checklists.answers_partition import folds
from analysis.checklists.facts import Facts
from analysis.survival.followup import has_follow_up
from analysis.wording import count, places, split_name
from triher.codes import CODES

_REASONS = 4  # named in a sentence; the report lists all


def sources(facts: Facts) -> Answer:
    """Where the data are from."""
    frame = facts.material.frame
    cohorts = facts.cohorts()
    parts = [
        f"{split_name(str(split)).lower()}: {count(rows['patient_id'].nunique(), 'patient')} of "
        f"{places(sorted(map(str, rows['site'].unique())))}"
        for split, rows in frame.groupby("split")
    ]
    said = f"{count(len(cohorts), 'cohort')} ({places(cohorts).removeprefix('sites ').removeprefix('site ')}). "
    return partly(
        f"{said}Predicted patients, {'; '.join(parts)}.",
        "Name the design behind each cohort (trial, registry, routine care), why these data were used, whom they "
        "represent, and the address of those that are public.",
        "patients",
    )


def dates(facts: Facts) -> Answer:
    """When the patients were recruited and followed up."""
    asked = "Give the first and last date of recruitment for development and test data; the run holds no dates."
    if not has_follow_up(facts.material.cohort):
        return left(asked)
    return partly(
        "The median follow-up of each split is in the table of characteristics.",
        f"{asked} Give the date at which follow-up ended, too.",
        "patients",
    )


def setting(facts: Facts) -> Answer:
    """How many centers there were."""
    sites = facts.sites()
    return partly(
        f"The predicted patients come from {count(len(sites), 'site')} as the cohort table names them.",
        "Name hospitals and countries, and say what kind of care they give (screening, secondary, tertiary).",
        "patients",
    )


def eligibility(facts: Facts) -> Answer:
    """Who was left out by the program, as far as the run knows."""
    return partly(
        _flow(facts),
        "State the clinical criteria by which patients came into the cohort table at all (stage, biopsy before "
        "therapy, image quality), and how they were selected: consecutively, at random or by availability.",
        "patients",
        files=("skipped.csv",),
    )


def flow(facts: Facts) -> Answer:
    """The flow of patients."""
    follow_up = (
        " The table of characteristics gives events and median follow-up." if facts.material.follow_ups else ""
    )
    by_class = f"By class, {facts.counts()}." if facts.counts() else "Nobody has a HER2 label."
    return answered(
        f"{_flow(facts)} {by_class}{follow_up}",
        "patients",
        files=("skipped.csv",),
    )


def characteristics(facts: Facts) -> Answer:
    """Table 1."""
    names = list(facts.material.cohort.patients[0].covariates) if facts.material.cohort.patients else []
    told = ["HER2 class", *(["site"] if len(facts.sites()) > 1 else []), *names]
    told += ["events and follow-up"] if facts.material.follow_ups else []
    return partly(
        f"The table of characteristics gives, for each split, {_listed(told)}, with the number of missing values.",
        "Add what the cohort table does not hold and a reader needs to judge who these patients are: demographics, "
        "receptor status, stage and tumor size, treatment, key dates.",
        "patients",
    )


def compared_with_development(facts: Facts) -> Answer:
    """Whether test and development patients are alike."""
    if not facts.is_held_out:
        return left(
            "This run holds no test patients beside its development patients. Where the model was tested on other "
            "patients, compare their characteristics with those of the development patients."
        )
    if facts.is_in_turn:
        return partly(
            "Each site or cohort was tested by models of all others; the table of characteristics gives them all.",
            "Show the characteristics of each site or cohort beside those of the others.",
            "patients",
        )
    return answered(
        "Development and held-out patients stand side by side in the table of characteristics.", "patients"
    )


def differences(facts: Facts) -> Answer:
    """How the test data differ from the development data."""
    asked = (
        "Say how setting, eligibility, acquisition and the determination of HER2 differ between development and "
        "test data."
    )
    if not facts.is_held_out:
        return left(
            f"Nobody was held out in this run. If the model was tested elsewhere: {asked[0].lower()}{asked[1:]}"
        )
    if not facts.unseen:
        return partly("Development and held-out patients come from the same sites.", asked, "patients")
    names = places([site for _, site in facts.unseen])
    return partly(f"No patient of {names} trained the model that predicted them.", asked, "patients")


def missing(facts: Facts) -> Answer:
    """What became of missing data."""
    policy = {
        "skip": "Patients who lacked a view, a feature or a covariate of the model were left out",
        "impute": "Missing features and covariates were filled with the median of the training part",
    }.get(str(facts.settings.get("missing", "")), "Patients who could not be predicted were left out")
    no_label = int(facts.material.frame.drop_duplicates("patient_id")["y"].isna().sum())
    unlabeled = f" {count(no_label, 'patient')} without HER2 label took no part in discrimination and calibration."
    last = " Where an exam lacked a phase, its last volume stood in, with a remark." if _takes_last(facts) else ""
    said = f"{policy}. {_flow(facts)}{last}{unlabeled if no_label else ''}"
    if facts.flow.unaccounted:
        return partly(
            f"{said} {count(len(facts.flow.unaccounted), 'patient')} went missing without a reason.",
            "Run the earlier stages again, or say what became of these patients.",
            "patients",
        )
    return answered(said, "patients", files=("skipped.csv", "notes.csv"))


def _takes_last(facts: Facts) -> bool:
    """Whether a missing phase is replaced."""
    return facts.config.has_images and facts.config.cohort.missing_phase == "last"


def sample_size(facts: Facts) -> Answer:
    """How many patients there were; never why."""
    counts = facts.counts()
    if not counts:
        return left("Nobody has a HER2 label in this run. Justify the sample size of development and test data.")
    return partly(
        f"Patients by class, {counts}.",
        "Say how the numbers came about and why they suffice: a calculation for development (Riley et al., BMJ "
        "2020;368:m441) and, on its own, for the test (the width of interval that was aimed at).",
        "patients",
    )


def numbers_analyzed(facts: Facts) -> Answer:
    """Patients and events of every analysis."""
    if not facts.counts():
        return partly(
            f"{count(len(facts.flow.done), 'patient')} predicted, none with a HER2 label.",
            "Give the number of patients of each class in development and evaluation.",
            "patients",
        )
    events = "; ".join(
        f"{split_name(name).lower()}: {int(part.event.sum())} events in {len(part.patient_id)} patients"
        for name, part in facts.material.follow_ups.items()
    )
    survival = f" Survival, {events}." if events else ""
    return answered(
        f"By class, {facts.counts()}.{survival}{folds(facts)}", "patients", "prognosis", files=("metrics.csv",)
    )


def _flow(facts: Facts) -> str:
    """Patients in, predicted and left out, with the commonest reasons."""
    done, n = len(facts.flow.done), facts.flow.n_cohort
    people = {(row.patient_id, row.code) for row in facts.flow.left_out}
    reasons = Counter(code for _, code in sorted(people))
    text = f"Of {count(n, 'patient')} in the cohort table {done} {'was' if done == 1 else 'were'} predicted"
    if not reasons:
        return f"{text} and nobody was left out." if not facts.flow.unaccounted else f"{text}."
    named = "; ".join(f"{CODES[c][0] if c in CODES else c}: {k}" for c, k in reasons.most_common(_REASONS))
    more = "; and other reasons" if len(reasons) > _REASONS else ""
    return f"{text} and {len({name for name, _ in people})} left out, each with a reason ({named}{more})."


def _listed(names: list[str]) -> str:
    """Names as a phrase."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
