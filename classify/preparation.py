"""What is done to a model's inputs before its head sees them, learned from its training part alone.

In this order: gaps are filled with medians, sites are harmonized, features are reduced to principal components, and
covariates join.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from classify.design import Design
from classify.gaps import filled, medians
from classify.harmonization import Harmonizer, fit_harmonizer
from classify.inputs import Inputs
from classify.rotation import center_and_scale, principal_axes, standardize
from triher.settings import ClassifyConfig


@dataclass(frozen=True)
class Components:
    """Principal components of the standardized features (Jolliffe, Principal Component Analysis, 2002)."""

    mean: Float64[np.ndarray, " feature"]
    deviation: Float64[np.ndarray, " feature"]
    axes: Float64[np.ndarray, "feature component"]

    def apply(self, rows: Float[np.ndarray, "row feature"]) -> Float32[np.ndarray, "row component"]:
        """Coordinates along the axes, each row on its own."""
        return (standardize(rows, self.mean, self.deviation) @ self.axes).astype(np.float32)


@dataclass(frozen=True)
class Preparation:
    """The fitted steps; a step that was not asked for is None."""

    fill: Float64[np.ndarray, " feature"] | None
    """Medians of the features; None where gaps are not filled."""
    harmonizer: Harmonizer | None
    components: Components | None
    covariate_fill: Float64[np.ndarray, " covariate"]
    """Medians of the covariates."""
    joins_early: bool
    """Whether the covariates stand beside the features, as a block of equal weight."""

    def design(self, inputs: Inputs) -> Design:
        """What the head sees.

        Raises:
            StopRun: ``site_unseen`` where the policy on unseen sites says so.
        """
        rows = self.filled_rows(inputs)
        if self.harmonizer is not None:
            rows = self.harmonizer.transform(rows, inputs.site_of_row)
        if self.components is not None:
            rows = self.components.apply(rows)
        blocks: tuple[int, ...] = (rows.shape[1],)
        if self.joins_early:
            joined = np.repeat(self.covariates(inputs), np.diff(inputs.indptr), axis=0)
            rows, blocks = np.hstack([rows, joined]), (*blocks, joined.shape[1])
        return Design(rows.astype(np.float32), inputs.indptr, blocks)

    def filled_rows(self, inputs: Inputs) -> Float[np.ndarray, "row feature"]:
        """The features without gaps, where gaps are filled; else as they are."""
        return inputs.rows if self.fill is None else filled(inputs.rows, self.fill)

    def covariates(self, inputs: Inputs) -> Float64[np.ndarray, "patient covariate"]:
        """The covariates without gaps."""
        return filled(inputs.covariates, self.covariate_fill)


def fit_preparation(inputs: Inputs, config: ClassifyConfig) -> Preparation:
    """Learn the steps from a training part.

    Args:
        inputs: of the training part only.
        config: which steps.

    Raises:
        StopRun: as `classify.harmonization.fit_harmonizer`.
    """
    fill = medians(inputs.rows) if config.missing == "impute" else None
    rows = inputs.rows if fill is None else filled(inputs.rows, fill)
    harmonizer = None
    if config.harmonize.method != "none":
        method, unseen = config.harmonize.method, config.harmonize.unseen
        harmonizer = fit_harmonizer(method, rows, inputs.site_of_row, patient=inputs.patient_of_row, unseen=unseen)
        rows = harmonizer.transform(rows, inputs.site_of_row)
    components = _fit_components(rows, config.components) if config.components else None
    joins_early = config.join == "early" and bool(inputs.covariate_names)
    return Preparation(fill, harmonizer, components, medians(inputs.covariates), joins_early)


def _fit_components(rows: Float[np.ndarray, "row feature"], n: int) -> Components:
    """The first n axes, or as many as there are."""
    mean, deviation = center_and_scale(rows)
    axes, _ = principal_axes(standardize(rows, mean, deviation))
    return Components(mean, deviation, np.ascontiguousarray(axes[:, :n]))


def within_cohort(config: ClassifyConfig) -> ClassifyConfig:
    """The configuration for folds that part patients of one cohort by chance.

    A small site may fall into one fold as a whole. That is no external site, at which the user wants to be stopped,
    so its features stay as they are.
    """
    if config.harmonize.unseen != "stop":
        return config
    return config.model_copy(update={"harmonize": config.harmonize.model_copy(update={"unseen": "pass"})})
