"""The validation of one class's probabilities as ``rms::val.prob`` prints it, for readers who know that table.

Harrell, Regression Modeling Strategies, 2nd ed. 2015, section 10.9; rms 6.5.
"""

import math

import numpy as np

from analysis.calibration.curves import calibration_errors, lowess_curve
from analysis.calibration.logistic_model import logit
from analysis.calibration.slopes import Condition, Probability, logistic_recalibration, spiegelhalter
from analysis.discrimination.delong import delong

VAL_PROB = (
    "Dxy", "C (ROC)", "R2", "D", "U", "Q", "Brier", "Intercept", "Slope", "Emax", "E90", "Eavg", "S:z", "S:p",
)  # fmt: skip
"""The quantities, in rms's order and under rms's names."""


def val_prob(condition: Condition, p: Probability) -> dict[str, float]:
    """Discrimination D, unreliability U and quality Q = D - U per patient, with what goes into them.

    R2 is Nagelkerke's of the probabilities as they are: below 0 they are worse than the class share. The intercept
    stands beside the free slope. Emax, E90 and Eavg are distances to a lowess curve without robustness steps.

    Args:
        condition: who is of the class; at least 5 are, and 5 are not.
        p: predicted probability, clipped at 1e-6 for its logit.

    Returns:
        The quantities of `VAL_PROB`; NaN where one cannot be estimated.
    """
    n, share = len(p), float(condition.mean())
    x = logit(p)
    as_predicted = float(-2 * np.where(condition, -np.logaddexp(0, -x), -np.logaddexp(0, x)).sum())
    without = -2 * n * (share * math.log(share) + (1 - share) * math.log(1 - share))
    area, _ = delong(p[condition], p[~condition])
    logistic = logistic_recalibration(condition, p, "")
    errors = calibration_errors(p, lowess_curve(condition, p))
    z, z_p = spiegelhalter(condition, p)
    discrimination = (without - as_predicted - 1) / n
    unreliability = (logistic.unreliability_chi2 - 2) / n
    values = (
        2 * area - 1,
        area,
        (1 - math.exp((as_predicted - without) / n)) / (1 - math.exp(-without / n)),
        discrimination,
        unreliability,
        discrimination - unreliability,
        float(((p - condition) ** 2).mean()),
        logistic.intercept.value,
        logistic.slope.value,
        errors.emax,
        errors.e90,
        errors.ici,
        z,
        z_p,
    )
    return dict(zip(VAL_PROB, values, strict=True))
