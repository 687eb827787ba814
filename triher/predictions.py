"""The prediction table: one row a patient, fold and repeat, with the probability of every class.

Columns: ``patient_id, cohort, site, split, repeat, fold, seed, y, p_<class>...``. ``split`` is ``oof`` for a
patient predicted by a model that did not see them within the development cohort, ``test`` for the held-out
cohort and ``new`` for the application of a bundle. ``y`` is the position in the scheme, empty when unknown.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from triher.errors import StopRun
from triher.labels import scheme_classes
from triher.prediction_cells import SUM_TOLERANCE
from triher.tables import read_own_table, require_column, write_table

OUT_OF_SAMPLE = ("oof", "test", "new")
"""Splits of patients whom the predicting model did not see; `refuse_trained` looks after ``new``."""
REFERENCE = "reference"
"""Split of a classifier that was not trained, as the phantom's best possible one."""
KEYS = ("patient_id", "cohort", "site", "split", "repeat", "fold", "seed", "y")
_WHOLE = ("repeat", "fold", "seed")
TRAINED = "the bundle was trained on these very images, so this is no prediction"
"""In the column ``outside`` of a patient whom an applied bundle was trained on."""
VALIDATED = "the training of the encoder was stopped by these very images"
"""In the same column, of a patient whom a trained encoder was validated on."""


def probability_columns(scheme: str) -> list[str]:
    """The columns of the probabilities, in the order of the scheme.

    >>> probability_columns("binary")
    ['p_negative', 'p_positive']
    """
    return [f"p_{name}" for name in scheme_classes(scheme)]


def write_predictions(path: Path, frame: pd.DataFrame, scheme: str) -> None:
    """Check and write a prediction table; columns beyond the contract are kept behind it.

    Raises:
        ValueError: when a row of probabilities does not sum to 1, which is a fault of the program.
    """
    columns = [*KEYS, *probability_columns(scheme)]
    probabilities = frame[probability_columns(scheme)].to_numpy(float)
    if not np.allclose(probabilities.sum(axis=1), 1.0, atol=SUM_TOLERANCE) or (probabilities < 0).any():
        raise ValueError("probabilities must be non-negative and sum to 1 in every row")
    columns += [name for name in frame.columns if name not in columns]
    ready = frame[columns].astype(object)
    y = [None if pd.isna(value) else int(value) for value in frame["y"]]
    ready["y"] = pd.Series(y, index=ready.index, dtype=object)
    write_table(path, columns, ready.to_numpy().tolist())


def read_predictions(path: Path, scheme: str, splits: Sequence[str] = OUT_OF_SAMPLE) -> pd.DataFrame:
    """Read a prediction table; ``y`` is float with NaN for unknown, the ids stay text.

    Args:
        path: of the table.
        scheme: names the classes.
        splits: that may be in it; those of the patients whom the model did not see, and `REFERENCE` where the
            classifier is one.

    Raises:
        StopRun: ``column_missing``, or ``number_format`` where a cell is no number, a probability is negative, a
            row does not sum to 1 or ``y`` is no position in the scheme; ``patient_duplicate`` where one repeat of a
            split predicts a patient twice, ``truth_differs`` where a patient has two classes, ``score_in_sample``
            where a split is none of those allowed.
    """
    frame = read_own_table(path)
    wanted = [*KEYS, *probability_columns(scheme)]
    for column in wanted:
        require_column(frame, column, purpose="prediction table", where=str(path))
    try:
        for column in probability_columns(scheme):
            frame[column] = frame[column].astype(float)
        frame["y"] = frame["y"].replace("", "nan").astype(float)
        for column in _WHOLE:
            frame[column] = frame[column].astype(int)
    except ValueError as error:
        raise StopRun("number_format", f"{path}: {error}") from error
    _check_values(frame, scheme, path)
    _check_patients(frame, path)
    _check_splits(frame, path, splits)
    return frame


def _check_splits(frame: pd.DataFrame, path: Path, splits: Sequence[str]) -> None:
    """Refuse predictions of patients whom the model saw; they would show how well it remembers."""
    other = frame.loc[~frame["split"].isin(splits), "split"]
    if len(other):
        message = (
            f"{path}: {len(other)} of {len(frame)} rows have the split '{other.iloc[0]}'; expected 'oof', 'test' or "
            "'new', which are patients whom the model did not see"
        )
        raise StopRun("score_in_sample", message)


def _check_values(frame: pd.DataFrame, scheme: str, path: Path) -> None:
    """Demand probabilities, and a class of the scheme or none."""
    probabilities = frame[probability_columns(scheme)].to_numpy(float)
    y = frame["y"].to_numpy(float)
    faults = {
        "the probabilities do not sum to 1": ~(np.abs(probabilities.sum(axis=1) - 1) <= SUM_TOLERANCE),
        "a probability is negative": (probabilities < 0).any(axis=1),
        f"y is no position in the scheme '{scheme}'": ~(np.isnan(y) | np.isin(y, range(probabilities.shape[1]))),
    }
    for text, rows in faults.items():
        if rows.any():
            raise StopRun("number_format", f"{path}, line {int(np.argmax(rows)) + 2}: {text}")


def _check_patients(frame: pd.DataFrame, path: Path) -> None:
    """Demand one row for a patient in a repeat of a split (and of a model, in the companions'), and one class."""
    model = ["model"] if "model" in frame else []
    twice = frame.duplicated([*model, "split", "repeat", "patient_id"])
    if twice.any():
        row = int(np.argmax(twice))
        place = f"split '{frame['split'].iloc[row]}', repeat {frame['repeat'].iloc[row]}"
        message = f"{path}, line {row + 2}: a second row of patient '{frame['patient_id'].iloc[row]}' in {place}"
        raise StopRun("patient_duplicate", message)
    classes = frame.groupby("patient_id", sort=False)["y"].nunique(dropna=False)
    if (classes > 1).any():
        message = f"{path}: patient '{classes.index[int(np.argmax(classes > 1))]}' has two classes in the column y"
        raise StopRun("truth_differs", message)


def refuse_trained(frame: pd.DataFrame) -> None:
    """Stop where an applied bundle was trained on some of those whom it is to be judged by.

    Raises:
        StopRun: ``score_in_sample``.
    """
    if "outside" not in frame:
        return
    known = frame.loc[frame["outside"].fillna("").str.contains(TRAINED, regex=False), "patient_id"].tolist()
    if known:
        message = (
            f"the bundle was trained on the images of {len(known)} of the {frame['patient_id'].nunique()} patients "
            f"(first: {known[0]}), and no such patient can show how well it predicts"
        )
        raise StopRun("score_in_sample", message, remedy="leave them out of the cohort table, and apply it again")


def one_row_a_patient(frame: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """Average each patient's probabilities over repeats, within each split; order of first appearance."""
    columns = probability_columns(scheme)
    rest = {name: "first" for name in frame.columns if name not in {"patient_id", "split", *columns}}
    grouped = frame.groupby(["split", "patient_id"], sort=False)
    merged = grouped.agg({**dict.fromkeys(columns, "mean"), **rest}).reset_index()
    return merged[list(frame.columns)]
