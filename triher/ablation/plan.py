"""The graph of a study: which feature stores and which models its cells need, each once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from triher.ablation.axes import Lattice
from triher.cohort import Cohort, read_cohort, sources_sha256
from triher.errors import StopRun
from triher.files import sha256_of_file, sha256_of_json
from triher.settings import AblationConfig, Config, PerturbConfig
from triher.study import Study, StudyFolder

_DIGITS = 16


@dataclass(frozen=True)
class EmbedNode:
    """One feature store."""

    key: str
    encoder: str
    config: Config
    """Of one of its cells; ``cohort`` and ``extract`` are those of all."""
    group: str
    """Equal for stores of one recipe by different encoders."""
    slabs: str
    """Equal for stores that are drawn from the same slabs."""
    cells: tuple[str, ...]
    """Names of the cells that need it."""
    store: Path | None
    """Where it lies, when it is there."""

    @property
    def extras(self) -> list[str]:
        """What is done to the images before anything is cut or normalized, in words."""
        options = self.config.extract
        corrected = [] if options.n4 == "none" else [f"N4 {options.n4}"]
        return corrected if options.perturb.is_none else [*corrected, "disturbed"]


@dataclass(frozen=True)
class RunNode:
    """One cell with one seed."""

    cell: str
    seed: int
    config: Config
    embedding: str
    """Key of the store that the models are trained on; empty for a table of features."""
    shown: str
    """Key of the store of the held-out patients, where that is another one; else empty."""
    key: str
    """Of its predictions; empty while a store is not there."""
    is_done: bool


@dataclass(frozen=True)
class StudyPlan:
    """All that a study needs, in the order in which it is done."""

    lattice: Lattice
    embeddings: tuple[EmbedNode, ...]
    runs: tuple[RunNode, ...]
    broken: dict[str, tuple[str, str]]
    """Name of a cell that cannot be begun -> code and reason."""


def make_plan(lattice: Lattice, own: AblationConfig, folder: StudyFolder) -> StudyPlan:
    """Lay out the graph, and find what is there already.

    A mistake in one cell (an encoder without weights, a covariate that nobody has) breaks that cell alone.

    Args:
        lattice: the cells.
        own: the section ``ablation``.
        folder: where earlier results lie.
    """
    known = Cohorts()
    embeddings: dict[str, EmbedNode] = {}
    runs: list[RunNode] = []
    broken: dict[str, tuple[str, str]] = {}
    for cell in lattice.cells:
        config = lattice.configs[cell.name]
        try:
            known.check(config)
            needed = [known.embedding(one) for one in _extractions(config, own)]
        except StopRun as error:
            broken[cell.name] = (error.code, str(error))
            continue
        for node in needed:
            seen = embeddings.get(node.key, node)
            embeddings[node.key] = replace(seen, cells=(*seen.cells, cell.name))
        keys = [*(node.key for node in needed), "", ""][:2]
        runs += [
            RunNode(
                cell.name, config.seed + i, _with_seed(config, config.seed + i), keys[0], keys[1], "", is_done=False
            )
            for i in range(own.seeds)
        ]
    nodes = tuple(replace(node, store=_found(folder, node.key)) for node in _in_order(embeddings.values()))
    return located(StudyPlan(lattice, nodes, tuple(runs), broken), folder)


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
            key = cell_key(run.config, store, shown, shared=shared)[:_DIGITS]
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


class Cohorts:
    """The cohorts of a study, each read once."""

    def __init__(self) -> None:
        """None is read yet."""
        self._known: dict[str, Cohort] = {}

    def read(self, config: Config) -> Cohort:
        """The cohort of a configuration."""
        key = f"{config.has_images} {config.cohort.model_dump_json()}"
        if key not in self._known:
            self._known[key] = read_cohort(config.cohort, images=config.has_images)
        return self._known[key]

    def check(self, config: Config) -> None:
        """Refuse mistakes of the classification before any work.

        Raises:
            StopRun: as the stages.
        """
        from triher.pipeline import check_classification

        check_classification(config, self.read(config))

    def embedding(self, config: Config) -> EmbedNode:
        """The store that a configuration needs.

        Raises:
            StopRun: for whatever it says that cannot be done.
        """
        from extract.recipe import slabs_of
        from extract.task import decide

        task = decide(config)
        options = config.extract
        sources = [sources_sha256(self.read(config), config.cohort), list(config.cohort.phases)]
        fitted = config.classify.split.model_dump(mode="json") if task.needs_fit else None
        recipe = {key: value for key, value in options.choices().items() if key != "encoder"}
        group = [recipe, fitted, *sources]
        return EmbedNode(
            key=_key([task.encoders[0].facts(), *group]),
            encoder=options.encoder,
            config=config,
            group=_key(group),
            slabs=_key([slabs_of(config).facts(), *sources]),
            cells=(),
            store=None,
        )


def _extractions(config: Config, own: AblationConfig) -> list[Config]:
    """The extractions that a cell needs: that of its training, and that of the disturbed held-out images."""
    if not config.has_images:
        return []
    alone = config.extract.model_copy(update={"also": ()})
    if alone.perturb.is_none or own.perturbed == "train":
        return [config.model_copy(update={"extract": alone})]
    clean = alone.model_copy(update={"perturb": PerturbConfig()})
    return [config.model_copy(update={"extract": extract}) for extract in (clean, alone)]


def _with_seed(config: Config, seed: int) -> Config:
    """The configuration with another seed."""
    return config.model_copy(update={"seed": seed})


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


def _key(value: object) -> str:
    """A short hash."""
    return sha256_of_json(value)[:_DIGITS]
