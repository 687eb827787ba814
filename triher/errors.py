"""The three outcomes of bad input: stop the run, skip the patient, note it and go on.

Every outcome has a stable code; `triher.codes.CODES` says what each code means and what to do about it.

- `StopRun` ends the command with exit code 2 before any long work.
- `SkipPatient` leaves one patient out; the stage that catches it writes a `Skipped` row, exit code 3.
- `Note` is a remark about a patient that was processed all the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from triher.codes import CODES
from triher.listing import and_more

_LISTED = 25  # names in one message


class TriherError(Exception):
    """An error that a user can mend: it has a stable code and says what to do."""

    def __init__(self, code: str, message: str, *, remedy: str = "") -> None:
        """Check the code against `CODES`, so that no code goes undocumented."""
        self.code = code
        self.remedy = remedy or CODES[code][1]
        self.message = message
        super().__init__(f"{message} [{code}] -> {self.remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way back from a worker process."""
        return (_rebuild, (type(self), self.code, self.message, self.remedy))


def _rebuild(kind: type[TriherError], code: str, message: str, remedy: str) -> TriherError:
    """Make the error again on the other side of a process boundary."""
    return kind(code, message, remedy=remedy)


class StopRun(TriherError):
    """The run cannot go on: exit code 2, nothing written."""


class SkipPatient(TriherError):
    """This patient is left out; the others go on."""

    def row(self, patient_id: str, cohort: str, stage: str) -> "Skipped":
        """The row of ``skipped.csv`` for a patient."""
        return Skipped(patient_id, cohort, stage, self.code, self.message, self.remedy)


@dataclass(frozen=True)
class Skipped:
    """One patient who was left out, as a row of ``skipped.csv``."""

    patient_id: str
    cohort: str
    stage: str
    code: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Note:
    """A remark about a patient (or, with an empty id, the run) that changes nothing."""

    patient_id: str
    code: str
    text: str


def first_line(error: Exception) -> str:
    r"""What an error of a library says in its first line; its type where it says nothing.

    >>> first_line(ValueError("no header\nsee the manual")), first_line(MemoryError())
    ('no header', 'MemoryError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> StopRun:
    """Say which names are known, nearest first.

    >>> unknown_name("head", "logistik", ["xgboost", "logistic"]).message
    "unknown head 'logistik'; did you mean 'logistic'? known: logistic, xgboost"
    """
    names = list(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    ordered = near + sorted(n for n in names if n not in near)
    more = and_more(len(ordered) - _LISTED)
    comma = "; " if any("," in one for one in names) else ", "
    listed = comma.join(ordered[:_LISTED]) or "none"
    return StopRun("unknown_name", f"unknown {kind} '{name}'{hint} known: {listed}{more}")
