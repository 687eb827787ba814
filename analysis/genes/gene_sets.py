"""Gene sets from local GMT files, held against the genes that were tested.

A GMT file has one set a line: name, description and genes, separated by tabs. Nothing is fetched.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from triher.delimited import text_rows
from triher.errors import Note, StopRun

FEWEST_OVERLAP = 0.2
"""Share of a file's genes that must be among those tested."""
PARTLY = 0.5
"""Share of a set's genes below which it may no longer be what its name says."""
_CASE_GAIN = 0.1  # share of a file's genes that are found only when case is ignored
_EXAMPLES = 3
_NAMED = 5


@dataclass(frozen=True)
class GeneSet:
    """A set as it is tested."""

    name: str
    source: str
    """File name, or citation."""
    genes: tuple[str, ...]
    """Those among the genes tested."""
    n_listed: int
    """Distinct genes in the source."""


@dataclass(frozen=True)
class DroppedSet:
    """A set that is not tested, and why."""

    name: str
    source: str
    n_genes: int
    """Of them among the genes tested."""
    n_listed: int
    reason: str


@dataclass(frozen=True)
class GeneSets:
    """What is tested, what is not, and against which genes."""

    sets: tuple[GeneSet, ...]
    dropped: tuple[DroppedSet, ...]
    notes: tuple[Note, ...]
    background: tuple[str, ...]
    """The genes tested, which a set is compared with: never the whole genome (Wijesooriya et al., PLoS Comput
    Biol 2022;18:e1009935)."""


def read_gene_sets(paths: Sequence[Path], tested: Sequence[str], *, min_genes: int, max_genes: int) -> GeneSets:
    """Read GMT files, and keep of each set the genes that were tested.

    Sets of one name are told apart by a number; a set that is there twice with the same genes counts once. Symbols
    are compared as they are: mouse symbols in upper case are not the human ones.

    Args:
        paths: local GMT files in UTF-8; a weight after a gene (``ERBB2,1.0``) is left out.
        tested: names of the genes with a test statistic, each once.
        min_genes: fewest genes tested of a set; smaller sets are dropped.
        max_genes: most genes tested of a set; larger sets are dropped.

    Returns:
        The sets in the order of the files, with notes of code ``gene_set_dropped``, ``gene_set_partial`` (less than
        half of a set's genes were tested), ``gene_set_name`` and ``gene_set_case``.

    Raises:
        StopRun: ``gene_set_file`` (no set in it, or a line that is none), ``gene_set_overlap`` (less than 20 % of a
            file's genes were tested), ``file_unreadable`` or ``encoding``.
    """
    listed: list[GeneSet] = []
    notes: list[Note] = []
    for path in paths:
        of_file = _read(path)
        notes += _check_overlap(of_file, tested, path)
        listed += of_file
    apart, twice, renamed = _tell_apart(listed)
    found = match_gene_sets(apart, tested, min_genes=min_genes, max_genes=max_genes)
    dropped = (*twice, *found.dropped)
    return replace(found, dropped=dropped, notes=(*notes, *renamed, *_dropped_note(dropped), *found.notes))


def match_gene_sets(listed: Iterable[GeneSet], tested: Sequence[str], *, min_genes: int, max_genes: int) -> GeneSets:
    """Keep of each set the genes that were tested, and drop sets that become too small or are too large.

    Args:
        listed: sets with all their genes.
        tested: as for `read_gene_sets`; a set of all of them has nothing to be compared with, and is dropped.
        min_genes: as for `read_gene_sets`.
        max_genes: as for `read_gene_sets`.

    >>> match_gene_sets([GeneSet("A", "a.gmt", ("X", "Y", "Z"), 3)], ["X", "Q"], min_genes=2, max_genes=9).dropped
    (DroppedSet(name='A', source='a.gmt', n_genes=1, n_listed=3, reason='fewer than 2 genes tested'),)
    """
    background = frozenset(tested)
    sets, dropped = [], []
    for whole in listed:
        own = replace(whole, genes=tuple(gene for gene in whole.genes if gene in background))
        reason = _unfit(len(own.genes), len(background), min_genes, max_genes)
        if reason:
            dropped.append(DroppedSet(own.name, own.source, len(own.genes), own.n_listed, reason))
        else:
            sets.append(own)
    return GeneSets(tuple(sets), tuple(dropped), tuple(_partial_note(sets)), tuple(sorted(background)))


