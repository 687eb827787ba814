"""What a training leaves for people: a card of the encoder, and its loss curves."""

from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from extract.training.material import Epoch
from extract.training.parts import Roster
from triher.tables import write_table
from triher.trained import Card


def write_curves(path: Path, curve: Sequence[Epoch]) -> None:
    """Write the epochs of all networks as CSV."""
    write_table(path, [f.name for f in fields(Epoch)], [astuple(epoch) for epoch in curve])


def card_text(card: Card, roster: Roster) -> str:
    """The card as Markdown; no id of a patient is in it.

    Args:
        card: of the file.
        roster: who was trained on.
    """
    final = roster.lessons[-1]
    cohorts = sorted({patient.cohort for patient in roster.patients})
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
        f"- {len(roster.patients)} patients of {len(cohorts)} cohorts; `final` on {len(final.train)} of them "
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
