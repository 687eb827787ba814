"""How a number prints with its uncertainty."""

import math

from triher.estimate import Estimate, not_estimable


def test_value_and_interval():
    assert str(Estimate(0.8124, 0.7413, 0.8759, 120, "DeLong")) == "0.812 (0.741 to 0.876)"


def test_value_without_interval_says_why():
    bare = Estimate(0.5, math.nan, math.nan, 3, "DeLong", "all scores equal")
    assert str(bare) == "0.500 (interval not estimable: all scores equal)"
    assert str(Estimate(0.5, math.nan, math.nan, 3, "DeLong")) == "0.500 (interval not estimable)"


def test_no_value_says_why():
    nothing = not_estimable("0 HER2-positive", n=12, method="AUC")
    assert str(nothing) == "not estimable (0 HER2-positive)"
    assert all(math.isnan(x) for x in (nothing.value, nothing.low, nothing.high))
    assert (nothing.n, nothing.method) == (12, "AUC")
