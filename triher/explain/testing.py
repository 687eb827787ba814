"""Puts the map of one patient to the tests that can show it to be wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int

from classify.attribution.chain import Chain
from extract.models import Encoder
from extract.saliency.shuffling import shuffled
from triher.explain.checks import Measured
from triher.explain.covering import embed_hidden
from triher.explain.hiding import Curves, hide_in_turn, tiles
from triher.explain.lesion_share import lesion_share
from triher.explain.likeness import rank_likeness, structure_likeness
from triher.explain.patients import Looked, draw_maps
from triher.explain.scene import Scene

_N_NETWORKS = 3  # with shuffled weights, which the patients of a network take in turn; each takes a second to build
_MOVED = 0.9  # share of the features, which permutations of 20 and more all but surely reach
_MOST = 6  # of them held in memory at once

_NO_CURVES = Curves(float("nan"), float("nan"), float("nan"))
"""Of cubes, which cannot be hidden slice by slice."""


@dataclass(frozen=True)
class Shuffles:
    """Networks that have learned nothing, each made when it is first needed."""

    seed: int
    made: dict[tuple[str, int], Encoder] = field(default_factory=dict)

    def network(self, encoder: Encoder, number: int) -> Encoder:
        """A patient's network with its weights shuffled.

        Args:
            encoder: the patient's.
            number: of the patient among those tested.
        """
        key = encoder.spec.settings, number % _N_NETWORKS
        if key not in self.made:
            if len(self.made) == _MOST:
                self.made.clear()
            self.made[key] = shuffled(encoder, self.seed + key[1])
        return self.made[key]


def put_to_test(scene: Scene, looked: Looked, shuffles: Shuffles, number: int) -> Measured:
    """All that is measured of one patient's map of the predicted class.

    What the head looks for is taken from the patient's own embeddings for all maps: those of a network without
    knowledge lie so far from any patient's that the log-odds are flat there, and the map empty whatever it shows.

    Args:
        scene: the explained model.
        looked: the patient.
        shuffles: the networks without knowledge.
        number: of the patient among those tested, which decides what is drawn for her.
    """
    rng = np.random.default_rng([shuffles.seed, number])
    label, heat = looked.predicted, looked.maps.maps[looked.predicted]
    blank = shuffles.network(looked.network, number)
    of_weights = draw_maps(scene, blank, looked.drawing, looked.chain, looked.views, label)[0]
    head = ShuffledHead(looked.chain, exchanged(next(iter(looked.views.values())).shape[1], rng))
    of_head = draw_maps(scene, looked.network, looked.drawing, head, looked.views, label)[0]
    spacing_mm, patch_mm = looked.drawing.slab.spacing_mm, float(scene.options.patch_mm)
    squares = tiles(heat.shape, spacing_mm, patch_mm)

    def judge(hidden: Bool[np.ndarray, "variant slice row col"]) -> Float64[np.ndarray, " variant"]:
        views = embed_hidden(looked.network, looked.drawing, hidden, patch_mm)
        return looked.chain.log_odds(views)[:, label]

    return Measured(
        rank_likeness(heat, of_weights),
        structure_likeness(heat, of_weights),
        rank_likeness(heat, of_head),
        structure_likeness(heat, of_head),
        hide_in_turn(heat, squares, judge, rng) if looked.network.spec.dimensions == 2 else _NO_CURVES,
        lesion_share(of_weights, looked.drawing.mask, spacing_mm),
    )


def exchanged(n: int, rng: np.random.Generator) -> Int[np.ndarray, " feature"]:
    """Features in another order; few of them, as probabilities are, are moved on, so that none keeps its place."""
    order = rng.permutation(n)
    is_moved = np.mean(order != np.arange(n)) > _MOVED
    return order if is_moved else np.roll(np.arange(n), 1 + int(rng.integers(max(1, n - 1))))


@dataclass(frozen=True)
class ShuffledHead:
    """A chain that looks for the same in other features: what it is given it takes in another order."""

    chain: Chain
    order: Int[np.ndarray, " feature"]

    def log_odds(self, views: Mapping[str, np.ndarray]) -> np.ndarray:
        """Of embeddings whose features have been exchanged."""
        return self.chain.log_odds({name: rows[..., self.order] for name, rows in views.items()})

    def gradient(self, views: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The slope of the chain itself with its features exchanged.

        At exchanged embeddings the log-odds are far from any patient's, and so flat that no map would be left.
        """
        return {name: slope[..., self.order] for name, slope in self.chain.gradient(views).items()}
