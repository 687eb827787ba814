"""Views that are computed from stored ones: differences, relative changes and slopes over the phases.

An entry of ``classify.views`` is the name of a stored view, which always wins, or one of

- ``early-pre``: the difference of two views;
- ``ratio(early,pre)``: the change relative to the size of both, (a - b) / (|a| + |b|) in each feature, and 0 where
  both are 0. Embeddings are signed, so that the usual (a - b) / b has a pole wherever b passes zero; this one lies
  between -1 and 1, and -ratio(a,b) is ratio(b,a);
- ``slope(pre,early,late)``: the slope of the least-squares line through three or more views (or two), per step, or
  per minute where every view has its time: ``slope(pre@0,early@1.5,late@5)``.

They are computed slice by slice, before pooling: all views of a store have the same slices.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float64

from triher.errors import StopRun, unknown_name
from triher.store import Features

Operands: TypeAlias = Float64[np.ndarray, "operand slice feature"]

_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*")
_REMEDY = "write a view's name, early-pre, ratio(early,pre), slope(pre,early,late) or slope(pre@0,early@1.5,late@5)"


@dataclass(frozen=True)
class Expression:
    """An entry of ``classify.views``, taken apart."""

    operation: str
    """A name of `OPERATIONS`; ``view`` for a stored view as it is."""
    operands: tuple[str, ...]
    """Stored views."""
    times: tuple[float, ...]
    """Of the operands of a slope: minutes, or steps; empty for the other operations."""


def _ratio(operands: Operands, _times: tuple[float, ...]) -> Float64[np.ndarray, "slice feature"]:
    """(a - b) / (|a| + |b|), and 0 where both are 0."""
    a, b = operands
    size = np.abs(a) + np.abs(b)
    return np.divide(a - b, size, out=np.zeros_like(size), where=size != 0)


def _slope(operands: Operands, times: tuple[float, ...]) -> Float64[np.ndarray, "slice feature"]:
    """Slope of the least-squares line: sum of (t - mean t) x over the sum of (t - mean t)^2."""
    centered = np.array(times) - np.mean(times)
    return np.tensordot(centered / (centered**2).sum(), operands, axes=1)


OPERATIONS: dict[str, Callable[[Operands, tuple[float, ...]], Float64[np.ndarray, "slice feature"]]] = {
    "view": lambda operands, _: operands[0],
    "difference": lambda operands, _: operands[0] - operands[1],
    "ratio": _ratio,
    "slope": _slope,
}


def choose_views(available: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The wanted views in their order, or all of them sorted when none is named.

    Raises:
        StopRun: ``unknown_name``.

    >>> choose_views(["rgb", "early"], [])
    ('early', 'rgb')
    """
    for name in wanted:
        if name not in available:
            raise unknown_name("view", name, available)
    return tuple(wanted) or tuple(sorted(available))


def parse_view(entry: str, available: Sequence[str]) -> Expression:
    """Take an entry of ``classify.views`` apart.

    Args:
        entry: a stored view's name, or an expression as above; spaces around names do not count.
        available: the stored views.

    Raises:
        StopRun: ``unknown_name`` for a view or function that there is not, ``config_value`` for what is no
            expression.

    >>> parse_view("early-pre", ["early", "pre"]).operands
    ('early', 'pre')
    """
    if entry in available:
        return Expression("view", (entry,), ())
    if call := _CALL.fullmatch(entry):
        return _parse_call(entry, call[1], call[2], available)
    if any(mark in entry for mark in "(),@"):
        raise StopRun("config_value", f"classify.views: '{entry}' cannot be read", remedy=_REMEDY)
    if "-" in entry:
        return _parse_difference(entry, available)
    raise unknown_name("view", entry, available)


def _parse_call(entry: str, function: str, inner: str, available: Sequence[str]) -> Expression:
    """``ratio(...)`` or ``slope(...)``."""
    if function not in ("ratio", "slope"):
        raise unknown_name("function in classify.views", function, ("ratio", "slope"))
    operands = tuple(part.strip() for part in inner.split(","))
    times: tuple[float, ...] = ()
    if function == "slope":
        operands, times = _parse_times(entry, operands, available)
    if len(operands) < 2 or (function == "ratio" and len(operands) > 2):
        wanted = "two views" if function == "ratio" else "two or more views"
        raise StopRun("config_value", f"classify.views: '{entry}' needs {wanted}", remedy=_REMEDY)
    return _checked(entry, Expression(function, operands, times), available)


