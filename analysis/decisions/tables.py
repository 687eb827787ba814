"""Tables of net benefit, printed and as files."""

import math
from collections.abc import Sequence

from analysis.decisions.benefit import NAMED, Judged
from analysis.decisions.net_benefit import Curve
from analysis.figures.canvas import plain
from analysis.metrics import ESTIMATE_COLUMNS, Cell, estimate_cells
from analysis.page import Data, Table
from analysis.wording import split_name
from triher.estimate import Estimate

_EVERY = 5  # thresholds in the printed table of the whole curve
_HEADINGS = {
    "net_benefit": "Model",
    "net_benefit_all": "Treat everybody",
    "net_benefit_lead": "Model minus the better of all and none",
    "standardized_net_benefit": "Standardized (1 is perfect)",
    "interventions_avoided": "Avoided in 100",
    "net_benefit_baseline": "Covariates alone",
    "net_benefit_ahead": "Model minus covariates alone",
}


def named_table(judged: Sequence[Judged]) -> Table:
    """The named thresholds, one a line."""
    rows = [row for j in judged for row in _printed(j, NAMED)]
    split = judged[0].sample.split
    caption = f"{split_name(split)}: net benefit at some thresholds, estimate (95 % interval)"
    return Table(caption, _header(judged), rows, name=f"decision-thresholds-{split}", data=_data(judged, NAMED))


def whole_table(judged: Sequence[Judged]) -> Table:
    """The whole curves, folded."""
    thresholds = judged[0].curve.thresholds
    rows = [row for j in judged for row in _printed(j, thresholds[_EVERY - 1 :: _EVERY])]
    split = judged[0].sample.split
    caption = f"{split_name(split)}: net benefit over all thresholds, estimate (95 % interval)"
    return Table(
        caption,
        _header(judged),
        rows,
        folded="The whole curves as numbers",
        name=f"decision-curves-{split}",
        data=_data(judged, thresholds),
    )


def _header(judged: Sequence[Judged]) -> list[str]:
    """The columns of `_printed`."""
    names = list(_HEADINGS.values())
    return ["Decision, threshold", *(names if any(j.beside for j in judged) else names[:-2])]


def _printed(judged: Judged, thresholds: Sequence[float]) -> list[list[str]]:
    """One line a threshold."""
    lines = []
    for t in thresholds:
        cells = [
            _cell(curve.at(quantity, t), 1 if quantity == "interventions_avoided" else 3)
            for curve, quantity in _columns(judged)
        ]
        lines.append([f"{judged.curve.action.label}, {100 * t:z.0f} %", *cells])
    return lines


def _columns(judged: Judged) -> list[tuple[Curve, str]]:
    """Which curve each column is of."""
    own = [(judged.curve, quantity) for quantity in judged.curve.quantities]
    if judged.beside is None:
        return own
    return own + [(judged.beside, quantity) for quantity in ("net_benefit_baseline", "net_benefit_ahead")]


def _cell(estimate: Estimate, digits: int) -> str:
    """A number with its interval."""
    if not math.isfinite(estimate.value):
        return f"not estimable: {estimate.reason}"
    value = f"{estimate.value:z.{digits}f}"
    if not math.isfinite(estimate.low):
        return value
    return f"{value} ({estimate.low:z.{digits}f} to {estimate.high:z.{digits}f})"


def _data(judged: Sequence[Judged], thresholds: Sequence[float]) -> Data:
    """The same in full precision, with the given shares."""
    rows: list[list[Cell]] = []
    for j in judged:
        columns = [(curve, quantity, "cohort") for curve, quantity in _columns(j)]
        if j.given is not None:
            columns += [(j.given, quantity, "given") for quantity in j.given.quantities]
        for curve, quantity, shares in columns:
            place = [j.sample.split, curve.action.name, shares, quantity]
            rows += [[*place, t, *estimate_cells(curve.at(quantity, t))] for t in thresholds]
    return Data(("split", "action", "class_shares", "quantity", "threshold", *ESTIMATE_COLUMNS), rows)


def cohort_table(judged: Sequence[Judged]) -> Table:
    """The lead in each cohort, whose share of those who benefit is its own."""
    split = judged[0].sample.split
    lines = [(j.curve.action, cohort, curve) for j in judged for cohort, curve in j.cohorts.items()]
    rows = [
        [f"{action.label}, {plain(cohort)}", str(curve.n), _share(curve), *_leads(curve)]
        for action, cohort, curve in lines
    ]
    data = [
        [split, action.name, cohort, t, *estimate_cells(curve.at("net_benefit_lead", t))]
        for action, cohort, curve in lines
        for t in NAMED
    ]
    caption = f"{split_name(split)}, by cohort: model minus the better of treating everybody and nobody"
    header = ["Decision, cohort", "n", "Benefit", *(f"At {100 * t:z.0f} %" for t in NAMED)]
    columns = ("split", "action", "cohort", "threshold", *ESTIMATE_COLUMNS)
    return Table(caption, header, rows, name=f"decision-cohorts-{split}", data=Data(columns, data))


def _share(curve: Curve) -> str:
    """The share of those who benefit."""
    return f"{curve.share:.0%}" if math.isfinite(curve.share) else "-"


def _leads(curve: Curve) -> list[str]:
    """The lead at the named thresholds."""
    return [_cell(curve.at("net_benefit_lead", t), 3) for t in NAMED]
