"""The stage ``finetune``: train the encoder end to end on the development patients, and lock it into one file.

Every network of the file is trained on other patients: each fold's on those outside the fold, the final one on all.
What is written: ``encoders/NAME.safetensors`` (`triher.trained`), ``NAME.csv`` with the loss curves, and ``NAME.md``,
a card for people. ``NAME`` holds a hash of everything that the training depends on.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.encoder_spec import EncoderSpec
from extract.encoders import find_encoder
from extract.lanes import resolved_precision
from extract.stage import fit_scale, make_slabs
from extract.task import Task, decide_pictures
from extract.training.parts import Roster, make_roster
from extract.weights import locate_weights, slug
from triher.effective import STAGE, training_choices
from triher.errors import StopRun
from triher.files import locked, sha256_of_json, write_text
from triher.labels import scheme_classes
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config, FinetuneConfig
from triher.trained import Card, read_card, require_whole
from triher.training_labels import training_labels

_DIGITS = 10


@dataclass(frozen=True)
class Trained:
    """What the stage left."""

    path: Path
    did_work: bool


@dataclass(frozen=True)
class Start:
    """The encoder that a training begins with."""

    spec: EncoderSpec
    weights: Path | None
    """None for random ones."""
    sha256: str


def find_start(config: Config) -> Start:
    """The encoder to train, and its weights.

    Raises:
        StopRun: as `extract.encoders.find_encoder` and `extract.weights.locate_weights`; ``config_value`` for an
            encoder that was trained here already.
    """
    options = config.extract
    if options.is_trained:
        message = f"extract.encoder is {options.encoder}, which is trained already, and the section finetune is there"
        raise StopRun("config_value", message, remedy="name the encoder to start from, or set finetune to null")
    spec = find_encoder(options.encoder)
    if not (config.finetune or FinetuneConfig()).pretrained:
        return Start(spec, None, "")
    return Start(spec, *locate_weights(spec, options.weights_dir, options.accept_license))


def facts_before(config: Config, start: Start) -> dict[str, Any]:
    """What a training depends on, as far as the configuration says it, as JSON values."""
    return {
        "start": start.spec.identity(start.sha256),
        "recipe": decide_pictures(config).recipe(),
        "finetune": training_choices(config)["finetune"],
        "scheme": config.scheme,
        "seed": config.seed,
        "precision": resolved_precision(config.extract),
        "shuffled": config.classify.shuffle_labels,
    }


def finetune(config: Config, run: RunFolder, reporter: Reporter) -> Trained:
    """Train the encoder that ``extract.encoder`` names, where it is not there already.

    A killed training goes on where it was when the same command is given again.

    Args:
        config: uses ``cohort``, ``scheme``, ``seed``, ``extract``, ``finetune``, and of ``classify`` the split and
            ``shuffle_labels``.
        run: where slabs and ``encoders/`` go.
        reporter: where progress goes.

    Raises:
        StopRun: before any work for mistakes in table, configuration or encoder; ``class_too_small``;
            ``training_diverged``; ``extra_missing`` without Lightning.
    """
    from extract.training.checking import check_training
    from extract.training.quiet import load

    load("extract.training.lightning_parts")
    began = time.monotonic()
    start = find_start(config)
    facts = facts_before(config, start)
    check_training(config, start.spec)
    run.prepare()
    slabs = make_slabs(config, run, reporter)
    task = decide_pictures(config)
    if task.needs_fit:
        task = fit_scale(task, slabs)
    known, _ = training_labels(config, slabs.cohort)
    inputs = slabs.inputs()
    roster = make_roster(config, slabs.cohort.patients, known, inputs)
    name = f"{slug(config.extract.encoder)}-{_key(facts, task, roster)[:_DIGITS]}"
    path = run.encoders / f"{name}.safetensors"
    done = path.is_file()
    if done:
        require_whole(path)
        card = read_card(path)
        reporter.say(f"finetune: up to date ({path.name}), nothing trained")
    else:
        slab_of = {patient.patient_id: entry.path for patient, entry in slabs.entries}
        paths = [slab_of[patient.patient_id] for patient in roster.patients]
        with locked(run.encoders / f"{name}.lock"):
            card = _train(config, start, task, roster, paths, path, reporter)
    run.write_skipped("extract", slabs.skipped)  # the extraction will say the same of the same slabs
    earlier = run.read_record()["stages"].get(STAGE, {})
    run.record_stage(
        STAGE,
        name,
        [found for suffix in (".safetensors", ".csv", ".md") if (found := path.with_suffix(suffix)).is_file()],
        earlier.get("seconds", 0.0) if done else time.monotonic() - began,
        encoder=path.name,
        choices=training_choices(config),
        networks=list(card.networks),
        best_epochs=card.best_epochs,
        class_counts=card.class_counts,
    )
    return Trained(path, not done)


def _key(facts: dict[str, Any], task: Task, roster: Roster) -> str:
    """A hash of everything that the weights depend on; who is trained on, and on what, among it."""
    learned = [list(roster.inputs), roster.y.tolist(), roster.tasks.tolist()]
    return sha256_of_json([facts, task.recipe(), learned, roster.lesson_facts()])


def _train(
    config: Config, start: Start, task: Task, roster: Roster, slabs: Sequence[Path], path: Path, reporter: Reporter
) -> Card:
    """Train every network, and write the file."""
    from extract.devices import choose_devices
    from extract.engines import picture_recipe
    from extract.trained import write_trained
    from extract.training.design import make_design
    from extract.training.drawing import draw_pictures
    from extract.training.history import write_curve
    from extract.training.learn import Where, learn
    from extract.training.material import Material
    from extract.training.trained_card import card_text, make_card

    options = config.finetune or FinetuneConfig()
    tasks = tuple(len(values) for values in roster.task_values.values())
    design = make_design(start.spec, options, len(scheme_classes(config.scheme)), tasks)
    folder = path.with_suffix("")
    recipe = picture_recipe(task)
    pixels, patient = draw_pictures(folder, slabs, recipe, design.spec, config.extract.readers, reporter)
    material = Material(pixels, patient, roster.y, roster.tasks)
    devices = tuple(choose_devices(config.extract.device))
    where = Where(devices[: options.devices or len(devices)], resolved_precision(config.extract), options.resident)
    learned = {}
    for number, lesson in enumerate(roster.lessons, start=1):
        reporter.say(
            f"finetune: network {number} of {len(roster.lessons)} ({lesson.name}), {len(lesson.train)} patients, "
            f"{len(lesson.validation)} to stop by"
        )
        learned[lesson.name] = learn(design, start.weights, material, lesson, where, folder / lesson.name, reporter)
    card = make_card(path.stem, config, start.sha256, design.spec, roster, learned, task.recipe())
    write_curve(path.with_suffix(".csv"), [epoch for found in learned.values() for epoch in found.curve])
    write_text(path.with_suffix(".md"), card_text(card, roster))
    write_trained(path, card, {name: found.tensors for name, found in learned.items()})
    shutil.rmtree(folder, ignore_errors=True)
    return card
