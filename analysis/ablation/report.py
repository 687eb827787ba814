"""The report of a study: every result on one self-contained page, with a summary in plain words."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from analysis.ablation.findings import Findings
from analysis.ablation.sections_account import (
    account_section,
    design_section,
    left_out,
    method_section,
    registration_section,
)
from analysis.ablation.sections_cells import cells_section
from analysis.ablation.sections_cohorts import cohorts_section
from analysis.ablation.sections_cost import cost_section
from analysis.ablation.sections_differences import differences_section
from analysis.ablation.sections_order import order_section, variance_section
from analysis.ablation.sections_stability import stability_section
from analysis.ablation.sections_top import cards, summary
from analysis.figures.canvas import plain
from analysis.page import Page
from analysis.sections.origin import provenance_section
from analysis.wording import class_list, count
from triher import __version__

_TOPICS = {
    "Cells": ("cells", "differences", "order", "variance"),
    "Beyond": ("cohorts", "stability", "cost"),
    "How it was done": ("registration", "design", "account", "method", "provenance"),
}  # fmt: skip
"""Topic of the contents -> anchors of its sections, in reading order."""


def build_study_page(found: Findings, record: Mapping[str, Any]) -> Page:
    """Put the sections in the order of a reader: what was found, where else it holds, and how it was made.

    Args:
        found: all numbers.
        record: contents of ``run.json``.
    """
    sections = [
        cells_section(found),
        *((differences_section(found), order_section(found), variance_section(found)) if found.arenas else ()),
        *cohorts_section(found),
        *stability_section(found),
        *cost_section(found),
        registration_section(found),
        design_section(found),
        account_section(found),
        method_section(found),
        provenance_section(record, __version__),
    ]
    config = found.material.config
    axes = list(found.material.axes)
    what = (
        f"an ablation over {' and '.join(filter(None, [', '.join(axes[:-1]), axes[-1]]))}" if axes else "an ablation"
    )
    return Page(
        title=f"{class_list(found.material.classes)}: {what}",
        lead=_lead(found),
        summary=summary(found),
        cards=cards(found),
        sections=[
            replace(section, topic=topic)
            for topic, anchors in _TOPICS.items()
            for anchor in anchors
            for section in sections
            if section.anchor == anchor
        ],
        patient_level=_patient_level(found),
        footer=f"Made by TriHER {__version__}, seed {config.seed}. Research use only.",
    )


def _patient_level(found: Findings) -> str:
    """Whose ids are on the page."""
    n_left = len({row.patient_id for row in left_out(found)})
    n_named = len({patient for result in found.material.results for patient in result.named})
    kinds = [
        (n_left, "who were left out"),
        (n_named, "who are named for their class"),
    ]
    said = [f"{count(n, 'patient')} {what}" for n, what in kinds if n]
    return f"yes: the ids of {' and of '.join(said)}" if said else "no"


def _lead(found: Findings) -> str:
    """How many cells, and of how many levels."""
    text = f"{count(len(found.material.results), 'cell')}, each a variant of one configuration"
    sizes = ", ".join(f"{plain(name)} ({len(levels)})" for name, levels in found.material.axes.items())
    return f"{text}: {sizes}." if sizes else f"{text}."
