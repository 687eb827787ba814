"""The feature stores of a study: each source volume is read once, each encoder draws from the same slabs."""

import math
import time
from dataclasses import asdict, replace
from pathlib import Path

from triher.ablation.nodes import EmbedNode, StudyPlan
from triher.errors import StopRun
from triher.progress import Reporter, Work
from triher.store import read_index
from triher.study import Embedding, LeftOut, StudyFolder

_STAGE = "extract"


def make_stores(plan: StudyPlan, folder: StudyFolder, reporter: Reporter) -> StudyPlan:
    """Make or complete all feature stores; one that cannot be made breaks the cells that need it, and no other.

    A store that is there is checked against the images all the same, so that one that became stale is completed.

    Args:
        plan: the graph.
        folder: where the stores go.
        reporter: where progress goes.

    Returns:
        The plan with the places of the stores, and with the cells that are broken now.
    """
    trained = {node.key: node.path for node in plan.trainings}
    made: list[EmbedNode] = []
    failed: dict[str, tuple[str, str]] = {}
    work = Work([node.encoder for node in plan.embeddings], {}, 1, time.monotonic)
    for number, node in enumerate(plan.embeddings, start=1):
        reporter.say(f"features {number} of {len(plan.embeddings)}, {work.left_text}: {_describe(node)}")
        try:
            done = _make(node, trained.get(node.training), folder, reporter)
            work.finish(node.encoder)
            made.append(replace(node, store=folder.run.features / done.store))
        except StopRun as error:
            reporter.say(f"not made: {error}")
            work.finish(node.encoder, math.nan)
            failed[node.key] = (error.code, str(error))
            made.append(replace(node, store=None))
    broken = {run.cell: failed[key] for run in plan.runs for key in (run.embedding, run.shown) if key in failed}
    return replace(plan, embeddings=tuple(made), broken={**plan.broken, **broken})


def _describe(node: EmbedNode) -> str:
    """What is embedded, in a line."""
    trained = [f"trained with seed {node.config.seed}"] if node.training else []
    return ", ".join([node.encoder, *trained, node.config.extract.normalization, *node.extras])


def _make(node: EmbedNode, trained: Path | None, folder: StudyFolder, reporter: Reporter) -> Embedding:
    """Make one store, and write down what it is."""
    from extract.stage import extract, make_slabs
    from extract.weights import slug

    known, config = folder.read_embedding(node.key), node.config
    if trained is not None:
        config = config.with_extract(encoder=f"file:{trained}")
    make_slabs(config, folder.run, reporter)
    begun = slug(node.encoder if trained is None else f"file:{trained.name}")
    at_one_go = not any(folder.run.features.glob(f"{begun}-*.shards/*.h5"))
    start = time.monotonic()
    done = extract(config, folder.run, reporter)
    seconds = time.monotonic() - start
    if known is not None and not done.did_work and known.store == done.store.name:
        return known
    found = _record(node, folder, round(seconds, 3) if done.did_work and at_one_go else None)
    folder.write_embedding(found)
    return found


def _record(node: EmbedNode, folder: StudyFolder, seconds: float | None) -> Embedding:
    """What the extraction says of its store."""
    from extract.devices import describe_devices

    facts = folder.run.read_record()["stages"][_STAGE]
    store = folder.run.features / facts["store"]
    return Embedding(
        key=node.key,
        store=store.name,
        encoder=node.encoder,
        training=node.training,
        n_patients=len(read_index(store).inputs),
        n_slices=facts["n_slices"],
        n_features=facts["n_features"],
        n_bytes=store.stat().st_size,
        seconds=seconds,
        device="" if seconds is None else describe_devices(node.config.extract.device),
        skipped=tuple(LeftOut(**asdict(row)) for row in folder.run.read_skipped() if row.stage == _STAGE),
    )
