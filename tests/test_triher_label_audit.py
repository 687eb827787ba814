"""The audit of HER2 entries, on made-up tables and on two public cohorts."""

import csv
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triher.errors import StopRun
from triher.label_audit import audit, summary, write_audit
from triher.labels import Entry, check_codes, class_in_scheme, her2_from_pathology
from triher.tables import read_own_table


def tcga_entries(shared, *, measured=False):
    """Barcode -> entry, from the clinical table with its two extra header lines."""
    path = shared / "data" / "tcga-brca" / "clinical_patient_brca.txt"
    if not path.exists():
        pytest.skip("no clinical table of TCGA-BRCA in ../shared/data")
    names = ["her2_ihc_score", "her2_fish_status", "her2_cent17_ratio", "her2_copy_number"]
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))[2:]
    return {row["bcr_patient_barcode"]: Entry(*(row[n] for n in names[: 4 if measured else 2])) for row in rows}


def changed(before, after, **rules):
    """Barcode -> (class or reason) of those patients whose class is another, before and after."""
    moved = {}
    for barcode, entry in after.items():
        old = her2_from_pathology(**before[barcode]._asdict())
        new = her2_from_pathology(**entry._asdict(), **rules)
        if class_in_scheme(old, "triple") != class_in_scheme(new, "triple"):
            moved[barcode] = (old.category or old.reason, new.category or new.reason)
    return moved


def test_one_row_a_spelling_most_frequent_first():
    rows = audit([("1+",), ("2+", "neg"), ("1+", ""), ("IHC 1+", ""), ("9", "")], "triple")
    assert [(row.ihc, row.ish, row.label, row.count) for row in rows] == [
        ("1+", "", "low", 2),
        ("2+", "neg", "low", 1),
        ("9", "", "", 1),
        ("IHC 1+", "", "low", 1),
    ]
    assert [row.reason for row in rows] == ["", "", "IHC code not known", ""]


@pytest.mark.parametrize(
    ("entry", "rules", "label", "outcome"),
    [
        (Entry("3+", "negative"), "asco-cap-2018", "positive", "contradiction"),
        (Entry("1+", "amplified"), "asco-cap-2018", "", "contradiction"),
        (Entry("1+", "amplified"), "either-test", "positive", "contradiction"),
        (Entry("0", ratio="3.1"), "asco-cap-2018", "", "contradiction"),
        (Entry("2+", "negative", "3.1"), "asco-cap-2018", "", "contradiction"),
        (Entry("0", staining_percent="40"), "asco-cap-2018", "", "contradiction"),
        (Entry("2+"), "asco-cap-2018", "", "left out"),
        (Entry("2+", ratio="2.1"), "asco-cap-2007", "", "left out"),
        (Entry("2+", ratio="2.1"), "asco-cap-2023", "positive", "labeled"),
    ],
)
def test_outcomes(entry, rules, label, outcome):
    (row,) = audit([entry], "triple", rules)
    assert (row.label, row.outcome) == (label, outcome)
    assert bool(row.reason) == (not label)
    assert row.flag or outcome != "contradiction" or row.reason


def test_the_scheme_decides_what_is_left_out():
    (triple,), (binary,) = (audit([("negative",)], scheme) for scheme in ("triple", "binary"))
    assert (triple.label, triple.outcome, bool(triple.reason)) == ("", "left out", True)
    assert (binary.label, binary.outcome, binary.reason) == ("negative", "labeled", "")
    (ultralow,) = audit([Entry("0", staining_percent="5")], "ultralow")
    assert ultralow.label == "ultralow"


@pytest.mark.parametrize(("scheme", "rules"), [("tripel", "asco-cap-2018"), ("triple", "asco-cap-2081")])
def test_unknown_names_stop(scheme, rules):
    with pytest.raises(StopRun) as caught:
        audit([("1+",)], scheme, rules)
    assert caught.value.code == "unknown_name"


CELLS = st.sampled_from(["", "0", "1+", "2+", "3+", "amplified", "negative", "2.4", "=1+1", "-"])


@settings(max_examples=50, deadline=None)
@given(entries=st.lists(st.tuples(CELLS, CELLS, CELLS)), seed=st.randoms(use_true_random=False))
def test_nobody_is_lost_and_the_order_does_not_matter(entries, seed):
    rows = audit(entries, "triple")
    assert sum(row.count for row in rows) == len(entries)
    shuffled = list(entries)
    seed.shuffle(shuffled)
    assert audit(shuffled, "triple") == rows
    found = summary(rows)
    assert sum(found.classes.values()) + sum(found.reasons.values()) == len(entries)
    assert sum(found.outcomes.values()) == len(entries)


