"""From immunohistochemistry and in-situ hybridization to a HER2 class, under a named rule set.

Every rule set calls positive IHC 3+, or 2+ with amplified ISH; HER2-low 1+, or 2+ without amplification; HER2-zero
IHC 0; ultralow IHC 0 with faint staining in at most 10 % of the cells (Wolff et al., J Clin Oncol 2023, doi
10.1200/JCO.22.02864). They differ in when ISH is amplified and in what amplified ISH with IHC 0 or 1+ means.
Whatever does not follow is left without a label, with the reason; nothing is guessed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from triher.errors import StopRun, unknown_name
from triher.label_cells import read_ihc, read_ish, read_measure, read_percentage, split_ihc
from triher.label_rules import DEFAULT_RULES, RULE_SETS, RuleSet, measured

SCHEMES: dict[str, tuple[str, ...]] = {
    "triple": ("zero", "low", "positive"),
    "binary": ("negative", "positive"),
    "ultralow": ("zero", "ultralow", "low", "positive"),
}

# How each category is called in each scheme; a category that is not listed has no class there.
_IN_SCHEME: dict[str, dict[str, str]] = {
    "triple": {"zero": "zero", "ultralow": "zero", "low": "low", "positive": "positive"},
    "binary": dict.fromkeys(("zero", "ultralow", "low", "negative"), "negative") | {"positive": "positive"},
    "ultralow": {c: c for c in ("zero", "ultralow", "low", "positive")},
}


@dataclass(frozen=True)
class Her2:
    """What the entries say: a category or "", the reason for having none, a remark, and whether they disagree."""

    category: str
    reason: str = ""
    flag: str = ""
    contradiction: bool = False


class Entry(NamedTuple):
    """The cells of one patient that HER2 is read from, as they are in the table."""

    ihc: str = ""
    ish: str = ""
    ratio: str = ""
    copies: str = ""
    staining_percent: str = ""


def scheme_classes(scheme: str) -> tuple[str, ...]:
    """The ordered classes of a scheme; the position is the column of every probability matrix.

    >>> scheme_classes("triple")
    ('zero', 'low', 'positive')
    """
    if scheme not in SCHEMES:
        raise unknown_name("label scheme", scheme, SCHEMES)
    return SCHEMES[scheme]


def her2_from_pathology(
    ihc: str,
    ish: str = "",
    *,
    rules: str = DEFAULT_RULES,
    ratio: str = "",
    copies: str = "",
    staining_percent: str = "",
) -> Her2:
    """Apply a rule set to one patient's entries, in any common spelling.

    Args:
        ihc: IHC score or an equivalent word (``2+``, ``IHC 3``, ``HER2-low``, ``>0 <1+``); where `ish` is empty, also
            with the result of ISH behind it (``2+ (FISH neg.)``).
        ish: ISH result (``amplified``, ``FISH-``, ``equivocal``), also with its ratio where that is unmistakable
            (``ratio 2.4``, ``HER2/CEP17 = 1.3``, ``2.4 (amplified)``); ``0`` and ``1`` are results, no ratios.
        rules: a key of `triher.label_rules.RULE_SETS`.
        ratio: HER2/CEP17, a number or a bound (``>6``); a comma before one or two digits is a decimal comma.
        copies: mean HER2 signals a cell, likewise; a value that can only be a total over nuclei is not used.
        staining_percent: stained tumor cells in percent, likewise or a range (``1-10%``); read where IHC is 0.

    Returns:
        Category ``zero``, ``ultralow``, ``low`` or ``positive``; ``negative`` where the entries only exclude
        positive; empty where nothing follows. Where one of result and ratio is equivocal, the other one decides.

    Raises:
        StopRun: ``unknown_name`` when there is no such rule set.

    >>> her2_from_pathology("2+", "FISH not amplified").category
    'low'
    >>> her2_from_pathology("2+ (FISH neg.)").category
    'low'
    >>> her2_from_pathology("2+", ratio="2.1").category
    'positive'
    >>> her2_from_pathology("2+", ratio="2.1", rules="asco-cap-2007").reason
    '2+ with equivocal ISH'
    """
    if rules not in RULE_SETS:
        raise unknown_name("HER2 rule set", rules, RULE_SETS)
    ihc, ish = split_ihc(ihc) if not ish else (ihc, ish)
    hybridization = _read_hybridization(ish, ratio, copies, RULE_SETS[rules])
    if hybridization.reason:
        return hybridization
    score = read_ihc(ihc)
    if score not in _RULES:
        return Her2("", score)
    staining = _read_staining(score, staining_percent) if score in ("0", "ultralow") else Her2(score)
    if staining.reason:
        return staining
    found = _RULES[staining.category][hybridization.category]
    if found.contradiction and not found.category and RULE_SETS[rules].amplified_wins:
        found = Her2("positive", "", "amplified ISH is positive whatever IHC says", contradiction=True)
    return replace(found, flag="; ".join(filter(None, (found.flag, hybridization.flag, staining.flag))))


_TWO = "'negative' alone cannot tell zero from low"
_ULTRALOW = Her2("ultralow", "", "ultralow: keep the flag")
_RULES: dict[str, dict[str, Her2]] = {
    # IHC: {ISH: outcome}
    "missing": {
        "missing": Her2("", "IHC missing"),
        "negative": Her2("negative", "ISH negative without IHC cannot tell zero from low"),
        "positive": Her2("positive", "", "ISH alone: amplified"),
        "equivocal": Her2("", "IHC missing"),
    },
    "negative": {
        **dict.fromkeys(("missing", "negative", "equivocal"), Her2("negative", _TWO)),
        "positive": Her2("", "IHC negative with amplified ISH (discordant)", contradiction=True),
    },
    "0": {
        "missing": Her2("zero"),
        "negative": Her2("zero"),
        "positive": Her2("", "IHC 0 with amplified ISH (discordant)", contradiction=True),
        "equivocal": Her2("zero", "", "ISH ignored for 0 unless amplified"),
    },
    "ultralow": {
        **dict.fromkeys(("missing", "negative", "equivocal"), _ULTRALOW),
        "positive": Her2("", "IHC 0 with amplified ISH (discordant)", contradiction=True),
    },
    "1": {
        "missing": Her2("low"),
        "negative": Her2("low"),
        "positive": Her2("", "IHC 1+ with amplified ISH (discordant)", contradiction=True),
        "equivocal": Her2("low", "", "ISH ignored for 1+ unless amplified"),
    },
    "2": {
        "missing": Her2("", "2+ without ISH"),
        "negative": Her2("low"),
        "positive": Her2("positive"),
        "equivocal": Her2("", "2+ with equivocal ISH"),
    },
    "3": {
        "missing": Her2("positive"),
        "negative": Her2("positive", "", "3+ is positive whatever ISH says; flag it", contradiction=True),
        "positive": Her2("positive"),
        "equivocal": Her2("positive", "", "ISH ignored"),
    },
}
_RULES["low"] = _RULES["1"]


def class_in_scheme(her2: Her2, scheme: str) -> str:
    """The class of a patient in a scheme, or "" where the entries do not decide it.

    >>> class_in_scheme(her2_from_pathology("0"), "binary")
    'negative'
    """
    scheme_classes(scheme)
    return _IN_SCHEME[scheme].get(her2.category, "")


def check_codes(entries: Sequence[tuple[str, ...]]) -> None:
    """Stop when unknown codes are so many that a wrong column is likelier than bad data.

    Args:
        entries: the cells of each patient in the order of `Entry`; those at the end may be left off.

    Raises:
        StopRun: ``her2_codes`` when more than a fifth of the filled rows cannot be read.
    """
    counts = Counter(Entry(*cells) for cells in entries if any(cells))
    unknown = {e: n for e, n in counts.items() if her2_from_pathology(**e._asdict()).reason in _UNREADABLE}
    if unknown and sum(unknown.values()) > counts.total() / 5:
        seen = [f"{describe(entry)} ({n} times)" for entry, n in sorted(unknown.items())]
        listed = "; ".join(seen[:8]) + ("; ..." if len(seen) > 8 else "")
        message = f"{sum(unknown.values())} of {counts.total()} HER2 entries cannot be read: {listed}"
        remedy = (
            "check which columns are mapped to ihc and ish; write IHC as 0, 1+, 2+ or 3+, and ISH as amplified or "
            "not amplified in its own column or behind the score: 2+ (FISH neg.)"
        )
        raise StopRun("her2_codes", message, remedy=remedy)


_UNREADABLE = {
    "IHC code not known",
    "ISH code not known",
    "ISH ratio not known",
    "HER2 copies not known",
    "staining percentage not known",
}


def describe(entry: Entry) -> str:
    """The cells by name; IHC and ISH always, the others where they are filled."""
    named = zip(("IHC", "ISH", "ratio", "copies", "staining"), entry, strict=True)
    return ", ".join(f"{name} '{cell}'" for name, cell in named if cell or name in ("IHC", "ISH"))


def _read_hybridization(ish: str, ratio: str, copies: str, rules: RuleSet) -> Her2:
    """What ISH says on the whole (a column of `_RULES`), or the reason why nothing can be read from it."""
    word, written = read_ish(ish)
    words, values = zip((word, None), *(read_measure(text) for text in (ratio, copies, written)), strict=True)
    names = ("ISH code", "ISH ratio", "HER2 copies", "ISH code")
    for name, said in zip(names, words, strict=True):
        if said == "unknown":
            return Her2("", f"{name} not known")
    ratios = [found for found in (values[1], values[3]) if found]
    outcomes, flags = measured(ratios, values[2], rules)
    said = {*words, *outcomes} - {"missing"}
    if {"negative", "positive"} <= said:
        reason = f"ISH result and {'ratio' if ratios else 'copies'} contradict"
        return Her2("", reason, "; ".join(flags), contradiction=True)
    decided = said - {"equivocal"}
    if decided and len(said) > 1:
        flags.append("ISH result and measurement: one is equivocal, the other decides")
    return Her2(next(iter(decided or said), "missing"), "", "; ".join(flags))


def _read_staining(score: str, text: str) -> Her2:
    """IHC 0 as ``0`` or ``ultralow`` by the percentage of stained cells, or the reason why they do not agree."""
    word, values = read_percentage(text)
    if word == "unknown":
        return Her2("", "staining percentage not known")
    if values is None:
        return Her2(score)
    low, high = values
    if (high > 10 and low >= 10) or (score == "ultralow" and high == 0):
        return Her2("", "IHC score and staining percentage contradict", contradiction=True)
    if low > 0:
        return Her2("ultralow")  # IHC 0 itself says that it is no more than 10 %
    vague = score == "0" and high > 0
    return Her2(score, "", "the staining percentage does not tell none from faint staining" if vague else "")
