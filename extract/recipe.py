"""What of a patient's images goes into the slab; every other choice is made later, from the slab."""

from dataclasses import dataclass
from typing import Literal

from triher.settings import RegionConfig

Cut = Literal["box", "window", "slice", "control"]
FieldCorrection = Literal["none", "shared", "per-phase"]
# ``mask`` and ``ring`` need no more than the box around them, and share its slab.
_CUTS: dict[str, Cut] = {
    "box": "box",
    "mask": "box",
    "ring": "box",
    "window": "window",
    "slice": "slice",
    "control": "control",
}


@dataclass(frozen=True)
class SlabRecipe:
    """How a slab is cut; what a cut does not use is 0, so that equal slabs have equal recipes."""

    region: Cut
    margin_mm: float = 0.0
    n4: FieldCorrection = "none"
    mask_label: int | None = None
    margin_px: int = 0
    window_mm: float = 0.0
    depth_mm: float = 0.0
    largest_component: bool = False


def slab_recipe(region: RegionConfig, n4: FieldCorrection, mask_label: int | None) -> SlabRecipe:
    """The slab that a region is computed from.

    Args:
        region: as configured.
        n4: as configured under ``extract.n4``.
        mask_label: as configured under ``cohort.mask_label``.
    """
    cut = _CUTS[region.kind]
    has_margin = cut in ("box", "control")
    margin_mm = max(region.margin_mm, region.ring_mm) if region.kind == "ring" else region.margin_mm
    return SlabRecipe(
        cut,
        float(margin_mm) if has_margin else 0.0,
        n4,
        mask_label,
        region.margin_px if has_margin else 0,
        float(region.window_mm) if cut == "window" else 0.0,
        float(region.depth_mm),
        region.largest_component,
    )
