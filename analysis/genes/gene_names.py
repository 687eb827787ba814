"""Names of genes: Ensembl versions, symbols joined with Entrez ids, dates that a spreadsheet made of symbols."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triher.errors import Note, StopRun

_VERSIONED = re.compile(r"(ENS[A-Z]*G\d{11})\.\d+(?:_PAR_Y)?")
_JOINED = re.compile(r"(\S+)[_|](\d+)")
_MOSTLY = 0.9
"""Share of names that must be SYMBOL_ENTREZ before any is read so: ``SNORA_70`` alone is a symbol."""
_UNKNOWN_SYMBOL = "?"  # the TCGA tables of RSEM write ?|100130426 for genes without a symbol
_SUMMARY = re.compile(r"__\w+|N_(?:unmapped|multimapping|noFeature|ambiguous)")
"""Rows of HTSeq and STAR that count reads outside genes."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ABROAD = {"mrz": "mar", "mär": "mar", "mai": "may", "okt": "oct", "dez": "dec"}
_MONTH = rf"({'|'.join((*_MONTHS, *_ABROAD))})(?:ch|t)?"
# No dot in front of a number: R calls the second gene of one name JUN.1.
_DAY_MONTH = re.compile(rf"(\d{{1,4}})(?:[-/ ]|\. ?){_MONTH}(?:[-/ ]\d{{2,4}})?", re.IGNORECASE)
_MONTH_DAY = re.compile(rf"{_MONTH}[-/ ](\d{{1,4}})", re.IGNORECASE)
_ISO = re.compile(r"(?:19|20)\d{2}-(\d{2})-(\d{2})(?:[ T]00:00(?::00)?)?")
# Ziemann, Eren & El-Osta, Genome Biol 17:177 (2016); the symbols are those that HGNC gave because of this
# (Bruford et al., Nat Genet 52:754, 2020): MARCH1, SEPT1 and DEC1 were the old ones, MARC1 and SEP15 others.
_LIKELY = {
    **{("mar", n): f"MARCHF{n}" for n in range(1, 12)},
    **{("mar", n): f"MARCHF{n} or MTARC{n}" for n in (1, 2)},
    **{("sep", n): f"SEPTIN{n}" for n in range(1, 15)},
    ("sep", 15): "SELENOF",
    ("dec", 1): "DELEC1",
}
_SOME = 3


@dataclass(frozen=True)
class GeneNames:
    """Names in the order of the table; equal names stand for one gene."""

    names: tuple[str, ...]
    kept: tuple[bool, ...]
    """False for rows that count reads outside genes."""
    notes: tuple[Note, ...]


def read_gene_names(found: Sequence[str], where: Path) -> GeneNames:
    """Clean the names of genes.

    Args:
        found: as the table has them.
        where: the file, for messages.

    Raises:
        StopRun: ``gene_dates`` when names look like dates, with the genes that they probably were.
    """
    cells = [name.strip() for name in found]
    _refuse_dates(cells, where)
    joined = [_JOINED.fullmatch(name) for name in cells]
    is_joined = sum(match is not None for match in joined) >= _MOSTLY * max(1, len(cells))
    names = []
    n_versions = 0
    for name, match in zip(cells, joined, strict=True):
        versioned = _VERSIONED.fullmatch(name)
        n_versions += versioned is not None
        symbol = match[1] if is_joined and match and match[1] != _UNKNOWN_SYMBOL else name
        names.append(versioned[1] if versioned else symbol)
    kept = tuple(bool(name) and _SUMMARY.fullmatch(name) is None for name in names)
    notes = []
    if n_versions:
        notes.append(
            Note("", "gene_versions", f"{where.name}: the versions of {n_versions} Ensembl ids were taken off")
        )
    if is_joined:
        notes.append(Note("", "gene_symbols", f"{where.name}: the symbol was taken of names such as '{cells[0]}'"))
    if not all(kept):
        text = (
            f"{where.name}: {kept.count(False)} rows are no genes (reads outside genes, or no name) and are left out"
        )
        notes.append(Note("", "gene_rows", text))
    return GeneNames(tuple(names), kept, tuple(notes))


def likely_gene(name: str) -> str | None:
    """The gene that a spreadsheet turned into a date; None when the name is no date, empty when no gene is known.

    >>> likely_gene("1-Mar"), likely_gene("Sep-02"), likely_gene("ERBB2"), likely_gene("4-Jun")
    ('MARCHF1 or MTARC1', 'SEPTIN2', None, '')
    """
    parts = _date(name)
    return None if parts is None else _LIKELY.get(parts, "")


def _date(name: str) -> tuple[str, int] | None:
    """Month and number of a name that is a date."""
    if match := _DAY_MONTH.fullmatch(name):
        return _month(match[2]), int(match[1])
    if match := _MONTH_DAY.fullmatch(name):
        return _month(match[1]), int(match[2])
    if (match := _ISO.fullmatch(name)) and 1 <= int(match[1]) <= len(_MONTHS):
        return _MONTHS[int(match[1]) - 1], int(match[2])
    return None


def _month(text: str) -> str:
    """English, in small letters."""
    lower = text.lower()
    return _ABROAD.get(lower, lower)


def _refuse_dates(names: Sequence[str], where: Path) -> None:
    """Stop rather than lose genes, or mix two genes that became one date."""
    dates = {name: gene for name in names if (gene := likely_gene(name)) is not None}
    if not dates:
        return
    listed = [f"'{name}'" + (f", probably {gene}" if gene else "") for name, gene in dates.items()]
    more = f"; and {len(listed) - _SOME} more" if len(listed) > _SOME else ""
    message = f"{where}: {len(dates)} names of genes are dates: {'; '.join(listed[:_SOME])}{more}"
    raise StopRun("gene_dates", message)
