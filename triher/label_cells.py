"""The meaning of one cell of a HER2 table, in any common spelling: an IHC score, an ISH result, a number."""

import math
import re
import unicodedata

Range = tuple[float, float]
"""Lowest and highest value that a cell can mean; equal for a plain number."""

_MISSING = {
    *("na", "nan", "none", "null", "nil", "nd", "tbd", "unknown", "unk", "missing", "blank"),
    *("notavailable", "notevaluated", "notapplicable", "notassessed", "notdone", "notperformed", "nottested"),
    *("notdetermined", "notreported", "notrecorded", "notknown", "nodata", "untested", "pending", "awaited"),
    *("nichtdurchgeführt", "nichtdurchgefuehrt", "nichterfolgt", "nichtgetestet", "nichtbestimmt", "ausstehend"),
    *("unbekannt", "keineangabe", "nonfait", "nonréalisé", "noneseguito", "norealizado", "nietuitgevoerd"),
    *("未做", "未检测", "未知", "不详"),
}
_IHC_WORDS = {
    **dict.fromkeys(("negative", "negativ", "neg", "-"), "negative"),
    **dict.fromkeys(("positive", "positiv", "pos", "+++"), "3"),
    **dict.fromkeys(("equivocal", "indeterminate", "++"), "2"),
    **dict.fromkeys(("ultralow", ">0<1+"), "ultralow"),
    "zero": "0",
    "low": "low",
    "+": "1",
}
_ISH_WORDS = {
    **dict.fromkeys(("negative", "negativ", "neg", "-", "0"), "negative"),
    **dict.fromkeys(("nonamplified", "notamplified", "unamplified", "nichtamplifiziert"), "negative"),
    **dict.fromkeys(("positive", "positiv", "pos", "+", "1", "amplified", "amp", "amplifiziert"), "positive"),
    **dict.fromkeys(("equivocal", "indeterminate", "borderline"), "equivocal"),
}
_NUMBER = r"(?:[<>]=?|[≤≥])?\d+(?:\.\d+|,\d{1,2})?"
_RATIO_TEXT = re.compile(rf"(?:her2(?:/neu)?[/:](?:cep|cent?|chr)-?17(?:ratio)?|(?:her2)?ratio)[:=]?({_NUMBER})")
_METHOD = re.compile(r"^(?:dual|fish|cish|sish|dish|ish)+[:=]*")
_BOTH = re.compile(r"([^(,;/]+?)[(,;/]*((?:dual)?[fcsd]?ish[^()]*)\)?")
_SCORES_OF = {"negative": "01", "low": "1", "2": "2", "3": "3"}
"""Scores that may stand beside a word in one cell: ``1+ (negative)``."""


