"""The report's section on how a model trained on some cohorts does on others."""

from analysis.ablation.figures_cohorts import cohorts_figure
from analysis.ablation.findings import Findings
from analysis.ablation.measures import find_measure
from analysis.ablation.sections_top import capital
from analysis.metrics import ESTIMATE_COLUMNS, estimate_cells
from analysis.page import Data, Gallery, Paragraph, Section, Table
from analysis.wording import told

_COHORTS = (
    "A row is trained on some patients, a column judges it on others: exactly the patients of that cohort. Outlined "
    "are cohorts that the row was trained on, too; they were predicted by models of folds that had not seen the "
    "patient. Columns differ in how hard their patients are, so compare within a column; the fall is the mean of a "
    "row's outlined entries minus the mean of its others, and mixes both."
)


def cohorts_section(found: Findings) -> list[Section]:
    """Trained on some cohorts, tested on others; nothing where no axis does that."""
    matrix = found.matrix
    if matrix is None:
        return []
    measure = find_measure(matrix.metric, found.material.config.scheme)
    title = f"{capital(measure.label)}, trained on the rows and tested on the columns"
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
        capital(f"{measure.label} (95 % interval)"),
        header,
        rows,
        name="ablation-cohorts",
        data=Data(["trained_on", "tested_on", "within", *ESTIMATE_COLUMNS], data),
    )
    return [Section("cohorts", "Across cohorts", [Paragraph(_COHORTS), Gallery("", [figure]), table])]
