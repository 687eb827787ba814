"""Harmonization of sites: kinds, and what happens to sites that the training did not have.

No kind is ever given the label. ComBat was not made for sites that it was not fitted on (its author in issue 13 of
ComBatHarmonization), so what becomes of those is chosen and recorded. The result is to be reported beside the one
without harmonization.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from classify.combat import fit_combat
from classify.site_effects import SiteEffects, effects_from_arrays
from classify.sitewise import LEAST_ROWS, fit_sitewise, standardize_new
from triher.errors import Note, StopRun, unknown_name
from triher.types import Labels, Names


@dataclass(frozen=True)
class Kind:
    """A way to harmonize."""

    fit: Callable[..., SiteEffects] | None
    """(rows, site) -> effects; None for none."""
    least: int
    """Patients that a site needs; one with fewer passes through unchanged."""


HARMONIZATIONS: dict[str, Kind] = {
    "none": Kind(None, 0),
    "combat": Kind(fit_combat, 3),  # a variance of two rows has one degree of freedom
    "combat-mean": Kind(partial(fit_combat, mean_only=True), 2),  # takes out a part of the shift, as sva does
    "sitewise": Kind(fit_sitewise, LEAST_ROWS),
}
_ROWS_AT_ONCE = 2000  # bags hold many rows, and the arithmetic is in float64
UNSEEN = ("stop", "pass", "standardize")
"""For a site that is not of the training: stop; leave its values; standardize it by its own rows, without labels."""


@dataclass(frozen=True)
class Harmonizer:
    """What was learned from the training sites.

    The names of the sites are kept in clear text, also in a bundle: they name institutions and no patients.
    """

    kind: str
    unseen: str
    effects: SiteEffects | None
    left_out: dict[str, int]
    """Training sites with too few patients, and how many those are; their values stay as they are."""

    def transform(
        self, rows: Float[np.ndarray, "row feature"], site: Shaped[np.ndarray, " row"]
    ) -> Float[np.ndarray, "row feature"]:
        """Harmonize rows, in the type in which they come.

        What becomes of a row does not depend on the others, except at unseen sites that are to be standardized; of
        those, sites with fewer than ten rows stay as they are, which `notes` says.

        Args:
            rows: finite features, columns as in training.
            site: name of each row's site.

        Raises:
            StopRun: ``site_unseen`` for a site that is not of the training, when the choice is to stop.
        """
        if self.effects is None:
            return rows
        effects, unseen = self.effects, self._unseen(site)
        if unseen and self.unseen == "stop":
            listed = ", ".join(f"'{name}'" for name in unseen)
            raise StopRun("site_unseen", f"'{self.kind}' was fitted on {', '.join(effects.sites)}, not on {listed}")
        if self.unseen == "standardize":
            effects = self.effects_with_new(rows, site)
        known = np.flatnonzero(np.isin(site.astype(str), effects.sites))
        moved = rows.copy()
        for here in np.array_split(known, max(1, len(known) // _ROWS_AT_ONCE)):
            moved[here] = effects.transform(rows[here], site[here])
        return moved

    def effects_with_new(
        self, rows: Float[np.ndarray, "row feature"], site: Shaped[np.ndarray, " row"]
    ) -> SiteEffects:
        """The effects, and those of unseen sites with enough rows, each standardized by its own rows.

        Raises:
            ValueError: without effects, which is a fault of the program.
        """
        if self.effects is None:
            raise ValueError("nothing is harmonized")
        enough = [name for name, count in self._unseen(site).items() if count >= LEAST_ROWS]
        new = np.isin(site.astype(str), enough)
        return standardize_new(self.effects, rows[new], site[new]) if new.any() else self.effects

    def notes(self, site: Shaped[np.ndarray, " row"]) -> tuple[Note, ...]:
        """What is to be said of the given rows' sites: too small, or not of the training."""
        if self.effects is None:
            return ()
        least = HARMONIZATIONS[self.kind].least
        here = {str(name) for name in site}
        notes = [
            Note("", "site_single", f"site '{name}' is not harmonized: {count} training patients, {least} are needed")
            for name, count in self.left_out.items()
            if name in here
        ]
        for name, count in self._unseen(site).items():
            own = self.unseen == "standardize" and count >= LEAST_ROWS
            what = f"standardized by its own {count} rows" if own else f"not harmonized ({count} rows)"
            notes.append(Note("", "site_unseen", f"site '{name}' is not of the training and was {what}"))
        return tuple(notes)

    def _unseen(self, site: Shaped[np.ndarray, " row"]) -> dict[str, int]:
        """Sites that are not of the training, and their rows."""
        names, counts = np.unique(site.astype(str), return_counts=True)
        known = {*(self.effects.sites if self.effects else ()), *self.left_out}
        return {str(name): int(count) for name, count in zip(names, counts, strict=True) if str(name) not in known}

    def arrays(self) -> dict[str, np.ndarray]:
        """The numbers, for a safetensors file; none for ``none``."""
        return {} if self.effects is None else self.effects.arrays()

    def facts(self) -> dict[str, Any]:
        """The rest, for JSON."""
        sites = [] if self.effects is None else list(self.effects.sites)
        return {"kind": self.kind, "unseen": self.unseen, "sites": sites, "left_out": dict(self.left_out)}


