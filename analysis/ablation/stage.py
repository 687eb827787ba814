"""The reading of a study: from the predictions of its cells to tables, figures and the report."""

import time
from pathlib import Path

from threadpoolctl import threadpool_limits

from analysis.ablation.findings import Findings, find_out
from analysis.ablation.material import read_material
from analysis.ablation.report import build_study_page
from analysis.ablation.results import Read, results_frame, write_results
from analysis.rendering import write_page
from triher import __version__
from triher.config import dump_config
from triher.files import sha256_of_file, sha256_of_json
from triher.progress import Reporter
from triher.registration_record import check_file
from triher.settings import Config
from triher.study import StudyFolder

STAGE = "ablation"


def analyze_study(config: Config, folder: StudyFolder, reporter: Reporter) -> bool:
    """Compare the cells of a study and write ``results.csv``, ``tables/``, ``figures/`` and ``report.html``.

    Args:
        config: of the base, with its section ``ablation``.
        folder: of the study, with ``study.json`` and the cells in it.
        reporter: where progress is said.

    Returns:
        True when something was written, False when all was up to date.

    Raises:
        StopRun: ``file_unreadable`` when there is no study yet; ``registration_damaged``; as
            `analysis.ablation.material.read_material`.
    """
    start = time.monotonic()
    run = folder.run
    key = study_key(config, folder)
    if run.is_fresh(STAGE, key):
        reporter.say("ablation: results and report are up to date")
        return False
    material = read_material(folder, config)
    reporter.say(f"ablation: comparing {len(material.results)} cells")
    with threadpool_limits(limits=1):  # on matrices this small, BLAS threads only wait for each other
        found = find_out(folder, material)
    outputs = _write(found, folder)
    run.remove_stale(STAGE, outputs)
    counts = {"n_cells": len(material.results), "n_not_compared": len(found.left)}
    run.record_stage(STAGE, key, outputs, time.monotonic() - start, **counts)
    reporter.say(f"ablation: report at {run.report_file}")
    return True


def study_key(config: Config, folder: StudyFolder) -> str:
    """Hash of everything that the outputs depend on.

    Args:
        config: of the base.
        folder: the study, its cells, and what was registered.

    Raises:
        StopRun: ``file_unreadable`` when there is no study.
    """
    study = folder.read_study()
    keys = sorted({key for keys in study.runs.values() for key in keys})
    cells = {key: folder.read_cell(key) for key in keys}
    stores = sorted({name for cell in cells.values() if cell for name in (cell.embedding, cell.shown) if name})
    embeddings = {name: folder.read_embedding(name) for name in stores}
    trained = sorted({found.training for found in embeddings.values() if found and found.training})
    trainings = {name: folder.read_training(name) for name in trained}
    networks = {name: found.model_dump(mode="json") if found else None for name, found in trainings.items()}
    return sha256_of_json(
        {
            "config": dump_config(config),
            "study": study.model_dump(mode="json"),
            "cells": {key: cell.model_dump(mode="json") if cell else None for key, cell in cells.items()},
            "embeddings": {
                name: found.model_dump(mode="json") if found else None for name, found in embeddings.items()
            },
            "trainings": networks,
            "predictions": [_digest(folder.predictions(key)) for key in keys],
            "registration": [_digest(folder.registration_file), _digest(check_file(folder))],
            "version": __version__,
        }
    )


def _write(found: Findings, folder: StudyFolder) -> list[Path]:
    """Write all numbers, the tables, the figures and the page."""
    run = folder.run
    read = Read(
        {one.arena.split: one.compared for one in found.arenas}, {one.arena.split: one.ranks for one in found.arenas}
    )
    confirmatory = {result.cell.name: found.is_confirmatory(result.cell.name) for result in found.material.results}
    run.write_notes(STAGE, write_results(folder, results_frame(found.material, read, confirmatory)))
    tidy = (folder.results_file, folder.results_file.with_suffix(".parquet"))
    outputs = [path for path in tidy if path.is_file()]
    page = build_study_page(found, run.read_record())
    return [*outputs, *write_page(page, run)]


def _digest(path: Path) -> str:
    """SHA-256 of a file, empty when there is none."""
    return sha256_of_file(path) if path.is_file() else ""
