"""The report's sections on other cohorts, on disturbed images and on what the encoders cost."""

import math
from collections.abc import Sequence

from analysis.ablation.figures_cohorts import cohorts_figure
from analysis.ablation.figures_prices import prices_figure
from analysis.ablation.figures_robustness import stability_figure
from analysis.ablation.findings import Findings
from analysis.ablation.measures import find_measure
from analysis.ablation.prices import Price, Step
from analysis.ablation.sections_cells import MOST_OPEN
from analysis.canvas import plain
from analysis.metrics import ESTIMATE_COLUMNS, estimate_cells
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table
from analysis.wording import told
from triher.study import BASE

_COHORTS = (
    "A row is trained on some patients, a column judges it on others: exactly the patients of that cohort. Outlined "
    "pairs are the same patients, predicted by the models of folds that had not seen them. Columns differ in how hard "
    "their patients are, so compare within a column; the fall is the mean of a row's outlined entries minus the mean "
    "of its others, and mixes both."
)
_STABILITY = (
    "The features of the same patients with and without the disturbance, compared by the intraclass correlation "
    "ICC(A,1) of each feature (McGraw & Wong, Psychol Methods 1996;1:30); 0.75 is called good and 0.90 excellent (Koo & "
    "Li, J Chiropr Med 2016;15:155). Features that stay the same are no good in themselves: a feature that tells "
    "nothing can be stable, too."
)
_COST = (
    "Seconds to embed 100 patients on the device named, without reading volumes and without training; times of "
    "different devices are not comparable and stand in different figures. The line joins the cells that no cheaper "
    "one matches; which cells these are was read off the same patients, and differences along it can be luck."
)
_STEPS = (
    "What the next dearer encoder gives, from cells that are alike otherwise, with an interval over the patients. A "
    "gain whose interval holds 0 may be none."
)
_LEAST_COSTS = 2


def cohorts_section(found: Findings) -> list[Section]:
    """Trained on some cohorts, tested on others; nothing where no axis does that."""
    matrix = found.matrix
    if matrix is None:
        return []
    measure = find_measure(matrix.metric, found.material.config.scheme)
    title = f"{measure.label}, trained on the rows and tested on the columns"
    figure = cohorts_figure(title, matrix, higher_is_better=measure.higher_is_better)
    header = ["Trained on", *matrix.columns, *(["Fall outside"] if matrix.falls else [])]
    rows = []
    for row in matrix.rows:
        cells = [told(matrix.entries.get((row, column))) for column in matrix.columns]
        rows.append([row, *cells, *([told(matrix.falls.get(row))] if matrix.falls else [])])
    data = [
        [row, column, (row, column) in matrix.within, *estimate_cells(estimate)]
        for (row, column), estimate in matrix.entries.items()
    ]
    data += [[row, "fall", False, *estimate_cells(estimate)] for row, estimate in matrix.falls.items()]
    table = Table(
        f"{measure.label} (95 % interval)",
        header,
        rows,
        name="ablation-cohorts",
        data=Data(["trained_on", "tested_on", "within", *ESTIMATE_COLUMNS], data),
    )
    return [Section("cohorts", "Across cohorts", [Paragraph(_COHORTS), Gallery("", [figure]), table])]


def stability_section(found: Findings) -> list[Section]:
    """Stability of the features; nothing where nothing is disturbed."""
    known = found.stabilities
    if not known:
        return []
    rows = [
        [
            f"{one.encoder}: {one.disturbance}",
            f"{one.median:.2f} ({one.quartiles[0]:.2f} to {one.quartiles[1]:.2f})",
            f"{one.lower_limit_median:.2f}",
            f"{one.share_good:.0%}",
            f"{one.share_excellent:.0%}",
            f"{one.cosine:.2f}",
            str(one.n_features),
            str(one.n_patients),
        ]
        if math.isfinite(one.median)
        else [f"{one.encoder}: {one.disturbance}", f"none: {one.reason}", *["-"] * 4, str(one.n_features), str(one.n_patients)]
        for one in known
    ]
    header = ["Encoder: disturbance", "Median ICC (quartiles)", "Median lower limit", "≥ 0.75", "≥ 0.90", "Cosine"]
    columns = [
        "encoder", "disturbance", "median", "low_quartile", "high_quartile", "lower_limit_median", "share_good",
        "share_excellent", "cosine", "n_features", "n_constant", "n_patients", "reason",
    ]  # fmt: skip
    data = [
        [
            one.encoder, one.disturbance, *map(_number, (one.median, *one.quartiles, one.lower_limit_median)),
            *map(_number, (one.share_good, one.share_excellent, one.cosine)), one.n_features, one.n_constant,
            one.n_patients, one.reason,
        ]
        for one in known
    ]  # fmt: skip
    blocks: list[Block] = [Paragraph(_STABILITY)]
    if any(math.isfinite(one.median) for one in known):
        blocks.append(Gallery("", [stability_figure("Stability of the features under each disturbance", known)]))
    blocks.append(
        Table(
            "Stability of the features",
            [*header, "Features", "Patients"],
            rows,
            folded="The stability as numbers",
            name="ablation-stability",
            data=Data(columns, data),
        )
    )
    return [Section("stability", "How stable the features are", blocks)]


