"""One patient in words: truth, probabilities and what else is known."""

import math
from collections.abc import Sequence

from analysis.patients.samples import class_label
from triher.cohort import Patient


def truth_of(patient: Patient, class_name: str) -> str:
    """The class by pathology, with the cells it was read from; `class_name` is empty where there is none.

    >>> truth_of(Patient("P1", "here", "A", "", {}, None, ihc="2+", ish="negative"), "low")
    'HER2-low by pathology (IHC 2+, ISH negative)'
    """
    named = zip(("IHC", "ISH", "ratio", "copies", "staining"), patient.her2_entry(), strict=True)
    cells = ", ".join(f"{name} {cell}" for name, cell in named if cell)
    label = f"{class_label(class_name)} by pathology" if class_name else "HER2 not known"
    return f"{label} ({cells})" if cells else label


def shares_of(probabilities: Sequence[float], classes: Sequence[str]) -> str:
    """The probabilities by class.

    >>> shares_of((0.25, 0.75), ("negative", "positive"))
    'negative 0.25, positive 0.75'
    """
    return ", ".join(f"{name} {p:.2f}" for name, p in zip(classes, probabilities, strict=True))


def known_of(patient: Patient) -> str:
    """Cohort, site, covariates and groups, where they are known.

    >>> known_of(Patient("P1", "here", "A", "", {}, None, covariates={"age": 50.0}, groups={"side": ""}))
    'Cohort here, site A, age 50'
    """
    cells = [f"{name} {value:.4g}" for name, value in patient.covariates.items() if math.isfinite(value)]
    cells += [f"{name} {value}" for name, value in patient.groups.items() if value]
    return ", ".join([f"Cohort {patient.cohort}", f"site {patient.site}", *cells])
