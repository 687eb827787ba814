"""What a model may see of some patients: features of their images, covariates, and where they come from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped

from classify.design import rows_of
from triher.files import sha256_of_json
from triher.types import Names, Vectors


@dataclass(frozen=True)
class Inputs:
    """Patient i has the rows from ``indptr[i]`` to ``indptr[i + 1]``; NaN where something is missing."""

    rows: Float[np.ndarray, "row feature"]
    indptr: Int[np.ndarray, " patient_plus_1"]
    names: tuple[str, ...]
    """Of the features."""
    covariates: Float64[np.ndarray, "patient covariate"]
    covariate_names: tuple[str, ...]
    site: Names

    @property
    def n_patients(self) -> int:
        """How many patients."""
        return len(self.site)

    @property
    def names_sha256(self) -> str:
        """Equal where the columns are the same features and covariates in the same order."""
        return sha256_of_json([list(self.names), list(self.covariate_names)])

    @property
    def patient_of_row(self) -> Int[np.ndarray, " row"]:
        """The position of each row's patient."""
        return np.repeat(np.arange(self.n_patients), np.diff(self.indptr))

    @property
    def site_of_row(self) -> Shaped[np.ndarray, " row"]:
        """The site of each row's patient."""
        return self.site[self.patient_of_row]

    def take(self, patients: Int[np.ndarray, " chosen"]) -> "Inputs":
        """The patients at the given positions."""
        where, indptr = rows_of(self.indptr, patients)
        return Inputs(
            self.rows[where],
            indptr,
            self.names,
            self.covariates[patients],
            self.covariate_names,
            self.site[patients],
        )

    def means(self) -> Vectors:
        """The mean of each patient's rows, in float32; NaN where a row has it."""
        if len(self.rows) == self.n_patients:
            return self.rows.astype(np.float32)
        sums = np.add.reduceat(self.rows.astype(np.float64), self.indptr[:-1], axis=0)
        return (sums / np.diff(self.indptr)[:, None]).astype(np.float32)

    def incomplete(self) -> Int[np.ndarray, " incomplete"]:
        """Positions of the patients who have NaN or infinity in a feature or covariate."""
        bad = self.patient_of_row[~np.isfinite(self.rows).all(axis=1)]
        return np.union1d(bad, np.flatnonzero(~np.isfinite(self.covariates).all(axis=1))).astype(np.int64)


def without_covariates(inputs: Inputs) -> Inputs:
    """The same without covariates."""
    nothing = np.zeros((inputs.n_patients, 0))
    return Inputs(inputs.rows, inputs.indptr, inputs.names, nothing, (), inputs.site)


def columns_alone(values: Float64[np.ndarray, "patient column"], names: tuple[str, ...], site: Names) -> Inputs:
    """Numbers of each patient in place of images."""
    indptr = np.arange(len(values) + 1, dtype=np.int64)
    return Inputs(values.astype(np.float32), indptr, names, np.zeros((len(values), 0)), (), site)
