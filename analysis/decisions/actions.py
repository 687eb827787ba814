"""The treatments that a HER2 class decides on, and who is taken to benefit from each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from analysis.patients.samples import DECIMALS, class_label
from triher.types import Labels, Probabilities, Scores


@dataclass(frozen=True)
class Action:
    """A treatment, and who is taken to benefit from it."""

    name: str
    """In ``metrics.csv`` and file names."""
    label: str
    """In print."""
    benefits: tuple[str, ...]
    """Classes of the scheme."""
    source: str


_TRASTUZUMAB = Action("trastuzumab", "Trastuzumab", ("positive",), "Slamon et al., N Engl J Med 2001;344:783")
_T_DXD = Action(
    "t_dxd",
    "T-DXd",
    ("low", "positive"),
    "DESTINY-Breast03 (Cortés et al., N Engl J Med 2022;386:1143) and DESTINY-Breast04 (Modi et al., N Engl J Med "
    "2022;387:9)",
)
_T_DXD_ULTRALOW = Action(
    "t_dxd_ultralow",
    "T-DXd, also for ultralow",
    ("ultralow", "low", "positive"),
    "the same and DESTINY-Breast06 (Bardia et al., N Engl J Med 2024;391:2110), which was of patients with hormone "
    "receptors after endocrine therapy",
)
ACTIONS: Mapping[str, tuple[Action, ...]] = {
    "triple": (_T_DXD, _TRASTUZUMAB),
    "binary": (_TRASTUZUMAB,),
    "ultralow": (_T_DXD_ULTRALOW, _T_DXD, _TRASTUZUMAB),
}
"""Label scheme -> the decisions that are judged."""


def benefit_score(probabilities: Probabilities, classes: tuple[str, ...], action: Action) -> Scores:
    """The predicted probability of being in a class that benefits."""
    columns = [classes.index(name) for name in action.benefits]
    return np.round(probabilities[:, columns].sum(axis=1), DECIMALS)


def who_benefits(y: Labels, classes: tuple[str, ...], action: Action) -> Bool[np.ndarray, " patient"]:
    """Who is in a class that benefits."""
    return np.isin(y, [classes.index(name) for name in action.benefits])


def benefits_label(action: Action) -> str:
    """Those who benefit, in words.

    >>> benefits_label(ACTIONS["triple"][0])
    'HER2-low or -positive'
    """
    first, *rest = action.benefits
    return " or ".join([class_label(first), *(f"-{name}" for name in rest)])
