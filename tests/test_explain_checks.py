"""The sanity tests pass on maps that explain, fail on maps that do not, and say nothing of too few patients."""

import math

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label
from scipy.stats import binomtest

from triher.errors import StopRun
from triher.explain.checks import LIKE, Measured, judge_maps
from triher.explain.covering import Covered
from triher.explain.hiding import SHARES, Curves, hide_in_turn, tiles
from triher.explain.lesion_share import LesionShare, lesion_share
from triher.explain.likeness import rank_likeness, structure_likeness
from triher.explanation_checks import (
    DELETION,
    INSERTION,
    OVERLAP,
    RANDOM_HEAD,
    RANDOMIZED,
    Check,
    read_checks,
    write_checks,
)

SPACING_MM = (3.0, 1.0, 1.0)


def judged(
    n: int = 12, *, likeness: float = 0.1, gain: float = 1.0, mass: float = 0.6, blind: float = 0.3
) -> list[Check]:
    """The verdicts on patients with planted measurements and a little spread."""
    noise = 0.05 * np.random.default_rng(0).standard_normal(n)
    alike = [(likeness + e,) * 4 for e in noise]
    curves = [Curves(-gain + e, gain + e, e / 2) for e in noise]
    found = [
        Measured(*four, curve, LesionShare(blind + e, 0.3, 0.3))
        for four, curve, e in zip(alike, curves, noise, strict=True)
    ]
    return judge_maps(found, [LesionShare(mass + e, 0.3, mass + e) for e in noise], resamples=200, seed=0)


def _hidden(picture, pixels, rim_px):
    """A drawing's only view with pixels hidden; it needs neither slab nor recipe."""
    covered = Covered.__new__(Covered)
    for name, value in (("drawn", {"rgb": picture}), ("hidden", pixels[None]), ("rim_px", rim_px)):
        object.__setattr__(covered, name, value)
    return covered.views["rgb"]


def verdicts(checks: list[Check]) -> dict[str, set[bool | None]]:
    found: dict[str, set[bool | None]] = {}
    for check in checks:
        found.setdefault(check.test, set()).add(check.passed)
    return found


def test_maps_that_explain_pass_and_maps_that_do_not_fail_every_test():
    assert verdicts(judged()) == {
        RANDOMIZED: {True, None}, RANDOM_HEAD: {True, None}, DELETION: {True}, INSERTION: {True}, OVERLAP: {True},
    }  # fmt: skip
    assert verdicts(judged(likeness=0.8, gain=0.0, mass=0.3)) == {
        RANDOMIZED: {False, True, None}, RANDOM_HEAD: {False, None}, DELETION: {False}, INSERTION: {False},
        OVERLAP: {False},
    }  # fmt: skip


def test_an_overlap_that_shuffled_weights_have_as_well_is_no_sign_of_knowledge():
    blind = {check.quantity: check.passed for check in judged(blind=0.6) if check.test == RANDOMIZED}
    assert [passed for quantity, passed in blind.items() if "shuffled weights" in quantity] == [False]


def test_the_wrong_direction_fails_however_sure():
    checks = judged(gain=-1.0, mass=0.1)
    wrong = [check for check in checks if check.test in (DELETION, INSERTION, OVERLAP)]
    assert all(check.p < 0.01 and check.passed is False for check in wrong)


def test_a_map_that_shows_nothing_is_not_another_map():
    """A head without slope has constant maps, shuffled or not: that must not pass as depending on the weights."""
    ramp, flat = np.arange(72.0).reshape(2, 6, 6), np.zeros((2, 6, 6))
    for one, other in ((ramp, flat), (flat, ramp), (flat, flat)):
        assert math.isnan(rank_likeness(one, other))
        assert math.isnan(structure_likeness(one, other))
    of_nothing = [check for check in judged(likeness=math.nan) if "rank correlation" in check.quantity]
    assert [(check.n, check.passed) for check in of_nothing] == [(0, None), (0, None)]


def test_four_patients_are_reported_and_not_judged():
    checks = judged(4)
    assert {check.passed for check in checks} == {None}
    assert all(math.isnan(check.low) and not math.isnan(check.value) for check in checks)
    assert all(check.n == 0 for check in judge_maps([], [], resamples=200, seed=0))


def test_five_patients_cannot_fail_what_they_could_not_pass():
    assert {check.passed for check in judged(5) if not math.isnan(check.p)} == {None}
    assert {check.passed for check in judged(6) if check.test == DELETION} == {True}


def test_p_is_that_of_the_exact_signed_rank_test():
    # all twelve differences have one sign: twice the chance of that, 2 / 2 ** 12 (Wilcoxon, Biometrics 1945)
    deletion = next(c for c in judged() if c.test == DELETION)
    assert deletion.p == pytest.approx(2 / 2**12)
    assert deletion.p == pytest.approx(binomtest(0, 12).pvalue)
    assert deletion.low < deletion.value < deletion.high < deletion.expected


