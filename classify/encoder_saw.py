"""Who is left out because a trained encoder knows her: nobody is scored by a network that was trained on her."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from classify.heads import find_head
from triher.cohort import Patient
from triher.errors import Note, SkipPatient, Skipped, StopRun
from triher.held_out import IN_TURN, side_of
from triher.settings import Config
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
    developed: frozenset[str] = frozenset()
    """Those of them who took part in the training of any of its networks, or decided when it stopped."""

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
        frozenset(name for name, value in saw.items() if 0 < value <= VALIDATED),
    )


def refuse_held_out(config: Config, patients: Iterable[Patient], developed: Collection[str]) -> None:
    """Stop when somebody is held out of whom the encoder was developed.

    A network did without her, but not without the others of her side; what is said of held-out sites and cohorts, and
    of patients whom nothing of the model depends on, would be false.

    Args:
        config: uses ``classify.split``, ``classify.head``, and whether the encoder was trained for this split.
        patients: of whom there are features.
        developed: see `Unseen`.

    Raises:
        StopRun: ``encoder_developed``, or as `refuse_stacking`.
    """
    split = config.classify.split
    if split.kind == "none" or not developed:
        return
    if split.kind in IN_TURN:
        refuse_stacking(config)
        found = [] if config.finetune is not None else sorted(developed)
    else:
        found = sorted(p.patient_id for p in patients if p.patient_id in developed and side_of(split, p) == "test")
    if found:
        message = (
            f"classify.split.kind '{split.kind}' holds out {len(found)} patients (first '{found[0]}') on whom the "
            "encoder was developed with another split: networks of the file have learned from others of their side"
        )
        raise StopRun("encoder_developed", message)


def refuse_stacking(config: Config) -> None:
    """Stop when a head would learn the shares of the classes at a held-out place from the networks of the others.

    The network that did without a place says a class the more rarely, the more common it is there. A head that is
    fitted on several places learns that relation, and applies it to the one that it has not seen.

    Raises:
        StopRun: ``encoder_stacked``.
    """
    own = config.classify
    if own.split.kind in IN_TURN and not find_head(own.head).takes_probabilities:
        message = f"classify.head is '{own.head}', classify.split.kind '{own.split.kind}', and the encoder is trained"
        raise StopRun("encoder_stacked", message)