def _unfit(n_genes: int, n_tested: int, min_genes: int, max_genes: int) -> str:
    """Why a set of that many genes is not tested, or an empty text."""
    if n_genes < min_genes:
        return f"fewer than {min_genes} genes tested" if min_genes > 1 else "no gene tested"
    if n_genes > max_genes:
        return f"more than {max_genes} genes tested"
    return "all genes tested belong to it" if n_genes == n_tested else ""


def _read(path: Path) -> list[GeneSet]:
    """The sets of one file."""
    sets = []
    for line, cells in text_rows(path, "\t", str.strip, zero_bytes=False):
        if len(cells) < 2 or not cells[0]:
            found = f"'{cells[0][:40]}'" if cells[0] else "a line without a name"
            message = f"{path}, line {line}: expected NAME, DESCRIPTION and genes separated by tabs, found {found}"
            raise StopRun("gene_set_file", message)
        genes = tuple(dict.fromkeys(gene for cell in cells[2:] if (gene := cell.split(",")[0].strip())))
        sets.append(GeneSet(cells[0], path.name, genes, len(genes)))
    if not any(one.genes for one in sets):
        raise StopRun("gene_set_file", f"{path} holds no gene set")
    return sets


def _check_overlap(sets: Sequence[GeneSet], tested: Sequence[str], path: Path) -> list[Note]:
    """Refuse a file of other genes; note symbols that differ in case alone."""
    listed = dict.fromkeys(gene for one in sets for gene in one.genes)
    exact = _share(listed, tested)
    any_case = _share([gene.upper() for gene in listed], [gene.upper() for gene in tested])
    by_case = (
        f"{any_case:.0%} would be when upper and lower case are ignored, so one of them may be of another species "
        f"(mouse Erbb2, human ERBB2)"
    )
    if exact < FEWEST_OVERLAP:
        examples = f"the file has {_some(listed)}; tested were {_some(tested)}"
        hint = f"; {by_case}" if any_case - exact >= _CASE_GAIN else ""
        message = (
            f"{path}: {exact:.0%} of its {len(listed)} genes are among the {len(set(tested))} genes tested, at least "
            f"{FEWEST_OVERLAP:.0%} must be; {examples}{hint}"
        )
        raise StopRun("gene_set_overlap", message)
    if any_case - exact < _CASE_GAIN:
        return []
    return [Note("", "gene_set_case", f"{path.name}: {exact:.0%} of its genes were tested; {by_case}")]


def _share(listed: Iterable[str], tested: Iterable[str]) -> float:
    """Which part of the genes listed was tested."""
    own = set(listed)
    return len(own & set(tested)) / len(own)


def _some(names: Iterable[str]) -> str:
    """The first few names."""
    return ", ".join(f"'{name}'" for name in list(names)[:_EXAMPLES]) or "none"


def _tell_apart(listed: Sequence[GeneSet]) -> tuple[list[GeneSet], list[DroppedSet], list[Note]]:
    """Number further sets of one name; a set that is there again with the same genes is dropped."""
    known: dict[str, list[frozenset[str]]] = {}
    apart, twice = [], []
    renamed: list[str] = []
    for one in listed:
        others = known.setdefault(one.name, [])
        if frozenset(one.genes) in others:
            twice.append(DroppedSet(one.name, one.source, 0, one.n_listed, "listed before with the same genes"))
            continue
        others.append(frozenset(one.genes))
        if len(others) > 1:
            renamed.append(f"{one.name} ({len(others)})")
        apart.append(replace(one, name=renamed[-1]) if len(others) > 1 else one)
    text = f"other genes under a name that was there before; the later set is called {_some(renamed)}"
    return apart, twice, [Note("", "gene_set_name", text)] if renamed else []


def _dropped_note(dropped: Sequence[DroppedSet]) -> list[Note]:
    """How many sets are not tested, by reason."""
    reasons = Counter(one.reason for one in dropped).most_common()
    text = f"{len(dropped)} gene sets are not tested: {'; '.join(f'{n} {reason}' for reason, n in reasons)}"
    return [Note("", "gene_set_dropped", text)] if dropped else []


def _partial_note(sets: Sequence[GeneSet]) -> list[Note]:
    """Which sets are tested with less than half of their genes."""
    partial = [one for one in sets if len(one.genes) < PARTLY * one.n_listed]
    if not partial:
        return []
    named = ", ".join(f"{one.name} ({len(one.genes)} of {one.n_listed})" for one in partial[:_NAMED])
    more = f" and {len(partial) - _NAMED} more" if len(partial) > _NAMED else ""
    text = f"less than half of the genes of {len(partial)} of {len(sets)} gene sets were tested: {named}{more}"
    return [Note("", "gene_set_partial", text)]
