"""The run that is looked at: what of it is there, each part read when it is first asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.explained_run import failed_tests
from triher.config import recorded_config
from triher.errors import StopRun
from triher.explanations import NAME as MAPS
from triher.explanations import MapsIndex, PatientMaps, read_maps, read_maps_index
from triher.labels import scheme_classes
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.slab_files import slabs_of_store
from triher.view.cases import Case, read_cases
from triher.view.neighbors import Directions, directions
from triher.view.shares import Shares, read_shares

if TYPE_CHECKING:
    from triher.cohort import Patient


@dataclass(frozen=True)
class Embedded:
    """The pooled vectors of a run, for finding neighbors."""

    position: Mapping[str, int]
    """Patient id -> row of `vectors`."""
    vectors: Directions


@dataclass(frozen=True)
class Viewed:
    """A run with predictions; nothing of it is ever written."""

    run: RunFolder
    config: Config
    record: Mapping[str, Any]
    cases: tuple[Case, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the scheme, in order."""
        return scheme_classes(self.config.scheme)

    @cached_property
    def case_of(self) -> dict[str, int]:
        """Patient id -> position of her first case."""
        return {case.patient_id: n for n, case in reversed(list(enumerate(self.cases)))}

    @cached_property
    def features(self) -> Path | None:
        """The feature store or table of the run, None where the run does not say or the file is gone."""
        name = self.record["stages"].get("extract", {}).get("store", "")
        path = self.config.classify.features or (self.run.features / name if name else None)
        return path if path is not None and path.is_file() else None

    @cached_property
    def slabs(self) -> dict[str, Path]:
        """Patient id -> slab, of those that lie beside the feature store; sources are not needed."""
        if self.features is None or self.features.suffix != ".h5":
            return {}
        return slabs_of_store(self.features)

    @property
    def why_no_images(self) -> str:
        """What to tell of a patient without slab."""
        if self.features is None:
            return "This run holds no feature store, so nothing says which images the patients have."
        if self.features.suffix != ".h5":
            return f"The features come from a table ({self.features.name}); this run has seen no images."
        return "This patient's slab is not in the cache; 'triher extract' with the same --out makes it again."

    @cached_property
    def patients(self) -> dict[str, "Patient"]:
        """Patient id -> row of the cohort table, whose images are not looked for.

        Raises:
            StopRun: as `triher.cohort.read_cohort`.
        """
        from triher.cohort import read_cohort

        images = self.config.has_images and "extract" in self.record["stages"]
        cohort = read_cohort(self.config.cohort, survival=False, images=images)
        return {patient.patient_id: patient for patient in cohort.patients}

    @cached_property
    def embedded(self) -> Embedded:
        """The embeddings of everybody in the run.

        Raises:
            StopRun: as `classify.source.read_source` and `classify.pooling.pool`.
        """
        from classify.pooling import pool
        from classify.source import read_source

        if self.features is None:
            raise StopRun("file_unreadable", "this run holds no feature store")
        source, own = read_source(self.features), self.config.classify
        pooled = pool(source.features, own.views, own.pooling, source.names)
        return Embedded({name: n for n, name in enumerate(source.features.patient_id)}, directions(pooled.vectors))

    @cached_property
    def maps_index(self) -> MapsIndex | None:
        """Who has maps, None without maps of these predictions or where the file is damaged."""
        path = self.maps_file
        if not path.is_file() or self.run.explanations_are_stale:
            return None
        try:
            return read_maps_index(path)
        except StopRun:
            return None

    @property
    def maps_file(self) -> Path:
        """The maps of the run."""
        return self.run.explanations / MAPS

    @cached_property
    def caution(self) -> str:
        """What to tell beside the maps, or in their place; empty where nothing speaks against them."""
        if self.run.explanations_are_stale:
            return "The explanations of this run are of an earlier model than the predictions, so they are not shown."
        try:
            failed = failed_tests(self.run) if self.maps_index else []
        except StopRun as stop:
            return f"The sanity tests of the maps cannot be read: {stop.message}"
        if not failed:
            return ""
        return (
            f"The maps of this run failed sanity tests ({', '.join(failed)}), so they must not be read as the "
            "reasons of the model."
        )

    @cached_property
    def shares(self) -> Shares:
        """What moved the predictions, by patient id; nothing where it moved earlier ones."""
        return {} if self.run.explanations_are_stale else read_shares(self.run)

    def maps(self, patient_id: str) -> PatientMaps | None:
        """The maps of a patient, None where there are none, or where the file was taken away since."""
        if self.maps_index is None or patient_id not in self.maps_index.patient_ids:
            return None
        try:
            return read_maps(self.maps_file, patient_id)
        except StopRun:
            return None


def open_run(path: Path) -> Viewed:
    """Open a run folder for looking at it.

    Raises:
        StopRun: ``view_run`` when it is no run folder, or one without predictions; as
            `triher.runfolder.RunFolder.read_record`, `triher.config.recorded_config` and
            `triher.view.cases.read_cases`.
    """
    run = RunFolder(path)
    if not run.record_file.is_file():
        raise StopRun("view_run", f"{path} is no run folder: it has no {run.record_file.name}")
    record = run.read_record()
    if "config" not in record or not run.predictions_file.is_file():
        raise StopRun("view_run", f"{path} is a run folder without {run.predictions_file.name}")
    config = recorded_config(run)
    return Viewed(run, config, record, read_cases(run.predictions_file, config.scheme))
