"""What each encoder costs and what it gives: seconds of embedding against the study's metric."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from analysis.ablation.material import Arena, CellResult, StudyMaterial
from analysis.ablation.measures import draw, find_measure, resample
from triher.estimate import Estimate, not_estimable
from triher.study import Cell

_ENCODER = "extract.encoder"
_METHOD = "mean over cells that are alike but for the encoder, 95 % bootstrap percentiles"


@dataclass(frozen=True)
class Price:
    """A cell, and what it took to embed its patients."""

    cell: str
    encoder: str
    device: str
    seconds: float
    """To load the encoder and embed, for each 100 patients; without reading volumes."""
    cpu_seconds: float
    """To train and predict, the mean over its seeds."""
    is_best_buy: bool
    """Whether no cell on this device that embeds at the same or less cost has a better value."""
    training_seconds: float = 0.0
    """To train the encoder, the mean over its seeds; 0 where it stayed as it came, NaN where not known."""


@dataclass(frozen=True)
class Step:
    """From one encoder to the next dearer one on the same device."""

    cheaper: str
    dearer: str
    device: str
    seconds: tuple[float, float]
    """To embed 100 patients, the mean of each encoder's cells."""
    n_pairs: int
    """Cells that both have and that are alike but for the encoder."""
    gain: Estimate
    """Of the metric, dearer minus cheaper."""

    @property
    def gain_per_minute(self) -> float:
        """For each further minute that 100 patients take; NaN where there is none."""
        minutes = (self.seconds[1] - self.seconds[0]) / 60
        return self.gain.value / minutes if minutes > 0 else math.nan


def price_cells(values: Mapping[str, Estimate], material: StudyMaterial) -> tuple[Price, ...]:
    """What the cells of an arena cost.

    Cells whose features came from a table, or from a store that was not made at one go, have no price.

    Args:
        values: cell -> its value of the study's metric.
        material: of the study.
    """
    metric = find_measure(material.own.metric, material.config.scheme)
    found = []
    for result in material.results:
        embedding = result.embedding
        if embedding is None or not embedding.seconds or not embedding.n_patients or result.cell.name not in values:
            continue
        seconds = 100 * embedding.seconds / embedding.n_patients
        cpu = float(np.mean([run.cpu_seconds for run in result.runs]))
        good = float(metric.goodness(np.array(values[result.cell.name].value)))
        found.append((result.cell.name, embedding.label, embedding.device, seconds, cpu, good))
    return tuple(
        Price(
            name,
            encoder,
            device,
            seconds,
            cpu,
            math.isfinite(good) and not _is_beaten(device, seconds, good, found),
            training_seconds(material.result(name)),
        )
        for name, encoder, device, seconds, cpu, good in found
    )


def training_seconds(result: CellResult) -> float:
    """Wall clock of training a cell's encoder, the mean over its seeds.

    Returns:
        0 where the encoder stayed as it came; NaN where one of the trainings was interrupted or is not on record.
    """
    if result.embedding is None or not result.embedding.training:
        return 0.0
    known = [math.nan if one.seconds is None else one.seconds for one in result.trainings]
    return float(np.mean(known)) if len(known) == len(result.runs) else math.nan


def _is_beaten(
    device: str, seconds: float, good: float, found: Sequence[tuple[str, str, str, float, float, float]]
) -> bool:
    """Whether another cell on the device is better and no dearer, or as good and cheaper."""
    return any(
        other == device and ((theirs > good and cost <= seconds) or (theirs >= good and cost < seconds))
        for _, _, other, cost, _, theirs in found
    )


def price_steps(prices: Sequence[Price], arena: Arena, material: StudyMaterial) -> tuple[Step, ...]:
    """What each encoder gives beyond the next cheaper one on its device, from cells that are alike otherwise."""
    places = list(dict.fromkeys((price.device, price.encoder) for price in prices))
    if len({encoder for _, encoder in places}) < 2:
        return ()
    metric = find_measure(material.own.metric, material.config.scheme)
    drawn = draw(arena, metric, resample(arena, material.config))
    whole = draw(arena, metric, np.ones((1, len(arena.patient_id)), np.int64))[:, 0]
    cells = {
        place: {_else(material.result(p.cell).cell): p for p in prices if (p.device, p.encoder) == place}
        for place in places
    }
    costs = {place: float(np.mean([price.seconds for price in inside.values()])) for place, inside in cells.items()}
    steps = []
    for device in dict.fromkeys(device for device, _ in places):
        ordered = sorted((place for place in places if place[0] == device), key=lambda place: costs[place])
        for cheaper, dearer in pairwise(ordered):
            both = [key for key in cells[cheaper] if key in cells[dearer]]
            pairs = [[arena.index(cells[place][key].cell) for key in both] for place in (cheaper, dearer)]
            gain = _gain(whole, drawn, pairs, len(arena.patient_id))
            seconds = (costs[cheaper], costs[dearer])
            steps.append(Step(cheaper[1], dearer[1], device, seconds, len(both), gain))
    return tuple(steps)


def _else(cell: Cell) -> str:
    """What a cell changes beside the encoder."""
    return json.dumps({key: value for key, value in cell.changes.items() if key != _ENCODER}, sort_keys=True)


def _gain(
    whole: Float64[np.ndarray, " cell"],
    drawn: Float64[np.ndarray, "cell resample"],
    pairs: Sequence[Sequence[int]],
    n: int,
) -> Estimate:
    """Mean difference of some pairs of cells, with its interval."""
    cheaper, dearer = map(list, pairs)
    if not cheaper:
        return not_estimable("no two cells are alike but for the encoder", n=n, method=_METHOD)
    value = float(np.mean(whole[dearer] - whole[cheaper]))
    differences = np.mean(drawn[dearer] - drawn[cheaper], axis=0)
    if not math.isfinite(value) or not np.isfinite(differences).all():
        return not_estimable("the metric cannot be estimated", n=n, method=_METHOD)
    low, high = np.percentile(differences, [2.5, 97.5])
    return Estimate(value, float(low), float(high), n, _METHOD)
