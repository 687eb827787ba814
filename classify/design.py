"""What reaches a head: rows of numbers, one or several a patient."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from triher.types import Vectors


@dataclass(frozen=True)
class Design:
    """Rows of finite numbers; patient i has those from ``indptr[i]`` to ``indptr[i + 1]``."""

    rows: Float[np.ndarray, "row feature"]
    indptr: Int[np.ndarray, " patient_plus_1"]
    blocks: tuple[int, ...]
    """Widths of groups of columns that a penalty weighs alike, however wide they are: images, then covariates."""

    @property
    def n_patients(self) -> int:
        """How many patients."""
        return len(self.indptr) - 1

    @property
    def vectors(self) -> Vectors:
        """The rows of patients who have one each.

        Raises:
            ValueError: when somebody has several or none, which is a fault of the program.
        """
        if len(self.rows) != self.n_patients or (np.diff(self.indptr) != 1).any():
            raise ValueError("this head takes one row a patient")
        return self.rows

    @property
    def block_size(self) -> Float64[np.ndarray, " feature"]:
        """For each column the number of columns in its block, times the number of blocks."""
        return np.repeat(np.array(self.blocks, np.float64) * len(self.blocks), self.blocks)

    def take(self, patients: Int[np.ndarray, " chosen"]) -> "Design":
        """The patients at the given positions."""
        where, indptr = rows_of(self.indptr, patients)
        return Design(self.rows[where], indptr, self.blocks)


def rows_of(
    indptr: Int[np.ndarray, " patient_plus_1"], patients: Int[np.ndarray, " chosen"]
) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " chosen_plus_1"]]:
    """Positions of the rows of some patients, and where each of them begins and ends among these.

    >>> rows_of(np.array([0, 2, 3]), np.array([1, 0]))
    (array([2, 0, 1]), array([0, 1, 3]))
    """
    lengths = np.diff(indptr)[patients]
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.arange(ends[-1]) + np.repeat(indptr[patients] - ends[:-1], lengths), ends


def one_row_each(vectors: Vectors, blocks: tuple[int, ...] = ()) -> Design:
    """The design of patients with one row each; a single block of all columns when none are given."""
    return Design(vectors, np.arange(len(vectors) + 1, dtype=np.int64), blocks or (vectors.shape[1],))
