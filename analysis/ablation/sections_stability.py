"""The report's section on how far features stay the same under disturbances."""

import math

from analysis.ablation.figures_robustness import stability_figure
from analysis.ablation.findings import Findings
from analysis.ablation.stability import Stability
from analysis.metrics import Cell, number_cell
from analysis.page import Block, Data, Gallery, Paragraph, Section, Table

_STABILITY = (
    "The features of the same patients with and without the disturbance, compared by the intraclass correlation "
    "ICC(A,1) of each feature (McGraw & Wong, Psychol Methods 1996;1:30); 0.75 is called good and 0.90 excellent "
    "(Koo & Li, J Chiropr Med 2016;15:155). Features that stay the same are no good in themselves: a feature that "
    "tells nothing can be stable, too."
)


def stability_section(found: Findings) -> list[Section]:
    """Stability of the features; nothing where nothing is disturbed."""
    known = found.stabilities
    if not known:
        return []
    header = ["Encoder: disturbance", "Median ICC (quartiles)", "Median lower limit", "≥ 0.75", "≥ 0.90", "Cosine"]
    columns = [
        "encoder", "disturbance", "median", "low_quartile", "high_quartile", "lower_limit_median", "share_good",
        "share_excellent", "cosine", "n_features", "n_constant", "n_patients", "reason",
    ]  # fmt: skip
    data: list[list[Cell]] = [
        [
            one.encoder, one.disturbance, *map(number_cell, (one.median, *one.quartiles, one.lower_limit_median)),
            *map(number_cell, (one.share_good, one.share_excellent, one.cosine)), one.n_features, one.n_constant,
            one.n_patients, one.reason,
        ]
        for one in known
    ]  # fmt: skip
    blocks: list[Block] = [Paragraph(_STABILITY)]
    if any(math.isfinite(one.median) for one in known):
        blocks.append(Gallery("", [stability_figure("Stability of the features under each disturbance", known)]))
    blocks.append(
        Table(
            "Stability of the features",
            [*header, "Features", "Patients"],
            list(map(_row, known)),
            folded="The stability as numbers",
            name="ablation-stability",
            data=Data(columns, data),
        )
    )
    return [Section("stability", "How stable the features are", blocks)]


def _row(one: Stability) -> list[str]:
    """One encoder under one disturbance."""
    name, sizes = f"{one.encoder}: {one.disturbance}", [str(one.n_features), str(one.n_patients)]
    if not math.isfinite(one.median):
        return [name, f"none: {one.reason}", *["-"] * 4, *sizes]
    low, high = one.quartiles
    shares = [f"{one.share_good:.0%}", f"{one.share_excellent:.0%}"]
    return [
        name, f"{one.median:.2f} ({low:.2f} to {high:.2f})", f"{one.lower_limit_median:.2f}", *shares,
        f"{one.cosine:.2f}", *sizes,
    ]  # fmt: skip
