"""ICC(A,1) against published values and statsmodels, and the stability of hand-made stores."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from analysis.ablation.icc import agreement, limits, mean_squares
from analysis.ablation.material import CellResult, StudyMaterial
from analysis.ablation.stability import stabilities
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import Header, write_store
from triher.study import BASE, Cell, CellRun, Embedding, StudyFolder

# Six targets by four judges: Shrout & Fleiss, Psychol Bull 1979;86:420, table 2.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def measurements(table):
    """Columns as measurements of one feature."""
    return [column[:, None] for column in np.asarray(table, float).T]


def test_the_worked_example_of_shrout_and_fleiss():
    found = mean_squares(*measurements(JUDGES))
    assert found.rows == pytest.approx([11.24], abs=0.005)
    assert found.columns == pytest.approx([32.49], abs=0.005)
    assert found.error == pytest.approx([1.02], abs=0.005)
    assert agreement(mean_squares(*measurements(JUDGES))) == pytest.approx([0.29], abs=0.005)


def test_limits_are_those_that_r_prints():
    low, high = limits(mean_squares(*measurements(JUDGES)))
    assert (low[0], high[0]) == pytest.approx((0.019, 0.761), abs=0.0005)  # psych::ICC(sf), ICC2


def test_mean_squares_agree_with_statsmodels():
    rng = np.random.default_rng(0)
    patient = rng.normal(size=(20, 3))
    tables = [patient + 0.1 * k + rng.normal(scale=0.5, size=(20, 3)) for k in range(3)]
    found = mean_squares(*tables)
    for feature in range(3):
        long = pd.DataFrame(
            [(i, k, tables[k][i, feature]) for k in range(3) for i in range(20)], columns=["row", "column", "value"]
        )
        table = anova_lm(ols("value ~ C(row) + C(column)", long).fit())
        expected = table["mean_sq"][["C(row)", "C(column)", "Residual"]].tolist()
        assert [found.rows[feature], found.columns[feature], found.error[feature]] == pytest.approx(expected)
        rows, columns, error = expected
        assert agreement(mean_squares(*tables))[feature] == pytest.approx(
            (rows - error) / (rows + 2 * error + 3 * (columns - error) / 20)
        )


def test_limits_hold_the_truth():
    rng = np.random.default_rng(1)
    patient = rng.normal(size=(30, 2000))  # ICC 0.8
    first, second = (patient + rng.normal(scale=0.5, size=patient.shape) for _ in range(2))
    low, high = limits(mean_squares(first, second))
    assert np.mean((low <= 0.8) & (high >= 0.8)) == pytest.approx(0.95, abs=0.02)
    assert np.median(agreement(mean_squares(first, second))) == pytest.approx(0.8, abs=0.02)


def test_a_shift_of_all_patients_is_no_agreement():
    first = np.random.default_rng(2).normal(size=(12, 1))
    assert agreement(mean_squares(first, first)) == pytest.approx([1])
    assert agreement(mean_squares(first, first + 3))[0] < 0.35
    constant = np.ones((12, 1))
    assert math.isnan(agreement(mean_squares(constant, constant))[0])
    assert agreement(mean_squares(constant, constant + 1)) == pytest.approx([0])
    assert [limit[0] for limit in limits(mean_squares(first, first))] == [1, 1]


@pytest.mark.parametrize("n", [0, 1])
def test_one_patient_has_no_icc(n):
    with pytest.raises(ValueError, match="two measurements and two patients, and there are 2 and"):
        mean_squares(np.ones((n, 2)), np.ones((n, 2)))


@pytest.fixture
def folder(tmp_path):
    run = RunFolder(tmp_path)
    run.prepare()
    return StudyFolder(run)


def put(folder, key, features, encoder="toy"):
    """Write a store and its record."""
    n_features = features.views["rgb"].shape[1]
    header = Header({"name": encoder}, {"key": key}, {"torch": "0"}, np.ones((2, n_features), np.float32))
    write_store(folder.run.features / f"{key}.h5", header, [features], n_slices=len(features.slice_index))
    folder.write_embedding(
        Embedding(
            key=key, store=f"{key}.h5", encoder=encoder, n_patients=len(features.patient_id),
            n_slices=len(features.slice_index), n_features=n_features, n_bytes=1, seconds=1.0, device="cpu",
        )
    )  # fmt: skip


def disturbed(features, scale, *, seed=5, constant=0):
    """Noise added to every patient, the same in all slices; the first features left as they are."""
    rng = np.random.default_rng(seed)
    rows = features.views["rgb"].copy()
    for i in range(len(features.patient_id)):
        rows[features.rows(i), constant:] += scale * rng.normal(size=rows.shape[1] - constant)
    return replace(features, views={"rgb": rows.astype(np.float32)})


def material_of(cells, *, perturb=None):
    """Cells as (name, levels, changes, trained on, shown)."""
    config = Config.model_validate(
        {"cohort": {"table": "c.csv"}, "extract": {"encoder": "toy", "perturb": perturb or {}}}
    )
    results = tuple(
        CellResult(
            Cell(name=name, levels=levels, changes=changes),
            (CellRun(key=name, seed=0, state="done", embedding=store, shown=shown),) if store else (),
            None,
        )
        for name, levels, changes, store, shown in cells
    )
    return StudyMaterial(config, {}, "lattice", results, ())


def cell(noise="0", encoder="toy", head="logistic", store="clean", shown=""):
    changes = {"extract.perturb.noise": float(noise)} if noise != "0" else {}
    changes |= {"extract.encoder": encoder} if encoder != "toy" else {}
    changes |= {"classify.head": head} if head != "logistic" else {}
    levels = {"perturb.noise": noise, "encoder": encoder, "head": head}
    name = BASE if not changes else f"{noise} {encoder} {head}"
    return name, levels, changes, store, shown


def test_more_noise_makes_features_less_stable(folder, make_features):
    clean = make_features(n=40)
    for key, scale in {"clean": 0.0, "little": 0.1, "much": 1.0}.items():
        put(folder, key, disturbed(clean, scale))
    cells = [cell(), cell("0.05", shown="little"), cell("0.5", shown="much"), cell("0.5", head="ridge", shown="much")]
    found = stabilities(folder, material_of(cells))
    assert [(one.encoder, one.disturbance) for one in found] == [("toy", "noise=0.05"), ("toy", "noise=0.5")]
    little, much = found
    assert (little.n_patients, little.n_features, little.n_constant) == (40, 6, 0)
    assert little.median > 0.97
    assert little.share_excellent == 1
    assert little.cosine > 0.98
    assert much.median == pytest.approx(2 / 3, abs=0.1)  # the patients' variance is 1, the noise's 1 in one of two
    assert much.share_good < 0.5
    assert much.lower_limit_median < much.quartiles[0] < much.median < much.quartiles[1]


def test_the_numbers_are_those_of_the_patients_means(folder, make_features):
    clean = make_features(n=9)
    other = disturbed(clean, 0.5)
    put(folder, "clean", clean)
    put(folder, "noisy", other)
    [found] = stabilities(folder, material_of([cell(), cell("0.1", store="noisy")]))
    first, second = (
        np.array([one.views["rgb"][one.rows(i)].astype(float).mean(axis=0) for i in range(9)])
        for one in (clean, other)
    )
    assert found.median == pytest.approx(np.median(agreement(mean_squares(first, second))))
    centered = first - first.mean(axis=0), second - first.mean(axis=0)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(*centered, strict=True)]
    assert found.cosine == pytest.approx(np.median(cosines))


def test_order_and_patients_of_one_store_alone_change_nothing(folder, make_features):
    clean = make_features(n=12)
    put(folder, "clean", clean)
    put(folder, "noisy", disturbed(clean, 0.3).select([11, 3, 5, 7, 0, 1, 2, 4]))
    put(folder, "some", clean.select([0, 1, 2, 3, 4, 5, 7, 11]))
    cells = [cell(), cell("0.1", shown="noisy")]
    [found] = stabilities(folder, material_of(cells))
    cells[0] = cell(store="some")
    assert found.n_patients == 8
    assert stabilities(folder, material_of(cells)) == (found,)


def test_constant_features_are_counted_apart(folder, make_features):
    clean = make_features(n=12)
    clean.views["rgb"][:, :2] = 0.3
    put(folder, "clean", clean)
    put(folder, "noisy", disturbed(clean, 0.1, constant=2))
    [found] = stabilities(folder, material_of([cell(), cell("0.1", shown="noisy")]))
    assert (found.n_features, found.n_constant) == (4, 2)
    assert found.share_excellent == 1
    clean.views["rgb"][:] = 0.3
    put(folder, "clean", clean)
    put(folder, "noisy", clean)
    [found] = stabilities(folder, material_of([cell(), cell("0.1", shown="noisy")]))
    assert found.reason == "all features are the same in all patients"


def test_patients_with_features_that_are_no_numbers_are_left_out(folder, make_features):
    clean = make_features(n=12)
    put(folder, "clean", clean)
    other = disturbed(clean, 0.1)
    other.views["rgb"][other.rows(4), 1] = np.nan
    put(folder, "noisy", other)
    [found] = stabilities(folder, material_of([cell(), cell("0.1", shown="noisy")]))
    assert (found.n_patients, found.n_features) == (11, 6)


def test_encoders_are_compared_with_themselves(folder, make_features):
    one, two = make_features(n=12), make_features(n=12, n_features=12, seed=3)
    put(folder, "clean", one)
    put(folder, "noisy", disturbed(one, 0.1))
    put(folder, "clean2", two, "wide")
    put(folder, "noisy2", disturbed(two, 1.0), "wide")
    cells = [
        cell(), cell("0.1", shown="noisy"), cell(encoder="wide", store="clean2"),
        cell("0.1", encoder="wide", store="clean2", shown="noisy2"),
    ]  # fmt: skip
    found = {stability.encoder: stability for stability in stabilities(folder, material_of(cells))}
    assert found["wide"].n_features == 12
    assert found["toy"].median > found["wide"].median


def test_what_cannot_be_compared_says_why(folder, make_features):
    clean = make_features(n=12)
    put(folder, "clean", clean)
    put(folder, "few", disturbed(clean, 0.1).select([0, 1, 2]))
    cells = [cell(), cell("0.1", shown="few"), cell("0.2", shown="gone"), cell("0.3", store="")]
    found = {one.disturbance: one for one in stabilities(folder, material_of(cells))}
    assert found["noise=0.1"].reason == "only 3 patients were embedded both ways"
    assert found["noise=0.2"].reason == found["noise=0.3"].reason == "the images were not embedded"
    assert all(math.isnan(one.median) for one in found.values())
    assert stabilities(folder, material_of(cells, perturb={"noise": 0.1})) == ()


def test_two_disturbances_at_once_are_no_disturbance_along_one_axis(folder, make_features):
    clean = make_features(n=12)
    put(folder, "clean", clean)
    put(folder, "both", disturbed(clean, 0.1))
    base = {"perturb.noise": "0", "perturb.mask_mm": "0"}
    both = {"extract.perturb.noise": 0.1, "extract.perturb.mask_mm": 2}
    crossed = ("both", {"perturb.noise": "0.1", "perturb.mask_mm": "2"}, both, "clean", "both")
    assert stabilities(folder, material_of([(BASE, base, {}, "clean", ""), crossed])) == ()
    listed = ("shaky", {}, both, "clean", "both")
    [found] = stabilities(folder, material_of([(BASE, {}, {}, "clean", ""), listed]))
    assert found.disturbance == "shaky"


def test_each_draw_is_a_row(folder, make_features):
    clean = make_features(n=12)
    put(folder, "clean", clean)
    cells = [(BASE, {"perturb.noise": "0", "perturb.draw": "0"}, {}, "clean", "")]
    for draw in ("0", "1"):
        put(folder, f"noisy{draw}", disturbed(clean, 0.3, seed=int(draw)))
        drawn = {"extract.perturb.draw": 1} if draw == "1" else {}
        levels = {"perturb.noise": "0.1", "perturb.draw": draw}
        cells.append((f"noisy {draw}", levels, {"extract.perturb.noise": 0.1} | drawn, "clean", f"noisy{draw}"))
    cells.append(("drawn", {"perturb.noise": "0", "perturb.draw": "1"}, {"extract.perturb.draw": 1}, "clean", ""))
    found = stabilities(folder, material_of(cells))
    assert [one.disturbance for one in found] == ["noise=0.1", "noise=0.1, draw=1"]


def test_other_settings_of_the_extraction_are_named(folder, make_features):
    clean = make_features(n=12)
    put(folder, "clean", clean)
    put(folder, "noisy", disturbed(clean, 0.3))
    other = {"extract.n4": "shared"}
    cells = [
        (BASE, {}, {}, "clean", ""), ("n4", {}, other, "clean", ""),
        ("n4 noise", {}, other | {"extract.perturb.noise": 0.1}, "clean", "noisy"),
    ]  # fmt: skip
    [found] = stabilities(folder, material_of(cells))
    assert found.encoder == "toy (n4=shared)"
