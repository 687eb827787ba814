"""Independent seeds for the places of a run."""

import numpy as np


def derived_seed(seed: int, *path: int) -> int:
    """An independent seed for a place in the run, such as (repeat, fold).

    >>> derived_seed(0, 1, 2) == derived_seed(0, 1, 2) != derived_seed(0, 2, 1)
    True
    """
    return int(np.random.SeedSequence((seed, *path)).generate_state(1)[0] & 0x7FFFFFFF)
