"""What a look at a cohort finds: problems, and the cohorts that they are of."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from triher.cohort import Cohort
from triher.settings import CohortConfig
from triher.tables import write_table

Outcome = Literal["stop", "skip", "note"]
HEADER = ("outcome", "cohort", "patient_id", "code", "found", "what_to_do")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong or doubtful, and what will come of it."""

    outcome: Outcome
    """``stop``: the run will not start; ``skip``: the patient is left out; ``note``: a remark."""
    cohort: str
    patient_id: str
    """Empty for the cohort as a whole."""
    code: str
    found: str
    remedy: str

    def cells(self) -> tuple[str, ...]:
        """As a row under `HEADER`."""
        return (self.outcome, self.cohort, self.patient_id, self.code, self.found, self.remedy)


@dataclass(frozen=True)
class Checked:
    """A cohort with what the configuration says of it."""

    name: str
    config: CohortConfig
    cohort: Cohort
    scheme: str


def code_for_nobody(codes: Collection[str]) -> str:
    """Why a cohort of which no patient can be used stops the run: all lack a phase, or each has a reason of its own.

    >>> code_for_nobody(["phase_missing", "no_images"]), code_for_nobody(["phase_missing", "mask_empty"])
    ('phases_config', 'cohort_empty')
    """
    is_phase = "phase_missing" in codes and set(codes) <= {"phase_missing", "no_images"}
    return "phases_config" if is_phase else "cohort_empty"


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write the table of problems."""
    write_table(path, HEADER, [problem.cells() for problem in problems])
