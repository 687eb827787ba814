"""From pathology entries to HER2 classes."""

import csv
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triher.errors import StopRun
from triher.labels import SCHEMES, check_codes, class_in_scheme, her2_from_pathology, scheme_classes


def test_golden_labels(golden_folder):
    """The referee's table of spellings, every row of it."""
    with (golden_folder / "her2_labels.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) > 70
    wrong = []
    for row in rows:
        her2 = her2_from_pathology(row["ihc"], row["ish"])
        name = class_in_scheme(her2, "triple")
        found = (name, "" if name else her2.reason, her2.flag)
        if found != (row["class"], row["reason"], row["flag"]):
            wrong.append((row, found))
    assert wrong == []


@pytest.mark.parametrize(
    ("ihc", "ish", "category"),
    [
        # Wolff et al. 2023, doi 10.1200/JCO.22.02864
        ("0", "", "zero"),
        ("0", "not amplified", "zero"),
        ("1+", "", "low"),
        ("2+", "not amplified", "low"),
        ("2+", "amplified", "positive"),
        ("3+", "", "positive"),
        ("3+", "not amplified", "positive"),
        (">0 <1+", "", "ultralow"),
        ("2+", "", ""),
        ("2+", "equivocal", ""),
        ("1+", "amplified", ""),
        ("", "amplified", "positive"),
        ("negative", "", "negative"),
    ],
)
def test_rules(ihc, ish, category):
    assert her2_from_pathology(ihc, ish).category == category


@pytest.mark.parametrize("text", ["HER2+", "HER2 +", "her2/neu+"])
def test_her2_plus_is_positive_and_no_score(text):
    assert her2_from_pathology(text).category == "positive"
    assert her2_from_pathology(text.replace("+", "-")).category == "negative"


@pytest.mark.parametrize(
    ("text", "category"), [("+", "low"), ("HER2 IHC +", "low"), ("HER2 1+", "low"), ("HER2 +++", "positive")]
)
def test_a_score_in_plus_signs_stays_a_score(text, category):
    assert her2_from_pathology(text).category == category


@pytest.mark.parametrize("ihc", ["9", "4+", "1.5", "-1", "3 or so", "see report", "0+1+2"])
def test_nothing_is_guessed(ihc):
    her2 = her2_from_pathology(ihc)
    assert her2.category == ""
    assert her2.reason in ("IHC code not known", "more than one IHC value")


def test_an_unreadable_ish_is_not_ignored():
    assert her2_from_pathology("3+", "ratio 1.4").reason == "ISH code not known"


PIECES = st.sampled_from(
    [*"0123+-/ .<>?&", "HER2", "IHC", "FISH", "neg", "amp", "to", "low", "ultra", "NA", "\uff12"]
)


@settings(max_examples=150, deadline=None)
@given(ihc=st.text() | st.lists(PIECES).map("".join), ish=st.text() | st.lists(PIECES).map("".join))
def test_any_text_gives_a_category_or_a_reason(ihc, ish):
    her2 = her2_from_pathology(ihc, ish)
    assert her2.category or her2.reason
    assert her2.category in ("", "zero", "ultralow", "low", "positive", "negative")
    for scheme, classes in SCHEMES.items():
        assert class_in_scheme(her2, scheme) in ("", *classes)
        assert class_in_scheme(her2, scheme) or her2.reason


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("triple", {"zero": "zero", "ultralow": "zero", "low": "low", "negative": "", "positive": "positive"}),
        (
            "binary",
            {
                "zero": "negative",
                "ultralow": "negative",
                "low": "negative",
                "negative": "negative",
                "positive": "positive",
            },
        ),
        ("ultralow", {"zero": "zero", "ultralow": "ultralow", "low": "low", "negative": "", "positive": "positive"}),
    ],
)
def test_schemes(scheme, expected):
    entries = {"zero": "0", "ultralow": "ultralow", "low": "1+", "negative": "negative", "positive": "3+"}
    found = {name: class_in_scheme(her2_from_pathology(ihc), scheme) for name, ihc in entries.items()}
    assert found == expected
    assert list(dict.fromkeys(filter(None, found.values()))) == list(scheme_classes(scheme))


def test_an_unknown_scheme_lists_the_known():
    with pytest.raises(StopRun, match="did you mean 'triple'") as caught:
        scheme_classes("tripel")
    assert caught.value.code == "unknown_name"


@pytest.mark.parametrize(("n_unknown", "stops"), [(0, False), (2, False), (3, True), (10, True)])
def test_more_than_a_fifth_of_unknown_codes_stops(n_unknown, stops):
    entries = [("9", "")] * n_unknown + [("1+", "")] * (10 - n_unknown) + [("", "")] * 50
    if not stops:
        check_codes(entries)
        return
    with pytest.raises(StopRun, match=rf"{n_unknown} of 10 .*IHC '9', ISH '' \({n_unknown} times\)") as caught:
        check_codes(entries)
    assert caught.value.code == "her2_codes"


def test_no_codes_at_all_are_no_wrong_codes():
    check_codes([])
    check_codes([("", "")] * 5)
    check_codes([("[Not Available]", "NA")] * 5)


def test_a_long_list_of_unknown_codes_is_cut():
    with pytest.raises(StopRun, match=r"; \.\.\.") as caught:
        check_codes([(f"code {i}", "") for i in range(50)])
    assert len(caught.value.message) < 600


def test_tcga_brca(shared):
    """IHC score and FISH of 1,097 patients: zero 61, low 407, positive 142.

    The published count of 145 positives takes amplified FISH alone; three of those patients are IHC 1+, which
    we leave out as discordant.
    """
    path = shared / "data" / "tcga-brca" / "clinical_patient_brca.txt"
    if not path.exists():
        pytest.skip("no clinical table of TCGA-BRCA in ../shared/data")
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))[2:]
    outcomes = [her2_from_pathology(row["her2_ihc_score"], row["her2_fish_status"]) for row in rows]
    assert Counter(class_in_scheme(her2, "triple") for her2 in outcomes) == {
        "zero": 61,
        "low": 407,
        "positive": 142,
        "": 487,
    }
    assert Counter(her2.reason for her2 in outcomes if not class_in_scheme(her2, "triple")) == {
        "IHC missing": 363,
        "ISH negative without IHC cannot tell zero from low": 96,
        "2+ without ISH": 22,
        "2+ with equivocal ISH": 3,
        "IHC 1+ with amplified ISH (discordant)": 3,
    }
    check_codes([(row["her2_ihc_score"], row["her2_fish_status"]) for row in rows])
