"""The slabs of a cohort, one patient after the other, made while others are already embedded."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from extract.cache import Entry, ensure_slab
from extract.problems import code_for_nobody
from extract.recipe import SlabRecipe
from extract.shards import Job
from triher.cohort import Cohort, Patient
from triher.errors import Note, SkipPatient, Skipped, StopRun

Made = Entry | SkipPatient
Makes = Generator[Made, None, None]
Spread = Callable[[Callable[[Patient], Made], Sequence[Patient]], Makes]
"""Applies a function to patients, several at a time, and gives the results in their order; closing it gives up."""


def in_threads(n: int) -> Spread:
    """Spread the work over threads of this process."""

    def spread(make: Callable[[Patient], Made], patients: Sequence[Patient]) -> Makes:
        with ThreadPoolExecutor(n) as pool:
            yield from pool.map(make, patients)

    return spread


def _over_ray(_: int) -> Spread:
    """Spread the work over a Ray cluster; ``extra_missing`` without Ray."""
    from extract.ray_cluster import spread
    from triher.cluster import require_ray

    require_ray()
    return spread


SPREADS: dict[str, Callable[[int], Spread]] = {"local": in_threads, "ray": _over_ray}


@dataclass(frozen=True)
class Slabs:
    """Iterate once to find or make each patient's slab; then ask who has one and who has not."""

    folder: Path
    cohort: Cohort
    recipe: SlabRecipe
    spread: Spread
    """Who reads the volumes."""
    entries: list[tuple[Patient, Entry]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def __iter__(self) -> Generator[Job, None, None]:
        """The patients with a slab, in the order of the cohort."""
        return self.each(lambda: None)

    def each(self, advance: Callable[[], None]) -> Generator[Job, None, None]:
        """The same, telling after each patient that one more is done."""
        ensure = partial(_ensure, self.folder, self.recipe)
        with closing(self.spread(ensure, self.cohort.patients)) as found:
            for patient, result in zip(self.cohort.patients, found, strict=True):
                advance()
                if isinstance(result, SkipPatient):
                    self.skipped.append(result.row(patient.patient_id, patient.cohort, "extract"))
                else:
                    self.entries.append((patient, result))
                    yield Job(patient.patient_id, patient.cohort, result.path, result.sha256)

    def require_somebody(self) -> None:
        """Stop when no patient is left, saying what most of them lack.

        Raises:
            StopRun: ``cohort_empty``, ``phases_config`` and the like.
        """
        if self.entries:
            return
        codes = [row.code for row in self.skipped]
        common = max(set(codes), key=codes.count)
        example = next(row for row in self.skipped if row.code == common)
        message = (
            f"0 of {len(self.cohort.patients)} patients can be used; {codes.count(common)} times {common}, for "
            f"instance {example.patient_id}: {example.reason}"
        )
        raise StopRun(code_for_nobody(codes), message)

    def summary(self) -> str:
        """What was done, in one line."""
        n_cached = sum(entry.was_cached for _, entry in self.entries)
        n_made = len(self.entries) - n_cached
        return f"slab cache: {n_cached} reused, {n_made} made from volumes, {len(self.skipped)} skipped"

    def notes(self) -> list[Note]:
        """What was remarked about the images."""
        return [note for _, entry in self.entries for note in entry.notes]

    def inputs(self) -> dict[str, str]:
        """Patient id -> hash of the slab, in the order of the cohort."""
        return {patient.patient_id: entry.sha256 for patient, entry in self.entries}


def _ensure(folder: Path, recipe: SlabRecipe, patient: Patient) -> Made:
    """A patient's slab, or why there is none."""
    try:
        return ensure_slab(folder, patient, recipe)
    except SkipPatient as reason:
        return reason
