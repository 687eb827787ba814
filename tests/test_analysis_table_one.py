"""Table 1: standardized differences against hand computation and statsmodels, and what the printed table says."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.meta_analysis import effectsize_smd

from analysis.patients.acquisition import read_acquisition
from analysis.patients.standardized import chance_limit, in_words, of_levels, of_numbers
from analysis.patients.table_one import Group, describe, numbers, words
from analysis.sections.table_one import table_one_blocks
from triher.cohort import Cohort, Patient
from triher.runfolder import RunFolder
from triher.store import Features, Header, write_store

CLASSES = ("zero", "low", "positive")


def test_differences_of_the_formulas_by_hand():
    """Austin 2009 for means 54 and 51 and for shares 0.5 and 0.3; Yang & Dalton 2012 for three levels."""
    first, second = np.array([44.0, 54.0, 64.0]), np.array([43.0, 51.0, 59.0])
    assert of_numbers(first, second) == pytest.approx(3 / math.sqrt((100 + 64) / 2))
    assert of_levels(np.array([50, 50]), np.array([70, 30])) == pytest.approx(0.2 / math.sqrt((0.25 + 0.21) / 2))
    p, q = np.array([0.3, 0.2]), np.array([0.4, 0.4])  # of levels 2 and 3; 0.5 and 0.2 are at level 1
    s = np.array([[(0.21 + 0.24) / 2, -(0.06 + 0.16) / 2], [-(0.06 + 0.16) / 2, (0.16 + 0.24) / 2]])
    by_hand = math.sqrt((p - q) @ np.linalg.inv(s) @ (p - q))
    assert of_levels(np.array([50, 30, 20]), np.array([20, 40, 40])) == pytest.approx(by_hand)


def test_differences_agree_with_statsmodels():
    rng = np.random.default_rng(0)
    first, second = rng.normal(50, 9, 60), rng.normal(54, 12, 60)
    told, _ = effectsize_smd(first.mean(), first.std(ddof=1), 60, second.mean(), second.std(ddof=1), 60)
    correction = 1 - 3 / (4 * 120 - 9)  # statsmodels gives Hedges' g
    assert of_numbers(first, second) == pytest.approx(abs(told) / correction)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=2, max_size=5), st.randoms())
def test_the_order_of_levels_and_groups_changes_nothing(counts, random):
    first, second = np.array(counts).T
    value = of_levels(first, second)
    shuffled = random.sample(counts, len(counts))
    assert of_levels(*np.array(shuffled).T) == pytest.approx(value, abs=1e-7)
    assert of_levels(second, first) == pytest.approx(value, abs=1e-7)
    assert of_levels(first, first) == 0
    with_an_empty_level = np.append(first, 0), np.append(second, 0)
    assert of_levels(*with_an_empty_level) == pytest.approx(value, abs=1e-7)


def test_differences_that_are_not_there():
    assert of_levels(np.array([40, 0]), np.array([0, 40])) == math.inf
    assert of_levels(np.array([20, 20, 0]), np.array([0, 0, 40])) == math.inf
    assert math.isnan(of_levels(np.array([0, 0]), np.array([1, 2])))
    assert math.isnan(of_numbers(np.array([1.0]), np.array([1.0, 2.0])))
    assert of_numbers(np.ones(3), np.ones(3)) == 0
    assert of_numbers(np.ones(3), np.full(3, 2.0)) == math.inf
    assert [in_words(v) for v in (math.nan, math.inf, 0.1)] == ["not estimable", "differs wholly", "0.10"]


def test_chance_reaches_the_limit_in_one_of_twenty_samples():
    rng = np.random.default_rng(1)
    found = [of_numbers(rng.normal(size=40), rng.normal(size=80)) for _ in range(2000)]
    assert np.mean(np.array(found) > chance_limit(40, 80)) == pytest.approx(0.05, abs=0.015)


def test_missing_values_are_counted_and_are_in_no_number():
    groups = [Group("a", ("P0", "P1", "P2")), Group("b", ("P3", "P4", "P5"))]
    age = numbers("age", {"P0": 40.0, "P1": 50.0, "P2": math.nan, "P3": 41.0, "P4": 45.0})
    line = describe(age, groups, [0, 1])
    assert [(n.n, n.missing) for n in line.groups] == [(2, 1), (2, 1)]
    assert (line.groups[0].mean, line.between) == (45.0, ("a", "b"))
    status = describe(words("ER", {"P0": "pos", "P1": "", "P3": "neg", "P4": "pos"}), groups, [0, 1])
    assert [(n.counts, n.missing) for n in status.groups] == [((0, 1), 2), ((1, 1), 1)]
    assert numbers("menopause", {"P0": 0.0, "P1": 1.0}).levels == ("no", "yes")
    assert numbers("spacing", {"P0": 1.25, "P1": 0.9}, few_as_words=True).levels == ("0.9", "1.25")


def a_cohort(n=24):
    rng = np.random.default_rng(0)
    patients = [
        Patient(
            f"P{i}", "A", f"site {i % 3}", "", {}, None, vendor="GE" if i % 3 else "",
            covariates={"age": 40.0 + i, "ki67": float(np.exp(rng.normal(2, 1.5)))},
            groups={"ER": ("pos", "neg")[i % 2]}, time_months=10.0 + i, event=i % 2,
        )
        for i in range(n)
    ]  # fmt: skip
    frame = pd.DataFrame({"patient_id": [p.patient_id for p in patients], "cohort": "A"})
    frame["site"] = [p.site for p in patients]
    frame["split"] = ["test" if i >= 16 else "oof" for i in range(n)]
    frame["y"] = [float(i % 3) if i else math.nan for i in range(n)]
    return frame, Cohort(tuple(patients), (), frozenset({"patient_id", "vendor"}))


def test_the_tables_say_who_the_patients_are():
    frame, cohort = a_cohort()
    volume = {name: float(i) for i, name in enumerate(frame["patient_id"])}
    [_, about, chance, by_use, by_class] = table_one_blocks(frame, cohort, CLASSES, {"lesion_volume_ml": volume})
    assert "Austin 2009" in about.text
    assert "groups of 8 and 16" in chance.text
    assert list(by_use.header) == [
        "", "Held-out test", "Development, out of fold", "All", "Missing", "Standardized difference",
    ]  # fmt: skip
    rows = {row[0]: row[1:] for row in by_use.rows}
    assert rows["Patients"][:3] == ["8", "16", "24"]
    assert rows["HER2"][3] == "0 / 1 / 1"
    assert rows["age, mean (SD)"] == ["59.5 (2.45)", "47.5 (4.76)", "51.5 (7.07)", "0", "3.17, differs much"]
    assert "ki67, median (quartiles)" in rows
    assert rows["Vendor: GE"][3] == "2 / 6 / 8"
    assert "Lesion volume, ml, mean (SD)" in rows
    assert rows["Events"][:3] == ["4 of 8", "8 of 16", "12 of 24"]
    assert len({len(row) for row in (*by_use.rows, by_use.header)}) == 1
    assert len({len(row) for row in (*by_class.rows, by_class.header)}) == 1
    assert list(by_class.header)[1:4] == ["HER2-zero", "HER2-low", "HER2-positive"]
    assert next(row for row in by_class.rows if row[0] == "Patients")[1:4] == ["7", "8", "8"]
    assert next(row for row in by_class.rows if row[0] == "Site")[-1] == "differs wholly (zero / low)"
    assert not [cell for row in by_class.data.rows for cell in row if isinstance(cell, float) and math.isnan(cell)]


def test_without_several_splits_cohorts_or_sites_there_is_nothing_to_compare():
    frame, cohort = a_cohort()
    frame = frame.assign(split="oof", site="A")
    [*_, by_use, _] = table_one_blocks(frame, cohort, CLASSES, {})
    assert list(by_use.header) == ["", "All", "Missing"]
    assert table_one_blocks(frame.iloc[:0], cohort, CLASSES, {}) == []


def test_facts_about_the_images_come_from_the_store(tmp_path):
    run = RunFolder(tmp_path)
    run.features.mkdir()
    volumes = np.array([9.5, math.nan])
    features = Features(
        ("P0", "P1"), ("a" * 64, "b" * 64), np.array([0, 1, 2]), np.zeros(2, np.int32), np.ones(2, np.float32),
        {"rgb": np.ones((2, 3), np.float32)}, {"lesion_volume_ml": volumes, "volume_p98_pre": np.ones(2)},
    )  # fmt: skip
    header = Header({"name": "toy"}, {}, {}, np.zeros((1, 3), np.float32))
    write_store(run.features / "s.h5", header, [features], n_slices=2)
    found = read_acquisition(run, {"stages": {"extract": {"store": "s.h5"}}})
    assert list(found) == ["lesion_volume_ml"]
    assert found["lesion_volume_ml"]["P0"] == 9.5
    assert read_acquisition(run, {"stages": {}}) == {}
