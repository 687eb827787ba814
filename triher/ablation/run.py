"""A study from its configuration to its report: what is there stays, what is missing is computed."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from triher.ablation.axes import Lattice
from triher.ablation.cells import ENGINES, lanes_of, orders
from triher.ablation.embed import make_stores
from triher.ablation.nodes import StudyPlan
from triher.ablation.plan import as_study, located, make_plan
from triher.ablation.registration import check_data, refuse_ordinary_run
from triher.ablation.train import make_trainings
from triher.config import dump_config
from triher.errors import Note, Skipped, StopRun
from triher.files import locked
from triher.progress import Reporter
from triher.settings import AblationConfig
from triher.study import BASE, CellRun, Study, StudyFolder

_STAGE = "ablate"


@dataclass(frozen=True)
class StudyOutcome:
    """What a command did."""

    n_done: int
    """Cells that have predictions for every seed."""
    n_failed: int
    n_skipped: int
    """Patients who are left out of some cell."""
    did_work: bool


def run_study(
    lattice: Lattice, own: AblationConfig, folder: StudyFolder, reporter: Reporter, *, engine: str = "local"
) -> StudyOutcome:
    """Compute what is missing of a study, and compare its cells.

    Args:
        lattice: the cells.
        own: the section ``ablation``.
        folder: where everything goes.
        reporter: where progress goes.
        engine: who computes the cells, ``local`` or ``ray``.

    Raises:
        StopRun: ``output_folder`` for the folder of an ordinary run, ``store_locked`` when another process works on
            this study, ``ablation_failed`` when no cell has predictions; as the analysis.
    """
    run = folder.run
    refuse_ordinary_run(folder)
    run.prepare()
    base = lattice.configs[BASE].model_copy(update={"ablation": own})
    with locked(run.path / "study.lock"):
        run.record_command("triher ablate", dump_config(base))
        check_data(lattice, folder, reporter)
        plan = make_plan(lattice, own, folder)
        folder.write_study(as_study(plan, base, own.design))  # marks the folder, should this be interrupted
        plan = make_trainings(plan, folder, reporter)
        plan = located(make_stores(plan, folder, reporter), folder)
        study = as_study(plan, base, own.design)
        folder.write_study(study)
        for name, (_, reason) in plan.broken.items():
            reporter.say(f"cell '{name}': {reason}")
        did_work = _compute(plan, folder, reporter, engine)
        outcome = _account(study, folder, reporter)
        from analysis.ablation.stage import analyze_study

        did_work |= analyze_study(base, folder, reporter)
    return StudyOutcome(*outcome, did_work)


def _compute(plan: StudyPlan, folder: StudyFolder, reporter: Reporter, engine: str) -> bool:
    """Compute the runs that are not done; whether there were any."""
    todo = orders(plan, folder)
    if not todo:
        reporter.say(f"cells: up to date ({len(plan.runs)} models), nothing computed")
        return False
    names = {run.key: run.cell for run in plan.runs}
    heads = [order.run.config.classify.head for order in todo]
    with reporter.work("cells", heads, lanes=lanes_of(engine)) as advance:
        for done in ENGINES[engine](folder, todo):
            advance(done.head, math.nan if done.state == "failed" else done.seconds)
            if done.state == "failed":
                reporter.say(f"cell '{names[done.key]}', seed {done.seed}: {done.code}: {done.reason}")
    return True


def _account(study: Study, folder: StudyFolder, reporter: Reporter) -> tuple[int, int, int]:
    """Name whoever is left out of any cell; count the cells that are done and that failed, and the patients."""
    by_cell = {name: [folder.read_cell(key) for key in keys] for name, keys in study.runs.items()}
    found = [run for runs in by_cell.values() for run in runs if run is not None]
    keys = dict.fromkeys(key for run in found for key in (run.embedding, run.shown) if key)
    records = [record for record in map(folder.read_embedding, keys) if record is not None]
    trained = dict.fromkeys(record.training for record in records if record.training)
    trainings = [record for record in map(folder.read_training, trained) if record is not None]
    left_out = [record.skipped for record in trainings] + [record.skipped for record in records]
    left_out += [done.skipped for done in found]
    rows = dict.fromkeys(row for listed in left_out for row in listed)
    skipped = [Skipped(**row.model_dump()) for row in rows]
    for stage in ("extract", "classify"):
        folder.run.write_skipped(stage, [row for row in skipped if row.stage == stage])
    remarks = dict.fromkeys(note for run in found for note in run.notes)
    folder.run.write_notes(_STAGE, [Note(**note.model_dump()) for note in remarks])
    n_done = sum(_is_done(runs) for runs in by_cell.values())
    if not n_done:
        raise StopRun(
            "ablation_failed", f"none of the {len(by_cell)} cells has predictions: {_first_reason(study, found)}"
        )
    reporter.say(f"cells: {n_done} of {len(by_cell)} done")
    return n_done, len(by_cell) - n_done, len({row.patient_id for row in skipped})


def _is_done(runs: Iterable[CellRun | None]) -> bool:
    """Whether a cell has predictions for every seed."""
    listed = list(runs)
    return bool(listed) and all(run is not None and run.state == "done" for run in listed)


def _first_reason(study: Study, runs: Iterable[CellRun]) -> str:
    """Why the first cell that failed did."""
    reasons = [reason for _, reason in study.broken.values()] + [run.reason for run in runs if run.reason]
    return reasons[0] if reasons else "nothing is known"
