"""What a study is made of and what the rest of it costs, as tables for a terminal, a pipe or a log."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console

from triher.ablation.cost import PlanCost
from triher.ablation.nodes import EmbedNode, RunNode, StudyPlan, TrainNode
from triher.ablation.part_cost import PartCost
from triher.printing import size_text, table_of
from triher.progress import duration_text

_LISTED = 30  # cells; more are counted by axis
_REASONS = 10
_NAME, _REASON = 23, 160  # letters
_MARGIN = 1.1  # of the disk: estimates of it are good to a tenth or so


@dataclass(frozen=True)
class _Row:
    """Some work of one kind."""

    what: str
    n: int
    left: int
    costs: tuple[PartCost, ...]
    """Of what is left."""

    def cells(self) -> tuple[str, ...]:
        """For the table."""
        left = self.left
        if not left:
            return (self.what, str(self.n), str(self.n), "0", "", "")
        seconds, n_bytes = (_sum(getattr(cost, name) for cost in self.costs) for name in ("seconds", "disk_bytes"))
        disk = size_text(n_bytes[0]) if n_bytes[0] or n_bytes[1] else ""
        return (self.what, str(self.n), str(self.n - left), str(left), _at_least(*seconds, duration_text), disk)


def print_plan(plan: StudyPlan, cost: PlanCost, console: Console) -> None:
    """Print what there is to do, what of it is there, and what the rest takes.

    Args:
        plan: the graph.
        cost: what `triher.ablation.cost.measure_plan` found.
        console: where to; 80 columns are enough.
    """
    for text in _heading(plan):
        _say(console, text)
    rows = _rows(plan, cost)
    _show(
        console, "what is to be done", ("what", "in all", "there", "left", "time", "disk"), [r.cells() for r in rows]
    )
    _show_cells(plan, cost, console)
    _show_broken(plan, console)
    for text in (*_resources(plan, cost), *_reasons(cost)):
        _say(console, text)


def _short(text: str, length: int = _NAME) -> str:
    """A long text without its middle: a checkpoint's path tells most at its ends."""
    half = (length - 3) // 2
    return text if len(text) <= length else f"{text[:half]}...{text[-half:]}"


def _say(console: Console, text: str) -> None:
    """A line of text, folded between words."""
    console.print(text, markup=False, highlight=False)


