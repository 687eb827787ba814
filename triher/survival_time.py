"""Whether the survival time of a patient can be used, and why not."""

import math

from triher.cohort import Patient

_LONGEST_MONTHS = 1200  # a hundred years: nobody is followed up for longer


def time_fault(patient: Patient) -> tuple[str, str] | None:
    """Code and reason where a patient cannot be followed up; she takes part in everything else.

    >>> time_fault(Patient("P1", "A", "A", "", {}, None, time_months=-2.0, event=1))
    ('time_negative', 'negative survival time')
    """
    if patient.event < 0:
        return "time_missing", "no event status"
    if math.isnan(patient.time_months):
        return "time_missing", "no survival time"
    if patient.time_months < 0:
        return "time_negative", "negative survival time"
    if patient.time_months > _LONGEST_MONTHS:
        return "time_implausible", "survival time of more than a hundred years"
    return None
