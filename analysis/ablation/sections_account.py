"""The report's sections on what failed, who was left out, what was registered and how it was done."""

from analysis.ablation.findings import ArenaFindings, Findings
from analysis.ablation.sections_cells import arena_name, names_of
from analysis.ablation.sections_top import status
from analysis.ablation.sections_trained import trained_blocks
from analysis.figures.canvas import plain
from analysis.page import Block, Facts, Paragraph, Section, Table
from analysis.wording import count, span
from triher.study import Cell, LeftOut

_LISTED = 300  # rows of a list of patients; the whole is in the CSV
_NOBODY = "No patient was left out of any cell."
_DESIGNS = {
    "lattice": "every level of every axis with every level of all others",
    "one-at-a-time": "the base, and the base with one axis changed",
    "list": "the base and the cells listed",
}


def design_section(found: Findings) -> Section:
    """The axes and what each cell changes."""
    material = found.material
    rows = [[name, ", ".join(levels)] for name, levels in material.axes.items()]
    blocks: list[Block] = []
    if rows:
        caption = (
            f"The axes and their levels, that of the base first: {_DESIGNS.get(material.design, material.design)}"
        )
        blocks.append(Table(caption, ["Axis", "Levels"], rows, text_cells=True, name="ablation-axes"))
    changes = [[result.cell.name, _changes(result.cell)] for result in material.results]
    blocks.append(
        Table(
            "What each cell sets differently from the base",
            ["Cell", "Settings"],
            changes,
            folded=f"What each of the {len(changes)} cells sets",
            text_cells=True,
            name="ablation-settings",
        )
    )
    return Section("design", "The axes and the base", [*blocks, _base_facts(found)])


def _changes(cell: Cell) -> str:
    """Keys and values of one cell."""
    return "; ".join(f"{key} = {value}" for key, value in cell.changes.items()) or "nothing, it is the base"


def _base_facts(found: Findings) -> Facts:
    """The main settings of the base."""
    config = found.material.config
    extract, classify = config.extract, config.classify
    pairs = [("scheme", config.scheme), ("seed", str(config.seed)), ("head", classify.head)]
    if config.has_images:
        pairs += [
            ("encoder", extract.encoder),
            ("normalization", extract.normalization),
            ("n4", extract.n4),
            ("fusions", ", ".join(extract.fusions)),
            ("region", extract.region.kind),
            ("slices", f"{extract.slices.policy}, at most {extract.slices.n}"),
            ("pooling", ", ".join(classify.pooling)),
        ]
    pairs += [
        ("harmonization", classify.harmonize.method),
        ("covariates", ", ".join(classify.covariates) or "none"),
        ("held out", classify.split.kind),
        ("folds", str(classify.folds)),
        ("repeats", str(classify.repeats)),
        ("trials", str(classify.trials)),
    ]
    return Facts("The base", [(name, plain(value)) for name, value in pairs])


def account_section(found: Findings) -> Section:
    """Failed cells, and who was left out of which cell."""
    blocks: list[Block] = []
    if found.left:
        rows = [[one.cell.name, one.state, one.code, one.reason] for one in found.left]
        header = ["Cell", "State", "Code", "Reason"]
        blocks.append(Table("Cells that are not compared", header, rows, text_cells=True, name="ablation-failed"))
    else:
        blocks.append(Paragraph(f"No cell failed: all {len(found.material.results)} were computed."))
    blocks += trained_blocks(found.material.results)
    blocks += [block for arena in found.arenas for block in _patients_of(arena)]
    return Section("account", "What failed, and who was left out", [*blocks, *_left_out_blocks(found)])


