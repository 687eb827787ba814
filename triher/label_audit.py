"""What the HER2 rules made of every spelling in a cohort, counted, so that a pathologist can check it in minutes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from triher.label_rules import DEFAULT_RULES
from triher.labels import Entry, Her2, class_in_scheme, her2_from_pathology
from triher.tables import write_table


@dataclass(frozen=True)
class AuditRow:
    """One combination of spellings, what became of it, and how many patients have it."""

    ihc: str
    ish: str
    ratio: str
    copies: str
    staining_percent: str
    label: str
    """Class in the scheme, or ""."""
    reason: str
    """Why there is no class; empty where there is one."""
    flag: str
    count: int
    """Patients."""
    outcome: str
    """``labeled``, ``left out``, or ``contradiction`` (the cells disagree, whether there is a class or not)."""


@dataclass(frozen=True)
class AuditSummary:
    """Patients for each class, for each reason to have none, for each remark and for each outcome; most first."""

    classes: dict[str, int]
    reasons: dict[str, int]
    flags: dict[str, int]
    outcomes: dict[str, int]


def audit(entries: Iterable[tuple[str, ...]], scheme: str, rules: str = DEFAULT_RULES) -> list[AuditRow]:
    """Count the distinct entries of a cohort, and say what each of them becomes.

    Args:
        entries: the cells of each patient in the order of `triher.labels.Entry`, exactly as in the table; those
            at the end may be left off.
        scheme: a key of `triher.labels.SCHEMES`.
        rules: a key of `triher.label_rules.RULE_SETS`.

    Returns:
        One row a combination, the most frequent first, then in the order of the cells; the order of the patients
        does not matter, and the counts add up to them.

    Raises:
        StopRun: ``unknown_name`` when there is no such scheme or rule set.

    >>> [(row.label, row.count, row.outcome) for row in audit([("1+",), ("3+", "FISH-"), ("1+", "")], "triple")]
    [('low', 2, 'labeled'), ('positive', 1, 'contradiction')]
    """
    counts = Counter(Entry(*cells) for cells in entries)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [_row(entry, her2_from_pathology(**entry._asdict(), rules=rules), scheme, n) for entry, n in ordered]


def _row(entry: Entry, her2: Her2, scheme: str, count: int) -> AuditRow:
    """One line of the audit."""
    label = class_in_scheme(her2, scheme)
    outcome = "contradiction" if her2.contradiction else "labeled" if label else "left out"
    return AuditRow(*entry, label, "" if label else her2.reason, her2.flag, count, outcome)


def summary(rows: Sequence[AuditRow]) -> AuditSummary:
    """Add the patients up; those without a class are in `reasons` only, and nobody is counted twice within a part.

    >>> summary(audit([("2+",), ("0",)], "triple")).reasons
    {'2+ without ISH': 1}
    """
    return AuditSummary(*(_counts(rows, name) for name in ("label", "reason", "flag", "outcome")))


def _counts(rows: Sequence[AuditRow], name: str) -> dict[str, int]:
    """Patients for each text that the rows have there, most first; empty ones are not counted."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts[getattr(row, name)] += row.count
    return {text: n for text, n in counts.most_common() if text}


def write_audit(path: Path, rows: Sequence[AuditRow]) -> None:
    """Write the rows as a CSV table; `triher.tables.read_own_table` gives the cells back as they were."""
    write_table(path, [field.name for field in fields(AuditRow)], [astuple(row) for row in rows])
