"""The numbers of the survival measures as rows, for ``metrics.csv`` and for the tables of the report."""

from analysis.metrics import Metric
from analysis.survival.cox import CoxModel
from analysis.survival.measures import CompetingRisks, SurvivalMeasures
from triher.errors import Note
from triher.estimate import Estimate

PART = "survival"

Row = tuple[str, str, str, Estimate]
"""Quantity, months, group, number."""


def horizon_notes(measures: SurvivalMeasures) -> list[Note]:
    """A remark for each horizon that was dropped."""
    limit = measures.horizons.limit
    reach = f"can be judged up to {limit:.1f} months" if limit else "cannot be judged at any time"
    return [
        Note("", "horizon_beyond", f"{t:g} months is beyond the follow-up of split '{measures.split}', which {reach}")
        for t in measures.horizons.beyond
    ]


def survival_metrics(measures: SurvivalMeasures) -> list[Metric]:
    """All numbers of a split."""
    rows = [*ranking_rows(measures), *half_rows(measures), *group_rows(measures)]
    if measures.competing is not None:
        rows += incidence_rows(measures, measures.competing) + hazard_rows(measures.competing)
    rows += [("median_follow_up_months", "", "", measures.median_follow_up)]
    return [
        Metric(PART, measures.split, _named(quantity, months), estimate, group)
        for quantity, months, group, estimate in rows
    ]


def _named(quantity: str, months: str) -> str:
    """The quantity of a metric.

    >>> _named("auc", "24"), _named("rmst_difference_p", "24")
    ('auc_at_24_months', 'rmst_difference_at_24_months_p')
    """
    if not months:
        return quantity
    suffix = "_p" if quantity.endswith("_p") else ""
    return f"{quantity.removesuffix('_p')}_at_{months}_months{suffix}"


def ranking_rows(measures: SurvivalMeasures) -> list[Row]:
    """How the score ranks and predicts."""
    rows: list[Row] = [("harrell_c", "", "", measures.harrell), ("uno_c", "", "", measures.uno)]
    months = [f"{t:g}" for t in measures.horizons.months]
    rows += [("auc", t, "", e) for t, e in zip(months, measures.auc, strict=True)]
    error = measures.error
    if error is None:
        return rows
    for name, found in (("brier", error.model), ("brier_null", error.null), ("brier_scaled", error.scaled)):
        rows += [(name, t, "", e) for t, e in zip(months, found, strict=True)]
    rows += [("brier_integrated", "", "", error.integrated), ("brier_integrated_null", "", "", error.integrated_null)]
    return [*rows, ("brier_integrated_scaled", "", "", error.integrated_scaled)]


def half_rows(measures: SurvivalMeasures) -> list[Row]:
    """How long the halves live."""
    rows: list[Row] = [("median_survival_months", "", "", measures.median)]
    months = [f"{t:g}" for t in measures.horizons.months]
    for half in measures.halves:
        rows.append(("median_survival_months", "", half.label, half.median))
        rows += [("survival", t, half.label, at.survival) for t, at in zip(months, half.survival, strict=True)]
        rows += [("rmst", t, half.label, mean.months) for t, mean in zip(months, half.restricted, strict=True)]
    for t, difference in zip(months, measures.differences, strict=bool(measures.differences)):
        rows += [("rmst_difference", t, "", difference.months), ("rmst_difference_p", t, "", difference.p)]
    return rows


def group_rows(measures: SurvivalMeasures) -> list[Row]:
    """P values between the halves."""
    names = ("log_rank_p", "peto_peto_p", "log_rank_stratified_p")
    return [(name, "", "", test.p) for name, test in zip(names, measures.tests, strict=False)]


def incidence_rows(measures: SurvivalMeasures, risks: CompetingRisks) -> list[Row]:
    """Both incidences at the horizons."""
    rows: list[Row] = []
    for group in risks.groups:
        for t, own, other in zip(measures.horizons.months, group.own_at, group.other_at, strict=True):
            rows += [("incidence", f"{t:g}", group.label, own), ("competing_incidence", f"{t:g}", group.label, other)]
    return rows


def hazard_rows(risks: CompetingRisks) -> list[Row]:
    """Cause-specific hazard ratios of the score."""
    kinds = (("event", risks.own_model), ("competing_event", risks.other_model))
    return [(f"cause_specific_hazard_ratio_{kind}", "", "", ratio(model)) for kind, model in kinds]


def ratio(model: CoxModel) -> Estimate:
    """The hazard ratio of a model of one coefficient."""
    return model.coefficients[0].hazard_ratio
