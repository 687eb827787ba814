"""How exact an AUC can be with so many patients, said before anybody believes it.

Hanley & McNeil, Radiology 1982;143:29: the standard error of an AUC from the numbers in both groups.
"""

import math
from collections.abc import Sequence

from triher.errors import Note

_EXPECTED = 0.7  # near what honest external validations of this field report
_WIDE = 0.1  # half of an interval that says little
_WANTED = 0.05
_Z = 1.959964


def auc_standard_error(auc: float, n_positive: int, n_negative: int) -> float:
    """Standard error of an AUC.

    >>> round(auc_standard_error(0.744, 29, 103), 3)
    0.057
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return math.sqrt(variance / (n_positive * n_negative))


def precision_notes(part: str, counts: Sequence[int], classes: Sequence[str]) -> list[Note]:
    """A remark when the patients of a part cannot tell an AUC of 0.7 within 0.1.

    Args:
        part: what is judged by these patients, in words.
        counts: patients of each class.
        classes: their names.
    """
    smallest = min(range(len(counts)), key=lambda c: counts[c])
    n, rest = counts[smallest], sum(counts) - counts[smallest]
    if n == 0 or rest == 0:
        return [Note("", "sample_small", f"{part}: no patient of {classes[smallest]}, so no AUC of that class")]
    half = _Z * auc_standard_error(_EXPECTED, n, rest)
    if half <= _WIDE:
        return []
    factor = _needed(n, rest) / n
    text = (
        f"{part}: with {n} {classes[smallest]} and {rest} others a true AUC of {_EXPECTED} has a 95 % interval of "
        f"about +-{half:.2f}; +-{_WANTED} takes about {math.ceil(factor * (n + rest))} patients at these shares"
    )
    return [Note("", "sample_small", text)]


def _needed(n: int, rest: int) -> int:
    """Patients of the smallest class for the wanted precision, the shares unchanged."""
    needed = n
    while _Z * auc_standard_error(_EXPECTED, needed, max(round(needed * rest / n), 1)) > _WANTED:
        needed += 1
    return needed
