"""Fusions: what may be asked for, how it is named, and what the channels hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extract.fusion import FUSIONS, Fusion, find_fusion, find_fusions, fuse
from triher.errors import StopRun

PHASES = ("pre", "early", "late")


def test_phases_and_differences_become_channels():
    voxels = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 4)).astype(np.uint8)
    rgb = fuse(find_fusion("rgb", PHASES), PHASES, voxels)
    np.testing.assert_array_equal(rgb, voxels.transpose(1, 0, 2, 3))
    kinetics = fuse(find_fusion("kinetics", PHASES), PHASES, voxels)
    pre, early, late = voxels.astype(int)
    np.testing.assert_array_equal(kinetics[:, 0], (early - pre + 255) // 2)
    np.testing.assert_array_equal(kinetics[:, 1], early)
    np.testing.assert_array_equal(kinetics[:, 2], (late - early + 255) // 2)


@given(arrays(np.uint8, (2, 1, 2, 3)))
def test_no_difference_is_mid_gray_and_the_sign_survives(voxels):
    phases = ("pre", "post")
    (picture,) = fuse(find_fusion("post-pre", phases), phases, voxels)
    pre, post = voxels[:, 0].astype(int)
    assert (picture[0] == picture[1]).all()
    assert (picture[0] == picture[2]).all()
    assert ((picture[0].astype(int) > 127) == (post - pre > 0)).all()
    assert (picture[0][post == pre] == 127).all()


@pytest.mark.parametrize(
    ("text", "name", "channels"),
    [
        ("wash-in", "wash-in", [("early", "pre")] * 3),
        ("wash-out", "wash-out", [("late", "early")] * 3),
        ("late", "late", [("late", "")] * 3),
        ("late-pre", "late-pre", [("late", "pre")] * 3),
        ("pre, early,late-pre", "pre, early,late-pre", [("pre", ""), ("early", ""), ("late", "pre")]),
        ("mine=pre, early, late-pre", "mine", [("pre", ""), ("early", ""), ("late", "pre")]),
        ("wash in 2 = early-pre", "wash in 2", [("early", "pre")] * 3),
        ("colors=rgb", "colors", [("pre", ""), ("early", ""), ("late", "")]),
    ],
)
def test_what_may_be_asked_for(text, name, channels):
    assert find_fusion(text, PHASES) == Fusion(name, tuple(channels))


def test_any_phase_of_the_cohort_is_a_view():
    assert find_fusion("delay 3", ("pre", "delay 3")).channels == (("delay 3", ""),) * 3
    with pytest.raises(StopRun, match="unknown phase 'late'"):
        find_fusion("rgb", ("pre", "early"))


def test_phase_names_may_hold_hyphens():
    fusion = find_fusion("post-1,post-1-pre,pre", ("pre", "post-1"))
    assert fusion.channels == (("post-1", ""), ("post-1", "pre"), ("pre", ""))
    assert find_fusion("post-1-pre", ("pre", "post-1")).channels == (("post-1", "pre"),) * 3


def test_every_entry_has_three_channels():
    assert {len(find_fusion(name, PHASES).channels) for name in FUSIONS} == {3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rbg", "unknown fusion 'rbg'; did you mean 'rgb'"),
        ("latte", "unknown fusion 'latte'; did you mean 'late'"),
        ("late-prr", "unknown phase 'prr'; did you mean 'pre'"),
        ("pre,early", "2 channels"),
        ("pre,early,late,pre", "4 channels"),
        ("pre,early,latte", "unknown phase 'latte'"),
        ("a/b=pre,early,late", "'a/b' cannot name a view"),
        ("..=pre,early,late", "cannot name a view"),
        ("=pre,early,late", "cannot name a view"),
        ("mine=", "unknown fusion ''"),
        ("", "unknown fusion ''"),
        ("pre,,late", "unknown phase ''"),
    ],
)
def test_wrong_fusions_say_what_is_known(text, message):
    with pytest.raises(StopRun, match=message):
        find_fusion(text, PHASES)


def test_views_of_one_run_have_names_of_their_own():
    assert [f.name for f in find_fusions(["rgb", "a=rgb"], PHASES)] == ["rgb", "a"]
    with pytest.raises(StopRun, match="two views have the name 'late'"):
        find_fusions(["late", "late=late-pre"], PHASES)
    with pytest.raises(StopRun, match="name at least one, such as rgb"):
        find_fusions([], PHASES)


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text):
    try:
        name = find_fusion(text, PHASES).name
    except StopRun:
        return
    assert "/" not in name
