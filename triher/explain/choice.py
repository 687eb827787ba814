"""Whom to explain, where maps of everybody would be too many to look at."""

from collections import deque
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from triher.explained import Chosen
from triher.labels import scheme_classes
from triher.predictions import one_row_a_patient, probability_columns


def choose(
    predictions: pd.DataFrame,
    scheme: str,
    pairs: Sequence[tuple[str, str]],
    *,
    n: int,
    among: Collection[str],
) -> tuple[Chosen, ...]:
    """Choose patients by what they show; the same patients whatever the order of the table.

    Matched pairs take up to half of the places. The rest is filled in turn with the surest error, the surest right
    prediction of each class, and the least sure prediction. In each of these, patients whom the explained model was
    not trained on come first, then the surer ones, then the id decides.

    Args:
        predictions: as `triher.predictions.read_predictions` gives them.
        scheme: of the run.
        pairs: patient ids of matched pairs, the pairs to show first at the front.
        n: how many patients; 0 for all.
        among: those who can be explained.

    Returns:
        At most `n` patients with the reason of each.
    """
    frame = one_row_a_patient(predictions, scheme)
    frame = frame[frame["patient_id"].isin(set(among))]
    n_wanted = n or frame["patient_id"].nunique()
    chosen = {one.patient_id: one for one in _matched(pairs, frame["patient_id"].tolist(), n_wanted)}
    for one in _in_turn(_queues(frame, scheme)):
        if len(chosen) == n_wanted:
            break
        chosen.setdefault(one.patient_id, one)
    return tuple(chosen.values())


def _matched(pairs: Iterable[tuple[str, str]], known: Collection[str], n: int) -> list[Chosen]:
    """Both patients of the first pairs, each patient once, in at most half of the places but always in one pair."""
    found: dict[str, Chosen] = {}
    for first, second in pairs:
        new = {first, second} - found.keys()
        if not {first, second} <= {*known} or len(found) + len(new) > max(2, n // 2) or n < 2:
            continue
        for one, other in ((first, second), (second, first)):
            found.setdefault(one, Chosen(one, f"matched with {other}"))
    return list(found.values())


def _queues(frame: pd.DataFrame, scheme: str) -> list[deque[Chosen]]:
    """Errors, right predictions of each class, and unsure ones, best first."""
    p = frame[probability_columns(scheme)].to_numpy(np.float64)
    ranked = np.sort(p, axis=1)
    table = pd.DataFrame(
        {
            "id": frame["patient_id"].to_numpy(),
            "seen": (frame["split"] == "oof").to_numpy(),
            "predicted": p.argmax(axis=1),
            "y": frame["y"].to_numpy(np.float64),
            "sure": ranked[:, -1],
            "gap": ranked[:, -1] - ranked[:, -2],
        }
    )
    sure = table.sort_values(["seen", "sure", "id"], ascending=[True, False, True])
    labeled = sure[sure["y"].notna()]
    is_right = labeled["predicted"] == labeled["y"]
    right = labeled[is_right]
    queues = [_queue(labeled[~is_right], "surest error")]
    queues += [
        _queue(right[right["y"] == label], f"surest right, {name}")
        for label, name in enumerate(scheme_classes(scheme))
    ]
    return [*queues, _queue(table.sort_values(["seen", "gap", "id"]), "least sure")]


def _queue(rows: pd.DataFrame, reason: str) -> deque[Chosen]:
    """Patients in the order of the rows."""
    return deque(Chosen(str(patient_id), reason) for patient_id in rows["id"])


def _in_turn(queues: Sequence[deque[Chosen]]) -> Iterable[Chosen]:
    """One of each queue after the other, until all are empty."""
    while any(queues):
        for queue in queues:
            if queue:
                yield queue.popleft()
