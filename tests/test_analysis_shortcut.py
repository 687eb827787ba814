"""What else the features tell: the table, its faults, the numbers and their words."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from analysis.discrimination.shortcut import judge_shortcuts, read_shortcuts
from analysis.evaluation import Evaluation
from analysis.metrics import Metric, find
from analysis.page import Paragraph, Table
from analysis.sections.opened import opened_blocks, opened_too_often
from analysis.sections.shortcut import shortcut_section
from triher.errors import StopRun
from triher.estimate import Estimate
from triher.settings import AnalysisConfig, CohortConfig, Config
from triher.tables import write_table

CONFIG = Config(cohort=CohortConfig(table="t.csv"), analysis=AnalysisConfig(resamples=200))


def long_table(target="site", groups=("A", "B", "C"), n=60, strength=2.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(groups)
    logits = strength * np.eye(len(groups))[y] + rng.normal(size=(n, len(groups)))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = [
        {"target": target, "patient_id": f"P{i:03d}", "truth": groups[y[i]], "group": group, "p": p[i, k]}
        for i in range(n)
        for k, group in enumerate(groups)
    ]
    return pd.DataFrame(rows), y, p


@pytest.fixture
def read(tmp_path):
    def written(frame):
        path = tmp_path / "shortcuts.csv"
        write_table(path, list(frame.columns), frame.to_numpy().tolist())
        return read_shortcuts(path)

    return written


def test_the_auc_is_that_of_scikit_learn_and_the_order_of_rows_does_not_matter(read):
    frame, y, p = long_table()
    metrics = judge_shortcuts(read(frame), CONFIG)
    area = find(metrics, "all", "shortcut_auc", "site")
    assert area.value == pytest.approx(roc_auc_score(y, p, multi_class="ovr"), abs=1e-12)
    assert area.low < area.value < area.high
    assert area.n == 60
    assert find(metrics, "all", "shortcut_groups", "site").value == 3
    assert judge_shortcuts(read(frame.sample(frac=1, random_state=0)), CONFIG) == metrics


def test_targets_are_kept_apart_and_two_groups_have_one_auc(read):
    site, _, _ = long_table()
    vendor, y, p = long_table("vendor", ("GE", "Siemens"), seed=1)
    metrics = judge_shortcuts(read(pd.concat([site, vendor])), CONFIG)
    assert [m.class_name for m in metrics if m.quantity == "shortcut_auc"] == ["site", "vendor"]
    assert find(metrics, "all", "shortcut_auc", "vendor").value == pytest.approx(roc_auc_score(y, p[:, 1]), abs=1e-12)


def test_one_group_tells_nothing(read):
    frame, _, _ = long_table(groups=("A",))
    area = find(judge_shortcuts(read(frame), CONFIG), "all", "shortcut_auc", "site")
    assert area.reason == "only 1 group"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.assign(p=t["p"] * 2), "patient P000 do not sum to 1"),
        (lambda t: t.drop(index=4), "patient P001 do not sum to 1"),
        (lambda t: pd.concat([t, t.iloc[[5]]]), "patient P001 has two rows of one group"),
        (lambda t: t.assign(truth=t["truth"].replace("B", "D")), "the truth of patient P001 is not one of A, B, C"),
        (lambda t: t.assign(p=t["p"].astype(str).replace(str(t["p"][0]), "x")), "could not convert"),
    ],
)
def test_a_table_that_is_not_as_agreed_is_refused(read, change, text):
    frame, _, _ = long_table()
    with pytest.raises(StopRun, match=text) as caught:
        read(change(frame))
    assert caught.value.code == "number_format"


def test_a_cohort_of_one_site_has_nothing_to_tell_apart(read):
    assert read(long_table()[0][:0]) == ()


def test_a_missing_column_is_named(read):
    with pytest.raises(StopRun, match="truth") as caught:
        read(long_table()[0].drop(columns="truth"))
    assert caught.value.code == "column_missing"


def section(**areas):
    rows = []
    for target, area in areas.items():
        name = target.replace("_", " ")
        rows.append(Metric("shortcut", "all", "shortcut_auc", area, name))
        rows.append(Metric("shortcut", "all", "shortcut_groups", Estimate(4.0, np.nan, np.nan, area.n, ""), name))
    found = shortcut_section(Evaluation("triple", ("zero", "low", "positive"), (), tuple(rows)))
    return found[0].blocks if found else []


def test_a_strong_shortcut_is_cautioned_of():
    blocks = section(site=Estimate(0.95, 0.94, 0.96, 300, ""), her2_from_site=Estimate(0.9, 0.8, 0.95, 300, ""))
    texts = [block.text for block in blocks if isinstance(block, Paragraph)]
    assert "The site alone tells the HER2 class at AUC 0.90 (0.80 to 0.95); 0.5 would be no help." in texts
    [caution] = [block.text for block in blocks if isinstance(block, Paragraph) and block.tone]
    assert caution.startswith("The features give away the site (AUC above 0.8).")
    [shown] = [block for block in blocks if isinstance(block, Table)]
    assert shown.rows[0] == ["Site", "0.95 (0.94 to 0.96)", "4", "300"]
    below = section(her2_from_site=Estimate(0.37, 0.30, 0.44, 120, ""))
    assert any("Below 0.5 is no help either" in block.text for block in below if isinstance(block, Paragraph))
    weak = section(site=Estimate(0.6, 0.5, 0.7, 300, ""))
    assert not [block for block in weak if isinstance(block, Paragraph) and block.tone]
    assert section() == []


def opened(times):
    return {"stages": {"classify": {"test_opened": times}}}


@pytest.mark.fault("E20")
def test_settings_tried_on_held_out_patients_are_counted():
    assert opened_blocks({}) == opened_blocks(opened(0)) == []
    [once] = opened_blocks(opened(1))
    assert "one setting only" in once.text
    assert opened_too_often(opened(1)) == []
    [often] = opened_blocks(opened(3))
    assert often.tone == "note"
    expected = "predicted 3 times with different settings; the result is no longer that of a single test."
    assert often.text.endswith(expected)
    assert opened_too_often(opened(3)) == [often.text]
