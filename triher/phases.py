"""Choose the phases of an exam by name or by seconds after injection, and say how each was chosen."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from triher.errors import SkipPatient, StopRun

MissingPhase = Literal["skip", "last"]

_RULE = re.compile(
    r"(?P<pre>pre)|(?P<last>last)|(?P<first>first post)|post (?P<post>\d+)|phase (?P<phase>\d+)(\.0)?"
    r"|nearest (?P<seconds>\d+(\.\d+)?) ?s"
)
_GRAMMAR = "pre, first post, post N (N = 1 is the first after contrast), last, phase K (0 is the first), nearest T s"


@dataclass(frozen=True)
class PhaseRule:
    """How one phase is found among the volumes of an exam; exactly one of the three is set, or none for the last."""

    text: str
    position: int | None = None
    """Place in time among all volumes, 0 the first."""
    post: int | None = None
    """Place among the volumes after contrast, 1 the first."""
    seconds: float | None = None
    """Seconds after injection."""


@dataclass(frozen=True)
class Choice:
    """Which volume is which phase."""

    volumes: dict[str, int]
    """Phase -> place in time."""
    log: str
    """One line: each phase, its volume, the rule and the time."""
    substituted: tuple[str, ...] = ()
    """Phases that do not exist in this exam, for which the last volume stands."""


def parse_rule(text: str) -> PhaseRule:
    """Read a rule.

    Raises:
        StopRun: ``phase_rule``.

    >>> parse_rule("nearest 90 s").seconds
    90.0
    """
    folded = " ".join(text.casefold().split())
    found = _RULE.fullmatch(folded)
    if not found:
        raise StopRun("phase_rule", f"'{text}' is no rule for a phase; known: {_GRAMMAR}")
    if found["seconds"]:
        return PhaseRule(folded, seconds=float(found["seconds"]))
    if found["phase"]:
        return PhaseRule(folded, position=int(found["phase"]))
    if found["first"] or found["post"]:
        post = int(found["post"] or 1)
        if post < 1:
            raise StopRun("phase_rule", f"'{text}': the first volume after contrast is post 1")
        return PhaseRule(folded, post=post)
    return PhaseRule(folded, position=0 if found["pre"] else None)


def choose_phases(
    rules: Mapping[str, PhaseRule], n_volumes: int, times_s: Sequence[float] = (), *, missing: MissingPhase = "skip"
) -> Choice:
    """Apply the rules to one exam.

    Volumes with a time below 0 are before contrast; without times, the first one alone is.

    Args:
        rules: phase -> rule.
        n_volumes: how many volumes the exam has.
        times_s: seconds from injection to each volume, ascending; empty where not known.
        missing: for a phase that the exam does not have, ``skip`` the patient or take the ``last`` volume.

    Raises:
        SkipPatient: ``phase_missing``; ``phase_times`` when a rule asks for seconds and none are known, or when
            the times do not fit the volumes; ``phase_duplicate`` when two phases are one volume.
    """
    if times_s and len(times_s) != n_volumes:
        raise SkipPatient("phase_times", f"{len(times_s)} times are given for {n_volumes} volumes")
    if any(b <= a for a, b in pairwise(times_s)):
        raise SkipPatient("phase_times", f"the times {_listed(times_s)} s do not ascend")
    n_before = sum(t < 0 for t in times_s) or 1
    volumes: dict[str, int] = {}
    substituted = []
    for name, rule in rules.items():
        k = _place(rule, n_volumes, n_before, times_s)
        if k >= n_volumes:
            if missing == "skip" or n_volumes <= n_before:
                message = f"phase '{name}' ({rule.text}) asks for volume {k + 1}; the exam has {n_volumes}"
                raise SkipPatient("phase_missing", message)
            k = n_volumes - 1
            substituted.append(name)
        volumes[name] = k
    _refuse_same(volumes, rules)
    log = "; ".join(
        f"{name} = volume {k} ({rules[name].text}{f', {times_s[k]:g} s' if times_s else ''})"
        for name, k in volumes.items()
    )
    return Choice(volumes, log, tuple(substituted))


def _place(rule: PhaseRule, n_volumes: int, n_before: int, times_s: Sequence[float]) -> int:
    """Place in time of the volume that a rule asks for, which may lie behind the last."""
    if rule.seconds is not None:
        if not times_s:
            message = f"'{rule.text}' needs the times of the volumes, which neither the headers nor the table give"
            raise SkipPatient("phase_times", message)
        after = range(n_before, n_volumes)
        return min(after, key=lambda k: abs(times_s[k] - float(rule.seconds or 0)), default=n_volumes)
    if rule.post is not None:
        return n_before + rule.post - 1
    return n_volumes - 1 if rule.position is None else rule.position


def _refuse_same(volumes: dict[str, int], rules: Mapping[str, PhaseRule]) -> None:
    """One volume cannot be two phases."""
    first_with: dict[int, str] = {}
    for name, k in volumes.items():
        other = first_with.setdefault(k, name)
        if other != name:
            message = f"phases '{other}' ({rules[other].text}) and '{name}' ({rules[name].text}) are both volume {k}"
            raise SkipPatient("phase_duplicate", message)


def _listed(times_s: Sequence[float]) -> str:
    """Times for a message."""
    return ", ".join(f"{t:g}" for t in times_s)


def times_after_injection(starts_s: Sequence[float], injection_s: float | None = None) -> tuple[float, ...]:
    """Seconds from injection to each volume.

    Where the time of injection is not known, the start of the second volume stands for it: dynamic protocols take
    one volume before contrast and start the next one as the contrast arrives.

    >>> times_after_injection([0.0, 110.0, 200.0])
    (-110.0, 0.0, 90.0)
    """
    if len(starts_s) < 2 and injection_s is None:
        return ()
    zero = starts_s[1] if injection_s is None else injection_s
    return tuple(float(t - zero) for t in starts_s)
