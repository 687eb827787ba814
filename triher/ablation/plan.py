"""The graph of a study: which trained encoders, feature stores and models its cells need, each once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from triher.ablation.axes import Lattice
from triher.ablation.keys import DIGITS, Cohorts
from triher.ablation.nodes import EmbedNode, RunNode, StudyPlan, TrainNode
from triher.effective import trains
from triher.errors import StopRun
from triher.files import sha256_of_file
from triher.settings import AblationConfig, Config, PerturbConfig
from triher.study import Study, StudyFolder

Node = TypeVar("Node", TrainNode, EmbedNode)


def make_plan(lattice: Lattice, own: AblationConfig, folder: StudyFolder) -> StudyPlan:
    """Lay out the graph, and find what is there already.

    A mistake in one cell (an encoder without weights, a covariate that nobody has) breaks that cell alone.

    Args:
        lattice: the cells.
        own: the section ``ablation``.
        folder: where earlier results lie.
    """
    known = Cohorts()
    trainings: dict[str, TrainNode] = {}
    embeddings: dict[str, EmbedNode] = {}
    runs: list[RunNode] = []
    broken: dict[str, tuple[str, str]] = {}
    for cell in lattice.cells:
        try:
            known.check(lattice.configs[cell.name])
            found = _needs_of_seeds(lattice.configs[cell.name], own, known)
        except StopRun as error:
            broken[cell.name] = (error.code, str(error))
            continue
        for config, needs in found:
            if needs.training is not None:
                trainings[needs.training.key] = _shared(needs.training, trainings, cell.name)
            for node in needs.embeddings:
                embeddings[node.key] = _shared(node, embeddings, cell.name)
            keys = [*(node.key for node in needs.embeddings), "", ""][:2]
            runs.append(RunNode(cell.name, config.seed, config, keys[0], keys[1], "", is_done=False))
    stores = tuple(replace(node, store=_found(folder, node.key)) for node in _in_order(embeddings.values()))
    files = tuple(replace(node, path=_trained(folder, node.key)) for node in trainings.values())
    return located(StudyPlan(lattice, files, stores, tuple(runs), broken), folder)


@dataclass(frozen=True)
class _Needs:
    """What one cell with one seed is made from."""

    training: TrainNode | None
    embeddings: tuple[EmbedNode, ...]
    """That of the training, and that of the disturbed held-out images; none for a table of features."""


def _needs_of_seeds(config: Config, own: AblationConfig, known: Cohorts) -> list[tuple[Config, _Needs]]:
    """A cell with each seed: each trains its own networks; encoders that stay as they came know of no seed."""
    configs = [config.model_copy(update={"seed": config.seed + i}) for i in range(own.seeds)]
    if trains(config):
        return [(one, _needs(one, own, known)) for one in configs]
    needs = _needs(config, own, known)
    return [(one, needs) for one in configs]


def _needs(config: Config, own: AblationConfig, known: Cohorts) -> _Needs:
    """One cell with one seed; whoever is shown disturbed images is embedded by networks of undisturbed ones."""
    extractions = _extractions(config, own)
    training = known.training(extractions[0]) if trains(config) else None
    return _Needs(training, tuple(known.embedding(one, training) for one in extractions))


def _shared(node: Node, there: Mapping[str, Node], cell: str) -> Node:
    """The node, needed by one cell more."""
    seen: Node = there.get(node.key, node)
    return replace(seen, cells=tuple(dict.fromkeys((*seen.cells, cell))))


def located(plan: StudyPlan, folder: StudyFolder) -> StudyPlan:
    """The plan with the keys of all runs whose stores are there by now, and which of them are done.

    Where a store or table cannot be read, the cells that need it are broken.
    """
    from classify.cell import cell_key
    from classify.shared_work import SharedWork

    shared = SharedWork()
    stores = {node.key: node.store for node in plan.embeddings}
    runs, broken = [], dict(plan.broken)
    for run in plan.runs:
        store = stores.get(run.embedding) if run.embedding else run.config.classify.features
        shown = stores.get(run.shown) if run.shown else None
        if store is None or (run.shown and shown is None):
            runs.append(run)
            continue
        try:
            key = cell_key(run.config, store, shown, shared=shared)[:DIGITS]
        except StopRun as error:
            broken[run.cell] = (error.code, str(error))
            continue
        runs.append(replace(run, key=key, is_done=is_done(folder, key)))
    order = {node.key: i for i, node in enumerate(plan.embeddings)}
    runs.sort(key=lambda run: (order.get(run.embedding, -1), run.config.classify.pooling, run.config.classify.views))
    return replace(plan, runs=tuple(run for run in runs if run.cell not in broken), broken=broken)


def is_done(folder: StudyFolder, key: str) -> bool:
    """Whether a run is there in full, as it was written; one that failed is tried again."""
    found, path = folder.read_cell(key), folder.predictions(key)
    if found is None or found.state != "done" or not path.is_file():
        return False
    return sha256_of_file(path) == found.sha256


def as_study(plan: StudyPlan, base: Config, design: str) -> Study:
    """What ``study.json`` says of a plan whose stores are all there."""
    keys: dict[str, list[str]] = {cell.name: [] for cell in plan.lattice.cells}
    for run in sorted(plan.runs, key=lambda run: run.seed):
        if run.key:
            keys[run.cell].append(run.key)
    return Study(
        axes=plan.lattice.axes,
        design=design,
        cells=plan.lattice.cells,
        runs={name: tuple(found) for name, found in keys.items()},
        broken=plan.broken,
        config=base.model_dump(mode="json"),
    )


def _extractions(config: Config, own: AblationConfig) -> list[Config]:
    """The extractions that a cell needs: that of its training, and that of the disturbed held-out images."""
    if not config.has_images:
        return []
    alone = config.with_extract(also=())
    if alone.extract.perturb.is_none or own.perturbed == "train":
        return [alone]
    return [alone.with_extract(perturb=PerturbConfig()), alone]


def _in_order(nodes: Iterable[EmbedNode]) -> list[EmbedNode]:
    """Stores of the same slabs, and of the same recipe, next to each other; else as they came."""
    listed = list(nodes)
    first = _first_place({node.slabs: None for node in listed}), _first_place({node.group: None for node in listed})
    return sorted(listed, key=lambda node: (first[0][node.slabs], first[1][node.group]))


def _first_place(names: Mapping[str, None]) -> dict[str, int]:
    """The place of each name."""
    return {name: i for i, name in enumerate(names)}


def _found(folder: StudyFolder, key: str) -> Path | None:
    """Where a store lies, if it is there."""
    record = folder.read_embedding(key)
    return None if record is None else folder.run.features / record.store


def _trained(folder: StudyFolder, key: str) -> Path | None:
    """Where a trained encoder lies, if it is there."""
    record = folder.read_training(key)
    return None if record is None else folder.run.encoders / record.file
