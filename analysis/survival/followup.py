"""Who can be followed up: scores of patients the model did not see, joined to time and event."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from analysis.patients.covariates import code_covariates
from triher.codes import CODES
from triher.cohort import Cohort, Patient
from triher.errors import Note, Skipped, StopRun, unknown_name
from triher.labels import scheme_classes
from triher.predictions import OUT_OF_SAMPLE, one_row_a_patient
from triher.settings import AnalysisConfig, Config
from triher.survival_time import time_fault

_EPSILON_MONTHS = 0.5 * 12 / 365.25
"""Half a day: an event on the day of inclusion is at risk for less than a day, not for no time."""

Months = Float64[np.ndarray, " patient"]
Events = Bool[np.ndarray, " patient"]


@dataclass(frozen=True)
class FollowUp:
    """Patients with a score, a time and an event status, ordered by id."""

    patient_id: tuple[str, ...]
    score: Float64[np.ndarray, " patient"]
    """Predicted probability of the configured class; higher is supposed to be riskier."""
    time_months: Months
    event: Events
    covariates: Float64[np.ndarray, "patient covariate"]
    """NaN where missing; the adjusted model leaves those patients out."""
    names: tuple[str, ...]
    """Of the columns of `covariates`."""
    strata: tuple[str, ...]
    """Cohort or site of each patient where the model is stratified, else the same text for all."""
    left_out: tuple[Skipped, ...]
    """Patients without usable time or event; they take part in everything else."""
    notes: tuple[Note, ...]
    competing: Events
    """True where another event ruled the event out; these patients count as censored for the event."""
    terms: tuple[str, ...] = ()
    """The covariate that each column codes, where a text covariate has several; else the names."""


def has_follow_up(cohort: Cohort) -> bool:
    """Whether any patient of the table has a survival time and an event status."""
    return any(not np.isnan(p.time_months) and p.event >= 0 for p in cohort.patients)


def all_follow_ups(frame: pd.DataFrame, cohort: Cohort, config: Config) -> dict[str, FollowUp]:
    """Every split's patients with survival, where the cohort table has any.

    Raises:
        StopRun: as `follow_up`.
    """
    if not has_follow_up(cohort):
        return {}
    data = {
        str(split): follow_up(rows, cohort, config.analysis, config.scheme)
        for split, rows in frame.groupby("split", sort=False)
    }
    return {split: followed for split, followed in data.items() if followed.patient_id}


def follow_up(frame: pd.DataFrame, cohort: Cohort, config: AnalysisConfig, scheme: str) -> FollowUp:
    """Join the scores of one split to the follow-up in the cohort table.

    Args:
        frame: prediction table of one split; repeats are averaged.
        cohort: where times (months), events and covariates come from.
        config: which class's probability is the score, the covariates, the strata.
        scheme: label scheme of the predictions.

    Raises:
        StopRun: ``score_in_sample`` when a row is neither out of fold nor held out nor of a new patient;
            ``unknown_name`` when the score's class or a covariate is not known.
    """
    _check(frame, cohort, config, scheme)
    averaged = one_row_a_patient(frame, scheme).sort_values("patient_id", kind="stable")
    scores = dict(zip(averaged["patient_id"], averaged[f"p_{config.score}"].astype(float), strict=True))
    patients = {patient.patient_id: patient for patient in cohort.patients}
    known = {name: patients.get(name) for name in scores}
    faults = {
        name: time_fault(patient) if patient else ("time_missing", "not in the cohort table")
        for name, patient in known.items()
    }
    used = [patient for name, patient in known.items() if patient is not None and faults[name] is None]
    left_out = [_left_out(name, known[name], *fault) for name, fault in faults.items() if fault is not None]
    zeros = [p.patient_id for p in used if p.time_months == 0]
    notes = [Note(name, "time_zero", "time 0 is taken as half a day") for name in zeros]
    times = np.array([p.time_months or _EPSILON_MONTHS for p in used], dtype=np.float64)
    coded = code_covariates(config.covariates, used)
    return FollowUp(
        patient_id=tuple(p.patient_id for p in used),
        score=np.array([scores[p.patient_id] for p in used], dtype=np.float64),
        time_months=times,
        event=np.array([p.event == 1 for p in used], dtype=bool),
        covariates=coded.columns,
        names=coded.names,
        strata=tuple("/".join(str(getattr(p, name)) for name in config.strata) for p in used),
        left_out=tuple(left_out),
        notes=(*notes, *coded.notes),
        competing=np.array([p.event == 2 for p in used], dtype=bool),
        terms=coded.terms,
    )


def _check(frame: pd.DataFrame, cohort: Cohort, config: AnalysisConfig, scheme: str) -> None:
    """Refuse in-sample scores and names that do not exist, before any work."""
    other = sorted(set(frame["split"]) - set(OUT_OF_SAMPLE))
    if other:
        message = (
            f"prognosis needs scores of patients the model did not see (split 'oof', 'test' or 'new'); "
            f"found {int(frame['split'].isin(other).sum())} rows with split '{other[0]}'"
        )
        raise StopRun("score_in_sample", message)
    classes = scheme_classes(scheme)
    if config.score not in classes:
        raise unknown_name(f"class for analysis.score in scheme {scheme}", config.score, classes)
    known = [*cohort.patients[0].covariates, *cohort.patients[0].groups] if cohort.patients else []
    for name in config.covariates:
        if name not in known:
            where = "covariate in analysis.covariates (not under cohort.covariates or cohort.groups)"
            raise unknown_name(where, name, known)


def _left_out(patient_id: str, patient: Patient | None, code: str, reason: str) -> Skipped:
    """The row that says so."""
    return Skipped(patient_id, patient.cohort if patient else "", "analysis", code, reason, CODES[code][1])


def counts_by_reason(left_out: tuple[Skipped, ...]) -> tuple[tuple[str, int], ...]:
    """How many were left out for each reason, most frequent first."""
    return tuple(Counter(row.reason for row in left_out).most_common())