def _fold(text: str) -> str:
    """One spelling for all: no spaces, no case, no width, one kind of minus."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", text)
    return re.sub(r"[\s\[\]]", "", text)


def _is_missing(folded: str) -> bool:
    """Whether the text says that there is no value; ``+`` and ``-`` say something."""
    letters = re.sub(r"[./_()-]", "", folded)
    return folded in ("", "?") or (letters.isalpha() and letters in _MISSING)


def _read_score(text: str) -> str:
    """One IHC score as ``0`` to ``3``, or "" when the text is none."""
    found = re.fullmatch(r"\+?([0-3])(\.0)?|([0-3])\+", text)
    return (found[1] or found[3]) if found else ""


def _read_twice(text: str) -> str:
    """The score of a cell that says it in a number and in a word that agree, or "": ``1+ (negative)``."""
    found = re.fullmatch(r"([^()]+)\(([^()]+)\)", text)
    if not found:
        return ""
    for number, word in (found.groups(), found.groups()[::-1]):
        score, said = _read_score(number), _IHC_WORDS.get(word.rstrip("."), "")
        if score and score in _SCORES_OF.get(said, ""):
            return score
    return ""


def split_ihc(text: str) -> tuple[str, str]:
    """An IHC cell in two where it names ISH as well: that of IHC, that of ISH; else the cell and "".

    >>> split_ihc("2+ (FISH neg.)"), split_ihc("IHC 2+, ISH not amplified"), split_ihc("2+")
    (('2+', 'fishneg.'), ('ihc2+', 'ishnotamplified'), ('2+', ''))
    """
    found = _BOTH.fullmatch(_fold(text))
    return (found[1], found[2]) if found and read_ihc(found[1]) in ("0", "1", "2", "3") else (text, "")


def read_ihc(text: str) -> str:
    """An IHC cell: ``missing``, ``negative``, ``low``, ``ultralow`` or ``0`` to ``3``; else why it is none of these.

    >>> read_ihc("HER2 2+"), read_ihc("1+ or 2+")
    ('2', 'more than one IHC value')
    """
    folded = _fold(text)
    bare = re.sub(r"^(her2/neu|her2|ihc|score)+", "", folded)
    stripped = bare.lstrip("-:=") if len(bare) > 1 and bare != folded else bare
    if _is_missing(folded) or _is_missing(stripped):
        return "missing"
    if stripped == "+" and re.match("her2", folded) and "ihc" not in folded:
        return "3"  # "HER2+" says positive, as "HER2-" says negative; a bare "+" is the score 1+
    word = _IHC_WORDS.get(stripped) or _read_score(stripped) or _read_twice(stripped)
    if word:
        return word
    parts = re.split(r"to|or|and|[-/,;&|]", stripped)
    if len(parts) > 1 and all(_read_score(part) for part in parts):
        return "more than one IHC value"
    return "IHC code not known"


def _read_result(folded: str) -> str:
    """``missing``, ``negative``, ``positive``, ``equivocal`` or ``unknown``, from an ISH result in words."""
    bare = _METHOD.sub("", folded)
    if _is_missing(folded) or (bare and _is_missing(bare)):
        return "missing"
    bare = re.sub(r"-(?=[^\W\d_])|\.(?!\d)", "", bare)  # "FISH-negative", "Neg."; not "-1", not ".1"
    return _ISH_WORDS.get(bare, "unknown")


def read_ish(text: str) -> tuple[str, str]:
    """An ISH cell: the result in words, and the ratio, still as text, where the cell unmistakably gives one.

    >>> read_ish("FISH not amplified"), read_ish("2.4 (amplified)"), read_ish("1")
    (('negative', ''), ('positive', '2.4'), ('positive', ''))
    """
    folded = _fold(text)
    named = _RATIO_TEXT.search(folded)
    if named:
        rest = re.sub(r"[(),;]", "", folded[: named.start()] + folded[named.end() :])
        return _read_result(_METHOD.sub("", rest)), named[1]
    numbered = re.fullmatch(r"(\d+[.,]\d{1,2})[(,;]?([^\W\d_][^()]*)\)?", folded)
    if numbered and _read_result(numbered[2]) not in ("missing", "unknown"):
        return _read_result(numbered[2]), numbered[1]
    return _read_result(folded), ""


def _read_range(text: str) -> Range | None:
    """The values that a folded number, bound or range can mean, or None when it is none of these."""
    text = text.replace("≤", "<=").replace("≥", ">=")
    if not re.fullmatch(rf"{_NUMBER}|\d+-\d+", text):
        return None
    low, _, high = text.lstrip("<>=").replace(",", ".").partition("-")
    value = float(low)
    if text[0] == ">":
        return (value if text[1] == "=" else math.nextafter(value, math.inf)), math.inf
    if text[0] == "<":
        return 0.0, value if text[1] == "=" else math.nextafter(value, 0.0)
    return value, float(high or low)


def read_measure(text: str) -> tuple[str, Range | None]:
    """A ratio or copies: the result where the cell holds a word instead, and the values where it holds a number.

    >>> read_measure("1,3"), read_measure("amplified"), read_measure("many 2")
    (('missing', (1.3, 1.3)), ('positive', None), ('unknown', None))
    """
    folded = _fold(text)
    if folded == "-" or _is_missing(folded):
        return "missing", None
    values = _read_range(folded)
    if values is None:
        return (_read_result(folded) if folded[-1:].isalpha() else "unknown"), None
    return ("missing", values) if values[1] > 0 and values[0] <= values[1] else ("unknown", None)


def read_percentage(text: str) -> tuple[str, Range | None]:
    """A percentage of stained cells: ``missing`` or ``unknown``, and the values where it holds a number or a range.

    >>> read_percentage("1-10 %"), read_percentage("few")
    (('missing', (1.0, 10.0)), ('unknown', None))
    """
    folded = _fold(text)
    if folded == "-" or _is_missing(folded):
        return "missing", None
    values = _read_range(folded.removesuffix("%"))
    if values is None or values[0] > min(values[1], 100.0):
        return "unknown", None
    return "missing", values
