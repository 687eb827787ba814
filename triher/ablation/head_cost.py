"""What the models of a cell take, measured by one of them on features of the right shape and the true labels."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from triher.ablation.keys import Cohorts
from triher.ablation.nodes import EmbedNode, RunNode
from triher.cohort import Cohort, labels
from triher.errors import StopRun
from triher.labels import scheme_classes
from triher.settings import ClassifyConfig, Config
from triher.store import Features, read_index

if TYPE_CHECKING:
    from classify.source import Source
    from extract.cost import EmbedCost

_TRIALS = 8  # what a model takes grows in proportion from there on, to a fifth or so
_FACTORS = 20  # embeddings of some hundred patients have about that many directions that matter
_SIGNAL = 0.4  # in standard deviations between classes; without any, trees would stop growing too soon
_OTHER = {
    "views", "pooling", "features", "control", "label_noise", "noise_draws", "storage", "shuffle_labels", "repeats",
}  # fmt: skip
"""Keys of ``classify`` that say nothing about the time of a fit beyond the number of features."""


@dataclass(frozen=True)
class Shape:
    """What features will look like."""

    views: tuple[str, ...]
    n_features: int
    """Of each view."""
    n_rows: int
    """A patient's in each view."""


def alike(config: Config, shape: Shape) -> str:
    """Equal for cells whose models take about as long: head, steps and patients alike, features within a factor 2."""
    own = config.classify
    width = len(own.views or shape.views) * shape.n_features * max(1, len(own.pooling))
    rest = _shortened(own).model_dump_json(exclude=_OTHER)
    return f"{round(math.log2(width))} {shape.n_rows} {config.scheme} {config.cohort.model_dump_json()} {rest}"


@dataclass(frozen=True)
class Fit:
    """What one model took, and how many there are."""

    before_s: float
    """Bringing the cases together."""
    fit_s: float
    """One model, with few trials."""
    n_folds: int
    """Models of each repeat."""
    n_final: int

    def seconds(self, own: ClassifyConfig) -> float:
        """Of all models of a cell with one seed, which may have more trials and repeats."""
        from classify.heads import find_head

        more = own.trials / min(own.trials, _TRIALS) if find_head(own.head).space else 1.0
        return self.before_s + (self.n_folds * own.repeats + self.n_final) * self.fit_s * more


@dataclass
class Models:
    """What runs take, measured once for all that are alike."""

    nodes: Mapping[str, EmbedNode]
    embeddings: Mapping[str, "EmbedCost"]
    known: Cohorts
    measured: dict[str, Fit | str] = field(default_factory=dict)
    """What a model took, or why that cannot be known."""

    @property
    def n_measured(self) -> int:
        """How many models were fitted to know it."""
        return len(self.measured)

    def seconds(self, run: RunNode) -> tuple[float, str]:
        """Of one run; NaN and the reason where it cannot be measured."""
        node = self.nodes.get(run.embedding)
        try:
            shape = self._shape(run.config, node)
            key = alike(run.config, shape)
        except StopRun as error:
            return math.nan, error.message
        if key not in self.measured:
            self.measured[key] = self._measure(run.config, node, shape)
        found = self.measured[key]
        return (math.nan, found) if isinstance(found, str) else (found.seconds(run.config.classify), "")

    def _shape(self, config: Config, node: EmbedNode | None) -> Shape:
        """What the features of a run look like: those that are there, or those that are to come."""
        if node is None:
            return _shape_of(self._source(config, node).features)
        if node.store is not None:
            index = read_index(node.store)
            return Shape(index.views, index.n_features, round(index.n_slices / max(1, len(index.inputs))))
        found = self.embeddings[node.key]
        n_features = found.n_features or _n_features_on_record(config)
        if not n_features:
            raise StopRun("weights_missing", found.reason)
        options = config.extract
        n_rows = options.slices.n if math.isnan(found.n_rows) else max(1, round(found.n_rows))
        return Shape(_views(config), n_features, n_rows)

    def _source(self, config: Config, node: EmbedNode | None) -> "Source":
        """Features that are there."""
        from classify.source import read_source

        path = node.store if node is not None else config.classify.features
        if path is None:
            raise ValueError("the run has no features")
        return read_source(path)

    def _measure(self, config: Config, node: EmbedNode | None, shape: Shape) -> Fit | str:
        """Fit one model."""
        cohort = self.known.read(config)
        try:
            if node is None or node.store is not None:
                source = self._source(config, node)
                return measure_model(config, cohort, source.features, source.names)
            return measure_model(config, cohort, draw_features(cohort, config.scheme, shape), {})
        except StopRun as error:
            return error.message


