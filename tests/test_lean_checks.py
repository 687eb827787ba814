"""Types and shapes of the packages are checked while their tests run."""

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintParamViolation
from jaxtyping import TypeCheckError

from analysis.discrimination.aucs import roc_points
from triher.runfolder import changed_libraries


def test_a_wrong_type_is_refused():
    with pytest.raises(BeartypeCallHintParamViolation):
        changed_libraries(["numpy"])


def test_sizes_that_differ_are_refused():
    with pytest.raises(TypeCheckError):
        roc_points(np.zeros(3), np.zeros(4, dtype=bool))
