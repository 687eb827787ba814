"""Random tables of features with random faults mixed in."""

from dataclasses import dataclass, replace

import numpy as np
from faulty_cohorts import IHC, names
from faulty_images import NOTE, SKIP, WORKS
from hypothesis import strategies as st


@dataclass(frozen=True)
class Subject:
    """One patient whose features come from a table."""

    patient_id: str
    cohort: str
    site: str
    label: int
    """0 to 2."""
    fault: str = ""
    """Key of `SUBJECT_FAULTS`; none if empty."""


SUBJECT_FAULTS = {
    "2+ without ISH": (SKIP, "her2_unknown"),
    "an unknown code": (SKIP, "her2_unknown"),
    "equivocal twice": (SKIP, "her2_unknown"),
    "no IHC": (SKIP, "her2_unknown"),
    "0 and amplified": (SKIP, "her2_unknown"),
    "3+ and not amplified": (NOTE, "her2_contradiction"),
    "no features": (SKIP, "not_extracted"),
    "no number": (SKIP, "embedding_nonfinite"),
    "infinity": (SKIP, "embedding_nonfinite"),
    "no age": (SKIP, "covariate_missing"),
    "no time": (WORKS, ""),
    "a time below 0": (WORKS, ""),
    "a time of 0": (WORKS, ""),
    "an age of the world": (WORKS, ""),
    "a row twice": (NOTE, "patient_duplicate"),
}
"""By name: what must come of a patient, and the code."""
_UNLABELED = {
    "2+ without ISH": ("2+", ""),
    "an unknown code": ("<b>left</b>", ""),
    "equivocal twice": ("2+", "equivocal"),
    "no IHC": ("", ""),
    "0 and amplified": ("0", "amplified"),
    "3+ and not amplified": ("3+", "not amplified"),
}
_TIMES_OF = {"no time": "", "a time below 0": "-4", "a time of 0": "0", "an age of the world": "99999"}
_ENTRIES = [*IHC.values()]


@dataclass(frozen=True)
class Table:
    """A cohort with a table of features that hypothesis drew."""

    subjects: tuple[Subject, ...]
    seed: int
    has_survival: bool
    options: dict[str, object]
    """Of the section ``classify``."""

    def with_code(self, outcome: str) -> dict[str, str]:
        """Patient -> code, of those of whom this must come."""
        found = {s.patient_id: SUBJECT_FAULTS[s.fault] for s in self.subjects if s.fault}
        return {patient_id: code for patient_id, (what, code) in found.items() if what == outcome}

    def repaired(self) -> "Table":
        """The same without faults."""
        return replace(self, subjects=tuple(replace(subject, fault="") for subject in self.subjects))

    def cohort_rows(self) -> list[list[str]]:
        """Header and rows of the cohort table."""
        rng = np.random.default_rng(self.seed)
        follow_up = ["time", "event"] if self.has_survival else []
        rows = [["patient_id", "cohort", "site", "ihc", "ish", "age", *follow_up]]
        for subject in self.subjects:
            fault = subject.fault
            age, time, event = rng.integers(30, 80), rng.integers(1, 120), rng.integers(0, 2)
            entry = _UNLABELED.get(fault, _ENTRIES[subject.label])
            times = [_TIMES_OF.get(fault, str(time)), str(event)] if follow_up else []
            age_cell = "" if fault == "no age" else str(age)
            row = [subject.patient_id, subject.cohort, subject.site, *entry, age_cell, *times]
            rows += [row] * (2 if fault == "a row twice" else 1)
        return rows

    def feature_rows(self) -> list[list[str]]:
        """Header and rows of the table of features."""
        rng = np.random.default_rng(self.seed + 1)
        rows = [["patient_id", *(f"feature {k}" for k in range(6))]]
        for subject in self.subjects:
            values = [f"{x:.6f}" for x in rng.normal(size=6) + 1.2 * (np.arange(6) % 3 == subject.label)]
            spoiled = {"no number": "NA", "infinity": "inf"}.get(subject.fault)
            if spoiled:
                values[2] = spoiled
            if subject.fault != "no features":
                rows.append([subject.patient_id, *values])
        return rows


@st.composite
def tables_with_faults(draw: st.DrawFn) -> Table:
    """A cohort of 18 to 30 patients, of whom the first 12 have no fault, so that every class can be learned."""
    cohorts = [draw(names(f"c{k}z")) for k in range(draw(st.integers(1, 2)))]
    sites = [draw(names(f"s{k}z")) for k in range(draw(st.integers(1, 3)))]
    n = draw(st.integers(18, 30))
    faults = draw(st.dictionaries(st.integers(12, n - 1), st.sampled_from(sorted(SUBJECT_FAULTS)), max_size=n // 4))
    places = st.tuples(st.sampled_from(cohorts), st.sampled_from(sites))
    subjects = [Subject(draw(names(f"q{k}z")), *draw(places), k % 3, faults.get(k, "")) for k in range(n)]
    options = {
        "head": draw(st.sampled_from(("logistic", "hierarchical-logistic", "ordinal"))),
        "trials": 1,
        "folds": 2,
    }
    return Table(
        tuple(subjects), draw(st.integers(0, 10**6)), draw(st.booleans()), {**options, "covariates": ["age"]}
    )