def _parse_times(
    entry: str, operands: tuple[str, ...], available: Sequence[str]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Views and their times; steps 0, 1, 2 where no view has one."""
    timed = [operand not in available and "@" in operand for operand in operands]
    if not any(timed):
        return operands, tuple(float(step) for step in range(len(operands)))
    if not all(timed):
        message = f"classify.views: '{entry}' gives the times of some views and not of others"
        raise StopRun("config_value", message, remedy="give every view its time, or none")
    pairs = [operand.rpartition("@") for operand in operands]
    times = tuple(_minutes(entry, text) for _, _, text in pairs)
    if len(set(times)) != len(times):
        raise StopRun("config_value", f"classify.views: '{entry}' gives one time to two views", remedy=_REMEDY)
    return tuple(name.strip() for name, _, _ in pairs), times


def _minutes(entry: str, text: str) -> float:
    """A finite number."""
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not math.isfinite(minutes):
        message = f"classify.views: '{entry}' holds '{text.strip()}', which is no time in minutes"
        raise StopRun("config_value", message, remedy=_REMEDY)
    return minutes


def _parse_difference(entry: str, available: Sequence[str]) -> Expression:
    """Two views with a minus between them; their names may hold one, too."""
    cuts = [position for position, mark in enumerate(entry) if mark == "-"]
    pairs = [(entry[:cut].strip(), entry[cut + 1 :].strip()) for cut in cuts]
    known = [pair for pair in pairs if all(name in available for name in pair)]
    if len(known) > 1:
        message = (
            f"classify.views: '{entry}' can be read as {' and as '.join(f'{a!r} minus {b!r}' for a, b in known)}"
        )
        raise StopRun("config_value", message, remedy="name the phases or fusions without a minus")
    if any(not name for name in pairs[0]) and not known:
        raise StopRun("config_value", f"classify.views: '{entry}' lacks a view beside its minus", remedy=_REMEDY)
    nearest = max(pairs, key=lambda pair: sum(name in available for name in pair))
    return _checked(entry, Expression("difference", known[0] if known else nearest, ()), available)


def _checked(entry: str, expression: Expression, available: Sequence[str]) -> Expression:
    """The expression, if its operands are different stored views."""
    for position, name in enumerate(expression.operands):
        if not name:
            raise StopRun("config_value", f"classify.views: '{entry}' names no view in one place", remedy=_REMEDY)
        if name not in available:
            raise unknown_name("view", name, available)
        if name in expression.operands[:position]:
            raise StopRun("config_value", f"classify.views: '{entry}' names '{name}' twice", remedy=_REMEDY)
    return expression


def choose_entries(names: Sequence[str], available: Sequence[str]) -> tuple[str, ...]:
    """The entries in their order after proving that each can be computed; all stored views sorted when none is given.

    Raises:
        StopRun: as `parse_view`; ``config_value`` for an entry that stands there twice.
    """
    for position, name in enumerate(names):
        parse_view(name, available)
        if name in names[:position]:
            raise StopRun("config_value", f"classify.views names '{name}' twice", remedy="name it once")
    return tuple(names) or tuple(sorted(available))


def needed_views(names: Sequence[str], available: Sequence[str]) -> tuple[str, ...]:
    """The stored views that the entries are computed from, each once, in the order of their first use.

    Raises:
        StopRun: as `choose_entries`.

    >>> needed_views(["early-pre", "late", "ratio(late,pre)"], ["pre", "early", "late"])
    ('early', 'pre', 'late')
    """
    chosen = choose_entries(names, available)
    return tuple(dict.fromkeys(name for entry in chosen for name in parse_view(entry, available).operands))


def derive_views(features: Features, names: Sequence[str]) -> Features:
    """The same patients and slices with exactly the views that the entries name, each under its entry's text.

    A stored view comes as it is; others are computed in float64 and kept in float32. What is NaN or infinite in an
    operand is NaN or infinite in the result.

    Args:
        features: the stored views.
        names: entries of ``classify.views``; all stored views when empty.

    Raises:
        StopRun: as `choose_entries`.
    """
    available = tuple(features.views)
    chosen = choose_entries(names, available)
    return replace(features, views={name: _compute(features, parse_view(name, available)) for name in chosen})


def _compute(features: Features, expression: Expression) -> Float[np.ndarray, "slice feature"]:
    """One view."""
    stored = [features.views[name] for name in expression.operands]
    if expression.operation == "view":
        return stored[0]
    with np.errstate(invalid="ignore", over="ignore"):
        operands = np.stack([rows.astype(np.float64) for rows in stored])
        return OPERATIONS[expression.operation](operands, expression.times).astype(np.float32)
