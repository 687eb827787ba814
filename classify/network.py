"""The head ``network``: a trained encoder's own probabilities, with nothing fitted on top.

A trained encoder embeds each slice as the probabilities of the classes. `classify.pooling` makes one vector a view of
a patient's slices; with the median this is the aggregation of Fridman & Goldstein 2025 (arXiv 2510.13897). The head
averages the views and renormalizes, for medians of probabilities need not sum to 1. Temperature and prediction sets
are learned as for every head, from the labels of other patients, and do not change which class comes first.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from classify.design import Design
from classify.majority import DIAL
from triher.errors import StopRun
from triher.settings import ClassifyConfig, Config
from triher.store import Features, Header
from triher.types import Labels, Probabilities

LEAST_P = 1e-12
"""Of a class, before renormalizing: so many zeros that no ranks are lost, and the logarithm stays finite."""
_TOLERANCE = 0.01  # bfloat16 has 8 bits of mantissa, so that three probabilities may miss 1 by that
_SPREADS = ("std",)  # statistics that tell how far slices differ, and not what they say
_REMEDY = "train the encoder ('triher finetune', a section finetune), or set classify.head=logistic"


@dataclass(frozen=True)
class Network:
    """How the columns are laid out: view by view, in each the classes of the scheme in order."""

    n_views: int
    n_classes: int

    def scores(self, design: Design) -> Float64[np.ndarray, "patient class"]:
        """Mean of the views, at least `LEAST_P`."""
        views = design.vectors.reshape(-1, self.n_views, self.n_classes)
        return np.maximum(views.mean(axis=1, dtype=np.float64), LEAST_P)

    def probabilities(self, design: Design) -> Probabilities:
        """The scores, as shares of their sum."""
        scores = self.scores(design)
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    def to_bytes(self) -> bytes:
        """Views and classes as JSON."""
        return json.dumps({"n_classes": self.n_classes, "n_views": self.n_views}).encode()


@dataclass(frozen=True)
class NetworkPart:
    """A training part, of which only the columns count."""

    fitted: Network

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]:
        """The one prediction there is."""
        for _ in DIAL:
            yield self.fitted.probabilities(test)

    def fit(self, params: dict[str, int | float], seed: int) -> Network:
        """The layout; neither parameters nor seed matter."""
        return self.fitted


def prepare(
    design: Design, y: Labels, n_classes: int, *, weights: Float64[np.ndarray, " patient"] | None, exact: bool
) -> NetworkPart:
    """Look whether the columns can be probabilities.

    Args:
        design: pooled probabilities, all in one block.
        y: without effect.
        n_classes: classes of the scheme.
        weights: without effect.
        exact: without effect.

    Raises:
        StopRun: ``not_probabilities`` unless there are n_classes columns a view, with values between 0 and 1.
    """
    rows = design.vectors
    if len(design.blocks) > 1 or rows.shape[1] % n_classes or not rows.shape[1]:
        message = f"the head 'network' takes {n_classes} columns a view, found blocks of {list(design.blocks)}"
        raise StopRun("not_probabilities", message, remedy=_REMEDY)
    _require_shares(rows, "the pooled features")
    return NetworkPart(Network(rows.shape[1] // n_classes, n_classes))


def load(data: bytes, *, n_features: int, n_classes: int) -> Network:
    """Read what `Network.to_bytes` wrote.

    Raises:
        StopRun: ``bundle_corrupt`` unless the file says how the features are laid out.
    """
    try:
        facts = json.loads(data)
    except ValueError as error:
        raise StopRun("bundle_corrupt", f"head.json: expected {{'n_classes', 'n_views'}}: {error}") from error
    n_views, rest = divmod(n_features, n_classes)
    if facts != {"n_classes": n_classes, "n_views": n_views} or rest:
        message = f"head.json: expected {n_features} columns, {n_classes} classes a view, found {str(facts)[:100]}"
        raise StopRun("bundle_corrupt", message)
    return Network(n_views, n_classes)


def check_settings(config: ClassifyConfig) -> None:
    """Refuse whatever would change the probabilities on their way to the head, or would have no effect.

    Raises:
        StopRun: ``config_value`` naming all such settings.
    """
    wrong = [setting for setting, is_asked in _refused(config).items() if is_asked]
    if wrong:
        message = f"classify.head 'network' takes a trained encoder's probabilities as they are; not so {wrong[0]}"
        more = f", {'; '.join(wrong[1:])}" if wrong[1:] else ""
        raise StopRun("config_value", message + more, remedy="take these settings out, or set classify.head=logistic")


def _refused(config: ClassifyConfig) -> dict[str, bool]:
    """What is refused, and whether it was asked for."""
    return {
        f"classify.components={config.components}": config.components > 0,
        f"classify.harmonize.method={config.harmonize.method}": config.harmonize.method != "none",
        "classify.covariates with join=early (join=late stacks on it)": (
            bool(config.covariates) and config.join == "early"
        ),
        f"classify.pooling={list(config.pooling)} (one statistic)": len(config.pooling) != 1,
        "classify.pooling=std, which is no probability": bool({*config.pooling} & {*_SPREADS}),
        f"classify.class_weights={config.class_weights} (see finetune.class_weights)": config.class_weights != "none",
        "classify.label_noise, as the encoder would keep the labels that it was trained on": bool(config.label_noise),
        f"classify.features={config.features}": config.features is not None,
    }


def check_encoder(config: Config) -> None:
    """Refuse an encoder that gives no probabilities, before anything is extracted.

    Raises:
        StopRun: ``not_probabilities``.
    """
    extract = config.extract
    if config.finetune is None and not extract.is_trained:
        message = f"the head 'network' needs a trained encoder, and extract.encoder={extract.encoder} is none"
        raise StopRun("not_probabilities", message, remedy=_REMEDY)
    if extract.tokens != "default":
        message = f"the head 'network' takes probabilities, and extract.tokens={extract.tokens} gives the last layer"
        raise StopRun("not_probabilities", message, remedy="set extract.tokens=default, or classify.head=logistic")


def require_probabilities(header: Header, features: Features, views: Sequence[str], classes: Sequence[str]) -> None:
    """Stop unless features are a trained encoder's probabilities of these very classes, in every slice.

    Args:
        header: of the store.
        features: with the stored views; a slice that is not finite is left to others.
        views: entries of ``classify.views``; all views when empty.
        classes: of the scheme, in order.

    Raises:
        StopRun: ``not_probabilities``.
    """
    facts = header.encoder
    if facts.get("builder") != "trained" or facts.get("tokens", "default") != "default":
        message = f"the features come from '{facts.get('name', '')}', which gives no probabilities"
        raise StopRun("not_probabilities", message, remedy=_REMEDY)
    known = _stated_classes(facts)
    if known and known != tuple(classes):
        message = f"the encoder knows the classes {', '.join(known)}, and the scheme has {', '.join(classes)}"
        raise StopRun("not_probabilities", message, remedy="set scheme as in the training, or train another encoder")
    for view in views or sorted(features.views):
        if view not in features.views:
            message = f"classify.views: '{view}' is computed from other views, and is no probability"
            raise StopRun("not_probabilities", message, remedy="name stored views alone")
        _require_rows(features.views[view], view, len(classes))


def _stated_classes(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes that an encoder says it tells apart; empty where only their number tells the scheme."""
    try:
        return tuple(json.loads(facts["settings"])["classes"])
    except (ValueError, KeyError, TypeError):
        return ()


def _require_rows(rows: Float[np.ndarray, "slice column"], view: str, n_classes: int) -> None:
    """Stop unless every finite row holds one probability a class."""
    if rows.shape[1] != n_classes:
        message = f"view '{view}' has {rows.shape[1]} columns, expected {n_classes} probabilities"
        raise StopRun("not_probabilities", message, remedy=_REMEDY)
    finite = rows[np.isfinite(rows).all(axis=1)].astype(np.float64)
    _require_shares(finite, f"view '{view}'")
    sums = finite.sum(axis=1)
    if (np.abs(sums - 1) > _TOLERANCE).any():
        worst = sums[np.abs(sums - 1).argmax()]
        raise StopRun("not_probabilities", f"view '{view}': the values of a slice sum to {worst:.4g}", remedy=_REMEDY)


def _require_shares(rows: Float[np.ndarray, "row column"], what: str) -> None:
    """Stop unless all values lie between 0 and 1."""
    low, high = rows.min(initial=0.0), rows.max(initial=1.0)
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        message = f"{what} lie between {low:.4g} and {high:.4g}, and are no probabilities"
        raise StopRun("not_probabilities", message, remedy=_REMEDY)
