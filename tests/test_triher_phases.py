import pytest

from triher.errors import SkipPatient, StopRun
from triher.phases import choose_phases, parse_rule, times_after_injection


def rules(**texts):
    return {name: parse_rule(text) for name, text in texts.items()}


TIMES = times_after_injection([0.0, 120.0, 210.0, 300.0, 390.0])


def test_time_zero_is_the_second_volume_or_the_known_injection():
    assert TIMES == (-120, 0, 90, 180, 270)
    assert times_after_injection([0.0, 120.0, 210.0], 100.0) == (-100, 20, 110)
    assert times_after_injection([0.0]) == ()


def test_names_choose_by_order():
    choice = choose_phases(rules(pre="pre", early="first post", late="last"), 5)
    assert choice.volumes == {"pre": 0, "early": 1, "late": 4}


def test_seconds_choose_the_nearest_volume_after_contrast():
    choice = choose_phases(rules(pre="pre", early="nearest 100 s", late="Nearest 250s"), 5, TIMES)
    assert choice.volumes == {"pre": 0, "early": 2, "late": 4}
    assert "early = volume 2 (nearest 100 s, 90 s)" in choice.log


def test_several_volumes_before_contrast_are_counted_from_their_times():
    choice = choose_phases(
        rules(pre="pre", early="first post"), 4, times_after_injection([0.0, 60.0, 120.0, 180.0], 100.0)
    )
    assert choice.volumes == {"pre": 0, "early": 2}


def test_a_position_from_a_table_may_be_written_as_a_float():
    assert choose_phases(rules(a="phase 0.0", b="phase 2.0"), 3).volumes == {"a": 0, "b": 2}


def test_a_missing_phase_skips_or_takes_the_last_and_says_so():
    wanted = rules(pre="pre", early="first post", late="post 5")
    with pytest.raises(SkipPatient) as caught:
        choose_phases(wanted, 4)
    assert caught.value.code == "phase_missing"
    choice = choose_phases(wanted, 4, missing="last")
    assert (choice.volumes["late"], choice.substituted) == (3, ("late",))


def test_an_exam_without_any_volume_after_contrast_is_skipped_under_either_policy():
    with pytest.raises(SkipPatient) as caught:
        choose_phases(rules(pre="pre", early="first post"), 1, missing="last")
    assert caught.value.code == "phase_missing"


@pytest.mark.parametrize(
    ("wanted", "n", "times", "code"),
    [
        ({"a": "nearest 90 s"}, 3, (), "phase_times"),
        ({"a": "pre"}, 3, (0.0, 1.0), "phase_times"),
        ({"a": "pre"}, 3, (0.0, 2.0, 1.0), "phase_times"),
        ({"a": "first post", "b": "last"}, 2, (), "phase_duplicate"),
    ],
)
def test_what_cannot_be_chosen_has_a_code(wanted, n, times, code):
    with pytest.raises(SkipPatient) as caught:
        choose_phases(rules(**wanted), n, times)
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["", "early", "post 0", "nearest", "nearest -5 s", "phase 1.5"])
def test_what_is_no_rule_stops_the_run(text):
    with pytest.raises(StopRun) as caught:
        parse_rule(text)
    assert caught.value.code == "phase_rule"
