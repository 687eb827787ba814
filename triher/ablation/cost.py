"""What is left of a study will cost on this machine in time, disk and memory, measured on a few patients."""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from triher.ablation.head_cost import Models
from triher.ablation.keys import Cohorts
from triher.ablation.nodes import EmbedNode, RunNode, StudyPlan, TrainNode
from triher.ablation.part_cost import PartCost
from triher.ablation.train_cost import Trainings
from triher.errors import StopRun
from triher.memory import peak_memory_bytes
from triher.progress import Advance, Reporter
from triher.study import StudyFolder

if TYPE_CHECKING:
    from extract.cost import EmbedCost, SlabCost

Item = TypeVar("Item")
_RUNNING = {
    "encoder", "tokens", "crop", "radiomics", "weights_dir", "device", "precision", "runtime", "compile",
    "batch_size",
}  # fmt: skip
"""Keys of ``extract`` that decide how long an encoder takes for an input."""


@dataclass(frozen=True)
class PlanCost:
    """What is left to be done."""

    slabs: dict[str, PartCost]
    """`EmbedNode.slabs` -> cost. A cache is left to make as long as no store was drawn from it."""
    embeddings: dict[str, PartCost]
    """`EmbedNode.key` -> cost, of the stores that are not there."""
    runs: dict[tuple[str, int], PartCost]
    """Cell and seed -> cost, of those not done."""
    n_measured: int
    """Patients."""
    measured_s: float
    """What measuring took."""
    device: str
    process_bytes: float
    """The most memory that this process had while it measured, libraries included."""
    disk_free_bytes: float
    trainings: Mapping[str, PartCost] = field(default_factory=dict)
    """`TrainNode.key` -> cost of all its networks, if none stops early, of those that are not trained."""

    @property
    def parts(self) -> tuple[PartCost, ...]:
        """All of them."""
        return (*self.slabs.values(), *self.trainings.values(), *self.embeddings.values(), *self.runs.values())


def measure_plan(plan: StudyPlan, folder: StudyFolder, reporter: Reporter) -> PlanCost:
    """Measure what is left, each thing once.

    Slabs are measured for every cut, steps of training for every network, the forward pass for every encoder, drawing
    for every recipe, and one model for every head, width of features and number of patients. Nothing is written into
    the study. What cannot be measured here, an encoder without weights for instance, is NaN and says why.

    Args:
        plan: the graph.
        folder: of the study, for the disk that it lies on.
        reporter: where progress goes.
    """
    start = time.monotonic()
    todo = [node for node in plan.embeddings if node.store is None]
    trainings = Trainings([node for node in plan.trainings if node.path is None or _embeds(node, todo)])
    runs = [run for run in plan.runs if not run.is_done and run.cell not in plan.broken]
    known = Cohorts()
    cut: list[EmbedNode | TrainNode] = [*trainings.nodes, *todo]
    frozen = [node for node in todo if not node.training]
    kinds = ["slabs"] * len({node.slabs for node in cut}) + ["encoder"] * len({_running(node) for node in frozen})
    kinds += ["training"] * trainings.n_kinds
    told = reporter if cut or runs else Reporter(quiet=True)
    with told.work("measuring", [*kinds, *("model" for _ in runs)]) as advance:
        with tempfile.TemporaryDirectory() as scratch:
            slabs, reasons = _measure_slabs(cut, known, Path(scratch), advance)
            embeddings = _measure_embeddings(frozen, slabs, reasons, advance)
            trainings.measure(slabs, reasons, advance)
            embeddings |= {node.key: trainings.embedding(node) for node in todo if node.training}
        models = Models({node.key: node for node in plan.embeddings}, embeddings, known)
        of_runs = {(run.cell, run.seed): _of_run(models, run, advance) for run in runs}
    drawn = {node.slabs for node in plan.embeddings if node.store is not None}
    n_patients = {node.slabs: len(known.read(node.config).patients) for node in cut}
    return PlanCost(
        {
            key: _of_slabs(slabs.get(key), n, reasons.get(key, ""))
            for key, n in n_patients.items()
            if key not in drawn
        },
        {node.key: _of_embedding(embeddings[node.key], n_patients[node.slabs]) for node in todo},
        of_runs,
        max((len(found.paths) for found in slabs.values()), default=0),
        time.monotonic() - start,
        _device(cut),
        peak_memory_bytes(),
        float(shutil.disk_usage(_existing(folder.run.path)).free),
        {node.key: trainings.cost(node) for node in trainings.nodes if node.path is None},
    )


