"""Numbers of the analysis as the rows of a table for machines, one estimate a row."""

from collections.abc import Iterable

from analysis.metrics import ESTIMATE_COLUMNS, Metric, estimate_cells
from analysis.page import Data

COLUMNS = ("split", "cohort", "site", "class", "quantity", *ESTIMATE_COLUMNS)


def long_data(metrics: Iterable[Metric]) -> Data:
    """The estimates in full precision, each with its place.

    >>> from triher.estimate import not_estimable
    >>> long_data([Metric("x", "test", "auc", not_estimable("0 HER2-low", n=3, method="AUC"))]).rows[0][4:7]
    ['auc', None, None]
    """
    return Data(
        COLUMNS, [[m.split, m.cohort, m.site, m.class_name, m.quantity, *estimate_cells(m.estimate)] for m in metrics]
    )
