"""Tables of the Cox models, and of what stands beside them."""

import math
from collections.abc import Iterator

from analysis.metrics import ESTIMATE_COLUMNS, Cell, estimate_cells, number_cell
from analysis.page import Block, Data, Paragraph, Table
from analysis.survival.cox import Coefficient, CoxModel
from analysis.survival.nonproportional import OwnBaseline, Periods
from analysis.survival.prognosis import Prognosis
from analysis.wording import count, p_value, told, told_p

_COLUMNS = (
    "model", "variable", "coef", "se", "p", *ESTIMATE_COLUMNS, "events", "events_per_coefficient",
    "variance_inflation", "proportionality_chisq", "proportionality_p",
)  # fmt: skip


def model_table(part: Prognosis) -> Table:
    """Hazard ratios of both models, with the test of proportional hazards and the overlap of the columns."""
    models = [("alone", part.alone), *([("adjusted", part.adjusted)] if part.adjusted else [])]
    rows, data = [], []
    for kind, model in models:
        refused = len(model.coefficients) > 1 and model.reason
        rows += [[f"all variables ({kind})", f"not estimable: {model.reason}", "-", "-", "-"]] if refused else []
        for j, line in enumerate(model.coefficients):
            rows += [] if refused else [_printed(kind, model, j, line)]
            data.append(_exact(kind, model, j, line))
    sizes = [f"{kind}: {_size(model)}" for kind, model in models]
    caption = (
        f"Cox models ({'; '.join(sizes)}). Proportional hazards by the exact Grambsch-Therneau score test "
        "(Kaplan-Meier time); variance inflation 1 / (1 - R squared) from the other columns"
    )
    header = ["Model and variable", "Hazard ratio (95 %)", "p", "Proportional hazards, p", "Variance inflation"]
    return Table(caption, header, rows, name=f"cox-{part.split}", data=Data(_COLUMNS, data))


def _size(model: CoxModel) -> str:
    """Patients, events, and events per coefficient."""
    penalty = ", Firth's penalty" if model.penalty == "firth" else ""
    ratio = f"{model.events_per_coefficient:z.1f} a coefficient"
    return f"{count(model.n, 'patient')}, {count(model.events, 'event')}, {ratio}{penalty}"


def _printed(kind: str, model: CoxModel, j: int, line: Coefficient) -> list[str]:
    """One line as it is read."""
    proportional = {test.name: p_value(test.p) for test in model.proportionality}
    inflation = f"{model.inflation[j]:z.1f}" if model.inflation else "-"
    name = f"{line.name} ({kind})"
    return [name, told(line.hazard_ratio), p_value(line.p), proportional.get(line.name, "-"), inflation]


def _exact(kind: str, model: CoxModel, j: int, line: Coefficient) -> list[Cell]:
    """One line for machines."""
    tests = {test.name: (test.chisq, test.p) for test in model.proportionality}
    found = [number_cell(line.coef), number_cell(line.se), number_cell(line.p), *estimate_cells(line.hazard_ratio)]
    diagnosed = [model.inflation[j] if model.inflation else None, *tests.get(line.name, (None, None))]
    return [kind, line.name, *found, model.events, model.events_per_coefficient, *diagnosed]


def depth_blocks(part: Prognosis) -> list[Block]:
    """Shape, what holds without proportional hazards, and the best cut."""
    depth = part.depth
    blocks: list[Block] = []
    if depth.shape.knots:
        blocks.append(_shape_table(part))
    if depth.periods:
        blocks.append(_period_table(part.split, depth.periods))
    if depth.own_baselines:
        blocks.append(_baseline_table(part.split, depth.own_baselines))
    return blocks + (_cut_blocks(part) if depth.cut else [])


