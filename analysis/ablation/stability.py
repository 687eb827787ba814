"""How far each encoder's features stay the same when images or masks are disturbed."""

from dataclasses import dataclass

from jaxtyping import Float64
from numpy import ndarray

from analysis.ablation.material import StudyMaterial
from triher.study import StudyFolder
from triher.types import Vectors


@dataclass(frozen=True)
class Stability:
    """The features of one encoder under one disturbance, by ICC(A,1)."""

    encoder: str
    disturbance: str
    """Label of the level: ``noise=0.05``."""
    n_patients: int
    """Embedded with and without the disturbance."""
    n_features: int
    """That have an ICC."""
    median: float
    quartiles: tuple[float, float]
    """Low and high."""
    share_good: float
    """Of the features with an ICC of 0.75 or more."""
    share_excellent: float
    """Of 0.90 or more."""
    lower_limit_median: float
    """Median of the features' 95 % lower limits."""
    cosine: float
    """Median over the patients of the cosine of their two vectors, each centered by the undisturbed mean."""
    n_constant: int = 0
    """Features without any variance, which have no ICC and are in none of the numbers above."""
    reason: str = ""
    """Why the numbers are NaN; empty where they are not."""


def icc(first: Vectors, second: Vectors) -> Float64[ndarray, " feature"]:
    """ICC(A,1) of each feature."""
    raise NotImplementedError


def stabilities(folder: StudyFolder, material: StudyMaterial) -> tuple[Stability, ...]:
    """Each encoder under each disturbance of the study."""
    raise NotImplementedError
