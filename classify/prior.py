"""Equal class shares behind the pooled predictions of several folds."""

import numpy as np
from jaxtyping import Int

from triher.types import Probabilities


def align_prior(
    p: Probabilities, trained_on: Int[np.ndarray, " trained"], y: Int[np.ndarray, " labeled"]
) -> Probabilities:
    """Move probabilities from the class shares of one training part to those of all labels given.

    A fold that holds more of a class than its share trains on less of it, so pooled predictions of several folds rank
    against the truth and random labels give an AUC below 0.5 (Parker, Guenter & Bedo, BMC Bioinformatics 2007;8:326).
    Sites that are left out one by one show it most: over 22 of them the class shares alone had a pooled AUC of 0.38.
    With equal shares behind all folds most of that bias is gone. The shift is one for all patients of a fold
    (Saerens, Latinne & Decaestecker, Neural Comput 2002;14:21, equation 2.4).

    Args:
        p: probabilities of one fold's model.
        trained_on: labels that the model was trained on; every class occurs.
        y: labels of all folds.

    >>> align_prior(np.array([[0.5, 0.5]]), np.array([0, 1, 1]), np.array([0, 1])).round(3)
    array([[0.667, 0.333]])
    """
    n_classes = p.shape[1]
    wanted, had = (np.bincount(labels, minlength=n_classes) / len(labels) for labels in (y, trained_on))
    shifted = p * (wanted / had)
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
