"""Subgroups: who is in which, their numbers, the test of interaction, and how they are told."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from analysis.discrimination.aucs import delong, low_vs_positive, zero_vs_rest
from analysis.discrimination.subgroups import heterogeneity, interaction, judge_subgroups
from analysis.inference.bootstrap import macro_auc
from analysis.inference.corrected_p import corrected_estimates
from analysis.inference.cross_validation import Folds
from analysis.metrics import find
from analysis.page import Gallery, Paragraph, Table
from analysis.part import Material, Part
from analysis.patients.groupings import NOT_KNOWN, groupings
from analysis.patients.samples import split_samples
from analysis.sections.subgroups import subgroups_part
from triher.cohort import Cohort, Patient
from triher.errors import StopRun
from triher.estimate import Estimate
from triher.settings import AnalysisConfig, CohortConfig, Config

CLASSES = ("zero", "low", "positive")
HOSTILE = "<script>alert(1)</script>"


def predictions(n=120, *, seed=0, folds=1, strength=1.0, cohorts=("A", "B")):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    logits = strength * np.eye(3)[y] + rng.normal(size=(n, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)]})
    frame["cohort"] = [cohorts[i // 3 % len(cohorts)] for i in range(n)]
    frame["site"] = [f"s{i // 3 % 4}" for i in range(n)]
    frame = frame.assign(split="oof", repeat=0, fold=np.arange(n) // 3 % folds, seed=0, y=y.astype(float))
    frame[[f"p_{name}" for name in CLASSES]] = p
    return frame


def patients(frame):
    people = []
    for i, row in enumerate(frame.itertuples()):
        age = math.nan if i < 6 else float(40 + i % 21)
        groups = {"menopause": "" if i < 9 else ("pre", "post")[i // 3 % 2]}
        where = {"cohort": row.cohort, "site": row.site, "split": "", "phases": {}, "mask": None}
        people.append(
            Patient(
                row.patient_id,
                **where,
                vendor=f"GE{HOSTILE}" if i % 2 else "NA",
                covariates={"age": age},
                groups=groups,
            )
        )
    return Cohort(tuple(people), (), frozenset({"patient_id", "vendor"}))


def material(frame=None, *, table=None, scheme="triple", **subgroups):
    frame = predictions() if frame is None else frame
    own = CohortConfig(table="t.csv", covariates=("age",), groups=("menopause",))
    config = Config(cohort=own, scheme=scheme, analysis=AnalysisConfig(resamples=200, subgroups=subgroups))
    samples = split_samples(frame, scheme)
    return Material(frame, None, samples, {}, table or patients(frame), config, {})


def only(found, name):
    [group] = [group for group in found if group.name == name]
    return group


def test_each_level_has_the_numbers_of_its_patients_alone():
    given = material(menopause=(), age=(50, 55))
    found = judge_subgroups(given)
    assert [group.name for group in found] == ["cohort", "site", "menopause", "age"]
    menopause = only(found, "menopause")
    assert [level.label for level in menopause.levels] == ["post", "pre", NOT_KNOWN]
    [sample] = given.samples
    of = {patient.patient_id: patient.groups["menopause"] for patient in given.cohort.patients}
    here = np.array([of[name] == "pre" for name in sample.patient_id])
    y, p = sample.y[here], sample.probabilities[here]
    pre = menopause.levels[1]
    assert pre.n == here.sum()
    assert pre.areas["auc_zero_vs_rest"] == zero_vs_rest(y, p)
    assert pre.areas["auc_low_vs_positive"] == low_vs_positive(y, p)
    labels = ("HER2-zero", "HER2-low", "HER2-positive")
    assert pre.areas["auc_macro"] == macro_auc(y, p, labels, resamples=200, seed=0)
    limits = pre.areas["auc_macro"]
    assert math.sqrt(pre.variances["auc_macro"]) == pytest.approx(
        (limits.high - limits.low) / (2 * norm.ppf(0.975)), rel=0.15
    )


def test_nobody_is_dropped():
    given = material(menopause=(), age=(50, 55), vendor=(), site=(), cohort=())
    found = judge_subgroups(given)
    assert {sum(level.n for level in group.levels) for group in found} == {len(given.samples[0].y)}
    age = only(found, "age")
    assert [level.label for level in age.levels] == ["age < 50", "50 <= age < 55", "age >= 55", NOT_KNOWN]
    assert age.levels[-1].n == 6
    assert only(found, "vendor").levels[-1].n == 60
    stranger = material(table=Cohort((), (), frozenset({"vendor"})), vendor=())
    assert [(level.label, level.n) for level in only(judge_subgroups(stranger), "vendor").levels] == [
        (NOT_KNOWN, 120)
    ]


def test_a_value_at_a_cut_point_belongs_above_it_and_an_empty_range_is_shown():
    given = material(age=(60, 200))
    levels = only(judge_subgroups(given), "age").levels
    at_60 = sum(patient.covariates["age"] == 60 for patient in given.cohort.patients)
    assert [level.n for level in levels] == [114 - at_60, at_60, 0, 6]
    assert levels[2].areas["auc_macro"].reason == "0 HER2-zero, 0 HER2-low, 0 HER2-positive"


def test_cohort_and_site_are_subgroups_unasked_only_where_there_are_several():
    assert [group.name for group in judge_subgroups(material())] == ["cohort", "site"]
    alone = predictions(cohorts=("A",))
    assert [group.name for group in judge_subgroups(material(alone))] == ["site"]
    alone["site"] = "A"
    assert subgroups_part(material(alone)) == Part()
    asked = only(judge_subgroups(material(alone, cohort=())), "cohort")
    assert [level.label for level in asked.levels] == ["A"]
    assert asked.interactions[0].p.reason == "only 1 level has a variance"


def test_sites_of_one_name_in_two_cohorts_stay_apart():
    frame = predictions(cohorts=("A", "A", "A", "B", "B"))
    [_, grouping] = groupings(material(frame, site=()).config, patients(frame), frame)
    assert set(grouping.level_of.values()) == {f"{cohort}: s{k}" for cohort in "AB" for k in range(4)}
    frame["site"] = frame["cohort"] + "1"
    [_, grouping] = groupings(material(frame, site=()).config, patients(frame), frame)
    assert set(grouping.level_of.values()) == {"A1", "B1"}
    assert [grouping.name for grouping in groupings(material(frame).config, patients(frame), frame)] == ["cohort"]


def test_the_order_of_patients_changes_nothing():
    frame = predictions(folds=5)
    shuffled = frame.sample(frac=1, random_state=3)
    cohort = patients(frame)
    backwards = Cohort(cohort.patients[::-1], (), cohort.columns)
    wanted = {"menopause": (), "age": (50,), "site": ()}
    first = judge_subgroups(material(frame, table=cohort, **wanted))
    assert judge_subgroups(material(shuffled, table=backwards, **wanted)) == first


@pytest.mark.parametrize(
    ("subgroups", "code", "text"),
    [
        (
            {"menopaus": ()},
            "unknown_name",
            "unknown subgroup 'menopaus'; did you mean 'menopause'? known: menopause, age",
        ),
        ({"age": ()}, "config_value", "a column of numbers, without cut points"),
        ({"menopause": (1,)}, "config_value", "gives cut points for 'menopause', which holds words"),
        ({"site": (1,)}, "config_value", "gives cut points for 'site'"),
        ({"age": (60, 50)}, "config_value", "must rise, and are 60, 50"),
        ({"age": (50, 50)}, "config_value", "must rise, and are 50, 50"),
        ({"age": (math.nan,)}, "config_value", "must rise, and are nan"),
    ],
)
def test_what_cannot_be_divided_stops_the_run(subgroups, code, text):
    with pytest.raises(StopRun) as caught:
        judge_subgroups(material(**subgroups))
    assert caught.value.code == code
    assert text in caught.value.message


def test_a_vendor_that_no_column_tells_stops_the_run():
    with pytest.raises(StopRun, match="no such column") as caught:
        judge_subgroups(material(table=Cohort((), (), frozenset()), vendor=()))
    assert caught.value.code == "column_missing"


def test_for_two_levels_the_test_is_the_unpaired_delong_test():
    rng = np.random.default_rng(4)
    sides = [(rng.normal(1, 1, 40), rng.normal(0, 1, 50)), (rng.normal(0.2, 1, 35), rng.normal(0, 1, 60))]
    (a, va), (b, vb) = (delong(*pair) for pair in sides)
    z = (a - b) / math.sqrt(va + vb)
    q, p = heterogeneity([a, b], [va, vb])
    assert q == pytest.approx(z**2, rel=1e-12)
    assert p == pytest.approx(2 * norm.sf(abs(z)), rel=1e-12)


def test_more_levels_are_compared_on_the_logit_scale():
    # By hand: logits 0, ln 3 and ln 3 with delta-method variances of 1, 1 and 1, mean 2/3 ln 3, Q = 2/3 (ln 3)^2.
    values, slopes = [0.5, 0.75, 0.75], [0.25, 0.1875, 0.1875]
    q, p = heterogeneity(values, [slope**2 for slope in slopes])
    assert q == pytest.approx(2 / 3 * math.log(3) ** 2, rel=1e-12)
    assert p == pytest.approx(math.exp(-q / 2), rel=1e-12)  # chi-square with 2 degrees of freedom


def test_equal_levels_are_not_called_different_too_often():
    rng = np.random.default_rng(5)
    ps = []
    for _ in range(30):
        found = [delong(rng.normal(1, 1, 12), rng.normal(0, 1, 28)) for _ in range(20)]
        ps.append(heterogeneity(*map(list, zip(*found, strict=True)))[1])
    assert sum(p < 0.05 for p in ps) <= 3


def test_a_planted_interaction_is_found():
    frame = predictions(240, strength=2.5)
    weak = frame["cohort"] == "B"
    columns = [f"p_{name}" for name in CLASSES]
    frame.loc[weak, columns] = np.random.default_rng(1).permutation(frame.loc[weak, columns].to_numpy())
    cohort = only(judge_subgroups(material(frame, menopause=())), "cohort")
    assert all(test.p_adjusted.value < 0.001 for test in cohort.interactions)


def test_levels_without_a_variance_are_named_and_left_out():
    frame = predictions()
    columns = [f"p_{name}" for name in CLASSES]
    perfect = frame["site"] == "s1"
    frame.loc[perfect, columns] = 0.8 * np.eye(3)[frame.loc[perfect, "y"].astype(int)] + 0.2 / 3
    frame = frame[(frame["site"] != "s2") | (frame.index < 24)]
    group = only(judge_subgroups(material(frame, site=())), "site")
    assert {level.label: level.n for level in group.levels}["s0"] == 30
    small = next(level for level in group.levels if level.label == "s2")
    assert "only" in small.areas["auc_macro"].reason
    assert math.isnan(small.areas["auc_macro"].low)
    for test in group.interactions:
        assert test.compared == ("s0", "s3")
        assert test.left_out == ("s1", "s2")
        assert test.degrees == 1
    lonely = interaction("auc_macro", group.levels[:1])
    assert lonely.p.reason == "only 1 level has a variance"
    assert interaction("auc_macro", ()).p.reason == "no level has a variance"


@pytest.mark.golden("p_adjust")
def test_adjusted_p_values_are_those_of_r(golden, golden_folder):
    ps = pd.read_csv(golden_folder / "pvalues.csv").iloc[:, -1].to_numpy(float)
    found = corrected_estimates([Estimate(float(p), math.nan, math.nan, 9, "p") for p in ps])
    assert [p.value for p in found] == pytest.approx(golden("p_adjust")["BH"], rel=1e-9)


def test_p_values_of_a_split_are_corrected_together_and_missing_ones_do_not_count():
    group = judge_subgroups(material(menopause=(), age=(200,)))
    tests = [test for g in group for test in g.interactions]
    known = [test for test in tests if math.isfinite(test.p.value)]
    assert (len(tests), len(known)) == (12, 9)
    largest = max(known, key=lambda test: test.p.value)
    assert largest.p_adjusted.value == pytest.approx(largest.p.value)
    assert all(test.p_adjusted.value >= test.p.value for test in known)
    assert "over 9 tests" in largest.p_adjusted.method
    assert corrected_estimates([]) == []


def test_intervals_of_scores_by_several_models_are_widened_by_the_share_of_the_level():
    one = only(judge_subgroups(material(predictions(), menopause=())), "menopause").levels[0]
    several = only(judge_subgroups(material(predictions(folds=5), menopause=())), "menopause").levels[0]
    factor = math.sqrt(1 + one.n / 120 * 5 / 4)
    for quantity, area in one.areas.items():
        wide = several.areas[quantity]
        assert wide.value - wide.low == pytest.approx(factor * (area.value - area.low))
    assert several.variances == one.variances
    assert Folds(5, one.n / 120).share == one.n / 120


def test_the_part_has_rows_tables_and_a_figure():
    part = subgroups_part(material(menopause=(), age=(50,), vendor=()))
    area = find(part.metrics, "oof", "subgroup_auc_macro", "age: age >= 50")
    assert area.low < area.value < area.high
    assert find(part.metrics, "oof", "subgroup_calibration_in_the_large_low", "age: not known") is not None
    assert find(part.metrics, "oof", "interaction_auc_macro_p_adjusted", "age").value <= 1
    blocks = part.section.blocks
    assert "exploratory" in blocks[0].text
    assert "is no test" in blocks[0].text
    levels, tests, large = (block for block in blocks if isinstance(block, Table))
    assert (levels.name, tests.name) == ("subgroups-oof", "interactions-oof")
    assert large.name == "subgroups-calibration-oof"
    assert len(large.data.rows) == 3 * len(levels.rows)
    [said] = part.summary
    assert "subgroups" in said
    assert "age ≥ 50" in [row[0] for row in levels.rows]
    assert len(levels.data.rows) == len(levels.rows) * 6
    assert ["menopause", "auc_macro", "post | pre", "not known"] in [list(row[:4]) for row in tests.data.rows]
    [gallery] = [block for block in blocks if isinstance(block, Gallery)]
    [drawing] = gallery.drawings
    assert "age ≥ 50" in drawing.svg
    assert "<script" not in drawing.svg
    assert not any("several models" in block.text for block in blocks if isinstance(block, Paragraph))


def test_two_classes_have_one_auc():
    rng = np.random.default_rng(0)
    frame = predictions().assign(y=np.arange(120) // 2 % 2 * 1.0, p_negative=rng.random(120))
    frame["p_positive"] = 1 - frame["p_negative"]
    part = subgroups_part(material(frame, scheme="binary"))
    assert {m.quantity for m in part.metrics if m.quantity.startswith("subgroup_auc")} == {"subgroup_auc_macro"}
    svg = next(block for block in part.section.blocks if isinstance(block, Gallery)).drawings[0].svg
    assert "Macro AUC" in svg


def test_a_split_without_labels_has_no_subgroups():
    assert subgroups_part(material(predictions().assign(y=math.nan))) == Part()
