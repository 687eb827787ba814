"""What may not be concluded from a run, each from the run's own numbers, the weightiest first."""

from analysis.limits.design import DESIGN
from analysis.limits.facts import Facts, Limit
from analysis.limits.results import RESULTS


def limits(facts: Facts) -> tuple[Limit, ...]:
    """All limits that apply, the weightiest first."""
    found = [*facts.further, *(limit for judge in (*DESIGN, *RESULTS) for limit in judge(facts))]
    return tuple(sorted(found, key=lambda limit: -limit.weight))
