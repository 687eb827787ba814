"""The trained encoders of a study: each once, whatever the number of cells that it embeds for."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from triher.ablation.nodes import StudyPlan, TrainNode
from triher.errors import StopRun
from triher.files import sha256_of_file
from triher.progress import Reporter, Work
from triher.study import LeftOut, StudyFolder, Training
from triher.trained import read_card

_STAGE = "extract"  # whoever has no slab is left out there


def make_trainings(plan: StudyPlan, folder: StudyFolder, reporter: Reporter) -> StudyPlan:
    """Train all encoders that are not there; one that cannot be trained breaks the cells that need it, and no other.

    Training stays on this machine, whatever the engine. An encoder that is there is checked against images and labels
    all the same, so that one that became stale is trained again; one whose training was interrupted goes on.

    Args:
        plan: the graph.
        folder: where the encoders go.
        reporter: where progress goes.

    Returns:
        The plan with the places of the encoders, and with the cells that are broken now.
    """
    failed = _make_slabs(plan.trainings, folder, reporter)
    made: list[TrainNode] = []
    work = Work([node.encoder for node in plan.trainings], {}, 1, time.monotonic)
    for number, node in enumerate(plan.trainings, start=1):
        reporter.say(f"encoder {number} of {len(plan.trainings)} to be trained, {work.left_text}: {_describe(node)}")
        try:
            if node.key in failed:
                raise failed[node.key]
            done, took = _train(node, folder, reporter)
            work.finish(node.encoder, took)
            made.append(replace(node, path=folder.run.encoders / done.file))
        except StopRun as error:
            reporter.say(f"not trained: {error}")
            work.finish(node.encoder, math.nan)
            failed[node.key] = error
            made.append(replace(node, path=None))
    return _with_broken(replace(plan, trainings=tuple(made)), failed)


def _with_broken(plan: StudyPlan, failed: Mapping[str, StopRun]) -> StudyPlan:
    """Break the cells whose encoders could not be trained, and ask for no stores of these."""
    trained_by = {node.key: node.training for node in plan.embeddings}
    broken = {
        run.cell: (failed[trained_by[key]].code, str(failed[trained_by[key]]))
        for run in plan.runs
        for key in (run.embedding, run.shown)
        if trained_by.get(key) in failed
    }
    embeddings = tuple(node for node in plan.embeddings if node.training not in failed)
    return replace(plan, embeddings=embeddings, broken={**plan.broken, **broken})


def _make_slabs(nodes: Sequence[TrainNode], folder: StudyFolder, reporter: Reporter) -> dict[str, StopRun]:
    """Make all slabs that are trained on before the first training begins; key of a training -> why it has none."""
    from extract.stage import make_slabs

    failed: dict[str, StopRun] = {}
    for node in {node.slabs: node for node in reversed(nodes)}.values():
        try:
            make_slabs(node.config, folder.run, reporter)
        except StopRun as error:
            failed |= {other.key: error for other in nodes if other.slabs == node.slabs}
    return failed


def _describe(node: TrainNode) -> str:
    """What is trained, in a line."""
    n = len(node.lessons)
    networks = f"{n} networks" if n > 1 else "1 network"
    return ", ".join(
        [node.encoder, node.config.extract.normalization, *node.extras, networks, f"seed {node.config.seed}"]
    )


def _train(node: TrainNode, folder: StudyFolder, reporter: Reporter) -> tuple[Training, float]:
    """Train one encoder, and write down what it is; also the seconds, NaN where they tell nothing of others."""
    from extract.finetune import finetune

    known, start = folder.read_training(node.key), time.monotonic()
    is_resumed = folder.begin_training(node.key)
    try:
        done = finetune(node.config, folder.run, reporter)
    except StopRun:
        raise
    except Exception as error:  # whatever is wrong with one training, the others are done
        raise StopRun("cell_failed", f"{type(error).__name__}: {error}") from error
    seconds = math.nan if is_resumed or not done.did_work else time.monotonic() - start
    if known is not None and not done.did_work and known.file == done.path.name:
        folder.write_training(known)
        return known, seconds
    card = read_card(done.path)
    found = Training(
        key=node.key,
        file=done.path.name,
        encoder=node.encoder,
        start_sha256=card.start_sha256,
        sha256=sha256_of_file(done.path),
        seed=card.seed,
        n_networks=len(card.networks),
        n_patients=len(card.patients),
        n_learned=sum(card.class_counts.values()),
        seconds=None if math.isnan(seconds) else round(seconds, 3),
        device="" if math.isnan(seconds) else _device(node),
        skipped=tuple(LeftOut(**asdict(row)) for row in folder.run.read_skipped() if row.stage == _STAGE),
    )
    folder.write_training(found)
    return found, seconds


def _device(node: TrainNode) -> str:
    """What trained."""
    from extract.devices import describe_devices

    return describe_devices(node.config.extract.device)