def _embeds(training: TrainNode, todo: Sequence[EmbedNode]) -> bool:
    """Whether a store is left to make by a trained encoder."""
    return any(node.training == training.key for node in todo)


def _running(node: EmbedNode) -> str:
    """Equal where one measurement of the forward pass stands for both."""
    return node.config.extract.model_dump_json(include=_RUNNING)


def _by(items: Iterable[Item], key: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Items of an equal key together, in the order in which they came."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _measure_slabs(
    todo: Sequence[EmbedNode | TrainNode], known: Cohorts, scratch: Path, advance: Advance
) -> tuple[dict[str, "SlabCost"], dict[str, str]]:
    """The slabs of a few patients for every cut, the same patients for all cuts of a cohort; and what hindered it."""
    from extract.cost import measure_slabs
    from extract.recipe import slabs_of

    found: dict[str, SlabCost] = {}
    reasons: dict[str, str] = {}
    for number, nodes in enumerate(_by(todo, lambda node: node.config.cohort.model_dump_json()).values()):
        first = {key: alike[0] for key, alike in _by(nodes, lambda node: node.slabs).items()}
        recipes = [slabs_of(node.config) for node in first.values()]
        try:
            cohort, readers = known.read(nodes[0].config), nodes[0].config.extract.readers
            measured = measure_slabs(scratch / str(number), cohort, recipes, readers)
            found |= dict(zip(first, measured, strict=True))
        except StopRun as error:
            reasons |= dict.fromkeys(first, error.message)
        for _ in first:
            advance("slabs")
    return found, reasons


def _measure_embeddings(
    todo: Sequence[EmbedNode], slabs: Mapping[str, "SlabCost"], reasons: Mapping[str, str], advance: Advance
) -> dict[str, "EmbedCost"]:
    """Every store's cost a patient; each encoder is loaded once."""
    from extract.cost import EmbedCost, measure_embeddings

    found = {node.key: EmbedCost(reason=reasons.get(node.slabs, "")) for node in todo}
    for nodes in _by(todo, _running).values():
        usable = [node for node in nodes if node.slabs in slabs]
        try:
            measured = measure_embeddings([(node.config, slabs[node.slabs].paths) for node in usable])
        except StopRun as error:
            measured = [EmbedCost(reason=error.message) for _ in usable]
        found |= {node.key: cost for node, cost in zip(usable, measured, strict=True)}
        advance("encoder")
    return found


def _of_slabs(found: "SlabCost | None", n_patients: int, reason: str) -> PartCost:
    """For all patients."""
    if found is None:
        return PartCost(memory_bytes=0.0, reason=reason)
    return PartCost(found.seconds * n_patients, found.n_bytes * n_patients, 0.0)


def _of_embedding(found: "EmbedCost", n_patients: int) -> PartCost:
    """For all patients."""
    seconds = found.load_s + found.seconds * n_patients
    return PartCost(seconds, found.store_bytes * n_patients, found.device_bytes, found.reason)


def _of_run(models: Models, run: RunNode, advance: Advance) -> PartCost:
    """All models of a run; a table of predictions is small."""
    start, n_measured = time.monotonic(), models.n_measured
    seconds, reason = models.seconds(run)
    advance("model", time.monotonic() - start if models.n_measured > n_measured else math.nan)
    return PartCost(seconds, 0.0, 0.0, reason)


def _device(todo: Sequence[EmbedNode | TrainNode]) -> str:
    """What trains and embeds."""
    if not todo:
        return ""
    from extract.devices import describe_devices

    return describe_devices(todo[0].config.extract.device)


def _existing(path: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
