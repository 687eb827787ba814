"""Who is left out because a trained encoder knows her: nobody is scored by a network that was trained on her."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from triher.errors import Note, SkipPatient, Skipped
from triher.store import Features
from triher.trained import LEARNED_FROM, SAW, VALIDATED


@dataclass(frozen=True)
class Unseen:
    """Features of the patients whom their encoder was not trained on."""

    features: Features
    """Without the fact of what the encoder knew, which is none about the images."""
    skipped: list[Skipped]
    validated: frozenset[str]
    """Those of them who helped to decide when its training stopped."""

    def notes(self, patients: Collection[str]) -> tuple[Note, ...]:
        """One remark about those of some patients by whom the training was stopped."""
        n = len(self.validated.intersection(patients))
        text = (
            f"{n} of {len(patients)} patients decided when the training of the encoder stopped; it has learned "
            "nothing from them, and what it says of them is all the same a little too good"
        )
        return (Note("", "encoder_validated", text),) if n else ()


def leave_out_seen(features: Features, cohort_of: Mapping[str, str]) -> Unseen:
    """Leave out whom the encoder was trained on, and take that fact out of the facts about the images.

    Args:
        features: of any encoder; one that was not trained here says nothing of it, and all stay.
        cohort_of: patient id -> cohort.
    """
    if SAW not in features.acquisition:
        return Unseen(features, [], frozenset())
    saw = dict(zip(features.patient_id, features.acquisition[SAW].tolist(), strict=True))
    facts = {name: values for name, values in features.acquisition.items() if name != SAW}
    known = {name for name, value in saw.items() if not value <= VALIDATED}
    kept = [i for i, name in enumerate(saw) if name not in known]
    reason = SkipPatient(LEARNED_FROM, "the encoder was trained on her images, under this id or another")
    return Unseen(
        replace(features, acquisition=facts).select(kept),
        [reason.row(name, cohort_of[name], "classify") for name in saw if name in known],
        frozenset(name for name, value in saw.items() if value == VALIDATED),
    )
