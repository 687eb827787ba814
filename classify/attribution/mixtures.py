"""Patients mixed from the inputs of two: what the model says of some of the one and the rest of the other.

A group of inputs is what is exchanged as a whole: all features of a view (a phase, or a fusion of phases), or one
covariate. The site is no input: its effect is taken out of every patient's features at the patient's own site before
they are mixed.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int

from classify.attribution.everyone import Everyone
from classify.attribution.odds import log_odds
from classify.cases import inputs_of
from classify.heads import find_head
from classify.inputs import Inputs
from classify.training import Model

_VALUES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Group:
    """Inputs that are exchanged together."""

    name: str
    kind: str
    """``view`` or ``covariate``."""
    columns: slice
    """Among the features of a view, or among the covariates."""


@dataclass(frozen=True)
class Mixer:
    """The model after harmonization, and the inputs to mix."""

    model: Model
    inputs: Inputs
    """Without gaps in the features, harmonized."""
    groups: tuple[Group, ...]
    takes_bags: bool

    def log_odds(self, who: Int[np.ndarray, "mixture group"]) -> Float64[np.ndarray, "mixture class"]:
        """Log-odds of patients mixed from others.

        Where a head takes bags and the views of a bag are of patients with different numbers of slices, the shorter
        ones are drawn out to the longest: slice k of n becomes the one nearest to the same relative position.

        Args:
            who: for each mixture and group the position of the patient that the group is taken from.
        """
        step = max(1, _VALUES_AT_ONCE // max(1, self.inputs.rows.shape[1]))
        mix = self._bags if self.takes_bags else self._vectors
        parts = [mix(who[start : start + step]) for start in range(0, len(who), step)]
        return log_odds(np.concatenate([self.model.probabilities(part) for part in parts]))

    def _vectors(self, who: Int[np.ndarray, "mixture group"]) -> Inputs:
        """Mixtures of patients with one row each."""
        rows = np.empty((len(who), self.inputs.rows.shape[1]), self.inputs.rows.dtype)
        for place, group in enumerate(self.groups):
            if group.kind == "view":
                rows[:, group.columns] = self.inputs.rows[who[:, place], group.columns]
        return self._mixed(who, rows, np.arange(len(who) + 1, dtype=np.int64))

    def _bags(self, who: Int[np.ndarray, "mixture group"]) -> Inputs:
        """Mixtures of patients with a row a slice."""
        views = [(place, group.columns) for place, group in enumerate(self.groups) if group.kind == "view"]
        lengths = np.diff(self.inputs.indptr)
        longest = lengths[who[:, [place for place, _ in views]]].max(axis=1)
        indptr = np.concatenate([[0], np.cumsum(longest)]).astype(np.int64)
        rows = np.empty((indptr[-1], self.inputs.rows.shape[1]), self.inputs.rows.dtype)
        for mixture, length in enumerate(longest):
            here = slice(indptr[mixture], indptr[mixture + 1])
            for place, columns in views:
                patient = who[mixture, place]
                nearest = np.rint(np.linspace(0, lengths[patient] - 1, length)).astype(np.int64)
                rows[here, columns] = self.inputs.rows[self.inputs.indptr[patient] + nearest, columns]
        return self._mixed(who, rows, indptr)

    def _mixed(self, who: Int[np.ndarray, "mixture group"], rows: np.ndarray, indptr: np.ndarray) -> Inputs:
        """Rows and mixed covariates."""
        covariates = np.empty((len(who), len(self.inputs.covariate_names)))
        for place, group in enumerate(self.groups):
            if group.kind == "covariate":
                covariates[:, group.columns] = self.inputs.covariates[who[:, place], group.columns]
        nowhere = np.full(len(who), "", dtype=object)
        return Inputs(rows, indptr, self.inputs.names, covariates, self.inputs.covariate_names, nowhere)


def mixer_of(everyone: Everyone) -> Mixer:
    """Fill gaps, take out sites, and find the groups."""
    model, inputs = everyone.bundle.model, everyone.inputs
    preparation = model.preparation
    rows = preparation.filled_rows(inputs)
    if preparation.harmonizer is not None:
        rows = preparation.harmonizer.transform(rows, inputs.site_of_row)
    plain = replace(model, preparation=replace(preparation, harmonizer=None))
    return Mixer(plain, replace(inputs, rows=rows), _groups(everyone), find_head(model.head).takes_bags)


def _groups(everyone: Everyone) -> tuple[Group, ...]:
    """The views, as wide as the model sees them, and the covariates."""
    config, one = everyone.bundle.config(), everyone.derived.select([0])
    found, start = [], 0
    for view, rows in one.views.items():
        alone = replace(one, views={view: rows})
        width = len(inputs_of(alone, everyone.patients[:1], config, everyone.names, bare=everyone.is_bare).names)
        found.append(Group(view, "view", slice(start, start + width)))
        start += width
    covariates = enumerate(everyone.inputs.covariate_names)
    return (*found, *(Group(name, "covariate", slice(i, i + 1)) for i, name in covariates))
