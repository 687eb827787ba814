"""Reading volumes on all machines of a Ray cluster."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from extract.slabbing import Made, Makes
from triher.cluster import connected, gather
from triher.cohort import Patient

_PATIENTS_A_TASK = 8  # as many as make the cost of handing over a task small
_TASKS_A_PROCESSOR = 2  # so that the next one is there when one is done


def spread(make: Callable[[Patient], Made], patients: Sequence[Patient]) -> Makes:
    """Apply a function to patients on all machines, and give the results in their order.

    Raises:
        StopRun: as `triher.cluster.connected` and `triher.cluster.gather`.
    """
    with connected() as ray:
        task = ray.remote(num_cpus=1)(_make_all)
        n_ahead = _TASKS_A_PROCESSOR * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: deque[Any] = deque()
        try:
            for start in range(0, len(patients), _PATIENTS_A_TASK):
                waiting.append(task.remote(make, patients[start : start + _PATIENTS_A_TASK]))
                if len(waiting) > n_ahead:
                    yield from gather(ray, waiting.popleft())
            while waiting:
                yield from gather(ray, waiting.popleft())
        finally:
            if ray.is_initialized():
                for reference in waiting:
                    ray.cancel(reference)


def _make_all(make: Callable[[Patient], Made], patients: Sequence[Patient]) -> list[Made]:
    """The work of one task."""
    return [make(patient) for patient in patients]
