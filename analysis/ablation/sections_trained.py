"""What the report says of encoders that were trained for the study."""

from collections.abc import Sequence

from analysis.ablation.material import CellResult
from analysis.figures.canvas import plain
from analysis.page import Block, Paragraph, Table
from analysis.wording import count, span
from triher.study import Training

_TRAINED = (
    "Encoders were trained end to end on the development patients of this cohort. A development patient is scored "
    "by a network that was not trained on her, held-out patients by the final one; each seed trained networks of its "
    "own."
)


def trained_blocks(results: Sequence[CellResult]) -> list[Block]:
    """From how many patients the encoders of the cells learned, and what that took; nothing where none was trained.

    Args:
        results: of all cells.
    """
    trained = [result for result in results if result.trainings]
    if not trained:
        return []
    alone = [result.cell.name for result in trained if not result.trainings[0].judges_development]
    header = [
        "Cell",
        "Started from",
        "Networks",
        "Patients",
        "Final network learned from",
        "Seconds, a seed",
        "Device",
    ]
    table = Table(
        "Encoders that were trained for the cells",
        header,
        [_row(result) for result in trained],
        folded=f"The trained encoders of {count(len(trained), 'cell')}" if len(trained) > 1 else "",
        name="ablation-trained",
    )
    return [Paragraph(_TRAINED), *([Paragraph(_few(alone))] if alone else []), table]


def _few(cells: Sequence[str]) -> str:
    """Why cells with one network judge fewer patients."""
    named = f"'{cells[0]}'" + (f" and {count(len(cells) - 1, 'other cell')}" if len(cells) > 1 else "")
    return (
        f"The encoder of {named} is one network alone (finetune.folds=0), which scores nobody whom it was trained "
        "on: such cells judge fewer patients, and all cells are compared on the patients whom every cell predicted."
    )


def _row(result: CellResult) -> list[str]:
    """One cell, all its seeds."""
    found = result.trainings
    return [
        result.cell.name,
        found[0].encoder if found[0].start_sha256 else f"{found[0].encoder}, random weights",
        span([one.n_networks for one in found]),
        span([one.n_patients for one in found]),
        span([one.n_learned for one in found]),
        _seconds(found),
        plain(", ".join(dict.fromkeys(one.device for one in found if one.device)) or "-"),
    ]


def _seconds(trainings: Sequence[Training]) -> str:
    """The mean over the seeds whose trainings were not interrupted."""
    known = [one.seconds for one in trainings if one.seconds is not None]
    return f"{sum(known) / len(known):.3g}" if known else "interrupted"
