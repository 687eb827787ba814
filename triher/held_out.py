"""Who is trained on and who is held out, told from a patient's own row.

What is fitted before the splits must see nobody but those who are trained on.
"""

from typing import Literal, TypeAlias

from triher.cohort import Patient
from triher.errors import StopRun
from triher.settings import SplitConfig

Side: TypeAlias = Literal["train", "test", "unused"]
IN_TURN = {"leave-one-site-out": "site", "leave-one-cohort-out": "cohort"}
"""Splits that hold out each of a patient's places in turn -> which place that is."""
_FIXED = ("none", "column", "sites", "cohorts")
_NAMED = ("sites", "cohorts")


def side_of(split: SplitConfig, patient: Patient) -> Side:
    """On which side of a split with one test side a patient is.

    Raises:
        StopRun: ``scale_split`` for a split that holds everybody out in turn; as `check_names`.

    >>> split = SplitConfig(kind="cohorts", train=("A",), test=("B",))
    >>> [side_of(split, Patient("P1", name, "site", "", {}, None)) for name in "ABC"]
    ['train', 'test', 'unused']
    """
    require_one_training_part(split)
    check_names(split)
    if split.kind == "column":
        return "train" if patient.split == "train" else "test"
    if split.kind == "none":
        return "train"
    name = patient.site if split.kind == "sites" else patient.cohort
    if name in split.train:
        return "train"
    if name in split.test or (split.train and not split.test):
        return "test"
    return "unused" if split.train else "train"


def is_held_out(split: SplitConfig, patient: Patient) -> bool:
    """Whether a patient is not trained on, in a split that has one test side.

    Raises:
        StopRun: as `side_of`.
    """
    return side_of(split, patient) != "train"


def is_unused(split: SplitConfig, patient: Patient) -> bool:
    """Whether a patient is neither trained on nor held out.

    Raises:
        StopRun: as `check_names`.
    """
    check_names(split)
    return bool(split.train) and side_of(split, patient) == "unused"


def check_names(split: SplitConfig) -> None:
    """Refuse names to train on where the split knows none, or where they are tested, too.

    Raises:
        StopRun: ``config_value``.
    """
    if split.train and split.kind not in _NAMED:
        message = (
            f"classify.split.train names {', '.join(split.train)}, and classify.split.kind is '{split.kind}', which "
            f"goes by no names"
        )
        raise StopRun("config_value", message, remedy="set classify.split.kind to sites or cohorts")
    both = [name for name in split.train if name in split.test]
    if both:
        message = f"classify.split.train and classify.split.test both name {', '.join(both)}"
        raise StopRun("config_value", message, remedy="take it out of one of them")


def require_one_training_part(split: SplitConfig) -> None:
    """Refuse a split without one training part, on which a normalization could be fitted for all.

    Raises:
        StopRun: ``scale_split``.
    """
    if split.kind not in _FIXED:
        message = (
            f"a normalization is to be fitted on the training patients, but classify.split.kind '{split.kind}' holds "
            f"everybody out in turn, so there are none"
        )
        raise StopRun("scale_split", message)