def _patients_of(arena: ArenaFindings) -> list[Block]:
    """How many patients each cell predicted, and how many all have in common."""
    n = len(arena.arena.patient_id)
    own = arena.arena.n_own
    if set(own.values()) <= {n}:
        return [Paragraph(f"{arena_name(arena)}: every cell predicted these patients and no others.")]
    rows = [[name, str(n_own), str(n)] for name, n_own in own.items()]
    text = (
        f"{arena_name(arena)}: these are the patients whom all cells predicted. Cells differ in whom they could "
        f"predict: from {min(own.values())} to {max(own.values())} patients."
    )
    table = Table(
        "Patients predicted by each cell, and compared",
        ["Cell", "Predicted", "Compared"],
        rows,
        folded="Patients of each cell",
        name=f"ablation-patients-{arena.arena.split.replace(' ', '-')}",
    )
    return [Paragraph(text), table]


def left_out(found: Findings) -> dict[LeftOut, list[str]]:
    """Who was left out, and of which cells."""
    cells: dict[LeftOut, list[str]] = {}
    for result in found.material.results:
        stores = [store.skipped for store in (result.embedding, result.shown) if store is not None]
        rows = [row for skipped in (*stores, *(run.skipped for run in result.runs)) for row in skipped]
        for row in dict.fromkeys(rows):
            cells.setdefault(row, []).append(result.cell.name)
    return cells


def _left_out_blocks(found: Findings) -> list[Block]:
    """A line for each patient left out and reason, with the cells."""
    cells = left_out(found)
    if not cells:
        differ = any(len(set(arena.arena.n_own.values())) > 1 for arena in found.arenas)
        text = "Why cells differ in whom they predicted is not recorded." if differ else _NOBODY
        return [Paragraph(text)]
    n_all = len(found.material.results)
    n_patients = len({row.patient_id for row in cells})
    rows = [
        [row.patient_id, row.cohort, row.stage, names_of(names, n_all), row.reason] for row, names in cells.items()
    ]
    header = ["Patient", "Cohort", "Stage", "Cells", "Reason"]
    return [
        Table(
            f"{count(n_patients, 'patient')} left out of some cell",
            header,
            rows[:_LISTED],
            folded=f"Who was left out of which cell: {count(n_patients, 'patient')}",
            text_cells=True,
            name="ablation-left-out",
            data=None,
        )
    ]


def registration_section(found: Findings) -> Section:
    """What was fixed beforehand, and what differs from it."""
    blocks: list[Block] = [Paragraph(status(found))]
    registration = found.registration
    if registration is None:
        text = (
            "'triher ablate --register' freezes configuration, primary comparison and the hashes of the data before "
            "held-out patients are predicted; comparisons of that kind alone can confirm something."
        )
        return Section("registration", "Confirmatory or exploratory", [*blocks, Paragraph(text)])
    pairs = [("registered", registration.date), ("seal", registration.seal), ("measure", registration.metric)]
    blocks.append(Facts("The registration", pairs))
    primary = found.material.own.primary
    rows = [[name, "confirmatory" if found.is_confirmatory(name) else "exploratory"] for name in primary]
    if rows:
        caption = "The comparisons that were planned"
        blocks.append(Table(caption, ["Cell", "Status"], rows, text_cells=True, name="ablation-registration"))
    blocks += [Paragraph(remark, tone="note") for remark in registration.remarks]
    return Section("registration", "Confirmatory or exploratory", blocks)


def method_section(found: Findings) -> Section:
    """How the numbers came about."""
    material = found.material
    n_seeds = [len(result.runs) for result in material.results if result.state == "done"]
    seeds = (
        "Every cell was computed with one seed, so how much the seed alone moves a cell is not known."
        if max(n_seeds, default=0) <= 1
        else f"Every cell was computed with {span(n_seeds)} seeds; its value is the mean over them."
    )
    texts = [
        seeds,
        f"Intervals come from {material.config.analysis.resamples:,} resamples of the patients within class and "
        "cohort, the same for all cells.",
        "Holm's correction counts the comparisons of the study's own metric with the base, of this study alone. "
        "Cells that were tried and then taken out of the configuration are not known here and not counted.",
        "Research use only. The numbers hold for patients like these, imaged like these, and the "
        "axes for the levels that were tried.",
    ]
    return Section("method", "How it was done, and its limits", [Paragraph(text) for text in texts])
