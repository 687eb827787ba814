"""The cells of a study, computed here or over a Ray cluster; each is written as soon as it is done."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triher.ablation.nodes import RunNode, StudyPlan
from triher.ablation.plan import is_done
from triher.errors import StopRun
from triher.files import sha256_of_file
from triher.predictions import write_predictions
from triher.study import CellRun, LeftOut, Remark, StudyFolder

if TYPE_CHECKING:
    from classify.shared_work import SharedWork

_TOGETHER = 6  # runs that a worker of a cluster gets at a time; they share what they read and bin


@dataclass(frozen=True)
class Order:
    """A run to compute, with its stores."""

    run: RunNode
    store: Path
    shown: Path | None
    accounted: frozenset[str]
    """Whom the extractions left out and named."""


Compute = Callable[[StudyFolder, Sequence[Order]], Iterator[CellRun]]


def orders(plan: StudyPlan, folder: StudyFolder) -> list[Order]:
    """What is still to be computed of a plan whose stores are there; runs with equal predictions once."""
    waiting = {run.key: run for run in plan.runs if run.key and not run.is_done}
    return [_order(run, plan, folder) for run in waiting.values()]


def _order(run: RunNode, plan: StudyPlan, folder: StudyFolder) -> Order:
    """Find the stores of a run."""
    stores = {node.key: node.store for node in plan.embeddings}
    store = stores[run.embedding] if run.embedding else run.config.classify.features
    if store is None:
        raise ValueError(f"the run {run.key} has a key but no features")
    records = [folder.read_embedding(key) for key in (run.embedding, run.shown) if key]
    accounted = frozenset(row.patient_id for record in records if record for row in record.skipped)
    return Order(run, store, stores[run.shown] if run.shown else None, accounted)


def compute_here(folder: StudyFolder, todo: Sequence[Order]) -> Iterator[CellRun]:
    """Compute runs one after the other in this process; a run that fails does not stop the others."""
    from classify.shared_work import SharedWork

    shared = SharedWork()
    for order in todo:
        yield _compute(folder, order, shared)


def compute_with_ray(folder: StudyFolder, todo: Sequence[Order]) -> Iterator[CellRun]:
    """Compute runs over a Ray cluster, whose machines see all files under the same paths.

    Where a worker dies, what it had not finished has failed.

    Raises:
        StopRun: as `triher.cluster.connected`.
    """
    from triher.cluster import connected, gather

    with connected() as ray:
        task = ray.remote(num_cpus=1, max_retries=0)(_compute_some)
        at_work = {task.remote(folder, batch): batch for batch in batches(todo)}
        while at_work:
            (done,), _ = ray.wait(list(at_work), num_returns=1)
            batch = at_work.pop(done)
            try:
                yield from gather(ray, done)
            except StopRun as error:
                yield from (_finished(folder, order) or _write_failed(folder, order, error) for order in batch)


ENGINES: dict[str, Compute] = {"local": compute_here, "ray": compute_with_ray}


def lanes_of(engine: str) -> int:
    """How many runs are at work at a time, as far as this machine knows."""
    return (os.cpu_count() or 1) if engine == "ray" else 1


def batches(todo: Sequence[Order]) -> Iterator[list[Order]]:
    """Runs that share features together, a few at a time."""
    for _, alike in groupby(todo, key=lambda order: (order.run.embedding, order.run.config.classify.pooling)):
        listed = list(alike)
        for start in range(0, len(listed), _TOGETHER):
            yield listed[start : start + _TOGETHER]


def _compute_some(folder: StudyFolder, todo: Sequence[Order]) -> list[CellRun]:
    """The work of one task of the cluster, which has one processor."""
    return list(compute_here(folder, [_with_one_thread(order) for order in todo]))


def _with_one_thread(order: Order) -> Order:
    """The same run; how many threads evaluate trials changes no result."""
    config = order.run.config
    classify = config.classify.model_copy(update={"workers": 1})
    return replace(order, run=replace(order.run, config=config.model_copy(update={"classify": classify})))


def _compute(folder: StudyFolder, order: Order, shared: "SharedWork") -> CellRun:
    """Compute one run and write it, its record last."""
    from classify.cell import predict_cell

    run, start, cpu_start = order.run, time.monotonic(), time.process_time()
    try:
        found = predict_cell(run.config, order.store, shown=order.shown, accounted=order.accounted, shared=shared)
    except StopRun as error:
        return _write_failed(folder, order, error)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one cell, the others are done
        return _write_failed(folder, order, StopRun("cell_failed", f"{type(error).__name__}: {error}"))
    path = folder.predictions(run.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(path, found.predictions, run.config.scheme)
    record = CellRun(
        state="done",
        sha256=sha256_of_file(path),
        n=found.n,
        seconds=round(time.monotonic() - start, 3),
        cpu_seconds=round(time.process_time() - cpu_start, 3),
        skipped=tuple(LeftOut(**asdict(row)) for row in found.skipped),
        notes=tuple(Remark(**asdict(note)) for note in found.notes),
        **_facts(run),
    )
    folder.write_cell(record)
    return record


def _finished(folder: StudyFolder, order: Order) -> CellRun | None:
    """The record of a run that was done before its worker died."""
    return folder.read_cell(order.run.key) if is_done(folder, order.run.key) else None


def _write_failed(folder: StudyFolder, order: Order, error: StopRun) -> CellRun:
    """Write down why a run failed."""
    record = CellRun(state="failed", code=error.code, reason=str(error), **_facts(order.run))
    folder.write_cell(record)
    return record


def _facts(run: RunNode) -> dict[str, Any]:
    """What is known of a run before it is computed."""
    head = run.config.classify.head
    return {"key": run.key, "seed": run.seed, "embedding": run.embedding, "shown": run.shown, "head": head}
