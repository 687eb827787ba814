"""The report's section on an ablation study that this run's configuration belongs to, or stands beside."""

from typing import Any

from analysis.ablation.findings import find_out
from analysis.ablation.material import read_material
from analysis.ablation.sections_cells import cells_section
from analysis.ablation.sections_differences import differences_section
from analysis.ablation.sections_top import summary
from analysis.page import Block, Paragraph, Section
from analysis.part import Material, Part
from triher.config import build_config
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.study import BASE, Study, StudyFolder


def study_part(material: Material) -> Part:
    """The cells of the study that ``analysis.study`` names and how they differ; nothing where it names none.

    Raises:
        StopRun: ``file_unreadable`` where there is no study; as `analysis.ablation.material.read_material`.
    """
    path = material.config.analysis.study
    if path is None:
        return Part()
    folder = StudyFolder(RunFolder(path))
    study = folder.read_study()
    base = base_config(study, folder)
    found = find_out(folder, read_material(folder, base))
    own = cell_of(material.config, study, folder)
    place = f"This run has the settings of {_named(own)}" if own else ""
    lead = (
        f"{place}. Its numbers elsewhere on this page are of all its patients, those here of the patients that all "
        "cells predicted, so they need not be equal."
        if own
        else "No cell of the study has the settings of this run, so what follows is about other models than this one."
    )
    where = f"All of the study is in report.html of its own folder, '{path.name}'."
    blocks: list[Block] = [Paragraph(f"{lead} {where}", tone="" if own else "note"), *map(Paragraph, summary(found))]
    blocks += cells_section(found).blocks
    if found.arenas:
        blocks += differences_section(found).blocks
    return Part(section=Section("study", "Variants of the configuration (ablation)", blocks))


def base_config(study: Study, folder: StudyFolder) -> Config:
    """The configuration of a study's base.

    Raises:
        StopRun: ``config_key`` or ``config_value`` where it no longer fits this program.
    """
    return build_config(study.config, {}, folder.study_file)


def cell_of(config: Config, study: Study, folder: StudyFolder) -> str:
    """Name of the cell with the settings of a run; empty where there is none.

    Args:
        config: of the run.
        study: with its cells.
        folder: of the study, for messages.
    """
    wanted = _decisive(config)
    for cell in study.cells:
        if _decisive(build_config(study.config, cell.changes, folder.study_file)) == wanted:
            return cell.name
    return ""


def _decisive(config: Config) -> dict[str, Any]:
    """What decides the predictions."""
    classify = config.classify.model_dump(mode="json", exclude={"workers", "storage"})
    table = str(config.cohort.table.resolve())
    return {"scheme": config.scheme, "extract": config.extract.choices(), "classify": classify, "table": table}


def _named(cell: str) -> str:
    """A cell in a sentence."""
    return "the study's base" if cell == BASE else f"the cell '{cell}' of the study"
