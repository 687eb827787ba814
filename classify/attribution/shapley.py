"""Shapley values of groups of inputs, in the log-odds of the whole model.

What a group is worth is the mean change of the log-odds when the patient's own inputs of that group replace those of
a training patient, over all orders in which the groups can be replaced (Lundberg & Lee, NeurIPS 2017;30:4765). The
missing groups are those of the training patients as they are, whatever the present ones say: the marginal, or
interventional, value (Janzing, Minorics & Bloebaum, AISTATS 2020, PMLR 108:2907). It answers what the *model* does
with the group, and gives nothing to a group that the model ignores.

What is assumed: that a mixture of one patient's early phase and another's late phase means something to the model.
Phases of one lesion look alike, so the model is asked about patients that there are not, and views that say the same
share the credit by how the model weighs them, which says nothing about which of them is needed. A view of little
worth here may do as well alone; an ablation tells. No value is an effect of biology.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from classify.attribution.everyone import Everyone
from classify.attribution.libraries import load
from classify.attribution.mixtures import Group, mixer_of
from triher.explanation_tables import GroupShare
from triher.labels import scheme_classes

_MOST_EXACT = 8
"""Groups of which all 256 sets are tried; of more, orders are drawn."""
_ORDERS = 20  # drawn, each forth and back


def group_shares(
    everyone: Everyone,
    explained: Iterable[int],
    training: Sequence[int],
    *,
    most: int,
    seed: int,
) -> tuple[GroupShare, ...]:
    """How much each view and covariate moves the log-odds of each class away from the mean of training patients.

    For each patient and class the shares sum to the log-odds less the base, whatever the head: the values are exact
    up to 8 groups, and of more groups still sum up, though the single ones then depend on the orders drawn.

    Args:
        everyone: the patients before the model.
        explained: positions of those to explain, perhaps with a progress bar around them.
        training: positions of those whom the model was trained on, of whom everybody is compared with some.
        most: how many these are at most; 100 tell the mean over all to a tenth of their spread.
        seed: of drawing them.

    Returns:
        A row a patient, class and group, in this order.

    Raises:
        ValueError: without a training patient, which is a fault of the program.
        StopRun: ``extra_missing``.
    """
    shap = load("shap", "Shapley values")
    mixer, background = mixer_of(everyone), draw_background(training, most, seed)
    masker, model = _Masker(_as_numbers(background, mixer.groups)), _of_numbers(mixer.log_odds)
    rows = []
    for place in explained:
        if len(mixer.groups) <= _MOST_EXACT:
            explainer, calls = shap.ExactExplainer(model, masker), 2**_MOST_EXACT
        else:  # a new one each time, so that the orders drawn do not depend on who else is explained
            explainer = shap.PermutationExplainer(model, masker, seed=seed)
            calls = _ORDERS * (2 * len(mixer.groups) + 1)
        found = explainer(_as_numbers([place], mixer.groups), max_evals=calls, silent=True)
        rows += _rows(everyone, place, mixer.groups, found.values[0], found.base_values[0])
    return tuple(rows)


@dataclass(frozen=True)
class _Masker:
    """What the library asks for the rest of a patient of whom it shows some groups."""

    background: Float64[np.ndarray, "patient group"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Patients and groups."""
        return self.background.shape

    def __call__(self, mask: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray]:
        """The shown groups of the patient, and the others of each one in the background."""
        return (np.where(mask, shown, self.background),)


def draw_background(training: Sequence[int], most: int, seed: int) -> list[int]:
    """At most so many of some positions, in their order.

    Raises:
        ValueError: when there is none.
    """
    if not len(training):
        raise ValueError("nobody to compare with")
    chosen = np.random.default_rng(seed).permutation(len(training))[:most]
    return [int(training[i]) for i in sorted(chosen)]


def _as_numbers(places: Sequence[int], groups: Sequence[Group]) -> Float64[np.ndarray, "patient group"]:
    """Patients as rows of their own number, one a group: what is exchanged are the numbers."""
    return np.repeat(np.array(places, np.float64)[:, None], len(groups), axis=1)


def _of_numbers(
    log_odds: Callable[[Int[np.ndarray, "mixture group"]], Float64[np.ndarray, "mixture class"]],
) -> Callable[[np.ndarray], np.ndarray]:
    """The function of numbers that the library calls."""
    return lambda numbers: log_odds(np.rint(numbers).astype(np.int64))


def _rows(
    everyone: Everyone,
    place: int,
    groups: Sequence[Group],
    values: Float[np.ndarray, "group class"],
    base: Float[np.ndarray, " class"],
) -> list[GroupShare]:
    """The rows of one patient."""
    known = everyone.inputs.covariates[place]
    found = []
    for number, label in enumerate(scheme_classes(everyone.bundle.scheme)):
        for group, phi in zip(groups, values[:, number].tolist(), strict=True):
            value = float(known[group.columns][0]) if group.kind == "covariate" else float("nan")
            patient_id = everyone.patients[place].patient_id
            found.append(GroupShare(patient_id, label, group.name, group.kind, value, phi, float(base[number])))
    return found
