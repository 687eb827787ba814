"""The rows of ``metrics.csv`` about survival."""

import math
from collections.abc import Iterator

from analysis.metrics import Metric
from analysis.survival.cox import CoxModel
from analysis.survival.depth import Depth
from analysis.survival.prognosis import Prognosis
from triher.estimate import Estimate


def prognosis_metrics(prognosis: Prognosis) -> list[Metric]:
    """The rows of one split's survival part."""
    quantities = {
        "log_rank_p": prognosis.log_rank,
        "concordance": prognosis.concordance,
        "score_added_p": prognosis.added,
        "concordance_gain": prognosis.concordance_gain,
    }
    if prognosis.adjusted is None:
        del quantities["concordance_gain"]
    rows = [Metric("prognosis", prognosis.split, name, estimate) for name, estimate in quantities.items()]
    rows += _model_metrics(prognosis.split, "alone", prognosis.alone)
    rows += _model_metrics(prognosis.split, "adjusted", prognosis.adjusted) if prognosis.adjusted else []
    return [*rows, *_depth_metrics(prognosis.split, prognosis.depth)]


def _model_metrics(split: str, kind: str, model: CoxModel) -> Iterator[Metric]:
    """Hazard ratios, p values and tests of one Cox model."""
    how = "Cox, penalized likelihood ratio, p value" if model.penalty == "firth" else "Cox, Wald p value"
    for line in model.coefficients:
        yield Metric("prognosis", split, f"hazard_ratio_{kind}", line.hazard_ratio, line.name)
        p = Estimate(line.p, math.nan, math.nan, model.n, how, model.reason)
        yield Metric("prognosis", split, f"hazard_ratio_{kind}_p", p, line.name)
    ratio = Estimate(model.events_per_coefficient, math.nan, math.nan, model.n, "events per coefficient")
    yield Metric("prognosis", split, f"events_per_coefficient_{kind}", ratio)
    for test in model.proportionality:
        p = Estimate(test.p, math.nan, math.nan, model.n, "proportional hazards, exact score test (km), p value")
        yield Metric("prognosis", split, f"proportionality_{kind}_p", p, test.name)
    for line, factor in zip(model.coefficients, model.inflation, strict=False):
        found = Estimate(factor, math.nan, math.nan, model.n, "variance inflation factor")
        yield Metric("prognosis", split, f"variance_inflation_{kind}", found, line.name)


def _depth_metrics(split: str, depth: Depth) -> Iterator[Metric]:
    """Shape, periods and cut."""
    yield Metric("prognosis", split, "score_nonlinear_p", depth.shape.nonlinear)
    for period in depth.periods:
        yield Metric("prognosis", split, "hazard_ratio_before_split", period.before, period.name)
        yield Metric("prognosis", split, "hazard_ratio_after_split", period.after, period.name)
        yield Metric("prognosis", split, "hazard_ratios_differ_p", period.differ, period.name)
    if depth.cut is not None:
        yield Metric("prognosis", split, "best_cut_p", depth.cut.corrected)
        yield Metric("prognosis", split, "best_cut_p_naive", depth.cut.naive)  # no ``_p`` at the end: not a claim