def test_what_is_hidden_gets_the_mean_of_the_visible_pixels_around_it():
    """Part by part, as connected pixels; written plainly here, and in windows around the parts in the program."""
    rng = np.random.default_rng(2)
    hidden = np.kron(rng.random((6, 7)) < 0.4, np.ones((4, 4), bool))
    picture = rng.integers(0, 255, (1, 3, 24, 28)).astype(np.uint8)
    expected = picture.copy()
    numbers, n = label(hidden)
    for number in range(1, n + 1):
        rim = binary_dilation(numbers == number, iterations=2) & ~hidden
        mean = picture[0][:, rim].mean(axis=1)
        expected[0][:, numbers == number] = np.rint(mean)[:, None].astype(np.uint8)
    for pixels, wanted in ((hidden, expected), (np.zeros_like(hidden), picture), (np.ones_like(hidden), None)):
        found = _hidden(picture, pixels, 2)
        mean = np.rint(picture.mean(axis=(2, 3)))[:, :, None, None]
        assert np.array_equal(found, np.broadcast_to(mean, picture.shape) if wanted is None else wanted)


def test_the_table_reads_back(tmp_path):
    checks = tuple(judged())
    write_checks(tmp_path / "sanity.csv", checks)
    for before, after in zip(checks, read_checks(tmp_path / "sanity.csv"), strict=True):
        assert repr(before) == repr(after)
    assert read_checks(tmp_path / "none.csv") == ()
    text = (tmp_path / "sanity.csv").read_text()
    (tmp_path / "sanity.csv").write_text(text.replace(",yes,", ",perhaps,"))
    with pytest.raises(StopRun, match="perhaps"):
        read_checks(tmp_path / "sanity.csv")


def test_deletion_and_insertion_of_a_model_that_adds_up_pixels():
    """Where the log-odds are a sum over squares, the areas are known: each square counts with its trapezoids."""
    squares = tiles((2, 6, 8), SPACING_MM, 2.0)
    n = int(squares.max()) + 1
    assert n == 2 * 3 * 4
    worth = np.random.default_rng(1).permutation(n).astype(float)

    def judge(hidden):
        seen = np.array([[not variant[squares == k].any() for k in range(n)] for variant in hidden])
        return seen @ worth

    curves = hide_in_turn(worth[squares], squares, judge, np.random.default_rng(0))
    falling = np.sort(worth)[::-1]
    left = [worth.sum() - falling[: math.ceil(s * n)].sum() for s in SHARES]
    assert curves.deletion == pytest.approx(np.trapezoid([worth.sum(), *left, 0], [0, *SHARES, 1]))
    assert curves.deletion < curves.random < curves.insertion
    assert curves.random == pytest.approx(worth.sum() / 2, rel=0.15)
    mirrored = hide_in_turn(-worth[squares], squares, judge, np.random.default_rng(0))
    assert mirrored.deletion == pytest.approx(curves.insertion)


def test_a_map_without_any_structure_is_a_random_order():
    squares = tiles((1, 8, 8), SPACING_MM, 1.0)
    orders = [
        hide_in_turn(np.zeros((1, 8, 8)), squares, lambda h: h.reshape(len(h), -1) @ np.arange(64.0), rng).deletion
        for rng in map(np.random.default_rng, range(60))
    ]
    assert np.std(orders) > 0
    assert np.mean(orders) == pytest.approx(np.arange(64.0).sum() / 2, rel=0.02)


def test_squares_have_the_size_in_millimeters_whatever_the_spacing():
    assert tiles((1, 8, 8), (3.0, 0.5, 2.0), 4.0)[0, :, 0].tolist() == [0] * 8
    assert np.bincount(tiles((3, 9, 9), SPACING_MM, 4.0).ravel()).max() == 16


def test_the_share_in_the_lesion_of_a_flat_map_is_the_share_of_its_area():
    mask = np.zeros((2, 20, 20), bool)
    mask[:, 9:11, 9:11] = True
    flat = lesion_share(np.ones((2, 20, 20)), mask, SPACING_MM, around_mm=0.0)
    assert flat.mass == flat.area == pytest.approx(4 / 400)
    within = lesion_share(mask.astype(float), mask, SPACING_MM)
    assert (within.mass, within.pointed) == (1.0, 1.0)
    assert within.area > 4 / 400  # 5 mm around it belong to it
    beside = lesion_share(np.where(mask, -1.0, 0.5), mask, SPACING_MM, around_mm=0.0)
    assert (beside.mass, beside.pointed) == (0.0, 0.0)
    silent = lesion_share(-np.ones((2, 20, 20)), mask, SPACING_MM)
    assert math.isnan(silent.mass)
    assert math.isnan(silent.pointed)


def test_likeness_knows_no_scale_and_no_sign_of_ranks():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 3, 12, 12))
    assert rank_likeness(one, -7 * one) == pytest.approx(1)
    assert rank_likeness(one, other) < LIKE / 2
    assert structure_likeness(one, 7 * one) == pytest.approx(1)
    assert structure_likeness(one, other) < LIKE
    assert structure_likeness(one[:, :4, :4], one[:, :4, :4]) == pytest.approx(1)
    assert math.isnan(structure_likeness(one[:, :2, :2], one[:, :2, :2]))
