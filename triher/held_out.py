"""Who is held out, told from a patient's own row: what is fitted before the splits must not see them."""

from triher.cohort import Patient
from triher.errors import StopRun
from triher.settings import SplitConfig

_FIXED = ("none", "column", "sites", "cohorts")


def is_held_out(split: SplitConfig, patient: Patient) -> bool:
    """Whether a patient is on the test side of a split that has one test side.

    Raises:
        StopRun: ``scale_split`` for a split that holds everybody out in turn.
    """
    require_one_training_part(split)
    if split.kind == "column":
        return patient.split != "train"
    held_out = {"sites": patient.site, "cohorts": patient.cohort}
    return held_out.get(split.kind) in split.test


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
