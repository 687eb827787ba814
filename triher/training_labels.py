"""The labels that networks and heads are trained on: the cohort's, or permuted for a negative control.

A network that is trained end to end and the head on top of it must learn the same permutation, or the control would
tell nothing about patients who leak from one to the other.
"""

from collections.abc import Mapping

import numpy as np

from triher.cohort import Cohort, labels
from triher.errors import Skipped
from triher.seeds import derived_seed
from triher.settings import Config

_SHUFFLE = 3  # first number of the derived seed; 0 divides the folds, 1 and 2 train


def training_labels(config: Config, cohort: Cohort) -> tuple[dict[str, int], tuple[Skipped, ...]]:
    """Patient id -> position in the scheme, and who has no label.

    With ``classify.shuffle_labels`` the labels are permuted within each site, which keeps what the site tells.

    Raises:
        StopRun: as `triher.cohort.labels`.
    """
    known, unlabeled = labels(cohort, config.scheme)
    if config.classify.shuffle_labels:
        known = shuffled(known, {p.patient_id: p.site for p in cohort.patients}, derived_seed(config.seed, _SHUFFLE))
    return known, tuple(unlabeled)


def shuffled(known: Mapping[str, int], site: Mapping[str, str], seed: int) -> dict[str, int]:
    """The labels permuted within each site; the order of the table does not matter.

    >>> sorted(shuffled({"P1": 0, "P2": 1}, {"P1": "A", "P2": "B"}, 0).items())
    [('P1', 0), ('P2', 1)]
    """
    rng = np.random.default_rng(seed)
    result = dict(known)
    for place in sorted({site[name] for name in known}):
        here = sorted(name for name in known if site[name] == place)
        result |= zip(here, [known[here[i]] for i in rng.permutation(len(here))], strict=True)
    return result