def _shape_table(part: Prognosis) -> Table:
    """The curve of the figure, at the knots in print and everywhere in the file."""
    shape = part.depth.shape
    deviation = float(part.follow_up.score.std(ddof=1))
    points = list(zip(shape.score * deviation, shape.log_hazard, shape.low, shape.high, strict=True))
    step = len(points) // 4
    rows = [[f"{s:z.3f}", f"{v:z.2f} ({low:z.2f} to {high:z.2f})"] for s, v, low, high in points[::step]]
    data = Data(["score", "log_hazard_ratio", "low", "high"], [[float(v) for v in point] for point in points])
    caption = (
        f"Shape of the score's effect: restricted cubic spline with {len(shape.knots)} knots; test of non-linearity "
        f"with {shape.df} df: p {p_value(shape.nonlinear.value)}"
    )
    header = ["Score", "Log hazard ratio against the median (95 %)"]
    return Table(caption, header, rows, folded="The curve in numbers", name=f"shape-{part.split}", data=data)


def _period_table(split: str, periods: tuple[Periods, ...]) -> Table:
    """Hazard ratios before and after the median event time."""
    rows = [[p.name, told(p.before), told(p.after), told_p(p.differ)] for p in periods]
    data: list[list[Cell]] = [
        [p.name, when, p.split_months, *estimate_cells(e), number_cell(p.differ.value)]
        for p in periods
        for when, e in (("before", p.before), ("after", p.after))
    ]
    columns = ["variable", "period", "split_months", *ESTIMATE_COLUMNS, "differ_p"]
    caption = (
        f"Where hazards are not proportional: hazard ratios before and after {periods[0].split_months:z.1f} months, "
        "the median event time; the last column tests whether they differ"
    )
    header = ["Variable", "Hazard ratio before", "Hazard ratio after", "p"]
    return Table(caption, header, rows, name=f"periods-{split}", data=Data(columns, data))


def _baseline_table(split: str, models: tuple[OwnBaseline, ...]) -> Table:
    """The model without the hazard ratio of a covariate, which has a baseline for each value instead."""
    lines = list(_baseline_lines(models))
    rows = [
        [f"{line.name} (own baseline by {name})", told(line.hazard_ratio), p_value(line.p)] for name, line in lines
    ]
    data: list[list[Cell]] = [
        [name, line.name, *estimate_cells(line.hazard_ratio), number_cell(line.p)] for name, line in lines
    ]
    columns = ["baseline_by", "variable", *ESTIMATE_COLUMNS, "p"]
    caption = (
        "Where hazards are not proportional: the same model with a baseline hazard for each value of the covariate"
    )
    header = ["Variable", "Hazard ratio (95 %)", "p"]
    return Table(caption, header, rows, name=f"own-baseline-{split}", data=Data(columns, data))


def _baseline_lines(models: tuple[OwnBaseline, ...]) -> Iterator[tuple[str, Coefficient]]:
    """All coefficients, each with the covariate that was taken out."""
    for found in models:
        for line in found.model.coefficients:
            yield found.name, line


def _cut_blocks(part: Prognosis) -> list[Block]:
    """The best cut, with the p value that counts and the one that does not."""
    cut = part.depth.cut
    if cut is None:
        return []
    text = (
        "The score as a number is the primary analysis. The best cut below was found by trying all between the 10th "
        "and the 90th percentile, so only the corrected p value (Miller and Siegmund 1982) counts; the hazard ratio "
        "at a cut that was searched for is biased away from 1, and not given."
    )
    where = f"above {cut.cut:.3g}" if math.isfinite(cut.cut) else "-"
    row = [where, str(cut.n_high), str(cut.n_tried), told_p(cut.corrected), told_p(cut.naive)]
    columns = ["cut", "n_high", "n_tried", "corrected_p", "naive_p", "reason"]
    tested = [number_cell(cut.corrected.value), number_cell(cut.naive.value)]
    values: list[Cell] = [number_cell(cut.cut), cut.n_high, cut.n_tried, *tested, cut.corrected.reason]
    header = ["High score", "Patients with a high score", "Cuts tried", "p, corrected", "p, not corrected"]
    table = Table("Best cut of the score", header, [row], name=f"best-cut-{part.split}", data=Data(columns, [values]))
    caution = cut.corrected.reason if math.isfinite(cut.corrected.value) else ""
    return [Paragraph(text), table, *([Paragraph(f"{caution.capitalize()}.", tone="note")] if caution else [])]
