"""The negative control: the same head on regions without lesion.

If it tells the classes apart there as well, it has learned from something else than the lesion.
"""

from pathlib import Path

import numpy as np

from classify.cases import Cases, Gathered, inputs_of, leave_out
from classify.companions import Companion
from classify.heads import find_head
from classify.network import require_probabilities
from classify.source import is_store
from classify.view_algebra import derive_views
from triher.errors import StopRun
from triher.settings import ClassifyConfig
from triher.store import Features, read_store


def control_companion(config: ClassifyConfig, gathered: Gathered) -> Companion:
    """The model of the control regions, on those of the patients who have one.

    Args:
        config: names the store of the control regions.
        gathered: the cases of the model.

    Raises:
        StopRun: ``control_region`` when the store is none of control regions or has too few of the patients;
            as `triher.store.read_store` and, for the head ``network``, `classify.network.require_probabilities`.
    """
    path = config.control
    if path is None or not is_store(path):
        raise StopRun("control_region", f"classify.control names {path}, which is no feature store (.h5)")
    header, features = read_store(path)
    kind = header.recipe.get("region", {}).get("kind", "")
    if kind != "control":
        raise StopRun("control_region", f"{path} holds regions of kind '{kind}', not 'control'")
    if find_head(config.head).takes_probabilities:
        require_probabilities(header, features, config.views, gathered.cases.classes)
    chosen, rows = _of_patients(features, path, config, gathered)
    people = [gathered.patients[i] for i in rows]
    cases = gathered.cases
    own = Cases(
        inputs_of(chosen, people, config, {}), cases.y[rows], cases.cohort[rows], cases.group[rows], cases.classes
    )
    return Companion("control region", own, config, own.y, rows)


def _of_patients(
    features: Features, path: Path, config: ClassifyConfig, gathered: Gathered
) -> tuple[Features, np.ndarray]:
    """The control regions of the patients, and the patients' positions."""
    features = derive_views(features, config.views)
    place = {patient_id: i for i, patient_id in enumerate(features.patient_id)}
    people = {patient.patient_id: patient for patient in gathered.patients}
    chosen = features.select([place[patient_id] for patient_id in people if patient_id in place])
    chosen = leave_out(chosen, people, config, {}).features
    if len(chosen.patient_id) < len(people) / 2:
        message = f"{path} holds control regions of {len(chosen.patient_id)} of the {len(people)} patients"
        raise StopRun("control_region", message)
    position = {patient_id: i for i, patient_id in enumerate(people)}
    return chosen, np.array([position[patient_id] for patient_id in chosen.patient_id], dtype=np.int64)
