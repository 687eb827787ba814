"""What of a patient's images goes into the slab; every other choice is made later, from the slab."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from triher.settings import Config, PerturbConfig, RegionConfig

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
    perturb: PerturbConfig = field(default_factory=PerturbConfig)
    """What is disturbed before the cut; the jitter of slices comes later."""

    def facts(self) -> dict[str, Any]:
        """As JSON values; of a disturbance, only what there is."""
        facts = asdict(self)
        del facts["perturb"]
        return facts | perturb_facts(self.perturb)


def slab_recipe(
    region: RegionConfig, n4: FieldCorrection, mask_label: int | None, perturb: PerturbConfig | None = None
) -> SlabRecipe:
    """The slab that a region is computed from.

    Args:
        region: as configured.
        n4: as configured under ``extract.n4``.
        mask_label: as configured under ``cohort.mask_label``.
        perturb: as configured under ``extract.perturb``; nothing when None.
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
        used((perturb or PerturbConfig()).model_copy(update={"jitter_slices": 0})),
    )


def slabs_of(config: Config) -> SlabRecipe:
    """The slabs that a configuration asks for."""
    options = config.extract
    return slab_recipe(options.region, options.n4, config.cohort.mask_label, options.perturb)


def used(perturb: PerturbConfig) -> PerturbConfig:
    """The same disturbance, written as all that are equal: no draw where nothing is drawn, and no whole numbers.

    >>> used(PerturbConfig(mask_mm=2, draw=3)).draw
    0
    """
    numbers = {name: float(getattr(perturb, name)) for name in ("mask_mm", "shift_mm", "noise", "bias_field")}
    is_drawn = perturb.shift_mm or perturb.jitter_slices or perturb.noise or perturb.bias_field
    return perturb.model_copy(update=numbers | {"draw": perturb.draw if is_drawn else 0})


def perturb_facts(perturb: PerturbConfig) -> dict[str, Any]:
    """What is disturbed, under the key of the configuration, as JSON values; nothing where nothing is.

    >>> perturb_facts(PerturbConfig(mask_mm=2)), perturb_facts(PerturbConfig(draw=1))
    ({'perturb': {'mask_mm': 2.0}}, {})
    """
    found = used(perturb).model_dump(mode="json", exclude_defaults=True)
    return {"perturb": found} if found else {}
