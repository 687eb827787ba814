"""The decisions of a run: each action's net benefit in every split, cohort, and beside the covariates alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from analysis.decisions.actions import Action
from analysis.decisions.net_benefit import Curve, decision_curve
from analysis.discrimination.beside import pair_up
from analysis.metrics import Metric
from analysis.part import Material
from analysis.patients.samples import Sample, subgroup_samples
from triher.types import Labels, Probabilities

Shares = Float64[np.ndarray, " class"]

BASELINE = "clinical"
"""The companion whose curve stands beside the model's."""
NAMED = (0.1, 0.2, 0.3, 0.5, 0.7)
"""Thresholds of the table and of ``metrics.csv``."""


@dataclass(frozen=True)
class Judged:
    """One action in one split."""

    sample: Sample
    curve: Curve
    given: Curve | None
    """With the class shares of ``analysis.prevalence``."""
    beside: Curve | None
    """Model and baseline on the patients whom both predicted."""
    cohorts: Mapping[str, Curve]
    """Cohort -> its curve, where there are several."""


def judge_action(material: Material, sample: Sample, action: Action, shares: Shares | None) -> Judged:
    """All curves of one action in one split.

    Args:
        material: of the run.
        sample: labeled patients of the split.
        action: who is treated and who benefits.
        shares: of the classes where the model is to be used, or None.
    """
    config, classes = material.config, material.classes

    def curve(
        y: Labels,
        p: Probabilities,
        other: Probabilities | None = None,
        given: Shares | None = None,
    ) -> Curve:
        resamples, seed = config.analysis.resamples, config.seed
        return decision_curve(y, p, classes, action, resamples=resamples, seed=seed, baseline=other, shares=given)

    common = _common(material.companions, sample, config.scheme)
    several = len(material.frame.loc[material.frame["split"] == sample.split, "cohort"].unique()) > 1
    parts = subgroup_samples(material.frame, config.scheme, sample.split) if several else ()
    return Judged(
        sample,
        curve(sample.y, sample.probabilities),
        None if shares is None else curve(sample.y, sample.probabilities, given=shares),
        None if common is None else curve(*common),
        {part.cohort: curve(part.y, part.probabilities) for part in parts if not part.site},
    )


def _common(
    companions: pd.DataFrame | None, sample: Sample, scheme: str
) -> tuple[Labels, Probabilities, Probabilities] | None:
    """Labels, and both models' predictions, of the patients whom model and baseline predicted."""
    if companions is None:
        return None
    rows = companions[(companions["split"] == sample.split) & (companions["model"] == BASELINE)]
    if rows.empty:
        return None
    pair = pair_up(BASELINE, sample, rows, scheme)
    return pair.common.y, pair.common.probabilities, pair.companion


def action_metrics(judged: Judged) -> Iterator[Metric]:
    """The named thresholds as rows."""
    curves: list[tuple[str, str, Curve | None]] = [("", "", judged.curve), ("", "_given_shares", judged.given)]
    curves.append(("", "", judged.beside))
    curves += [(cohort, "", curve) for cohort, curve in judged.cohorts.items()]
    for cohort, suffix, curve in curves:
        if curve is None:
            continue
        shown = ("net_benefit_baseline", "net_benefit_ahead") if curve is judged.beside else curve.quantities
        for quantity in shown:
            for t in NAMED:
                name = f"{quantity}_at_{100 * t:.0f}{suffix}"
                place = (judged.sample.split, name, curve.at(quantity, t), curve.action.name)
                yield Metric("decision", *place, cohort=cohort)
