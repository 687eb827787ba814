"""One person, one key: spellings of the public collections, proven on their real tables."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triher.overlaps import EQUAL_IDS, find_overlaps, public_key

# Spellings that appear in the public tables and archives, and their variants by hand or by other tools.
SPELLINGS = {
    "ISPY2-100899": ["ISPY2-100899", "ISPY2_100899", "ispy2_100899", " I-SPY2 100899 ", "ISPY2-100899_spy2_vis1"],
    "ISPY2-102212": ["ACRIN-6698-102212", "acrin_6698_102212", "ISPY2_102212", "ACRIN-6698-102212_spy2_vis1_mask"],
    "ISPY1_1001": ["ISPY1_1001", "ISPY1-1001", "ispy1_1001_0000", "I-SPY1 1001"],
    "Breast_MRI_001": ["Breast_MRI_001", "breast-mri-001", "DUKE_001", "duke_001_0003", "Breast_MRI_001_duke"],
    "UCSF-BR-01": ["NACT_01", "nact_01_0000", "UCSF-BR-01", "Breast-MRI-NACT-Pilot-01"],
    "AMBL-001": ["AMBL-001", "ambl_001", "AMBL-001_phase1"],
    "TCGA-AO-A03M": ["TCGA-AO-A03M", "tcga-ao-a03m", "TCGA-AO-A03M-01A-11R-A034-07", "TCGA.AO.A03M.01"],
}
STRANGERS = [
    "100899",  # bare numbers belong to every hospital
    "1001",
    "001",
    "ISPY2-10089",
    "ISPY2-1008990",
    "ISPY1_100899",
    "ACRIN-6667-102212",
    "DUKE_0001",
    "DUKE_001b",
    "BREAST_001",
    "XISPY2-100899",
    "TCGA-A2-A0Cno prO",  # a damaged row of the public clinical table
    "TCGA-AO",
    "",
]


@pytest.mark.parametrize(("key", "spelling"), [(key, text) for key, texts in SPELLINGS.items() for text in texts])
def test_every_spelling_of_a_person_has_one_key(key, spelling):
    assert public_key(spelling) == key
    assert public_key(public_key(spelling)) == key


@pytest.mark.parametrize("patient_id", STRANGERS)
def test_other_ids_have_no_key(patient_id):
    assert public_key(patient_id) == ""


@given(st.text(max_size=30))
def test_any_text_has_a_key_or_none(text):
    key = public_key(text)
    assert key == "" or public_key(key) == key


def test_overlaps_across_and_within_cohorts():
    groups = {
        "train": ["ISPY2-102212", "P1", "ISPY1_1001", "P1-a"],
        "test": ["ACRIN-6698-102212", " p1", "ISPY1_1002", "DUKE_007", "Breast_MRI_007"],
    }
    ispy2, plain, duke = find_overlaps(groups)
    assert ispy2.key == "ISPY2-102212"
    assert ispy2.members == (("train", "ISPY2-102212"), ("test", "ACRIN-6698-102212"))
    assert ispy2.groups == ("train", "test")
    assert "ACRIN-6698" in ispy2.source
    assert (plain.key, plain.source) == ("p1", EQUAL_IDS)
    assert (duke.key, duke.groups) == ("Breast_MRI_007", ("test",))


def test_different_people_do_not_overlap():
    assert find_overlaps({"a": ["1", "2", "ISPY2-100899"], "b": ["3", "ISPY1_1008", "100899"], "c": []}) == []


def test_a_repeated_id_is_an_overlap():
    (found,) = find_overlaps({"a": ["X", "X"]})
    assert found.members == (("a", "X"), ("a", "X"))


@given(st.lists(st.sampled_from(["P1", "p1", "ISPY2_100899", "ISPY2-100899", "x", "DUKE_001"]), max_size=12))
def test_every_id_is_in_one_overlap_or_unique(ids):
    found = find_overlaps({"a": ids[::2], "b": ids[1::2]})
    members = [member for overlap in found for member in overlap.members]
    assert len(members) <= len(ids)
    assert all(len(overlap.members) > 1 for overlap in found)
    assert len({overlap.key for overlap in found}) == len(found)


@pytest.fixture
def public_tables(shared):
    """MAMA-MIA and BreastDCEDL, one row a patient, with the key of each."""
    mama_mia = pd.read_csv(shared / "data/mama-mia/clinical_and_imaging_info.csv", dtype=str)
    breastdcedl = pd.read_csv(shared / "data/breastdcedl/BreastDCEDL_metadata_min_crop.csv", dtype=str)
    mama_mia["key"] = mama_mia["patient_id"].map(public_key)
    breastdcedl["key"] = breastdcedl["pid"].map(public_key)
    return mama_mia, breastdcedl


def test_every_public_id_has_a_key_of_its_own(public_tables):
    for table in public_tables:
        assert (table["key"] != "").all()
        assert table["key"].is_unique


# MAMA-MIA's name, BreastDCEDL's name, shared people, and who is in MAMA-MIA alone. The four Duke patients have no row
# in BreastDCEDL (918 of 922); ISPY1_1067 has none either.
SHARED = [
    ("ISPY2", "spy2", 980, set()),
    ("ISPY1", "spy1", 170, {"ISPY1_1067"}),
    ("DUKE", "duke", 287, {"DUKE_250", "DUKE_258", "DUKE_282", "DUKE_577"}),
]


@pytest.mark.parametrize(("theirs", "ours", "n_shared", "alone"), SHARED)
def test_mama_mia_meets_breastdcedl(public_tables, theirs, ours, n_shared, alone):
    mama_mia, breastdcedl = public_tables
    left, right = mama_mia[mama_mia["dataset"] == theirs], breastdcedl[breastdcedl["dataset"] == ours]
    found = find_overlaps({"mama-mia": left["patient_id"].tolist(), "breastdcedl": right["pid"].tolist()})
    assert len(found) == n_shared
    assert all(overlap.groups == ("mama-mia", "breastdcedl") for overlap in found)
    met = {patient_id for overlap in found for group, patient_id in overlap.members if group == "mama-mia"}
    assert set(left["patient_id"]) - met == alone


@pytest.mark.parametrize(("n_age", "n_her2"), [(977 + 170 + 287, 980 + 165 + 287)])
def test_people_with_one_key_have_one_age_and_one_her2_status(public_tables, n_age, n_her2):
    mama_mia, breastdcedl = public_tables
    both = mama_mia.merge(breastdcedl, on="key", suffixes=("_a", "_b"))
    ages = both[["age_a", "age_b"]].astype(float).dropna()
    her2 = both[["her2", "HER2"]].astype(float).dropna()
    assert (len(ages), len(her2)) == (n_age, n_her2)
    assert (ages["age_b"] - ages["age_a"]).between(0, 1, inclusive="left").all()  # MAMA-MIA has whole years only
    assert (her2["her2"] == her2["HER2"]).all()


def test_the_whole_tables_share_1437_people(public_tables):
    mama_mia, breastdcedl = public_tables
    groups = {"mama-mia": mama_mia["patient_id"].tolist(), "breastdcedl": breastdcedl["pid"].tolist()}
    assert len(find_overlaps(groups)) == 1437


def test_acrin_6698_is_part_of_ispy2(shared):
    table = pd.read_csv(shared / "data/ispy2/her2_triple_class.csv", dtype=str)
    rows = table.dropna(subset=["mama_mia_id", "breastdcedl_pid"])
    keys = rows["mama_mia_id"].map(public_key)
    assert (keys == rows["breastdcedl_pid"].map(public_key)).all()
    assert (keys == "ISPY2-" + rows["id"]).all()
    assert len(rows) == 977
    assert rows["breastdcedl_pid"].str.startswith("ACRIN-6698-").sum() == 263


def test_tcga_expression_meets_the_clinical_table(shared):
    folder = shared / "data/tcga-brca"
    clinical = pd.read_csv(folder / "clinical_patient_brca.txt", sep="\t", dtype=str)["bcr_patient_barcode"][2:]
    expression = pd.read_csv(folder / "rna_log2_6000x769.csv.gz", usecols=["patient"], dtype=str)["patient"]
    aliquots = [f"{patient}-01A-11R-A034-07" for patient in expression]
    found = find_overlaps({"clinical": clinical.tolist(), "expression": aliquots})
    assert len(found) == 768  # the row of TCGA-A2-A0CO is damaged in the clinical table
    assert all(overlap.key.startswith("TCGA-") for overlap in found)
