"""Numbers, splits and places in words."""

import math
from collections.abc import Sequence

from analysis.figures.canvas import plain
from analysis.figures.discrimination import brief
from triher.estimate import Estimate
from triher.judged import HELD_OUT

_SPLITS = {"test": "Held-out test", "oof": "Development, out of fold", "new": "New patients"}
_PATIENTS = {"test": "held-out", "oof": "development", "new": "new", HELD_OUT: "held-out and development"}
_MANY = 3


def split_name(split: str) -> str:
    """How a split is called in print.

    >>> split_name("oof")
    'Development, out of fold'
    """
    return _SPLITS.get(split, split)


def patients_of(split: str) -> str:
    """What the patients of a split are called within a sentence, before the noun.

    >>> patients_of("oof")
    'development'
    """
    return _PATIENTS.get(split, split)


def told(estimate: Estimate | None) -> str:
    """A number for a table cell, with the reason where something is missing.

    >>> told(Estimate(math.nan, math.nan, math.nan, 9, "AUC", "0 HER2-positive"))
    'not estimable: 0 HER2-positive'
    >>> told(Estimate(1.0, 0.69, 1.0, 20, "AUC", "the scores separate perfectly"))
    '1.00 (0.69 to 1.00), the scores separate perfectly'
    """
    if estimate is None:
        return "-"
    if not math.isfinite(estimate.value):
        return f"not estimable: {estimate.reason}"
    if math.isfinite(estimate.low) or not estimate.reason:
        return f"{brief(estimate)}, {estimate.reason}" if estimate.reason else brief(estimate)
    return f"{estimate.value:z.2f} (no interval: {estimate.reason})"


def p_value(p: float) -> str:
    """A p value as journals print it.

    >>> p_value(0.0004), p_value(0.0312), p_value(0.21)
    ('< 0.001', '0.031', '0.21')
    """
    if not math.isfinite(p):
        return "-"
    if p < 0.001:
        return "< 0.001"
    return f"{p:z.3f}" if p < 0.1 else f"{p:z.2f}"


def equals(told: str) -> str:
    """A p value in print after its letter.

    >>> equals(p_value(0.2)), equals(p_value(0.0001))
    ('= 0.20', '< 0.001')
    """
    return told if told.startswith("<") else f"= {told}"


def told_p(estimate: Estimate) -> str:
    """A p value, or the reason why there is none."""
    return p_value(estimate.value) if math.isfinite(estimate.value) else f"not estimable: {estimate.reason}"


def interval(estimate: Estimate) -> str:
    """The interval alone.

    >>> interval(Estimate(0.8, 0.7, 0.9, 40, "AUC"))
    '0.70 to 0.90'
    """
    if not math.isfinite(estimate.low):
        return estimate.reason or "no interval"
    return f"{estimate.low:z.2f} to {estimate.high:z.2f}"


def count(n: int, singular: str, plural: str = "") -> str:
    """A number with its noun.

    >>> count(1, "patient"), count(3, "patient")
    ('1 patient', '3 patients')
    """
    return f"{n} {singular if n == 1 else plural or singular + 's'}"


def span(numbers: Sequence[int]) -> str:
    """From the least to the most.

    >>> span([4, 2, 3]), span([5, 5])
    ('2 to 4', '5')
    """
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def places(sites: Sequence[str]) -> str:
    """Where patients come from: the sites' names when they are few.

    >>> places(["site C"]), places(["a", "b", "c", "d"])
    ('site C', '4 sites')
    """
    names = [plain(name) for name in sites]
    if len(names) > _MANY:
        return f"{len(names)} sites"
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "no site"
    return listed if all("site" in name.lower() for name in names) else f"site{'s' * (len(names) > 1)} {listed}"


def two_decimals(value: float) -> str:
    """A number without an interval.

    >>> two_decimals(-0.001), two_decimals(math.nan)
    ('0.00', '-')
    """
    return f"{value:z.2f}" if math.isfinite(value) else "-"


def question_of(task: str) -> str:
    """A task of the record in words.

    >>> question_of("zero vs low+positive")
    'Zero against low or positive'
    """
    words = plain(task.replace(" vs ", " against ").replace("+", " or "))
    return words[:1].upper() + words[1:]


def class_list(classes: Sequence[str]) -> str:
    """The classes as one phrase.

    >>> class_list(("zero", "low", "positive"))
    'HER2-zero, -low and -positive'
    """
    first, *rest = classes
    *middle, last = rest
    return ", ".join([f"HER2-{first}", *(f"-{name}" for name in middle)]) + f" and -{last}"


def unbroken(cell: str) -> str:
    """A cell whose intervals and p values are not broken over two lines.

    >>> len(unbroken("0.8 (0.7 to 0.9)").split(" "))
    2
    """
    return cell.replace(" to ", "\u00a0to\u00a0").replace("< ", "<\u00a0")
