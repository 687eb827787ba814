"""The ablation study in the report of a run: found, told, and never taken for another run's."""

import numpy as np
import pandas as pd
import pytest

from analysis.part import Material, Part
from analysis.patients.samples import split_samples
from analysis.sections.study import study_part
from analysis.stage import inputs_key
from triher.cohort import Cohort
from triher.config import build_config, dump_config
from triher.errors import StopRun
from triher.files import sha256_of_file
from triher.predictions import write_predictions
from triher.runfolder import RunFolder
from triher.study import Cell, CellRun, Study, StudyFolder

CLASSES = ("zero", "low", "positive")


def predictions(strength):
    rng = np.random.default_rng(0)
    y = np.arange(45) % 3
    logits = strength * np.eye(3)[y] + rng.normal(size=(45, 3))
    frame = pd.DataFrame({"patient_id": [f"P{i}" for i in range(45)], "cohort": "X", "site": "A", "split": "test"})
    frame = frame.assign(repeat=0, fold=0, seed=0, y=y.astype(float))
    frame[[f"p_{name}" for name in CLASSES]] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return frame


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    values = ["clip99-joint", "zscore-volume"]
    tree = {
        "cohort": {"table": "cohort.csv"},
        "analysis": {"resamples": 100},
        "ablation": {"axes": {"extract.normalization": values}},
    }
    config = build_config(tree, {}, path / "config.yaml")
    folder = StudyFolder(RunFolder(path / "ablation"))
    folder.run.prepare()
    changes = [{}, {"extract.normalization": values[1]}]
    names = ["base", f"normalization={values[1]}"]
    for k, strength in enumerate((2.0, 1.0)):
        target = folder.predictions(f"k{k}")
        target.parent.mkdir(parents=True)
        write_predictions(target, predictions(strength), "triple")
        told = {"head": "logistic", "sha256": sha256_of_file(target), "n": 45}
        folder.write_cell(CellRun(key=f"k{k}", seed=0, state="done", **told))
    cells = tuple(
        Cell(name=name, levels={"normalization": value}, changes=changed)
        for name, value, changed in zip(names, values, changes, strict=True)
    )
    runs = {name: (f"k{k}",) for k, name in enumerate(names)}
    axes = {"normalization": tuple(values)}
    told = dump_config(config)
    folder.write_study(Study(axes=axes, design="lattice", cells=cells, runs=runs, broken={}, config=told))
    return path, tree


def material(place, **changes):
    path, tree = place
    config = build_config(tree, {"analysis.study": "ablation", **changes}, path / "config.yaml")
    frame = predictions(2.0)
    return Material(frame, None, split_samples(frame, "triple"), {}, Cohort((), (), frozenset()), config, {})


def test_the_cells_and_their_differences_are_told_with_the_place_of_this_run(place):
    section = study_part(material(place)).section
    text = section.blocks[0].text
    assert text.startswith("This run has the settings of the study's base.")
    assert "'ablation'" in text
    names = [drawing.name for block in section.blocks if block.kind == "gallery" for drawing in block.drawings]
    assert "ablation-lattice-test" in names
    other = study_part(material(place, **{"extract.normalization": "zscore-volume"})).section
    assert "the cell 'normalization=zscore-volume' of the study" in other.blocks[0].text


def test_a_study_of_other_models_is_called_so(place):
    block = study_part(material(place, **{"classify.head": "xgboost"})).section.blocks[0]
    assert (block.tone, "other models than this one" in block.text) == ("note", True)


def test_without_a_study_there_is_no_section_and_a_missing_one_stops(place):
    assert study_part(material(place, **{"analysis.study": None})) == Part()
    with pytest.raises(StopRun, match="holds no ablation study"):
        study_part(material(place, **{"analysis.study": "nowhere"}))


def test_the_study_belongs_to_what_the_report_depends_on(place, tmp_path):
    given = material(place)
    run = RunFolder(tmp_path / "run")
    run.prepare()
    write_predictions(run.predictions_file, given.frame, "triple")
    before = inputs_key(given.config, run, given.cohort)
    folder = StudyFolder(RunFolder(given.config.analysis.study))
    cell = folder.read_cell("k1")
    folder.write_cell(cell.model_copy(update={"seconds": 9.0}))
    assert inputs_key(given.config, run, given.cohort) != before
    folder.write_cell(cell)
    assert inputs_key(given.config, run, given.cohort) == before
