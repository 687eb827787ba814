"""The HER2 rule sets: what each makes of measured in-situ hybridization, with its source."""

import math
from dataclasses import dataclass

from triher.label_cells import Range


@dataclass(frozen=True)
class Band:
    """One line of an ISH rule: the outcome where both values lie in [low, high); None is not looked at."""

    outcome: str
    """``positive`` (amplified), ``negative`` or ``equivocal``."""
    ratio: Range | None = None
    """HER2/CEP17."""
    copies: Range | None = None
    """Mean HER2 signals a cell."""
    flag: str = ""


@dataclass(frozen=True)
class RuleSet:
    """How measured ISH is read, and what amplified ISH means where IHC is 0 or 1+."""

    title: str
    source: str
    ish: tuple[Band, ...]
    """The first line that fits counts."""
    amplified_wins: bool = False
    """Amplified ISH makes 0 and 1+ positive; otherwise such a discordant pair is left out."""


_INF = math.inf
_OVER_2_2, _OVER_6 = math.nextafter(2.2, _INF), math.nextafter(6.0, _INF)
# The lines that say group 2 to 4 are ASCO/CAP's groups after their work-up; single-probe counts of 4 to < 6 need
# a second, dual-probe test.
_ISH_2018 = (
    Band("positive", (2.0, _INF), (4.0, _INF)),
    Band("negative", (2.0, _INF), (0.0, 4.0), "ISH group 2 (ratio >= 2.0, copies < 4): not amplified after work-up"),
    Band("positive", (0.0, 2.0), (6.0, _INF), "ISH group 3 (ratio < 2.0, copies >= 6): amplified after work-up"),
    Band(
        "negative", (0.0, 2.0), (4.0, 6.0), "ISH group 4 (ratio < 2.0, copies 4 to < 6): not amplified after work-up"
    ),
    Band("negative", (0.0, 2.0), (0.0, 4.0)),
    Band("positive", ratio=(2.0, _INF)),
    Band("negative", ratio=(0.0, 2.0)),
    Band("positive", copies=(6.0, _INF)),
    Band("equivocal", copies=(4.0, 6.0)),
    Band("negative", copies=(0.0, 4.0)),
)
_ISH_2007 = (
    Band("positive", ratio=(_OVER_2_2, _INF)),
    Band("equivocal", ratio=(1.8, _OVER_2_2)),
    Band("negative", ratio=(0.0, 1.8)),
    Band("positive", copies=(_OVER_6, _INF)),
    Band("equivocal", copies=(4.0, _OVER_6)),
    Band("negative", copies=(0.0, 4.0)),
)
_WOLFF_2018 = "Wolff et al., J Clin Oncol 2018, doi 10.1200/JCO.2018.77.8738"
_WOLFF_2023 = "Wolff et al., J Clin Oncol 2023, doi 10.1200/JCO.22.02864"

DEFAULT_RULES = "asco-cap-2018"
RULE_SETS: dict[str, RuleSet] = {
    "asco-cap-2018": RuleSet("ASCO/CAP 2018", f"{_WOLFF_2018}; affirmed by {_WOLFF_2023}", _ISH_2018),
    "asco-cap-2023": RuleSet("ASCO/CAP 2023, which affirms 2018 unchanged", _WOLFF_2023, _ISH_2018),
    "asco-cap-2007": RuleSet(
        "ASCO/CAP 2007: amplified above a ratio of 2.2, as in the Duke cohort",
        "Wolff et al., J Clin Oncol 2007, doi 10.1200/JCO.2006.09.2775",
        _ISH_2007,
    ),
    "either-test": RuleSet(
        "ASCO/CAP 2018, and amplified ISH is positive whatever IHC says",
        f"ISH as {_WOLFF_2018}; the reading behind the counts 61/407/145 of TCGA-BRCA",
        _ISH_2018,
        amplified_wins=True,
    ),
}

_MOST_CEP17 = 20.0
"""Guidelines ask for 20 nuclei or more: copies of 20 times the ratio are a total over nuclei, not a mean a cell."""


def measured(ratios: list[Range], copies: Range | None, rules: RuleSet) -> tuple[list[str], list[str]]:
    """What a rule set makes of the numbers in the cells.

    Args:
        ratios: HER2/CEP17, as often as the entries give one.
        copies: mean HER2 signals a cell, where given.
        rules: the rule set.

    Returns:
        The outcome for each ratio (or of the copies alone), ``missing`` where the numbers are too vague; remarks.

    >>> measured([(2.1, 2.1)], None, RULE_SETS["asco-cap-2018"])
    (['positive'], [])
    >>> measured([(2.1, 2.1)], None, RULE_SETS["asco-cap-2007"])
    (['equivocal'], [])
    """
    flags: list[str] = []
    if copies and copies[0] >= _MOST_CEP17 * max([high for _, high in ratios], default=1.0):
        flags.append("HER2 copies not used: a total over nuclei, not a mean a cell")
        copies = None
    outcomes: list[str] = []
    either: list[Range | None] = [*ratios] or ([None] if copies else [])
    for ratio in either:
        low, high = (_find_band(ratio and ratio[end], copies and copies[end], rules) for end in (0, 1))
        outcomes.append(low.outcome if low.outcome == high.outcome else "missing")
        flags.append(low.flag if low.outcome == high.outcome else "ISH ratio or copies too vague to decide")
    return outcomes, list(dict.fromkeys(filter(None, flags)))


def _find_band(ratio: float | None, copies: float | None, rules: RuleSet) -> Band:
    """The first line of the rule that fits; every rule set has one for any number."""
    given = ((ratio, "ratio"), (copies, "copies"))
    fits = (band for band in rules.ish if all(_within(value, getattr(band, name)) for value, name in given))
    return next(fits)


def _within(value: float | None, limits: Range | None) -> bool:
    """Whether the value is in [low, high), infinity included, or is not looked at."""
    if limits is None:
        return True
    return value is not None and (limits[0] <= value < limits[1] or value == limits[1] == _INF)
