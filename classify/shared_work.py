"""What cells of an ablation have in common, done once and kept for the next cell."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from jaxtyping import Int

from classify.cases import Gathered
from classify.leaks import Finding
from classify.source import Source, read_source, source_key
from triher.cohort import Cohort, read_cohort
from triher.files import sha256_of_json
from triher.folds import Split, stratified_folds
from triher.settings import Config
from triher.types import Labels, Names

T = TypeVar("T")
_MOST = {"cohort": 2, "source": 2, "gathered": 2, "findings": 4, "division": 256}
"""Of each kind, what was used last: two stores of features fit into memory, and divisions are but positions."""


@dataclass(frozen=True)
class SharedWork:
    """Results by kind and by what they depend on; they are frozen, so that nobody changes what another cell sees.

    One thread at a time may work with it. Cells with equal features should follow one another. The cohort table is
    read once, so that all cells see the same one.
    """

    kept: dict[str, OrderedDict[Hashable, object]] = field(default_factory=dict)

    def once(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """What was made of this kind for an equal key before, or what `make` gives."""
        of_kind = self.kept.setdefault(kind, OrderedDict())
        if key not in of_kind:
            while len(of_kind) >= _MOST[kind]:
                of_kind.popitem(last=False)
            of_kind[key] = make()
        of_kind.move_to_end(key)
        return cast("T", of_kind[key])

    def cohort(self, config: Config) -> Cohort:
        """The patients.

        Raises:
            StopRun: as `triher.cohort.read_cohort`.
        """
        key = config.cohort.model_dump_json(), config.has_images
        return self.once("cohort", key, lambda: read_cohort(config.cohort, images=config.has_images))

    def source(self, features: Path) -> Source:
        """Features from a store or a table.

        Raises:
            StopRun: as `classify.source.read_source`.
        """
        return self.once("source", tuple(source_key(features)), lambda: read_source(features))

    def gathered(self, key: Hashable, make: Callable[[], Gathered]) -> Gathered:
        """Cases, by what they are gathered from."""
        return self.once("gathered", key, make)

    def findings(self, key: Hashable, make: Callable[[], tuple[Finding, ...]]) -> tuple[Finding, ...]:
        """What the leak linter found."""
        return self.once("findings", key, make)

    def divide(
        self,
        y: Labels,
        cohort: Names,
        group: Int[np.ndarray, " patient"],
        *,
        folds: int,
        n_classes: int,
        seed: int,
    ) -> list[Split]:
        """`triher.folds.stratified_folds`: folds depend on labels, cohorts and groups, and on no feature."""
        key = sha256_of_json([y.tolist(), cohort.tolist(), group.tolist(), folds, n_classes, seed])
        return self.once(
            "division",
            key,
            lambda: stratified_folds(y, cohort, group, folds=folds, n_classes=n_classes, seed=seed),
        )
