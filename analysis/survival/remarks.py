"""What weakens the Cox models of a split, as notes that the report prints and ``notes.csv`` keeps."""

import re

from analysis.survival.collinearity import HIGH
from analysis.survival.cox import STABLE_EVENTS, CoxModel
from analysis.survival.nonproportional import violated
from triher.errors import Note
from triher.label_names import tells_her2

_THERAPY = re.compile(
    r"therap|treat|chemo|trastuzumab|herceptin|pertuzumab|lapatinib|t[-_]?dm1|t[-_]?dxd|endocrine|hormon|tamoxifen|"
    r"drug|regimen",
    re.IGNORECASE,
)


def remarks(split: str, alone: CoxModel, adjusted: CoxModel | None, terms: tuple[str, ...]) -> tuple[Note, ...]:
    """Say what weakens the models.

    Args:
        split: whose patients they are of.
        alone: the score's own model.
        adjusted: with the covariates, where there are any.
        terms: the covariates.
    """
    found = _of_model(f"{split}: the score alone", alone)
    if adjusted is not None:
        found += _of_model(f"{split}: the adjusted model", adjusted)
        found += _stands_in(split, terms)
    return tuple(Note("", code, text) for code, text in found)


def _of_model(which: str, model: CoxModel) -> list[tuple[str, str]]:
    """Codes and texts of one model."""
    if model.reason:
        return [(model.code, f"{which} is not estimable ({model.reason}); {model.remedy}")]
    found = []
    if model.penalty == "firth":
        found.append((model.code, f"{which} has Firth's penalty, because of {model.occasion}"))
    elif model.events_per_coefficient < STABLE_EVENTS:
        ratio = f"{model.events_per_coefficient:.1f} events per coefficient"
        found.append(("few_events", f"{which} has {ratio}; below {STABLE_EVENTS} its hazard ratios are unstable"))
    high = [line.name for line, f in zip(model.coefficients, model.inflation, strict=True) if f > HIGH]
    if high:
        text = f"{which} has a variance inflation above {HIGH:g} for {', '.join(high)}; drop one of them"
        found.append(("covariates_collinear", text))
    bent = violated(model)
    if bent:
        who = ", ".join(name for name in bent if name != "GLOBAL") or "all variables together"
        text = f"{which} does not have proportional hazards for {who} (p < 0.05, exact score test)"
        found.append(("hazards_not_proportional", text))
    return found


def _stands_in(split: str, terms: tuple[str, ...]) -> list[tuple[str, str]]:
    """Whether HER2 and therapy, for which the score may stand in, are among the covariates."""
    absent = []
    if not any(tells_her2(term) and not _THERAPY.search(term) for term in terms):
        absent.append("pathological HER2")
    if not any(_THERAPY.search(term) for term in terms):
        absent.append("therapy")
    if not absent:
        return []
    text = f"{split}: no covariate of the adjusted model looks like {' or '.join(absent)}"
    return [("score_stands_in", f"{text}; the score may only stand in for HER2 or for trastuzumab")]
