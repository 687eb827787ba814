"""One patient before the locked model: log-odds of the classes as a function of the slices' embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Float64

from classify.apply import is_bare
from classify.attribution.backward import before_algebra, before_bag, before_pooling, before_preparation
from classify.attribution.odds import log_odds, log_odds_slopes
from classify.attribution.slopes import is_smooth
from classify.bundle import Bundle
from classify.cases import inputs_of, leave_out_gaps
from classify.heads import find_head
from classify.inputs import Inputs
from classify.source import Source
from classify.view_algebra import derive_views
from triher.cohort import Patient
from triher.errors import StopRun
from triher.labels import scheme_classes
from triher.store import Features

_VALUES_AT_ONCE = 4_000_000  # embeddings of variants that are held in memory together


@dataclass(frozen=True)
class Chain:
    """All that lies between the embeddings of one patient's slices and the log-odds of the classes.

    View algebra, pooling, gaps, harmonization, components, head, second model and temperature are the bundle's own;
    the patient's covariates, site, slice positions and lesion areas stay as they are.
    """

    bundle: Bundle
    patient: Patient
    features: Features
    """Of this patient alone, with the stored views."""
    names: Mapping[str, tuple[str, ...]]
    """View -> names of its columns; empty for embeddings, which have numbers."""

    @property
    def is_smooth(self) -> bool:
        """Whether there is a gradient: not for trees and class shares, whose maps come from occlusion."""
        return is_smooth(self.bundle.model.fitted)

    def log_odds(
        self, views: Mapping[str, Float[np.ndarray, "variant slice feature"]]
    ) -> Float64[np.ndarray, "variant class"]:
        """The log-odds log p_c - log(1 - p_c) of variants of the patient, as the whole model says.

        Args:
            views: every stored view, each with all slices of the patient in the order of the store.

        Returns:
            See `classify.attribution.odds.log_odds` for how p near 0 and 1 is held.

        Raises:
            StopRun: as `classify.training.Model.predict`, or ``embedding_nonfinite`` for a variant without a whole
                view.
        """
        n_variants = len(next(iter(views.values())))
        size = sum(rows.size for rows in views.values()) // max(n_variants, 1)
        step = max(1, _VALUES_AT_ONCE // max(size, 1))
        starts = range(0, n_variants, step)
        parts = [self._some({name: rows[start : start + step] for name, rows in views.items()}) for start in starts]
        return np.concatenate([np.zeros((0, len(scheme_classes(self.bundle.scheme)))), *parts])

    def gradient(
        self, views: Mapping[str, Float[np.ndarray, "slice feature"]]
    ) -> dict[str, Float32[np.ndarray, "class slice feature"]]:
        """Slopes of the log-odds of each class at the embeddings of every stored view, by formula.

        It is the slope of the same chain as `log_odds`, as if nothing were rounded to float32 on the way, and differs
        from the exact one by less than 1e-6 of its largest value. Where there is no slope (two slices share the
        maximum, a relative change of nothing), see `classify.attribution.backward`. A gap has none, and a view that
        the model does not use has 0.

        Args:
            views: every stored view, each with all slices of the patient in the order of the store.

        Raises:
            TypeError: for a head without a gradient, see `is_smooth`.
            StopRun: as `log_odds`.
        """
        stored = replace(self.features, views={name: np.asarray(x, np.float32) for name, x in views.items()})
        derived, inputs = self._inputs(stored)
        model, entries = self.bundle.model, self.bundle.views
        slopes = before_preparation(model.preparation, inputs, log_odds_slopes(model, inputs))
        if find_head(model.head).takes_bags:
            by_entry = before_bag(derived, slopes)
        else:
            by_entry = before_pooling(derived, {entry: self._pooling(entry) for entry in entries}, slopes)
        found = before_algebra(stored, entries, by_entry)
        return {name: slope.astype(np.float32) for name, slope in found.items()}

    def _some(self, views: Mapping[str, np.ndarray]) -> Float64[np.ndarray, "variant class"]:
        """Log-odds of variants, each as a patient of its own."""
        given, n = self.features, len(next(iter(views.values())))
        length = len(given.slice_index)
        variants = Features(
            given.patient_id * n,
            given.input_sha256 * n,
            np.arange(n + 1, dtype=np.int64) * length,
            np.tile(given.slice_index, n),
            np.tile(given.area_mm2, n),
            {name: np.asarray(rows, np.float32).reshape(n * length, -1) for name, rows in views.items()},
        )
        return log_odds(self.bundle.model.predict(self._inputs(variants)[1]))

    def _inputs(self, stored: Features) -> tuple[Features, Inputs]:
        """The views in use and what the model sees, as when the bundle is applied."""
        config, known = self.bundle.config(), {self.patient.patient_id: self.patient}
        derived, skipped = leave_out_gaps(derive_views(stored, self.bundle.views), known, config, self.names)
        if skipped:
            raise StopRun(skipped[0].code, f"patient '{self.patient.patient_id}': {skipped[0].reason}")
        people = [self.patient] * len(derived.patient_id)
        return derived, inputs_of(derived, people, config, self.names, bare=self._is_bare)

    @property
    def _is_bare(self) -> bool:
        """Whether columns of a table are taken as they stand."""
        return is_bare(self.bundle, Source(self.bundle.header, self.features, self.names))

    def _pooling(self, view: str) -> tuple[str, ...]:
        """The statistics of a view; a column that is taken as it stands is the mean of one row."""
        return ("mean",) if self._is_bare and view in self.names else self.bundle.pooling


def chain_of(bundle: Bundle, patient: Patient, features: Features, names: Mapping[str, tuple[str, ...]]) -> Chain:
    """The chain of a patient, after proving that the model can predict it.

    A site that the training did not have and that is to be standardized by its own patients cannot be so by one
    patient, and stays as it is; `classify.attribution.everyone` settles it with all of its patients.

    Args:
        bundle: as read by `classify.bundle.read_bundle`.
        patient: whose covariates and site count.
        features: of this patient alone, as stored.
        names: view -> names of its columns, where they have names.

    Raises:
        StopRun: ``feature_order`` when the features are not the model's, ``site_unseen``, ``covariate_missing`` or
            ``embedding_nonfinite``.
    """
    model, harmonizer = bundle.model, bundle.model.preparation.harmonizer
    if harmonizer is not None and harmonizer.unseen == "standardize":
        preparation = replace(model.preparation, harmonizer=replace(harmonizer, unseen="pass"))
        bundle = replace(bundle, model=replace(model, preparation=preparation))
    chain = Chain(bundle, patient, features, names)
    chain.log_odds({name: rows[None] for name, rows in features.views.items()})
    return chain
