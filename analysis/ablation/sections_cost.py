"""The report's section on what the encoders cost."""

import math
from collections.abc import Sequence

from analysis.ablation.figures_prices import prices_figure
from analysis.ablation.findings import Findings
from analysis.ablation.prices import Price, Step
from analysis.ablation.sections_top import capital
from analysis.figures.canvas import plain
from analysis.metrics import ESTIMATE_COLUMNS, estimate_cells, number_cell
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table
from analysis.wording import count, told
from triher.study import BASE

_COST = (
    "Seconds of the device named for each 100 patients embedded: with loading the encoder, which weighs the more the "
    "fewer patients there are, without reading volumes and without training. Times of different devices are not "
    "comparable and stand in different figures."
)
_FRONT = (
    "The line joins the cells that no cheaper one matches; which cells these are was read off the same patients, and "
    "differences along it can be luck."
)
_STEPS = (
    "What the next dearer encoder gives, from cells that are alike otherwise, with an interval over the patients. A "
    "gain whose interval holds 0 may be none."
)
_TRAINED = (
    "Encoders marked as trained were trained on this cohort first. What that took is in the table of the cells, and "
    "in no figure: it is paid once for each cohort, and again for each seed."
)
_LEAST_COSTS = 2


def cost_section(found: Findings) -> list[Section]:
    """Cost against value; nothing where all features come from tables."""
    if not found.prices or not found.arenas:
        return []
    blocks: list[Block] = [Paragraph(_COST)]
    if _any_trained(found):
        blocks.append(Paragraph(_TRAINED))
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
            label=capital(found.metric.label),
            base=BASE,
            higher_is_better=found.metric.higher_is_better,
        )
        blocks.append(Gallery("", [figure]))
    if any(isinstance(block, Gallery) for block in blocks):
        blocks.insert(1, Paragraph(_FRONT))
    n_without = len(values) - len(found.prices)
    if n_without:
        text = (
            f"{count(n_without, 'cell')} of {len(values)} without a time: features of a table, or not made at once."
        )
        blocks.append(Paragraph(text))
    if found.steps:
        blocks += [Heading("From encoder to encoder"), Paragraph(_STEPS), _steps_table(found)]
    return [Section("cost", "What it costs", [*blocks, _prices_table(found)])]


def _any_trained(found: Findings) -> bool:
    """Whether any encoder was trained for the study."""
    return any(price.training_seconds != 0 for price in found.prices)


def _steps_table(found: Findings) -> Table:
    """A line for each next dearer encoder."""
    header = ["From", "to", "Seconds for 100 patients", f"Difference in {found.metric.label} (95 % interval)"]
    rows = [
        [
            step.cheaper,
            step.dearer,
            _seconds_of(step),
            told(step.gain),
            _per_minute(step),
            str(step.n_pairs),
            step.device,
        ]
        for step in found.steps
    ]
    columns = ["cheaper", "dearer", "device", "seconds_cheaper", "seconds_dearer", "n_pairs", *ESTIMATE_COLUMNS]
    data = [
        [
            s.cheaper,
            s.dearer,
            s.device,
            *s.seconds,
            s.n_pairs,
            *estimate_cells(s.gain),
            number_cell(s.gain_per_minute),
        ]
        for s in found.steps
    ]
    return Table(
        "What a dearer encoder gives",
        [*header, "For each further minute", "Pairs of cells", "Device"],
        rows,
        name="ablation-encoders",
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
    of_training = ["Seconds of training the encoder, a seed"] if _any_trained(found) else []
    rows = [
        [
            *(p.cell, p.encoder, f"{p.seconds:.3g}", *(_trained(p) for _ in of_training), f"{p.cpu_seconds:.3g}"),
            *(told(values[p.cell]), p.device, _bought(p)),
        ]
        for p in ordered
    ]
    header = ["Cell", "Encoder", "Seconds for 100 patients", *of_training, "CPU seconds of training the head, a seed"]
    data: list[list[str | float | None]] = [
        [
            *(p.cell, p.encoder, p.device, p.seconds, number_cell(p.training_seconds), p.cpu_seconds, p.is_best_buy),
            values[p.cell].value,
        ]
        for p in ordered
        if math.isfinite(values[p.cell].value)
    ]
    columns = ["cell", "encoder", "device", "seconds_per_100_patients", "training_seconds", "cpu_seconds"]
    return Table(
        "Cost of each cell",
        [*header, capital(found.metric.label), "Device", "No cheaper cell is better"],
        rows,
        folded="The cost of each cell",
        name="ablation-cost",
        data=Data([*columns, "is_best_buy", "value"], data),
    )


def _trained(price: Price) -> str:
    """Seconds of training an encoder."""
    if not price.training_seconds:
        return "none"
    return f"{price.training_seconds:.3g}" if math.isfinite(price.training_seconds) else "not known"


def _bought(price: Price) -> str:
    """Whether a cell is on the line."""
    return "yes" if price.is_best_buy else "-"
