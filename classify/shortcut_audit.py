"""The shortcut audit of a training: which groups are asked for, and the table of what was found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from classify.cases import Gathered
from classify.gaps import filled, medians
from classify.shortcuts import Shortcut, tell_class_from_site, tell_groups
from triher.cohort import Patient
from triher.seeds import derived_seed
from triher.tables import write_table

_AUDIT = 5  # first number of the derived seed
_COLUMNS = ("target", "patient_id", "truth", "group", "p")


def audit_shortcuts(gathered: Gathered, seed: int) -> tuple[Shortcut, ...]:
    """How well the features tell site, vendor and cohort, and the site the class.

    Args:
        gathered: the cases, whose features are taken before any harmonization; gaps count as the median.
        seed: decides the folds.
    """
    cases, people = gathered.cases, gathered.patients
    targets = {
        name: np.array([getattr(patient, name) for patient in people], dtype=object)
        for name in ("site", "vendor", "cohort")
    }
    asked = {name: values for name, values in targets.items() if len(set(values.tolist()) - {""}) > 1}
    vectors = cases.inputs.means()
    found = tell_groups(filled(vectors, medians(vectors)), asked, cases.group, seed=derived_seed(seed, _AUDIT))
    if "site" not in asked:
        return found
    site = cases.inputs.site
    return (*found, tell_class_from_site(site, cases.y, cases.classes, cases.group, seed=derived_seed(seed, _AUDIT)))


def write_shortcuts(path: Path, shortcuts: Sequence[Shortcut], patients: Sequence[Patient]) -> None:
    """Write the out-of-fold probabilities, a row for each patient and group."""
    rows = [
        (found.target, patients[place].patient_id, found.groups[label], group, float(p))
        for found in shortcuts
        for place, label, chances in zip(found.rows, found.y, found.p, strict=True)
        for group, p in zip(found.groups, chances, strict=True)
    ]
    write_table(path, _COLUMNS, rows)