def _number(value: float) -> float | None:
    """A number for machines."""
    return value if math.isfinite(value) else None


def cost_section(found: Findings) -> list[Section]:
    """Cost against value; nothing where all features come from tables."""
    if not found.prices or not found.arenas:
        return []
    blocks: list[Block] = [Paragraph(_COST)]
    values = found.arenas[0].values(found.metric.name)
    for k, device in enumerate(dict.fromkeys(price.device for price in found.prices)):
        inside = [price for price in found.prices if price.device == device]
        if len({price.seconds for price in inside}) < _LEAST_COSTS:
            continue
        figure = prices_figure(
            f"ablation-cost-{k + 1}",
            f"Cost against {found.metric.label}, on {plain(device)}",
            inside,
            values,
            label=found.metric.label,
            base=BASE,
            higher_is_better=found.metric.higher_is_better,
        )
        blocks.append(Gallery("", [figure]))
    if found.steps:
        blocks += [Heading("From encoder to encoder"), Paragraph(_STEPS), _steps_table(found)]
    return [Section("cost", "What it costs", [*blocks, _prices_table(found)])]


def _steps_table(found: Findings) -> Table:
    """A line for each next dearer encoder."""
    header = ["From", "to", "Seconds for 100 patients", f"Difference in {found.metric.label} (95 % interval)"]
    rows = [
        [step.cheaper, step.dearer, _seconds_of(step), told(step.gain), _per_minute(step), str(step.n_pairs), step.device]
        for step in found.steps
    ]
    columns = ["cheaper", "dearer", "device", "seconds_cheaper", "seconds_dearer", "n_pairs", *ESTIMATE_COLUMNS]
    data = [
        [s.cheaper, s.dearer, s.device, *s.seconds, s.n_pairs, *estimate_cells(s.gain), _number(s.gain_per_minute)]
        for s in found.steps
    ]
    return Table(
        "What a dearer encoder gives",
        [*header, "For each further minute", "Pairs of cells", "Device"],
        rows,
        name="ablation-cost-steps",
        data=Data([*columns, "gain_per_minute"], data),
    )


def _seconds_of(step: Step) -> str:
    """From which cost to which."""
    return f"{step.seconds[0]:.3g} to {step.seconds[1]:.3g}"


def _per_minute(step: Step) -> str:
    """Gain for each further minute."""
    return f"{step.gain_per_minute:+.3f}" if math.isfinite(step.gain_per_minute) else "-"


def _prices_table(found: Findings) -> Table:
    """A line a cell, the cheapest on top."""
    values = found.arenas[0].values(found.metric.name)
    ordered: Sequence[Price] = sorted(found.prices, key=lambda price: (price.device, price.seconds, price.cell))
    rows = [
        [p.cell, p.encoder, f"{p.seconds:.3g}", f"{p.cpu_seconds:.3g}", told(values[p.cell]), p.device, _bought(p)]
        for p in ordered
    ]
    header = ["Cell", "Encoder", "Seconds for 100 patients", "CPU seconds of training, a seed", found.metric.label]
    data = [
        [p.cell, p.encoder, p.device, p.seconds, p.cpu_seconds, p.is_best_buy, values[p.cell].value]
        for p in ordered
        if math.isfinite(values[p.cell].value)
    ]
    columns = ["cell", "encoder", "device", "seconds_per_100_patients", "cpu_seconds", "is_best_buy", "value"]
    return Table(
        "Cost of each cell",
        [*header, "Device", "No cheaper cell is better"],
        rows,
        folded="The cost of each cell",
        name="ablation-cost",
        data=Data(columns, data),
    )


def _bought(price: Price) -> str:
    """Whether a cell is on the line."""
    return "yes" if price.is_best_buy else "-"
