"""The keys of what a study is made of: hashes of all that is known before it is made."""

from typing import Any

from triher.ablation.nodes import EmbedNode, TrainNode
from triher.cohort import Cohort, read_cohort, sources_sha256
from triher.files import sha256_of_json
from triher.settings import Config

DIGITS = 16


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

    def training(self, config: Config) -> TrainNode:
        """The trained encoder that a configuration needs.

        Raises:
            StopRun: for whatever it says that cannot be done.
        """
        from extract.finetune import facts_before, find_start
        from extract.recipe import slabs_of
        from extract.training.parts import expected_roster

        roster = expected_roster(config, self.read(config))
        who = [patient.patient_id for patient in roster.patients]
        split = config.classify.split.model_dump(mode="json", exclude={"reopen"})
        sources = self._sources(config)
        learned = [who, roster.y.tolist(), roster.tasks.tolist(), roster.lesson_facts()]
        return TrainNode(
            key=_key([facts_before(config, find_start(config)), *learned, split, *sources]),
            encoder=config.extract.encoder,
            config=config,
            slabs=_key([slabs_of(config).facts(), *sources]),
            lessons=tuple((len(one.train), len(one.validation)) for one in roster.lessons),
            n_patients=len(who),
            cells=(),
            path=None,
        )

    def embedding(self, config: Config, training: TrainNode | None = None) -> EmbedNode:
        """The store that a configuration needs.

        Args:
            config: of the cell.
            training: of its encoder, where it does not stay as it came.

        Raises:
            StopRun: for whatever it says that cannot be done.
        """
        from extract.recipe import slabs_of
        from extract.task import decide, decide_pictures

        options, sources = config.extract, self._sources(config)
        if training is None:
            task = decide(config)
            encoder: list[Any] = [task.encoders[0].facts()]
        else:
            task = decide_pictures(config)
            encoder = ["trained", training.key]
        fitted = config.classify.split.model_dump(mode="json") if task.needs_fit else None
        recipe = {key: value for key, value in options.choices().items() if key != "encoder"}
        group = [recipe, fitted, *sources]
        return EmbedNode(
            key=_key([*encoder, *group]),
            encoder=options.encoder,
            config=config,
            group=_key(group),
            slabs=_key([slabs_of(config).facts(), *sources]),
            cells=(),
            store=None,
            training="" if training is None else training.key,
        )

    def _sources(self, config: Config) -> list[Any]:
        """Which images there are."""
        return [sources_sha256(self.read(config), config.cohort), list(config.cohort.phases)]


def _key(value: object) -> str:
    """A short hash."""
    return sha256_of_json(value)[:DIGITS]
