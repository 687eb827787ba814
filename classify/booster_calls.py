"""XGBoost's C interface, for the two calls that a search makes by the ten thousand.

On small matrices the Python package's checks cost more than the trees do. These are the functions that it calls
itself (``XGBoosterTrainOneIter`` and ``XGBoosterPredictFromDMatrix`` of ``xgboost/c_api.h``), and the results are
equal to the bit.
"""

import ctypes
import json
from functools import cache

import numpy as np
import xgboost
from jaxtyping import Float32
from xgboost.libpath import find_lib_path

_MARGINS = json.dumps(
    {"type": 1, "training": False, "iteration_begin": 0, "iteration_end": 0, "strict_shape": True}
).encode()


def boost_once(
    booster: xgboost.Booster,
    matrix: xgboost.DMatrix,
    iteration: int,
    grad: Float32[np.ndarray, "row class"],
    hess: Float32[np.ndarray, "row class"],
) -> None:
    """Add one round of trees, as `xgboost.Booster.boost`.

    A booster must have predicted before: until then it does not know its ``nthread``, and would wake threads.

    Args:
        booster: to be extended.
        matrix: the training part, one of the matrices that the booster was made with.
        iteration: number of the round.
        grad: first derivatives of the loss by the margins.
        hess: second derivatives.

    Raises:
        XGBoostError: as XGBoost says.
    """
    derivatives = np.ascontiguousarray(grad), np.ascontiguousarray(hess)  # alive until the call has returned
    first, second = (_interface(array) for array in derivatives)
    _check(_library().XGBoosterTrainOneIter(booster.handle, matrix.handle, iteration, first, second))


def margins(booster: xgboost.Booster, matrix: xgboost.DMatrix) -> Float32[np.ndarray, "row class"]:
    """Scores before the softmax, as `xgboost.Booster.predict` with ``output_margin``.

    Raises:
        XGBoostError: as XGBoost says.
    """
    shape, n_axes = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64()
    values = ctypes.POINTER(ctypes.c_float)()
    found = ctypes.byref(shape), ctypes.byref(n_axes), ctypes.byref(values)
    _check(_library().XGBoosterPredictFromDMatrix(booster.handle, matrix.handle, _MARGINS, *found))
    result = np.empty((shape[0], shape[1]), np.float32)
    ctypes.memmove(result.ctypes.data, values, result.nbytes)  # XGBoost overwrites its own at the next call
    return result


@cache
def _library() -> ctypes.CDLL:
    """The library that the Python package has loaded."""
    library = ctypes.CDLL(find_lib_path()[0])
    library.XGBGetLastError.restype = ctypes.c_char_p
    return library


def _check(failed: int) -> None:
    """Raise what XGBoost says."""
    if failed:
        raise xgboost.core.XGBoostError(_library().XGBGetLastError().decode())


def _interface(array: Float32[np.ndarray, "row class"]) -> bytes:
    """The array interface of a contiguous matrix, as JSON."""
    rows, columns = array.shape
    return b'{"data": [%d, true], "shape": [%d, %d], "typestr": "<f4", "version": 3}' % (
        array.ctypes.data,
        rows,
        columns,
    )
