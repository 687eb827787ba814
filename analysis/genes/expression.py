"""Expression of genes in the patients of a cohort, from a table whose orientation its ids tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from analysis.genes.barcodes import match_samples
from analysis.genes.expression_table import Axes, read_axes, read_columns, read_rows
from analysis.genes.gene_names import read_gene_names
from triher.errors import Note, StopRun
from triher.settings import TranscriptomicsConfig

Values = Float64[np.ndarray, "patient gene"]
Kind = Literal["counts", "log"]

_COUNT_LIKE = 50.0
"""Log2 values of whole numbers only, above this: 2 to the power of 50 reads are more than any sequencer makes."""
_NEARLY_WHOLE = 1e-6
_SOME = 3


@dataclass(frozen=True)
class Expression:
    """One sample a patient, ordered by patient id; every gene once and measured in all of them."""

    patient_id: tuple[str, ...]
    genes: tuple[str, ...]
    values: Values
    """Counts, or log2 values."""
    kind: Kind
    notes: tuple[Note, ...]

    def of(self, patient_id: Sequence[str]) -> Values:
        """The rows of some patients, in their order."""
        row = {name: i for i, name in enumerate(self.patient_id)}
        return self.values[[row[name] for name in patient_id]]


def read_expression(config: TranscriptomicsConfig, wanted: Mapping[str, str]) -> Expression:
    """Read the table, for the patients of the cohort alone.

    Which axis the samples are on is told by the ids that they share with the cohort. Samples of others are never held
    in memory.

    Args:
        config: where the table is, and whether it holds counts or log2 values.
        wanted: patient id -> name of the sample, see `analysis.genes.barcodes.match_samples`.

    Raises:
        StopRun: ``file_unreadable``, ``encoding``, ``table_empty``, ``csv_row``, ``number_format``;
            ``expression_samples`` when no sample is of the cohort, or both axes are; ``counts_not_integer`` when
            counts are negative or no whole numbers, or log values are whole numbers as large as counts;
            ``gene_dates``, ``sample_duplicate``; ``expression_genes`` when no gene is left.
    """
    path = config.expression
    axes = read_axes(path)
    across, down = match_samples(axes.header, wanted), match_samples(axes.first, wanted)
    if len(across.position) == len(down.position):
        raise _no_samples(path, axes, len(across.position), wanted)
    is_across = len(across.position) > len(down.position)
    matches = across if is_across else down
    patients = tuple(sorted(matches.position))
    places = [matches.position[name] for name in patients]
    values = read_columns(path, axes, places).T if is_across else read_rows(path, axes, places)
    found = read_gene_names(axes.first if is_across else axes.header, path)
    kept = np.array(found.kept, dtype=bool)
    names = [name for name, keep in zip(found.names, found.kept, strict=True) if keep]
    complete, gaps = _without_gaps(values[:, kept], names, path)
    checked, rounded = _of_kind(complete.values, config, path)
    merged, doubled = _merge(checked, complete.names, config.kind, path)
    notes = (*matches.notes, *found.notes, *gaps, *rounded, *doubled)
    if not merged.names:
        raise StopRun("expression_genes", f"{path}: none of {len(found.names)} genes has a value in every sample")
    return Expression(patients, merged.names, merged.values, config.kind, notes)


def _no_samples(path: Path, axes: Axes, n: int, wanted: Mapping[str, str]) -> StopRun:
    """Neither axis, or both alike, name the cohort's samples."""
    found = f"{n} of them along each" if n else "none"
    message = (
        f"{path}: looked for the samples of {len(wanted)} patients ({_first(list(wanted.values()))}) among "
        f"{len(axes.header)} names in the header ({_first(axes.header)}) and {len(axes.first)} in the first column "
        f"({_first(axes.first)}); found {found}"
    )
    return StopRun("expression_samples", message)


def _first(names: Sequence[str]) -> str:
    """The first names in quotes."""
    return ", ".join(f"'{name}'" for name in names[:_SOME]) + (", ..." if len(names) > _SOME else "")


@dataclass(frozen=True)
class _Measured:
    """Values with the names of their genes."""

    values: Values
    names: tuple[str, ...]


def _without_gaps(values: Values, names: Sequence[str], where: Path) -> tuple[_Measured, list[Note]]:
    """Drop genes that are missing in any sample."""
    complete: Bool[np.ndarray, " gene"] = ~np.isnan(values).any(axis=0)
    kept = tuple(name for name, whole in zip(names, complete, strict=True) if whole)
    if complete.all():
        return _Measured(values, kept), []
    text = (
        f"{where.name}: {int((~complete).sum())} of {len(names)} genes lack a value in some sample and are left out"
    )
    return _Measured(values[:, complete], kept), [Note("", "gene_missing", text)]


def _of_kind(values: Values, config: TranscriptomicsConfig, where: Path) -> tuple[Values, list[Note]]:
    """Demand counts where counts are told, and no counts where log values are."""
    if config.kind == "log":
        largest = float(values.max(initial=0.0))
        if largest > _COUNT_LIKE and (values == np.rint(values)).all():
            message = f"{where}: log2 values were told, but all are whole numbers up to {largest:.0f}, as counts are"
            raise StopRun("counts_not_integer", message, remedy="set analysis.transcriptomics.kind: counts")
        return values, []
    n_negative = int((values < 0).sum())
    if n_negative:
        message = (
            f"{where}: counts were told, but {n_negative} of {values.size} values are negative, as log values are"
        )
        raise StopRun("counts_not_integer", message, remedy="set analysis.transcriptomics.kind: log")
    whole = np.rint(values)
    n_broken = int((np.abs(values - whole) > _NEARLY_WHOLE).sum())
    if not n_broken:
        return whole, []
    largest = float(values.max())
    if not config.round_counts:
        message = (
            f"{where}: counts were told, but {n_broken} of {values.size} values are no whole numbers (largest value "
            f"{largest:.6g})"
        )
        raise StopRun("counts_not_integer", message)
    text = f"{where.name}: {n_broken} of {values.size} expected counts were rounded to whole numbers"
    return whole, [Note("", "counts_rounded", text)]


def _merge(values: Values, names: Sequence[str], kind: Kind, where: Path) -> tuple[_Measured, list[Note]]:
    """One column a gene: counts of equal names are added, of log values the one with the largest mean stays."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    if len(places) == len(names):
        return _Measured(values, tuple(names)), []
    means = values.mean(axis=0)
    best = [max(found, key=lambda place: (means[place], -place)) for found in places.values()]
    merged = values[:, best]
    twice = [name for name, found in places.items() if len(found) > 1]
    if kind == "counts":
        for column, found in enumerate(places.values()):
            if len(found) > 1:
                merged[:, column] = values[:, found].sum(axis=1)
    how = "their counts are added" if kind == "counts" else "the one with the largest mean is kept"
    text = f"{where.name}: {len(twice)} genes are there more than once ({_first(twice)}); {how}"
    return _Measured(merged, tuple(places)), [Note("", "gene_duplicate", text)]