def _shape_of(features: Features) -> Shape:
    """Of features that were read."""
    widths = [rows.shape[1] for rows in features.views.values()]
    n_rows = len(features.slice_index) / max(1, len(features.patient_id))
    return Shape(tuple(features.views), max(widths), round(n_rows))


def _views(config: Config) -> tuple[str, ...]:
    """The views that an extraction makes."""
    from extract.fusion import find_fusions

    return tuple(fusion.name for fusion in find_fusions(config.extract.fusions, tuple(config.cohort.phases)))


def _n_features_on_record(config: Config) -> int:
    """What the table of encoders says of one that is not here; 0 where it says nothing, or not of these tokens."""
    from extract.encoders import find_encoder

    tokens = config.extract.tokens
    return find_encoder(config.extract.encoder).features * (1 + tokens.count("+"))


def measure_model(config: Config, cohort: Cohort, features: Features, names: Mapping[str, tuple[str, ...]]) -> Fit:
    """Fit one model of a cell.

    Args:
        config: of the cell.
        cohort: its patients.
        features: of all or some of them, real or drawn.
        names: view -> names of its columns, where they have names.

    Raises:
        StopRun: as `classify.cases.gather`, `classify.plan.make_plan` and `classify.training.fit_model`.
    """
    from threadpoolctl import threadpool_limits

    from classify.cases import gather
    from classify.plan import make_plan
    from classify.training import fit_model

    own = config.classify
    known, unlabeled = labels(cohort, config.scheme)
    start = time.monotonic()
    classes = scheme_classes(config.scheme)
    there = {*cohort.ids()} - {*features.patient_id}
    gathered = gather(
        cohort, known, unlabeled, features, accounted=there, config=own, classes=classes, feature_names=names
    )
    with threadpool_limits(limits=1):
        plan = make_plan(gathered.cases, gathered.patients, own, config.seed)
        begun = time.monotonic()
        fit_model(gathered.cases.take(plan.folds[0].sides.train), _shortened(own), config.seed)
        fit_s = time.monotonic() - begun
    return Fit(begun - start, fit_s, len(plan.folds) // own.repeats, bool(len(plan.final.test)))


def _shortened(own: ClassifyConfig) -> ClassifyConfig:
    """With few trials, which no storage remembers."""
    return own.model_copy(update={"trials": min(own.trials, _TRIALS), "storage": ""})


def draw_features(cohort: Cohort, scheme: str, shape: Shape) -> Features:
    """Features as an encoder might give them: correlated, with a weak signal of the class.

    Args:
        cohort: the patients; those without a class are left out.
        scheme: of the classes.
        shape: of the features.
    """
    known, _ = labels(cohort, scheme)
    rng = np.random.default_rng(0)
    y = np.repeat(np.array(list(known.values()), dtype=np.float64), shape.n_rows)
    n = len(known)
    views = {}
    for name in shape.views:
        factors = rng.normal(size=(len(y), _FACTORS)) + rng.normal(size=(n, _FACTORS)).repeat(shape.n_rows, axis=0)
        factors[:, :2] += _SIGNAL * y[:, None]
        rows = factors @ rng.normal(size=(_FACTORS, shape.n_features))
        views[name] = (rows + rng.normal(size=rows.shape)).astype(np.float32)
    return Features(
        tuple(known),
        tuple(f"{i:032d}" * 2 for i in range(n)),
        np.arange(n + 1, dtype=np.int64) * shape.n_rows,
        np.tile(np.arange(shape.n_rows, dtype=np.int32), n),
        np.ones(len(y), np.float32),
        views,
    )
