"""What a study is made of: trained encoders, feature stores and models, each once."""

from dataclasses import dataclass
from pathlib import Path

from triher.ablation.axes import Lattice
from triher.settings import Config


@dataclass(frozen=True)
class TrainNode:
    """One trained encoder: the networks of all parts of the development patients, in one file."""

    key: str
    encoder: str
    """That the training starts from."""
    config: Config
    """Of one of its cells, with the seed of the training."""
    slabs: str
    """As `EmbedNode.slabs`."""
    lessons: tuple[tuple[int, int], ...]
    """For each network, how many patients it learns from and how many tell when to stop, if all images are usable."""
    n_patients: int
    """Development patients."""
    cells: tuple[str, ...]
    """Names of the cells that need it."""
    path: Path | None
    """Where it lies, when it is there."""

    @property
    def extras(self) -> list[str]:
        """What is done to the images before anything is cut or normalized, in words."""
        return _extras(self.config)


def _extras(config: Config) -> list[str]:
    """What is done to the images of a configuration, in words."""
    options = config.extract
    corrected = [] if options.n4 == "none" else [f"N4 {options.n4}"]
    return corrected if options.perturb.is_none else [*corrected, "disturbed"]


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
    training: str = ""
    """Key of the training of its encoder; empty where that stays as it came."""

    @property
    def extras(self) -> list[str]:
        """What is done to the images before anything is cut or normalized, in words."""
        return _extras(self.config)


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
    trainings: tuple[TrainNode, ...]
    embeddings: tuple[EmbedNode, ...]
    runs: tuple[RunNode, ...]
    broken: dict[str, tuple[str, str]]
    """Name of a cell that cannot be begun -> code and reason."""
