"""What stands beside every model: the baselines that a claim must beat, and the same model with one part changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from classify.cases import Cases, Gathered
from classify.inputs import Inputs, columns_alone, without_covariates
from classify.label_noise import exchange_labels, exchangeable
from triher.seeds import derived_seed
from triher.settings import ClassifyConfig, HarmonizeConfig
from triher.types import Labels

PROTOCOL = (
    "spacing_slice_mm", "spacing_row_mm", "spacing_col_mm", "n_slices", "n_rows", "n_cols", "n_phases", "is_axial",
)  # fmt: skip
"""Facts about how the images were taken, none about what they show."""
VOLUME = "lesion_volume_ml"
_LEAST_ML = 1e-3  # a voxel of 1 mm side, so that the logarithm of an empty mask stays finite
_NOISE = 4  # first number of the derived seeds


@dataclass(frozen=True)
class Companion:
    """A model that is trained on the same folds."""

    name: str
    cases: Cases
    config: ClassifyConfig
    training_y: Labels
    rows: Int[np.ndarray, " patient"]
    """Positions of its patients among all."""


def companions(gathered: Gathered, config: ClassifyConfig, seed: int) -> tuple[tuple[Companion, ...], dict[str, str]]:
    """The models to train beside the one that was asked for.

    Args:
        gathered: the cases of the model.
        config: how it is trained.
        seed: decides whose labels are exchanged.

    Returns:
        The companions; and for those baselines that cannot be had, name -> reason.
    """
    everybody = np.arange(len(gathered.patients))
    found: list[Companion] = []
    reasons: dict[str, str] = {}
    for name, make in _BASELINES.items():
        inputs, reason = make(gathered)
        if inputs is None:
            reasons[name] = reason
        else:
            head = "majority" if name == "majority" else "logistic"
            cases = replace(gathered.cases, inputs=inputs)
            found.append(Companion(name, cases, _plain(config, head), cases.y, everybody))
    return (*found, *_variants(gathered.cases, config), *_noisy(gathered, config, seed)), reasons


def _plain(config: ClassifyConfig, head: str) -> ClassifyConfig:
    """The configuration of a baseline: same folds, nothing else."""
    kept = {name: getattr(config, name) for name in ("split", "folds", "repeats", "objective", "alpha", "workers")}
    return ClassifyConfig(head=head, missing="impute", trials=1, **kept)


def _majority(gathered: Gathered) -> tuple[Inputs | None, str]:
    """The class shares alone."""
    return columns_alone(np.zeros((len(gathered.patients), 1)), ("nothing",), gathered.cases.inputs.site), ""


def _clinical(gathered: Gathered) -> tuple[Inputs | None, str]:
    """All covariates of the cohort table."""
    names = tuple(gathered.patients[0].covariates)
    if not names:
        return None, "cohort.covariates names no columns"
    values = [[patient.covariates[name] for name in names] for patient in gathered.patients]
    return columns_alone(np.array(values), names, gathered.cases.inputs.site), ""


def _volume(gathered: Gathered) -> tuple[Inputs | None, str]:
    """The logarithm of the lesion's volume."""
    if VOLUME not in gathered.acquisition:
        return None, "the features come without the lesion's volume"
    volume = np.log(np.maximum(gathered.acquisition[VOLUME], _LEAST_ML))
    return columns_alone(volume[:, None], (VOLUME,), gathered.cases.inputs.site), ""


def _acquisition(gathered: Gathered) -> tuple[Inputs | None, str]:
    """How the images were taken."""
    names = tuple(name for name in PROTOCOL if name in gathered.acquisition)
    if not names:
        return None, "the features come without facts about the acquisition"
    values = np.column_stack([gathered.acquisition[name] for name in names])
    return columns_alone(values, names, gathered.cases.inputs.site), ""


_BASELINES: Mapping[str, Callable[[Gathered], tuple[Inputs | None, str]]] = {
    "majority": _majority,
    "clinical": _clinical,
    "volume": _volume,
    "acquisition": _acquisition,
}


def _variants(cases: Cases, config: ClassifyConfig) -> Sequence[Companion]:
    """The model without harmonization, and without covariates, where it has them."""
    found, everybody = [], np.arange(len(cases.y))
    if config.harmonize.method != "none":
        plain = config.model_copy(update={"harmonize": HarmonizeConfig()})
        found.append(Companion("unharmonized", cases, plain, cases.y, everybody))
    if config.covariates:
        images = replace(cases, inputs=without_covariates(cases.inputs))
        plain = config.model_copy(update={"covariates": ()})
        found.append(Companion("images only", images, plain, cases.y, everybody))
    return found


def _noisy(gathered: Gathered, config: ClassifyConfig, seed: int) -> Sequence[Companion]:
    """The model trained on labels of which some were exchanged, and judged by those on record."""
    cases, found = gathered.cases, []
    candidates = exchangeable(gathered.patients, cases.y, cases.classes)
    for rate in config.label_noise:
        for draw in range(config.noise_draws):
            rng = np.random.default_rng(derived_seed(seed, _NOISE, round(1000 * rate), draw))
            y = exchange_labels(cases.y, candidates, cases.classes, rate, rng)
            found.append(Companion(f"label noise {rate:.0%}, draw {draw + 1}", cases, config, y, np.arange(len(y))))
    return found
