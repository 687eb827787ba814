"""Every choice combines with every other, and all of them together read each source file once."""

from itertools import product
from pathlib import Path

import pytest

from extract.stage import extract
from triher.config import read_config
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.store import read_index
from triher.tables import write_table

NORMALIZATIONS = (
    "clip99-joint",
    "minmax-volume",
    "clip98-volume",
    "zscore-slice",
    "percentile99-pre",
    "clip95-mask",
    "clahe-joint",
    "nyul-volume",
)
FUSIONS = ("rgb", "wash-in", "kinetics", "early", "mine=pre,late,late-pre")
SINGLE = ("early", "early-pre", "late-early")
N_PATIENTS = 3


@pytest.fixture
def config_file(tmp_path, write_exam) -> Path:
    rows = []
    for i in range(N_PATIENTS):
        patient = write_exam(f"P{i}", seed=i, shape=(26, 24, 9)).patient
        rows.append([patient.patient_id, "A", *(str(p) for p in (*patient.phases.values(), patient.mask))])
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "pre", "early", "late", "mask"], rows)
    (tmp_path / "config.yaml").write_text("cohort: {table: cohort.csv}\nextract: {encoder: toy, slices: {n: 2}}\n")
    return tmp_path / "config.yaml"


@pytest.mark.slow
def test_the_lattice_of_choices_opens_each_source_once(config_file, toy_plugin, opened_sources):
    folder, quiet = RunFolder(config_file.parent / "run"), Reporter(quiet=True)
    made: set[Path] = set()

    def run(*overrides: str) -> None:
        done = extract(read_config(config_file, overrides), folder, quiet)
        assert done.did_work
        assert done.n_skipped == 0
        made.add(done.store)

    # The first in one pass over the exams; the others over the slabs.
    for normalization, fusion in product(NORMALIZATIONS, FUSIONS):
        run(f"extract.normalization={normalization}", f"extract.fusions=['{fusion}']", "extract.also=[toy-wide]")
    for fusion in SINGLE:
        run(f"extract.fusions=['{fusion}']", "extract.encoder=toy-cubes", "extract.also=[radiomics]")
    run(f"extract.fusions=[{', '.join(SINGLE)}]", "extract.encoder=radiomics")

    assert len(opened_sources) == len(set(opened_sources)) == N_PATIENTS * 4
    assert len(made) == len(NORMALIZATIONS) * len(FUSIONS) + len(SINGLE) + 1
    stores = list(folder.features.glob("*.h5"))
    assert len(stores) == 2 * len(NORMALIZATIONS) * len(FUSIONS) + 2 * len(SINGLE) + 1
    assert len({read_index(store).identity for store in stores}) == len(stores)
    assert all(len(read_index(store).inputs) == N_PATIENTS for store in stores)
