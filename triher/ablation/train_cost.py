"""What the trainings of a study take, measured once for all that train the same network on pictures alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from triher.ablation.nodes import EmbedNode, TrainNode
from triher.ablation.part_cost import PartCost
from triher.errors import StopRun
from triher.labels import scheme_classes
from triher.progress import Advance
from triher.settings import FinetuneConfig

if TYPE_CHECKING:
    from extract.cost import EmbedCost, SlabCost
    from extract.training.cost import TrainCost

_RUNNING = {"encoder", "device", "precision", "batch_size"}
_LEARNING = {"network", "heads", "combine", "also_predict", "task", "input_size", "batch_size", "augment", "devices"}
"""Keys of ``extract`` and of ``finetune`` that decide how long a step takes."""
_DRAWING = {"region", "slices", "normalization", "fusions"}
_BYTES = 4  # of a feature


@dataclass
class Trainings:
    """The trainings that are left, and those whose encoders are still to embed."""

    nodes: Sequence[TrainNode]
    measured: dict[str, "TrainCost"] = field(default_factory=dict)
    """`TrainNode.key` -> what was found."""

    @property
    def n_kinds(self) -> int:
        """How many networks are to be timed."""
        return len({_kind(node) for node in self.nodes})

    def measure(self, slabs: Mapping[str, "SlabCost"], reasons: Mapping[str, str], advance: Advance) -> None:
        """Time each network, and drawing for each recipe.

        Args:
            slabs: `TrainNode.slabs` -> slabs of a few patients.
            reasons: the same -> why there are none.
            advance: told after each network.
        """
        for kind in dict.fromkeys(map(_kind, self.nodes)):
            inside = [node for node in self.nodes if _kind(node) == kind]
            self.measured |= _measured([node for node in inside if node.slabs in slabs], slabs)
            lacking = {node.key: _unknown(reasons.get(node.slabs, "")) for node in inside if node.slabs not in slabs}
            self.measured |= lacking
            advance("training")

    def cost(self, node: TrainNode) -> PartCost:
        """Of all networks of one encoder."""
        found, options = self.measured[node.key], node.config.finetune or FinetuneConfig()
        return PartCost(
            found.training_s(node.lessons, options.epochs, node.n_patients),
            found.network_bytes * len(node.lessons),
            found.device_bytes,
            found.reason,
            found.picture_bytes * found.n_pictures * node.n_patients,
        )

    def embedding(self, node: EmbedNode) -> "EmbedCost":
        """Of a store that a trained encoder is to make, for each patient."""
        from extract.cost import EmbedCost

        training = next(one for one in self.nodes if one.key == node.training)
        found, n_classes = self.measured[training.key], len(scheme_classes(node.config.scheme))
        gives_classes = node.config.extract.tokens == "default"
        return EmbedCost(
            load_s=0.0,
            seconds=found.patient_s(),
            store_bytes=found.n_pictures * n_classes * _BYTES,
            device_bytes=found.network_bytes * len(training.lessons),
            n_features=n_classes if gives_classes else 0,
            n_rows=found.n_pictures,
            reason=found.reason,
        )


def _kind(node: TrainNode) -> str:
    """Equal where a step takes as long."""
    config = node.config
    own = (config.finetune or FinetuneConfig()).model_dump_json(include=_LEARNING)
    return f"{config.scheme} {config.extract.model_dump_json(include=_RUNNING)} {own}"


def _drawn(node: TrainNode) -> str:
    """Equal where the same pictures are drawn of the same slabs."""
    return f"{node.slabs} {node.config.extract.model_dump_json(include=_DRAWING)}"


def _measured(nodes: Sequence[TrainNode], slabs: Mapping[str, "SlabCost"]) -> dict[str, "TrainCost"]:
    """Time a network, and the drawing of each recipe once, whatever the number of seeds."""
    from extract.training.cost import measure_trainings

    first = {_drawn(node): node for node in reversed(nodes)}
    try:
        costs = measure_trainings([(node.config, slabs[node.slabs].paths) for node in first.values()])
    except StopRun as error:
        return {node.key: _unknown(error.message) for node in nodes}
    found = dict(zip(first, costs, strict=True))
    return {node.key: found[_drawn(node)] for node in nodes}


def _unknown(reason: str) -> "TrainCost":
    """What could not be measured."""
    from extract.training.cost import TrainCost

    return TrainCost(reason=reason)