def _show(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table whose first column may be folded, and no other."""
    table = table_of(title, columns, rows)
    for column in table.columns[1:]:
        column.no_wrap = column.header not in ("reason", "cells of it")
        column.justify = "left" if column.header in ("level", "reason", "state", "head", "cells of it") else "right"
    console.print(table)


def _heading(plan: StudyPlan) -> list[str]:
    """How many cells there are, and what they share."""
    n_cells, n_seeds = len(plan.lattice.cells), len({run.seed for run in plan.runs})
    axes = " x ".join(f"{len(levels)} {name}" for name, levels in plan.lattice.axes.items())
    seeds = f" with {n_seeds} seeds each" if n_seeds > 1 else ""
    texts = [f"{n_cells} cells{seeds}" + (f": {axes}" if axes else "")]
    if plan.embeddings:
        n_alone = sum(len(node.cells) for node in plan.embeddings)
        n_slabs = len({node.slabs for node in plan.embeddings})
        texts.append(
            f"shared: {_count(len(plan.embeddings), 'embedding')} instead of {n_alone}, "
            f"{_count(n_slabs, 'slab cache')} instead of {n_alone}"
        )
    if plan.trainings:
        n_networks = sum(len(node.lessons) for node in plan.trainings)
        n_trained = sum(len(node.cells) for node in plan.trainings)
        texts.append(
            f"trained here: {_count(len(plan.trainings), 'encoder')} of {_count(n_networks, 'network')}, "
            f"instead of {n_trained} encoders; each seed trains its own"
        )
    return texts


def _count(n: int, noun: str) -> str:
    """A number and its noun."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _rows(plan: StudyPlan, cost: PlanCost) -> list[_Row]:
    """Slab caches by cut, networks to train and embeddings by encoder, runs by head, and all together."""
    rows: dict[str, _Row] = {}

    def add(what: str, part: PartCost | None, n: int = 1) -> None:
        seen = rows.get(what, _Row(what, 0, 0, ()))
        left, costs = (n, (part,)) if part is not None else (0, ())
        rows[what] = _Row(what, seen.n + n, seen.left + left, (*seen.costs, *costs))

    cut: list[EmbedNode | TrainNode] = [*plan.trainings, *plan.embeddings]
    for key, node in {node.slabs: node for node in reversed(cut)}.items():
        add(f"slabs: {_slabs_text(node)}", cost.slabs.get(key))
    for training in plan.trainings:
        add(f"networks: {_short(training.encoder)}", cost.trainings.get(training.key), len(training.lessons))
    for node in plan.embeddings:
        add(f"embedding: {_short(node.encoder)}", cost.embeddings.get(node.key))
    for run in plan.runs:
        if run.cell not in plan.broken:
            add(f"models: {run.config.classify.head}", cost.runs.get((run.cell, run.seed)))
    found = list(rows.values())
    return [*found, _Row("all", sum(row.n for row in found), sum(row.left for row in found), cost.parts)]


def _slabs_text(node: EmbedNode | TrainNode) -> str:
    """What is cut, in a few words."""
    return ", ".join([node.config.extract.region.kind, *node.extras])


def _sum(values: Iterable[float]) -> tuple[float, int]:
    """The sum of what is known, and how many are not; NaN where none is known."""
    listed = list(values)
    known = [value for value in listed if not math.isnan(value)]
    return (math.fsum(known) if known else math.nan), len(listed) - len(known)


def _at_least(known: float, n_unknown: int, text: Callable[[float], str]) -> str:
    """The sum, marked where something is not in it."""
    return f"> {text(known)}" if n_unknown and not math.isnan(known) else text(known)


def _show_cells(plan: StudyPlan, cost: PlanCost, console: Console) -> None:
    """Every cell, or how many there are of each level of each axis."""
    of_cell: dict[str, list[RunNode]] = {cell.name: [] for cell in plan.lattice.cells}
    for run in plan.runs:
        of_cell[run.cell].append(run)
    if len(of_cell) <= _LISTED:
        states = [(name, *_state(name, runs, plan, cost)) for name, runs in of_cell.items()]
        _show(console, "cells", ("cell", "head", "state", "time left"), states)
        return
    rows: list[tuple[object, ...]] = []
    for axis, levels in plan.lattice.axes.items():
        for place, level in enumerate(levels):
            names = [cell.name for cell in plan.lattice.cells if cell.levels.get(axis) == level]
            rows.append(("" if place else axis, _short(level), *_counts(names, of_cell, plan, cost)))
    rows.append(("all", "", *_counts(list(of_cell), of_cell, plan, cost)))
    _show(console, "cells by axis", ("axis", "level", "cells", "done", "left", "broken", "time left"), rows)


def _state(name: str, runs: Sequence[RunNode], plan: StudyPlan, cost: PlanCost) -> tuple[str, str, str]:
    """Head, what of a cell is done, and how long the rest takes."""
    head = plan.lattice.configs[name].classify.head
    if name in plan.broken:
        return head, "broken", ""
    left = [run for run in runs if not run.is_done]
    if not left:
        return head, "done", ""
    state = "to do" if len(left) == len(runs) else f"{len(runs) - len(left)} of {len(runs)} seeds done"
    return head, state, _time_left(left, cost)


def _time_left(left: Iterable[RunNode], cost: PlanCost) -> str:
    """Of the models."""
    return _at_least(*_sum(cost.runs.get((run.cell, run.seed), PartCost()).seconds for run in left), duration_text)


def _counts(
    names: Sequence[str], of_cell: dict[str, list[RunNode]], plan: StudyPlan, cost: PlanCost
) -> tuple[object, ...]:
    """How many cells, how many of them are done, left and broken, and how long the models take that are left."""
    broken = [name for name in names if name in plan.broken]
    whole = [name for name in names if name not in plan.broken]
    left = [name for name in whole if not all(run.is_done for run in of_cell[name])]
    todo = [run for name in left for run in of_cell[name] if not run.is_done]
    return len(names), len(whole) - len(left), len(left), len(broken), _time_left(todo, cost) if todo else ""


def _show_broken(plan: StudyPlan, console: Console) -> None:
    """The cells that cannot be begun, by reason."""
    if not plan.broken:
        return
    by_reason: dict[tuple[str, str], list[str]] = {}
    for cell, why in plan.broken.items():
        by_reason.setdefault(why, []).append(cell)
    rows = [(code, len(cells), cells[0], _short(reason, _REASON)) for (code, reason), cells in by_reason.items()]
    more = f", the first {_REASONS} of {len(rows)} reasons" if len(rows) > _REASONS else ""
    title = f"{_count(len(plan.broken), 'cell')} cannot be computed{more}"
    table = table_of(title, ("code", "cells", "for instance", "reason"), rows[:_REASONS])
    console.print(table)


def _resources(plan: StudyPlan, cost: PlanCost) -> list[str]:
    """Device, memory and disk."""
    texts = []
    if cost.device:
        parts = (*cost.trainings.values(), *cost.embeddings.values())
        most = [part.memory_bytes for part in parts if not math.isnan(part.memory_bytes)]
        needs = f", at most {size_text(max(most))} of its memory for weights and a batch" if most else ""
        texts.append(f"device: {cost.device}{needs}")
    if not math.isnan(cost.process_bytes):
        texts.append(f"memory: {size_text(cost.process_bytes)} in this process, as while measuring")
    needed, n_unknown = _sum(part.disk_bytes for part in cost.parts)
    needed = 0.0 if math.isnan(needed) else needed
    # Pictures to train on lie there as long as one encoder is trained.
    needed += max((part.scratch_bytes for part in cost.parts if not math.isnan(part.scratch_bytes)), default=0.0)
    more = " and what was not measured" if n_unknown else ""
    texts.append(f"disk: {size_text(needed)} needed{more}, {size_text(cost.disk_free_bytes)} free")
    if needed * _MARGIN > cost.disk_free_bytes:
        texts.append("WARNING: the disk is too small for what is left; choose another folder with --out")
    return texts


def _reasons(cost: PlanCost) -> list[str]:
    """What was not measured and why, and how the rest was."""
    unknown: dict[str, int] = {}
    for part in cost.parts:
        if part.reason:
            unknown[part.reason] = unknown.get(part.reason, 0) + 1
    texts = [f"not measured ({n} x): {reason}" for reason, n in list(unknown.items())[:_REASONS]]
    if not cost.parts:
        return ["nothing is left to be done but the comparison of the cells"]
    if cost.trainings:
        texts.append("networks: with all epochs; a training that stops early takes less. Timed on one batch at most")
    way = f"on {cost.n_measured} patients and " if cost.n_measured else ""
    texts.append(
        f"measured {way}with one model for each kind of cell in {duration_text(cost.measured_s)}, for one process on "
        f"this machine as busy as it was meanwhile; the comparison of the cells at the end comes on top"
    )
    return texts