def fit_harmonizer(
    kind: str,
    rows: Float[np.ndarray, "row feature"],
    site: Shaped[np.ndarray, " row"],
    *,
    patient: Int[np.ndarray, " row"] | None = None,
    unseen: str = "stop",
) -> Harmonizer:
    """Learn the sites of a training part.

    Several rows of one patient count as so many rows, though they are alike; a site's least number is of patients.
    Give only columns that the scanner makes: what is taken out of age or grade is no effect of a site's scanner.

    Args:
        kind: name in `HARMONIZATIONS`.
        rows: finite features of the training rows, one or several a patient.
        site: name of each row's site.
        patient: number of each row's patient; a patient each when None.
        unseen: one of `UNSEEN`.

    Raises:
        StopRun: ``unknown_name``, or ``config_value`` when fewer than two sites have enough patients.
    """
    check_harmonization(kind, unseen)
    chosen = HARMONIZATIONS[kind]
    if chosen.fit is None:
        return Harmonizer(kind, unseen, None, {})
    counts = _patients_by_site(site, patient)
    left_out = {name: count for name, count in counts.items() if count < chosen.least}
    if len(counts.keys() - left_out.keys()) < 2:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        message = f"classify.harmonize.method '{kind}' needs 2 sites of {chosen.least} patients; there are: {listed}"
        raise StopRun("config_value", message, remedy="set classify.harmonize.method to none")
    kept = ~np.isin(site.astype(str), list(left_out))
    return Harmonizer(kind, unseen, chosen.fit(rows[kept], site[kept]), left_out)


def check_harmonization(kind: str, unseen: str) -> None:
    """Stop early on names that are not known.

    Raises:
        StopRun: ``unknown_name``.
    """
    if kind not in HARMONIZATIONS:
        raise unknown_name("harmonization", kind, HARMONIZATIONS)
    if unseen not in UNSEEN:
        raise unknown_name("choice for unseen sites", unseen, UNSEEN)


def _patients_by_site(site: Shaped[np.ndarray, " row"], patient: Int[np.ndarray, " row"] | None) -> dict[str, int]:
    """Patients of each site."""
    numbers = np.arange(len(site)) if patient is None else patient
    names = site.astype(str)
    return {str(name): len(np.unique(numbers[names == name])) for name in np.unique(names)}


def harmonizer_from_arrays(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Harmonizer:
    """Take back what `Harmonizer.arrays` and `Harmonizer.facts` gave.

    Raises:
        StopRun: ``bundle_corrupt`` when they do not fit together, or as `classify.site_effects.effects_from_arrays`.
    """
    try:
        kind, unseen, sites = str(facts["kind"]), str(facts["unseen"]), tuple(map(str, facts["sites"]))
        left_out = {str(name): int(count) for name, count in facts["left_out"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StopRun("bundle_corrupt", f"harmonization: the facts lack or garble {error}") from error
    if kind not in HARMONIZATIONS or unseen not in UNSEEN or (kind == "none") != (not arrays):
        message = f"harmonization: '{kind}', unseen sites '{unseen}', {len(arrays)} arrays do not fit together"
        raise StopRun("bundle_corrupt", message)
    return Harmonizer(kind, unseen, effects_from_arrays(arrays, sites) if arrays else None, left_out)


def confounded(site: Names, y: Labels) -> tuple[Note, ...]:
    """Say where site and class cannot be told apart, so that harmonization may take the class out or bring it in.

    Sites of one class only, and sites that fall into parts without a common class: then the design site x class has
    not full rank. The harmonized result must not be reported alone. The labels serve this check and nothing else.

    Args:
        site: site of each training patient.
        y: class of each.

    >>> [note.code for note in confounded(np.array(["a", "a", "b", "b"], object), np.array([0, 0, 1, 1]))]
    ['site_confounded', 'site_confounded', 'site_confounded']
    """
    names, place = np.unique(site.astype(str), return_inverse=True)
    classes, label = np.unique(y, return_inverse=True)
    table = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(table, (place, label), 1)
    notes = [
        Note("", "site_confounded", f"all {row.sum()} training patients of site '{name}' are of one class")
        for name, row in zip(names, table, strict=True)
        if row.sum() > 1 and (row > 0).sum() == 1 and len(classes) > 1
    ]
    pairs = np.argwhere(table)
    design = np.concatenate([np.eye(len(names))[pairs[:, 0]], np.eye(len(classes))[pairs[:, 1], 1:]], axis=1)
    rank = int(np.linalg.matrix_rank(design))
    if rank < design.shape[1]:
        text = (
            f"the design of {len(names)} sites and {len(classes)} classes has rank {rank} instead of "
            f"{design.shape[1]}: some sites share no class with the others"
        )
        notes.append(Note("", "site_confounded", text))
    return tuple(notes)
