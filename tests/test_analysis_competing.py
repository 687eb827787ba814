"""Cumulative incidence against a worked example, lifelines, and the Kaplan-Meier curve that it must not be."""

import numpy as np
import pytest
from lifelines import AalenJohansenFitter

from analysis.survival.competing import cumulative_incidence, incidence_at
from analysis.survival.kaplan_meier import kaplan_meier


def crowd(seed, n=150):
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, n, p=(0.3, 0.45, 0.25))
    return rng.permutation(n) + 1.0, kind == 1, kind == 2


def test_worked_example():
    """Six patients: event, competing, event, censored, competing, censored, at 1 to 6 months.

    Survival from any event falls to 5/6, 4/6, 3/6, 3/6, 1/4. Event: 1/6, then 4/6 * 1/4 more; competing event:
    5/6 * 1/5, then 3/6 * 1/2 more. Before any censoring the error is that of a proportion.
    """
    time = np.arange(1.0, 7)
    event, competing = np.array([1, 0, 1, 0, 0, 0], bool), np.array([0, 1, 0, 0, 1, 0], bool)
    own, other = cumulative_incidence(time, event, competing), cumulative_incidence(time, competing, event)
    assert own.value == pytest.approx([1 / 6, 1 / 6, 1 / 3, 1 / 3, 1 / 3, 1 / 3])
    assert other.value == pytest.approx([0, 1 / 6, 1 / 6, 1 / 6, 5 / 12, 5 / 12])
    assert own.error[[0, 2]] == pytest.approx([np.sqrt(1 / 6 * 5 / 6 / 6), np.sqrt(1 / 3 * 2 / 3 / 6)])
    low = (1 / 3) ** np.exp(1.959963984540054 * own.error[2] / (1 / 3 * np.log(3)))
    assert incidence_at(own, 3.5).low == pytest.approx(low)


@pytest.mark.parametrize("seed", range(3))
def test_values_and_variances_agree_with_lifelines(seed):
    """Without ties, which lifelines breaks at random."""
    time, event, competing = crowd(seed)
    found = cumulative_incidence(time, event, competing)
    fitted = AalenJohansenFitter(calculate_variance=True).fit(time, event + 2 * competing, 1)
    assert found.value == pytest.approx(fitted.cumulative_density_.iloc[1:, 0].to_numpy(), rel=1e-9)
    expected = np.ravel(fitted.variance_)[1:]
    known = np.isfinite(expected)  # lifelines divides 0 by 0 where the last patient has an event
    assert known[:-1].all()
    assert found.error[known] ** 2 == pytest.approx(expected[known], rel=1e-9, abs=1e-15)


def test_incidences_and_survival_add_up_and_kaplan_meier_exceeds():
    time, event, competing = crowd(4)
    time = np.ceil(time / 10)
    own, other = cumulative_incidence(time, event, competing), cumulative_incidence(time, competing, event)
    free = kaplan_meier(time, event | competing)
    assert own.value + other.value + free.survival == pytest.approx(np.ones(len(own.time)))
    naive = 1 - kaplan_meier(time, event).survival
    assert (naive >= own.value - 1e-12).all()
    assert naive[-1] > own.value[-1] + 0.05


def test_without_competing_events_it_is_one_minus_kaplan_meier():
    time, event, _ = crowd(5)
    found, curve = cumulative_incidence(time, event, event & False), kaplan_meier(time, event)
    assert found.value == pytest.approx(1 - curve.survival)
    assert found.error == pytest.approx(curve.error, abs=1e-12)


def test_what_cannot_be_said():
    found = cumulative_incidence(np.arange(1.0, 4), np.array([0, 1, 0], bool), np.zeros(3, bool))
    assert incidence_at(found, 9.0).reason == "nobody is followed to 9 months"
    assert incidence_at(found, 1.5).reason == "no such event yet"
    everybody = cumulative_incidence(np.arange(1.0, 4), np.ones(3, bool), np.zeros(3, bool))
    assert incidence_at(everybody, 3.0).reason == "everybody had the event"


def test_everybody_with_the_competing_event_leaves_no_number_that_overflows():
    time = np.arange(1.0, 41)
    found = cumulative_incidence(time, np.ones(40, bool), np.zeros(40, bool))
    assert found.value[-1] == 1
    assert incidence_at(found, 40.0).reason == "everybody had the event"
