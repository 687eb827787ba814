"""What a training leaves says of itself: the card in its file, and one for people."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from extract.encoder_spec import EncoderSpec
from extract.training.material import Learned
from extract.training.parts import Roster
from triher.labels import scheme_classes
from triher.runfolder import library_versions
from triher.settings import Config, FinetuneConfig
from triher.trained import Card


def make_card(
    name: str,
    config: Config,
    start_sha256: str,
    spec: EncoderSpec,
    roster: Roster,
    learned: Mapping[str, Learned],
    recipe: dict[str, Any],
) -> Card:
    """What the file says of itself.

    Args:
        name: stem of the file's name.
        config: of the training.
        start_sha256: of the weights that it began with; empty for random ones.
        spec: the encoder that it began with, with the side of the pictures that were trained on.
        roster: who was trained on.
        learned: network -> what came of its lesson.
        recipe: how the pictures were drawn.
    """
    final, classes = roster.lessons[-1], scheme_classes(config.scheme)
    return Card(
        name=name,
        start=asdict(spec),
        start_sha256=start_sha256,
        settings=(config.finetune or FinetuneConfig()).model_dump(mode="json"),
        scheme=config.scheme,
        classes=classes,
        tasks=roster.task_values,
        input_size=spec.input_size,
        recipe=recipe,
        seed=config.seed,
        networks=tuple(learned),
        best_epochs={network: found.best_epoch for network, found in learned.items()},
        class_counts={label: int((roster.y[final.train] == i).sum()) for i, label in enumerate(classes)},
        labels_shuffled=config.classify.shuffle_labels,
        versions=library_versions(),
        patients=roster.parts(),
    )


def card_text(card: Card, roster: Roster) -> str:
    """The card as Markdown; no id of a patient is in it.

    Args:
        card: of the file.
        roster: who was trained on.
    """
    final = roster.lessons[-1]
    n = len({patient.cohort for patient in roster.patients})
    cohorts = "one cohort" if n == 1 else f"{n} cohorts"
    start = card.start
    weights = f"weights with SHA-256 {card.start_sha256}" if card.start_sha256 else "random weights"
    lines = [
        f"# {card.name}",
        "",
        "**Research use only.** An encoder of breast DCE-MRI slices, trained end to end by `triher finetune`.",
        *(["", "**Negative control: the labels were shuffled before training.**"] if card.labels_shuffled else []),
        "",
        "## What it is",
        "",
        f"- Began as `{start['name']}` ({start['model']}), {weights}; their license: {start['license']}.",
        f"- Gives each slice the probabilities of {', '.join(card.classes)}. Pictures of {card.input_size} pixels.",
        f"- Networks in the file: {', '.join(card.networks)}. Each `fold` network embeds the patients who were kept "
        "from it; `final` embeds everybody else.",
        "",
        "## What it was trained on",
        "",
        f"- {len(roster.patients)} patients of {cohorts}; `final` on {len(final.train)} of them "
        f"({', '.join(f'{n} {name}' for name, n in card.class_counts.items())}), and {len(final.validation)} told "
        "when to stop.",
        f"- Seed {card.seed}. Epoch that was kept: {', '.join(f'{n} {e}' for n, e in card.best_epochs.items())}.",
        f"- Loss curves: `{card.name}.csv`.",
        "",
        "## What to keep in mind",
        "",
        "- It must not score whom it was trained on. The file holds shortened fingerprints of their images, by which "
        "an extraction recognizes them under any name; who has such an exam can tell that it was among them.",
        "- Pictures drawn in another way than those of the training are refused.",
        "- Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(card.versions.items())) + ".",
        "",
    ]
    return "\n".join(lines)
