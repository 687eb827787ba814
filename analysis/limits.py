"""What may not be concluded from a run, each from the run's own numbers, the weightiest first."""

from analysis.limit_facts import Facts, Limit
from analysis.limits_design import DESIGN
from analysis.limits_results import RESULTS


def limits(facts: Facts) -> tuple[Limit, ...]:
    """All limits that apply, the weightiest first."""
    found = [limit for judge in (*DESIGN, *RESULTS) for limit in judge(facts)]
    return tuple(sorted(found, key=lambda limit: -limit.weight))
