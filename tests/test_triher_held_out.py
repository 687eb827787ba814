"""Who must not be seen by what is fitted before the splits."""

import pytest

from triher.cohort import Patient
from triher.errors import StopRun
from triher.held_out import is_held_out
from triher.settings import SplitConfig


def patient(site: str = "A", split: str = "") -> Patient:
    return Patient("P1", "c", site, split, {}, None)


def test_nobody_is_held_out_without_a_split():
    assert not is_held_out(SplitConfig(), patient())


def test_sites_and_columns():
    sites = SplitConfig(kind="sites", test=("C",))
    assert [is_held_out(sites, patient(site)) for site in "ABC"] == [False, False, True]
    column = SplitConfig(kind="column")
    assert [is_held_out(column, patient(split=cell)) for cell in ("train", "test", "")] == [False, True, True]


@pytest.mark.parametrize("kind", ["leave-one-site-out", "leave-one-cohort-out"])
def test_where_everybody_is_held_out_in_turn_nothing_can_be_fitted(kind):
    with pytest.raises(StopRun, match="holds everybody out in turn") as caught:
        is_held_out(SplitConfig(kind=kind), patient())
    assert caught.value.code == "scale_split"
