"""Where the slabs of the patients in a feature store lie, for those who show them and open no source."""

from pathlib import Path

from triher.runfolder import RunFolder
from triher.store import read_index


def slabs_of_store(store: Path) -> dict[str, Path]:
    """Patient id -> slab that the patient was embedded from, of those that are still in the store's run folder.

    Args:
        store: a feature store in the ``features`` of a run folder.

    Raises:
        StopRun: as `triher.store.read_index`.
    """
    folder = RunFolder(store.parent.parent).slabs
    there = {path.name for path in folder.glob("*.safetensors")}
    names = {patient: f"{digest}.safetensors" for patient, digest in read_index(store).inputs.items()}
    return {patient: folder / name for patient, name in names.items() if name in there}
