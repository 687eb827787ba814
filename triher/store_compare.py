"""Say in what two feature stores differ: what made them, who is in them, and by how much the numbers differ."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from triher.store import COSMETIC, Features, Header, Index, read_header, read_index
from triher.store_parts import read_parts, read_patients


@dataclass(frozen=True)
class Distance:
    """How far apart some embeddings are."""

    largest: float = 0.0
    """The largest absolute difference, as a share of the largest absolute value; infinite for other shapes."""
    cosine: float = 1.0
    """The least cosine between the two embeddings of a slice."""

    def worst(self, other: "Distance") -> "Distance":
        """The greater of both."""
        return Distance(max(self.largest, other.largest), min(self.cosine, other.cosine))


_APART = Distance(float("inf"), -1.0)


@dataclass(frozen=True)
class Comparison:
    """In what two stores differ."""

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    other_input: tuple[str, ...]
    """Patients in both, computed from different images, masks or regions."""
    other_embeddings: tuple[str, ...]
    """Patients of equal input whose embeddings differ by more than the tolerance."""
    views: dict[str, Distance]
    """For the views that both have, over the patients of equal input."""
    essential: tuple[str, ...]
    """Keys of encoder, recipe, views and facts that differ and that embeddings depend on."""
    cosmetic: tuple[str, ...]
    """Keys of the encoder and versions of libraries that differ, and change no embedding by themselves."""
    is_reordered: bool
    """Whether the patients of both stand in another order."""

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same; versions, license and order do not count."""
        return not (self.only_a or self.only_b or self.other_input or self.other_embeddings or self.essential)


def distance(a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."]) -> Distance:
    """How far apart two blocks of embeddings are, row by row.

    The difference is a share of the largest absolute value in both. Two rows of zeros have the cosine 1, one row of
    zeros 0. Blocks of other shapes are infinitely far apart, and so are numbers that are not finite, unless the
    blocks are equal.

    >>> distance(np.array([[3.0, 4.0]]), np.array([[3.0, 4.5]])).largest.__round__(3)
    0.111
    """
    if a.shape != b.shape:
        return _APART
    if np.array_equal(a, b, equal_nan=True):
        return Distance()
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return _APART
    x, y = a.astype(np.float64), b.astype(np.float64)
    largest = float(np.abs(x - y).max()) / max(float(np.abs(x).max()), float(np.abs(y).max()))
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosines = np.where(lengths > 0, (x * y).sum(axis=1) / np.where(lengths > 0, lengths, 1), (x == y).all(axis=1))
    return Distance(largest, float(np.clip(cosines, -1, 1).min()))


def differing_keys(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two JSON objects, one line a key.

    >>> differing_keys({"n": 1, "slices": {"n": 8}}, {"n": 1, "slices": {"n": 2}}, "recipe.")
    ['recipe.slices.n: 8 -> 2']
    """
    lines = []
    for key in sorted(a.keys() | b.keys()):
        left, right = a.get(key, "missing"), b.get(key, "missing")
        if isinstance(left, dict) and isinstance(right, dict):
            lines += differing_keys(left, right, f"{prefix}{key}.")
        elif left != right:
            lines.append(f"{prefix}{key}: {left} -> {right}")
    return lines


def compare_stores(a: Path, b: Path, *, tolerance: float = 0.0) -> Comparison:
    """Compare two stores, a part at a time in memory; every patient that is compared is checked, too.

    Args:
        a: one store.
        b: the other; its patients may stand in another order.
        tolerance: differences up to this share of a patient's largest value count as none.

    Raises:
        StopRun: as `triher.store.read_store`.
    """
    headers, indexes = (read_header(a), read_header(b)), (read_index(a), read_index(b))
    inputs = (indexes[0].inputs, indexes[1].inputs)
    shared = [name for name in inputs[0] if name in inputs[1]]
    other_input = tuple(name for name in shared if inputs[0][name] != inputs[1][name])
    views = {name: Distance() for name in indexes[0].views if name in indexes[1].views}
    other_embeddings = []
    comparable = set(shared) - set(other_input)
    for part in read_parts(a):
        left = part.select([i for i, name in enumerate(part.patient_id) if name in comparable])
        right = read_patients(b, left.patient_id)
        for i, name in enumerate(left.patient_id):
            rows = (left.rows(i), right.rows(i))
            found = {view: distance(left.views[view][rows[0]], right.views[view][rows[1]]) for view in views}
            views |= {view: views[view].worst(one) for view, one in found.items()}
            apart = max((one.largest for one in found.values()), default=0.0)
            if apart > tolerance or not _same_facts(left, right, i, tolerance):
                other_embeddings.append(name)
    keys = _differing_origin(headers, indexes)
    cosmetic = tuple(f"encoder.{name}: " for name in COSMETIC)
    return Comparison(
        tuple(name for name in inputs[0] if name not in inputs[1]),
        tuple(name for name in inputs[1] if name not in inputs[0]),
        other_input,
        tuple(other_embeddings),
        views,
        tuple(line for line in keys if not line.startswith(cosmetic)),
        (
            *(line for line in keys if line.startswith(cosmetic)),
            *differing_keys(headers[0].versions, headers[1].versions, "libraries."),
        ),
        is_reordered=shared != [name for name in inputs[1] if name in inputs[0]],
    )


def _differing_origin(headers: tuple[Header, Header], indexes: tuple[Index, Index]) -> list[str]:
    """What made the embeddings and what is held beside them, one line a key that differs."""
    views, facts = (
        [dict.fromkeys(names, "there") for names in both]
        for both in ([one.views for one in indexes], [one.acquisition for one in indexes])
    )
    return [
        *differing_keys(headers[0].encoder, headers[1].encoder, "encoder."),
        *differing_keys(headers[0].recipe, headers[1].recipe, "recipe."),
        *differing_keys(views[0], views[1], "views."),
        *differing_keys(facts[0], facts[1], "facts."),
    ]


def _same_facts(left: Features, right: Features, i: int, tolerance: float) -> bool:
    """Whether the slices, areas and acquisition of a patient are the same in both."""
    a, b = left.rows(i), right.rows(i)
    if not np.array_equal(left.slice_index[a], right.slice_index[b]):
        return False
    pairs = [(left.area_mm2[a], right.area_mm2[b])]
    shared = left.acquisition.keys() & right.acquisition.keys()
    pairs += [(left.acquisition[name][i : i + 1], right.acquisition[name][i : i + 1]) for name in shared]
    return all(np.allclose(x, y, rtol=tolerance, atol=0, equal_nan=True) for x, y in pairs)
