"""A Ray cluster: joining or starting one, and the results of its tasks."""

import contextlib
import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from triher.errors import StopRun, first_line

_OBJECT_STORE_BYTES = 256 << 20  # names, paths and reasons pass through it; voxels never do


def require_ray() -> None:
    """Check that Ray is installed.

    Raises:
        StopRun: ``extra_missing``.
    """
    if find_spec("ray") is None:
        message = "the engine is 'ray', which is not installed"
        remedy = "pip install 'triher[ray]', or use the engine 'local'"
        raise StopRun("extra_missing", message, remedy=remedy)


@contextlib.contextmanager
def connected() -> Iterator[Any]:
    """Ray, in a cluster that ``RAY_ADDRESS`` names, or in one on this machine that ends with the block.

    Within another such block, the connection of that one.

    Raises:
        StopRun: ``extra_missing`` without Ray.
    """
    require_ray()
    import ray

    if ray.is_initialized():
        yield ray
        return
    try:
        if "RAY_ADDRESS" in os.environ:
            ray.init(log_to_driver=False, logging_level=logging.WARNING)
        else:
            _start(ray)
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any) -> None:  # noqa: ANN401 - an optional library
    """Start a cluster that other machines cannot reach, and that reports to nobody."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        log_to_driver=False,
        logging_level=logging.WARNING,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        _node_ip_address="127.0.0.1",
    )


def gather(ray: Any, reference: Any) -> Any:  # noqa: ANN401 - whatever the task returned
    """The result of a task; its error as it was raised there.

    Raises:
        StopRun: ``worker_died`` where the task took its process along, whenever it was tried.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise StopRun("worker_died", f"a process of the cluster ended: {first_line(error)}") from error
