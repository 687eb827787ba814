"""The full table that variance is split over: which cells of a lattice, and which sites' patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Int, Int64

from analysis.ablation.material import Arena, StudyMaterial
from analysis.ablation.measures import Measure
from analysis.discrimination.aucs import shortage
from analysis.inference.intervals import FEWEST
from analysis.wording import count

_MOST = 0.8  # share of the patients that sites with enough of them must hold between them


@dataclass(frozen=True)
class Grid:
    """Cells in the order of a full lattice, and places."""

    axes: dict[str, tuple[str, ...]]
    """Axis -> labels of its levels, two or more."""
    cells: Int64[np.ndarray, " cell"]
    """Positions in the arena, the last axis running fastest."""
    factor: str
    """What the places are: ``site`` or ``cohort``; empty when all patients are one place."""
    places: tuple[Int64[np.ndarray, " _"], ...]
    """Positions of the patients at each place, in the order of their ids."""
    remarks: tuple[str, ...]
    """What was left out, in words."""
    dropped: tuple[str, ...] = ()
    """Levels that were left out because cells of theirs are missing: ``n4=shared``."""

    @property
    def n(self) -> int:
        """Patients at all places."""
        return sum(len(at) for at in self.places)


def lay_out(arena: Arena, material: StudyMaterial, measure: Measure) -> Grid | str:
    """Find the largest full table that the cells of an arena make.

    A level whose cells failed is left out, the one with the largest share of failed cells first. Sites are told apart
    where those with at least 5 patients on each side of the measure hold four fifths of the patients; else cohorts,
    by the same rule; else all patients are one place.

    Returns:
        The table, or why there is none.
    """
    if material.design != "lattice":
        return f"the design '{material.design}' has no combinations of levels, from which interactions could be told"
    there = _positions(arena, material)
    axes, dropped = _full_part(material.axes, set(there))
    if not axes:
        names = ", ".join(f"{axis}={level}" for axis, level in dropped)
        return f"without the levels whose cells failed ({names}) no axis has two levels"
    fixed = {axis: labels[0] for axis, labels in axes.items() if len(labels) == 1}
    cells = np.array([there[combination] for combination in product(*axes.values())], np.int64)
    gone = tuple(f"{axis}={level}" for axis, level in dropped)
    remarks = [f"without the failed level {level}" for level in gone]
    remarks += [f"{axis}={level} throughout" for axis, level in fixed.items()]
    factor, places, remark = _places(arena, measure)
    short = "" if factor else shortage(measure.needs(arena.y, arena.classes), fewest=FEWEST)
    if short:
        return short
    kept = {axis: labels for axis, labels in axes.items() if axis not in fixed}
    return Grid(kept, cells, factor, places, (*remarks, *([remark] if remark else [])), gone)


def _positions(arena: Arena, material: StudyMaterial) -> dict[tuple[str, ...], int]:
    """Combination of levels -> position of its cell, for the lattice's cells that the arena holds."""
    known = {name: i for i, name in enumerate(arena.names)}
    cells = [result.cell for result in material.results if result.cell.name in known]
    return {
        tuple(cell.levels[axis] for axis in material.axes): known[cell.name]
        for cell in cells
        if set(cell.levels) == set(material.axes)
    }


def _full_part(
    axes: Mapping[str, Sequence[str]], there: set[tuple[str, ...]]
) -> tuple[dict[str, tuple[str, ...]], list[tuple[str, str]]]:
    """Leave out levels until every combination is there; the axes, none when nothing is left, and the levels."""
    kept = {axis: list(labels) for axis, labels in axes.items()}
    dropped: list[tuple[str, str]] = []
    while any(len(labels) > 1 for labels in kept.values()):
        combinations = list(product(*kept.values()))
        missing = [one for one in combinations if one not in there]
        if not missing:
            return {axis: tuple(labels) for axis, labels in kept.items()}, dropped
        shares = {
            (axis, label): sum(one[i] == label for one in missing) * len(labels)
            for i, (axis, labels) in enumerate(kept.items())
            for label in labels
        }
        axis, label = max(shares, key=lambda level: shares[level])
        kept[axis].remove(label)
        dropped.append((axis, label))
        if not kept[axis]:
            break
    return {}, dropped


def _places(arena: Arena, measure: Measure) -> tuple[str, tuple[Int64[np.ndarray, " _"], ...], str]:
    """What places are, who is at each, and what is to be said of it."""
    cohort, site = arena.cohort.astype(str), arena.site.astype(str)
    named = {"site": np.array([f"{c}\0{s}" for c, s in zip(cohort, site, strict=True)], dtype=str), "cohort": cohort}
    by_id = np.argsort(np.array(arena.patient_id, dtype=str), kind="stable")
    if len(np.unique(named["site"])) == len(np.unique(cohort)):
        del named["site"]  # each cohort is one site
    for factor, names in named.items():
        groups = [by_id[names[by_id] == name] for name in np.unique(names)]
        large = [at for at in groups if _has_enough(arena, measure, at)]
        n = sum(len(at) for at in large)
        if len(large) > 1 and n >= _MOST * len(cohort):
            left = f"{count(len(cohort) - n, 'patient')} of {count(len(groups) - len(large), factor)}"
            return factor, tuple(large), f"{left} with too few left out" if n < len(cohort) else ""
    n_sites = len(set(zip(cohort, site, strict=True)))
    return "", (by_id,), f"{n_sites} sites with too few patients pooled" if n_sites > 1 else "one site"


def _has_enough(arena: Arena, measure: Measure, at: Int[np.ndarray, " _"]) -> bool:
    """Whether a place has an interval of its own."""
    return not shortage(measure.needs(arena.y[at], arena.classes), fewest=FEWEST)
