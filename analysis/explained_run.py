"""What the explaining stage left in a run folder, as far as it is of the model whose predictions are judged."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from triher.explained import NAME as CHOSEN
from triher.explained import Chosen, read_chosen
from triher.explanation_checks import NAME as CHECKS
from triher.explanation_checks import Check, read_checks
from triher.explanation_tables import (
    PROJECTION,
    PURITY,
    SHAP_FEATURES,
    SHAP_GROUPS,
    FeatureShare,
    GroupShare,
    Projected,
    Purity,
    read_rows,
)
from triher.explanations import MapsIndex, read_maps_index
from triher.files import sha256_of_file
from triher.runfolder import RunFolder

MAPS = "maps.h5"


@dataclass(frozen=True)
class Explained:
    """All that is shown of a run's explanations; what was not made is empty."""

    folder: Path
    maps: MapsIndex | None
    chosen: tuple[Chosen, ...]
    checks: tuple[Check, ...]
    groups: tuple[GroupShare, ...]
    features: tuple[FeatureShare, ...]
    projected: tuple[Projected, ...]
    purity: tuple[Purity, ...]

    @property
    def failed(self) -> list[str]:
        """Names of the sanity tests that failed, in their order."""
        return _failed(self.checks)

    @property
    def n_judged(self) -> int:
        """How many sanity tests came to a verdict."""
        return len(Counter(check.test for check in self.checks if check.passed is not None))


def explained_files(run: RunFolder) -> list[Path]:
    """Every file of the explanations, by name."""
    return sorted(path for path in run.explanations.glob("*") if path.is_file())


def is_stale(run: RunFolder) -> bool:
    """Whether the explanations are of predictions that are no longer there."""
    made_of = run.read_record()["stages"].get("explain", {}).get("predictions", "")
    return bool(made_of) and made_of != sha256_of_file(run.predictions_file)


def failed_tests(run: RunFolder) -> list[str]:
    """Names of the sanity tests that the maps of a run failed.

    Raises:
        StopRun: as `triher.explanation_checks.read_checks`.
    """
    return _failed(read_checks(run.explanations / CHECKS))


def _failed(checks: Iterable[Check]) -> list[str]:
    """Each test once, in the order of the checks."""
    return list(dict.fromkeys(check.test for check in checks if check.passed is False))


def read_explained(run: RunFolder) -> Explained | None:
    """Read the explanations of a run; None where there are none.

    Raises:
        StopRun: as the readers of maps and tables.
    """
    folder = run.explanations
    if not explained_files(run):
        return None
    maps = folder / MAPS
    return Explained(
        folder,
        read_maps_index(maps) if maps.is_file() else None,
        read_chosen(folder / CHOSEN),
        read_checks(folder / CHECKS),
        read_rows(folder / SHAP_GROUPS, GroupShare),
        read_rows(folder / SHAP_FEATURES, FeatureShare),
        read_rows(folder / PROJECTION, Projected),
        read_rows(folder / PURITY, Purity),
    )