def test_the_written_table_reads_back_and_runs_no_formula(tmp_path):
    entries = [("=1+1", "+"), ("+++", "-"), ("\uff11+", ""), ("2+", "neg", "1,3")]
    rows = audit(entries, "triple")
    write_audit(tmp_path / "audit.csv", rows)
    frame = read_own_table(tmp_path / "audit.csv")
    assert list(frame.columns) == [
        *Entry._fields,
        "label",
        "reason",
        "flag",
        "count",
        "outcome",
    ]
    assert [tuple(row) for row in frame[list(Entry._fields)].to_numpy()] == [
        tuple(row)[:5] for row in map(cells, rows)
    ]
    with (tmp_path / "audit.csv").open(encoding="utf-8", newline="") as handle:
        assert not any(cell[:1] in ("=", "+", "-", "@") for row in csv.reader(handle) for cell in row)


def cells(row):
    """The five cells of an audit row."""
    return Entry(row.ihc, row.ish, row.ratio, row.copies, row.staining_percent)


def test_an_audit_of_nobody_is_empty():
    assert audit([], "triple") == []
    assert summary([]).classes == {}


def test_tcga_levels_and_the_three_patients_between_the_rule_sets(shared):
    """IHC 61/272/199/90; 61/407/142 by default, 61/407/145 where amplified ISH counts whatever IHC says."""
    entries = tcga_entries(shared)
    levels = Counter(entry.ihc for entry in entries.values())
    assert [levels[level] for level in ("0", "1+", "2+", "3+")] == [61, 272, 199, 90]
    default, either = (
        summary(audit(entries.values(), "triple", rules)) for rules in ("asco-cap-2018", "either-test")
    )
    assert default.classes == {"low": 407, "positive": 142, "zero": 61}
    assert default.outcomes == {"labeled": 605, "left out": 484, "contradiction": 8}
    assert either.classes == {"low": 407, "positive": 145, "zero": 61}
    discordant = ("IHC 1+ with amplified ISH (discordant)", "positive")
    assert changed(entries, entries, rules="either-test") == dict.fromkeys(
        ("TCGA-A2-A04U", "TCGA-AO-A0JL", "TCGA-LL-A5YP"), discordant
    )


def test_tcga_ratio_moves_three_patients(shared):
    words, measured = tcga_entries(shared), tcga_entries(shared, measured=True)
    ratios = {barcode: entry._replace(copies="") for barcode, entry in measured.items()}
    assert sum(not entry.ratio.startswith("[") for entry in ratios.values()) == 233
    assert changed(words, ratios) == {
        "TCGA-A2-A25E": ("2+ with equivocal ISH", "positive"),  # 2.1
        "TCGA-AC-A3TM": ("2+ with equivocal ISH", "low"),  # 1.9
        "TCGA-A7-A13H": ("low", "ISH result and ratio contradict"),  # negative, 2.2
    }
    assert summary(audit(ratios.values(), "triple")).classes == {"low": 407, "positive": 143, "zero": 61}
    assert changed(words, ratios, rules="asco-cap-2007") == {}


def test_tcga_copies_settle_one_patient_and_show_two_contradictions(shared):
    """Group 2 explains A7-A13H; a negative result with 6.4 copies and a positive one 'not amplified' do not fit."""
    words, measured = tcga_entries(shared), tcga_entries(shared, measured=True)
    assert changed(words, measured) == {
        "TCGA-A2-A25E": ("2+ with equivocal ISH", "positive"),
        "TCGA-AC-A3TM": ("2+ with equivocal ISH", "low"),
        "TCGA-A7-A4SD": ("low", "ISH result and ratio contradict"),  # negative, 1.3, 6.4 copies
        "TCGA-D8-A1JB": ("positive", "ISH result and copies contradict"),  # positive, 'not amplified'
    }
    rows = audit(measured.values(), "triple")
    assert summary(rows).classes == {"low": 407, "positive": 142, "zero": 61}
    assert sum(row.count for row in rows if "a total over nuclei" in row.flag) == 31
    assert sum(row.count for row in rows if "group 4" in row.flag) == 4
    check_codes(list(measured.values()))


def test_ispy2_words(shared):
    """The three classes of the genomic supplement are words already."""
    path = shared / "data" / "ispy2" / "her2_triple_class.csv"
    if not path.exists():
        pytest.skip("no table of I-SPY2 in ../shared/data")
    with path.open(encoding="utf-8", newline="") as handle:
        entries = [(row["her2_3class"],) for row in csv.DictReader(handle)]
    found = summary(audit(entries, "triple"))
    assert found.classes == {"low": 365, "positive": 244, "zero": 217}
    assert found.reasons == {"IHC missing": 156}
