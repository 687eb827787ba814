"""From immunohistochemistry and in-situ hybridization to a HER2 class.

Rules: ASCO/CAP 2018, affirmed 2023 (Wolff et al., J Clin Oncol 2023, doi 10.1200/JCO.22.02864): positive is
IHC 3+, or 2+ with amplified ISH. HER2-low is 1+, or 2+ without amplification; HER2-zero is IHC 0; ultralow is
IHC 0 with faint staining in at most 10 % of the cells. Whatever does not follow from these is left without
a label, with the reason; nothing is guessed.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from triher.errors import StopRun, unknown_name

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

_MISSING = {"", "na", "n/a", "nan", "none", "null", "unknown", "?", "notavailable", "notevaluated", "nd"}
_IHC_WORDS = {
    "negative": "negative",
    "neg": "negative",
    "-": "negative",
    "positive": "3",
    "pos": "3",
    "equivocal": "2",
    "indeterminate": "2",
    "zero": "0",
    "low": "low",
    "ultralow": "ultralow",
    ">0<1+": "ultralow",
    "+": "1",
    "++": "2",
    "+++": "3",
}
_ISH_WORDS = {
    **dict.fromkeys(("negative", "neg", "-", "0", "nonamplified", "notamplified", "unamplified"), "negative"),
    **dict.fromkeys(("positive", "pos", "+", "1", "amplified", "amp"), "positive"),
    **dict.fromkeys(("equivocal", "indeterminate", "borderline"), "equivocal"),
}


@dataclass(frozen=True)
class Her2:
    """What two pathology entries say: a category or "", the reason for having none, and a remark."""

    category: str
    reason: str = ""
    flag: str = ""


def scheme_classes(scheme: str) -> tuple[str, ...]:
    """The ordered classes of a scheme; the position is the column of every probability matrix.

    >>> scheme_classes("triple")
    ('zero', 'low', 'positive')
    """
    if scheme not in SCHEMES:
        raise unknown_name("label scheme", scheme, SCHEMES)
    return SCHEMES[scheme]


def her2_from_pathology(ihc: str, ish: str = "") -> Her2:
    """Apply the rules to one patient's entries, in any common spelling.

    Args:
        ihc: IHC score or an equivalent word (``2+``, ``IHC 3``, ``HER2-low``, ``>0 <1+``).
        ish: ISH result (``amplified``, ``FISH-``, ``equivocal``), or empty.

    Returns:
        Category ``zero``, ``ultralow``, ``low`` or ``positive``; ``negative`` where the entries only exclude
        positive; empty where nothing follows.

    >>> her2_from_pathology("2+", "FISH not amplified").category
    'low'
    >>> her2_from_pathology("2+").reason
    '2+ without ISH'
    """
    score, hybridization = _read_ihc(ihc), _read_ish(ish)
    if hybridization == "unknown":
        return Her2("", "ISH code not known")
    rule = _RULES.get(score)
    return rule[hybridization] if rule else Her2("", score)


_TWO = "'negative' alone cannot tell zero from low"
_RULES: dict[str, dict[str, Her2]] = {
    # IHC: {ISH: outcome}
    "missing": {
        "missing": Her2("", "IHC missing"),
        "negative": Her2("negative", "ISH negative without IHC cannot tell zero from low"),
        "positive": Her2("positive", "", "ISH alone: amplified"),
        "equivocal": Her2("", "IHC missing"),
    },
    "negative": {
        "missing": Her2("negative", _TWO),
        "negative": Her2("negative", _TWO),
        "positive": Her2("", "IHC negative with amplified ISH (discordant)"),
        "equivocal": Her2("negative", _TWO),
    },
    "0": {
        "missing": Her2("zero"),
        "negative": Her2("zero"),
        "positive": Her2("", "IHC 0 with amplified ISH (discordant)"),
        "equivocal": Her2("zero", "", "ISH ignored for 0 unless amplified"),
    },
    "ultralow": {
        "missing": Her2("ultralow", "", "ultralow: keep the flag"),
        "negative": Her2("ultralow", "", "ultralow: keep the flag"),
        "positive": Her2("", "IHC 0 with amplified ISH (discordant)"),
        "equivocal": Her2("ultralow", "", "ultralow: keep the flag"),
    },
    "1": {
        "missing": Her2("low"),
        "negative": Her2("low"),
        "positive": Her2("", "IHC 1+ with amplified ISH (discordant)"),
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
        "negative": Her2("positive", "", "3+ is positive whatever ISH says; flag it"),
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


def check_codes(entries: list[tuple[str, str]]) -> None:
    """Stop when unknown codes are so many that a wrong column is likelier than bad data.

    Raises:
        StopRun: ``her2_codes`` when more than a fifth of the filled rows cannot be read.
    """
    counts = Counter(entry for entry in entries if any(entry))
    unknown = {entry: n for entry, n in counts.items() if her2_from_pathology(*entry).reason in _UNREADABLE}
    if unknown and sum(unknown.values()) > counts.total() / 5:
        seen = [f"IHC '{ihc}', ISH '{ish}' ({n} times)" for (ihc, ish), n in sorted(unknown.items())]
        listed = "; ".join(seen[:8]) + ("; ..." if len(seen) > 8 else "")
        message = f"{sum(unknown.values())} of {counts.total()} HER2 entries cannot be read: {listed}"
        raise StopRun("her2_codes", message)


_UNREADABLE = {"IHC code not known", "ISH code not known"}


def _fold(text: str) -> str:
    """One spelling for all: no spaces, no case, no width, one kind of minus."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", text)
    return re.sub(r"[\s\[\]]", "", text)


def _read_score(text: str) -> str:
    """One IHC score as ``0`` to ``3``, or "" when the text is none."""
    found = re.fullmatch(r"\+?([0-3])(\.0)?|([0-3])\+", text)
    return (found[1] or found[3]) if found else ""


def _read_ihc(text: str) -> str:
    """A key of `_RULES`, or the reason why there is none."""
    folded = _fold(text)
    bare = re.sub(r"^(her2/neu|her2|ihc|score)+", "", folded)
    stripped = bare.lstrip("-:=") if len(bare) > 1 and bare != folded else bare
    if folded in _MISSING or stripped in _MISSING:
        return "missing"
    if stripped == "+" and re.match("her2", folded) and "ihc" not in folded:
        return "3"  # "HER2+" says positive, as "HER2-" says negative; a bare "+" is the score 1+
    word = _IHC_WORDS.get(stripped) or _read_score(stripped)
    if word:
        return word
    parts = re.split(r"to|or|and|[-/,;&|]", stripped)
    if len(parts) > 1 and all(_read_score(part) for part in parts):
        return "more than one IHC value"
    return "IHC code not known"


def _read_ish(text: str) -> str:
    """``missing``, ``negative``, ``positive``, ``equivocal`` or ``unknown``."""
    folded = _fold(text).replace(".", "")
    if folded in _MISSING:
        return "missing"
    bare = re.sub(r"^(dual|fish|cish|sish|dish|ish)+", "", folded)
    bare = "-" if bare == "-" else bare.replace("-", "")
    return _ISH_WORDS.get(bare, "unknown")
