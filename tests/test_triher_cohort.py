"""The cohort table: what is accepted, what is refused, and who has no label and why."""

import csv
import math
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triher.cohort import Reading, contradictions, labels, read_cohort
from triher.errors import StopRun
from triher.settings import CohortConfig
from triher.tables import matching_key

FILES = {"phases": {"pre": "{patient_id}_0.nii.gz"}, "mask": "{patient_id}_m.nii.gz"}


@pytest.fixture
def read(tmp_path):
    """Read a cohort from the text of its table."""

    def read_text(text, **settings):
        path = tmp_path / "cohort.csv"
        path.write_text(text, encoding="utf-8", newline="")
        return read_cohort(CohortConfig.model_validate({"table": path, **FILES, **settings}))

    return read_text


@pytest.fixture
def refused(read):
    """The code and the text of the refusal."""

    def read_and_fail(text, **settings):
        with pytest.raises(StopRun) as caught:
            read(text, **settings)
        return caught.value.code, caught.value.message

    return read_and_fail


def test_a_full_row(read, tmp_path):
    cohort = read(
        "PID,center,ihc,ish,age,OS,dead,split\n007,B,2+,negative,51.5,730.5,Yes,train\n",
        columns={"patient_id": "PID", "site": "center", "cohort": "center", "time": "OS", "event": "dead"},
        covariates=["age"],
        time_unit="days",
        event_codes={"Yes": 1, "No": 0},
    )
    (patient,) = cohort.patients
    assert (patient.patient_id, patient.cohort, patient.site, patient.split) == ("007", "B", "B", "train")
    assert (patient.ihc, patient.ish, patient.covariates) == ("2+", "negative", {"age": 51.5})
    assert patient.time_months == pytest.approx(24.0)
    assert patient.event == 1
    assert patient.phases == {"pre": tmp_path / "007_0.nii.gz"}
    assert patient.mask == tmp_path / "007_m.nii.gz"
    assert cohort.columns == {"patient_id", "site", "cohort", "ihc", "ish", "time", "event", "split"}


def test_what_is_missing_gets_a_default(read):
    (patient,) = read("patient_id,site\nP1,\n", name="Duke").patients
    assert (patient.cohort, patient.site, patient.split, patient.ihc) == ("Duke", "Duke", "", "")
    assert math.isnan(patient.time_months)
    assert patient.event == -1


def test_the_order_of_the_table_is_kept(read):
    names = ["Z", "001", "1", "NA", "1e5", "a", "100"]
    assert read("patient_id,x\n" + "".join(f"{name},\n" for name in names)).ids() == names


def test_our_name_gives_way_to_a_mapped_column(read):
    """A table may use one of our names for something else."""
    cohort = read("patient_id,site,hospital\nP1,left breast,H\n", columns={"site": "hospital"})
    assert cohort.patients[0].site == "H"
    swapped = read("patient_id,site,cohort\nP1,a,b\n", columns={"site": "cohort", "cohort": "site"})
    assert (swapped.patients[0].site, swapped.patients[0].cohort) == ("b", "a")


@pytest.mark.fault("C2")
def test_equal_rows_are_merged_with_a_note(read):
    cohort = read("patient_id,x\nA,1\nB,2\nA,1\nA , 1\n")
    assert cohort.ids() == ["A", "B"]
    assert [(note.patient_id, note.code, note.text) for note in cohort.notes] == [
        ("A", "patient_duplicate", "line 4 repeats line 2"),
        ("A", "patient_duplicate", "line 5 repeats line 2"),
    ]


@pytest.mark.fault("C2", "C4")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A,1", "A,2"),
        ("A,1", "a,1"),
        ("P 1,1", "P1,1"),
        ("P1,1", "\uff30\uff11,1"),
        ("P\u00c9,1", f"{unicodedata.normalize('NFD', chr(0xC9)).join(['P', ''])},1"),
        ("P\u00a01,1", "P1,1"),
    ],
)
def test_rows_that_contradict_each_other_stop(refused, first, second):
    code, message = refused(f"patient_id,x\nQ,0\n{first}\n{second}\n")
    assert code == "patient_duplicate"
    assert "lines 3 (" in message
    assert "and 4 (" in message


@pytest.mark.parametrize("blank", ["", " ", "\u00a0"])
def test_an_empty_id_stops(refused, blank):
    code, message = refused(f"patient_id,x\nA,1\n{blank},2\n")
    assert code == "patient_id"
    assert "line 3" in message


@pytest.mark.fault("C10")
@pytest.mark.parametrize(
    ("settings", "near"),
    [
        ({"columns": {"patient_id": "PIDs"}}, "PID"),
        ({"columns": {"patient_id": "PID", "ihc": "her2ihc"}}, "her2_ihc"),
        ({"columns": {"patient_id": "PID"}, "covariates": ["Age "]}, "age"),
        ({"columns": {"patient_id": "PID"}, "mask": "{msk}"}, "mask"),
        ({"columns": {"patient_id": "PID"}, "phases": {"pre": "x/{pree}.nii"}}, "pre"),
    ],
)
def test_a_missing_column_names_the_nearest(refused, settings, near):
    code, message = refused("PID,her2_ihc,age,mask,pre\n1,0,50,m,p\n", **settings)
    assert code == "column_missing"
    assert f"did you mean '{near}'?" in message


def test_a_column_that_was_mapped_is_asked_for_by_our_name(refused):
    code, message = refused("MRN,x\nA,1\n", columns={"patient_id": "MRN"}, mask="{MRN}.nii")
    assert code == "column_missing"
    assert "is called 'patient_id' here, as cohort.columns says" in message


def test_no_id_column(refused):
    code, message = refused("PatientID,x\nA,1\n")
    assert code == "column_missing"
    assert "'patient_id'" in message
    assert "did you mean 'PatientID'?" in message


def test_a_mapping_that_nothing_asks_for_stops(refused, read):
    """A slip such as ``tiem: OS`` would silently leave the survival part out."""
    code, message = refused("patient_id,OS\nA,1\n", columns={"tiem": "OS"})
    assert code == "unknown_name"
    assert "did you mean 'time'?" in message
    cohort = read("patient_id,AGE,img\nA,50,a.nii\n", columns={"age": "AGE", "mask": "img"}, covariates=["age"],
                  mask="{mask}")  # fmt: skip
    assert cohort.patients[0].covariates == {"age": 50.0}
    assert cohort.patients[0].mask.name == "a.nii"


@pytest.mark.parametrize("template", ["{patient_id", "x}", "{patient_id:d}", "{patient_id!r}", "{patient_id:>{x}}"])
def test_a_malformed_file_name_stops(refused, template):
    code, message = refused("patient_id,x\nA,1\n", mask=template)
    assert code == "config_value"
    assert "the file name of 'mask'" in message


@pytest.mark.parametrize("template", ["{patient_id.__class__}", "{patient_id[0]}", "{}", "{0}"])
def test_a_file_name_is_no_expression(refused, template):
    assert refused("patient_id,x\nA,1\n", mask=template)[0] == "column_missing"


def test_file_names_take_cells_as_they_are(read, tmp_path):
    text = "patient_id,file.pre,a b,abs\n{x},{patient_id}.nii,c d,/data/m.nii\n"
    cohort = read(text, phases={"pre": "{file.pre}", "late": "{a b}/{{{patient_id}}}"}, mask="{abs}", root="/images/")
    patient = cohort.patients[0]
    assert patient.phases == {"pre": Path("/images/{patient_id}.nii"), "late": Path("/images/c d/{{x}}")}
    assert patient.mask == Path("/data/m.nii")
    assert list(patient.phases) == ["pre", "late"]


@pytest.mark.parametrize(("unit", "months"), [("days", 12 * 3652.5 / 365.25), ("months", 3652.5), ("years", 43830.0)])
def test_units_of_time(read, unit, months):
    (patient,) = read("patient_id,time,event\nA,3652.5,1\n", time_unit=unit).patients
    assert patient.time_months == pytest.approx(months)


@pytest.mark.fault("C22")
def test_survival_times_need_a_unit(refused, read):
    code, message = refused("patient_id,time,event\nA,5,1\n")
    assert code == "config_value"
    assert "cohort.time_unit must say days, months or years" in message
    assert read("patient_id,time\nA,5\n").patients[0].event == -1


@pytest.mark.fault("C20")
def test_survival_cells_that_are_empty_or_odd(read):
    cells = ["5,1", ",1", "5,", "NA,NA", "0,0", "-3,1", "1e3,0"]
    text = "patient_id,time,event\n" + "".join(f"P{i},{cell}\n" for i, cell in enumerate(cells))
    patients = read(text, time_unit="months").patients
    missing = math.nan
    assert [p.time_months for p in patients] == pytest.approx([5, missing, missing, missing, 0, -3, 1e3], nan_ok=True)
    assert [p.event for p in patients] == [1, 1, -1, -1, 0, 1, 0]


@pytest.mark.fault("C21")
@pytest.mark.parametrize("code", ["2", "Yes", "TRUE", "1.0", "dead", "-1"])
def test_an_event_code_that_is_not_mapped_stops(refused, code):
    found, message = refused(f"patient_id,time,event\nA,5,0\nB,5,{code}\n", time_unit="months")
    assert found == "event_codes"
    assert f"line 3: column 'event' holds '{code}'; known codes: '0', '1'" in message


@pytest.mark.fault("C21")
def test_event_codes_are_mapped_also_those_that_look_missing(read):
    cohort = read(
        "patient_id,time,event\nA,5,1\nB,5,2\nC,5,\nD,5,NA\n",
        time_unit="months",
        event_codes={"1": 0, "2": 1, "": 0},
    )
    assert [p.event for p in cohort.patients] == [0, 1, 0, -1]


@pytest.mark.parametrize("cell", ["3,5", "5 cm", "1_000", "inf", "-Infinity", "1,000.5", "<5", "--"])
def test_a_covariate_that_is_no_number_stops(refused, cell):
    code, message = refused(f'patient_id,age\nA,50\nA,50\nB,"{cell}"\n', covariates=["age"])
    assert code == "number_format"
    assert f"line 4: column 'age' holds '{cell}'" in message


@pytest.mark.fault("C23")
@pytest.mark.parametrize("cell", ["premenopausal", "yes", "not known", "GE", "T2", "grade 3", "IIa"])
def test_a_covariate_in_words_stops(refused, cell):
    code, message = refused(f'patient_id,age\nA,50\nA,50\nB,"{cell}"\n', covariates=["age"])
    assert code == "covariate_type"
    assert f"line 4: covariate 'age' holds '{cell}'" in message


@pytest.mark.parametrize("cell", ["", "NA", "N/A", "nan", "[Not Available]"])
def test_a_missing_covariate_is_nan(read, cell):
    assert math.isnan(read(f"patient_id,age\nA,{cell}\n", covariates=["age"]).patients[0].covariates["age"])


@pytest.mark.fault("C24")
@pytest.mark.parametrize(
    ("columns", "covariate"), [({}, "ihc"), ({}, "ish"), ({"ihc": "HER2"}, "HER2"), ({"ish": "FISH"}, "FISH")]
)
def test_a_label_column_is_no_covariate(refused, columns, covariate):
    code, message = refused("patient_id,ihc,ish,HER2,FISH\nA,3,,3,\n", columns=columns, covariates=[covariate])
    assert code == "label_leak"
    assert f"'{covariate}'" in message


@pytest.mark.fault("C9")
def test_a_wrong_label_column_stops(refused):
    rows = "".join(f"P{i},{50 + i}\n" for i in range(10))
    assert refused("patient_id,ihc\n" + rows)[0] == "her2_codes"


@pytest.mark.fault("C6", "C7", "C8")
def test_labels_and_who_has_none(read):
    cohort = read(
        "patient_id,cohort,ihc,ish\nA,X,0,\nB,X,2+,neg\nC,X,3+,\nD,Y,2+,\nE,X,negative,\nF,X,,\nG,X,1+,amplified\n"
        "H,X,2+,equivocal\nI,X,ultralow,\nJ,X,3+/2+,\nK,X,1+-2+,\nL,X,9,\nM,X,3+,negative\n"
    )
    known, skipped = labels(cohort, "triple")
    assert known == {"A": 0, "B": 1, "C": 2, "I": 0, "M": 2}
    assert {row.patient_id: row.reason.split(" (IHC")[0] for row in skipped} == {
        "D": "2+ without ISH",
        "E": "'negative' alone cannot tell zero from low",
        "F": "IHC missing",
        "G": "IHC 1+ with amplified ISH (discordant)",
        "H": "2+ with equivocal ISH",
        "J": "more than one IHC value",
        "K": "more than one IHC value",
        "L": "IHC code not known",
    }
    doubted = contradictions(cohort)
    assert [(note.patient_id, note.code) for note in doubted] == [
        ("G", "her2_contradiction"),
        ("M", "her2_contradiction"),
    ]
    assert {(row.code, row.stage) for row in skipped} == {("her2_unknown", "classify")}
    assert skipped[0].cohort == "Y"
    assert skipped[0].reason == "2+ without ISH (IHC '2+', ISH '')"
    assert len(known) + len(skipped) == len(cohort.patients)
    assert labels(cohort, "binary")[0] == {"A": 0, "B": 0, "C": 1, "E": 0, "I": 0, "M": 1}
    assert labels(cohort, "ultralow")[0] == {"A": 0, "B": 2, "C": 3, "I": 1, "M": 3}


def test_labels_need_a_column_and_a_scheme(read):
    with pytest.raises(StopRun, match="no column 'ihc'") as caught:
        labels(read("patient_id,HER2\nA,3\n"), "triple")
    assert caught.value.code == "column_missing"
    assert "cohort.columns.ihc" in caught.value.remedy
    with pytest.raises(StopRun, match="unknown label scheme 'four'"):
        labels(read("patient_id,ihc\nA,3\n"), "four")


@pytest.mark.fault("C27")
def test_c27_of_thousands_of_columns_only_those_in_use_are_kept(read):
    names = [f"g{k}" for k in range(5000)]
    text = "\n".join([",".join(["patient_id", *names]), *(",".join([f"P{i}", *["1.5"] * 5000]) for i in range(20))])
    start = time.process_time()
    patients = read(text + "\n", covariates=["g4999"]).patients
    assert time.process_time() - start < 5
    assert {patient.covariates["g4999"] for patient in patients} == {1.5}


def test_many_patients_are_quick(read):
    rows = "".join(f"P{i:05d},2+,negative,{i % 90}\n" for i in range(5_000))
    start = time.process_time()
    assert len(read("patient_id,ihc,ish,age\n" + rows, covariates=["age"]).patients) == 5_000
    assert time.process_time() - start < 5


IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    lambda text: text == text.strip()
)
ODD = ["=cmd", "001", "../x", "a/b", ".", "NA", '"', "a,b", "a;b", "{x}", "-1", "'=x", "<script>", "a\nb"]


@pytest.mark.fault("C1")
@settings(max_examples=50, deadline=None)
@given(ids=st.lists(IDS | st.sampled_from(ODD), min_size=1, max_size=6, unique_by=matching_key))
def test_ids_stay_as_they_are(tmp_path_factory, ids):
    path = tmp_path_factory.getbasetemp() / "property.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([["patient_id", "ihc"], *([patient_id, "0"] for patient_id in ids)])
    cohort = read_cohort(CohortConfig.model_validate({"table": path, **FILES}))
    assert cohort.ids() == ids
    assert list(labels(cohort, "triple")[0]) == ids


@pytest.mark.fault("C3")
def test_c03_one_person_under_two_public_ids_stops(refused):
    code, message = refused("patient_id,cohort\nISPY2-102212,breastdcedl\nACRIN-6698-102212,mama-mia\n")
    assert code == "patient_leak"
    assert "'ISPY2-102212' and 'ACRIN-6698-102212'" in message


@pytest.mark.fault("C14")
def test_c14_another_separator_is_noted(read):
    cohort = read("patient_id;site\nA;1\nB;2\n")
    assert [(note.code, note.text) for note in cohort.notes] == [
        ("table_separator", "the cells are separated by semicolons")
    ]


@pytest.mark.fault("C15")
def test_c15_a_decimal_comma_must_be_said(read, refused):
    text = "patient_id;age\nA;50,5\n"
    assert refused(text, covariates=["age"])[0] == "number_format"
    assert read(text, covariates=["age"], decimal=",").patients[0].covariates == {"age": 50.5}


@pytest.mark.fault("C19")
def test_c19_a_workbook_is_a_table(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["patient_id", "ihc"])
    book.active.append(["001", "2+"])
    book.create_sheet("notes").append(["something else"])
    book.save(tmp_path / "cohort.xlsx")
    config = CohortConfig(table=tmp_path / "cohort.xlsx", **FILES)
    with pytest.raises(StopRun) as caught:
        read_cohort(config)
    assert caught.value.code == "xlsx_sheet"
    assert read_cohort(config.model_copy(update={"sheet": "Sheet"})).ids() == ["001"]


@pytest.mark.fault("C22")
def test_c22_another_unit_in_one_cohort_is_suspected(read):
    rows = [f"A{i},a,{300 + i},1" for i in range(5)] + [f"B{i},b,{10 + i},1" for i in range(5)]
    cohort = read("\n".join(["patient_id,cohort,time,event", *rows]) + "\n", time_unit="months")
    assert [note.code for note in cohort.notes] == ["unit_suspect"]
    assert "'a'" in cohort.notes[0].text


@pytest.mark.fault("C24")
@pytest.mark.parametrize(
    "covariate", ["HER2_status", "erbb2_expression", "trastuzumab", "TripleNeg", "tumor_subtype"]
)
def test_c24_a_covariate_that_tells_the_label_must_be_allowed_by_name(read, refused, covariate):
    text = f"patient_id,ihc,{covariate}\nA,3+,1\n"
    assert refused(text, covariates=[covariate])[0] == "label_leak"
    assert read(text, covariates=[covariate], allowed_covariates=[covariate]).patients[0].covariates == {
        covariate: 1.0
    }


def test_measured_ish_and_rule_sets_decide_labels(read, refused):
    text = "patient_id,ihc,ish,ish_ratio,ish_copies\nA,2+,,2.1,5.0\nB,2+,,1.1,2.0\nC,1+,amplified,,\n"
    assert labels(read(text), "triple")[0] == {"A": 2, "B": 1}
    assert labels(read(text, her2_rules="asco-cap-2007"), "triple")[0] == {"B": 1}
    assert labels(read(text, her2_rules="either-test"), "triple")[0] == {"A": 2, "B": 1, "C": 2}
    assert [note.patient_id for note in contradictions(read(text))] == ["C"]
    assert refused(text, her2_rules="asco-2018")[0] == "unknown_name"


def test_one_source_for_all_phases_is_chosen_from_by_rules(read, tmp_path):
    cohort = read(
        'patient_id,start,t,third\nA,10,"[0, 60, 120]",2.0\n',
        exam="{patient_id}/*.nii.gz",
        phases={"pre": "pre", "early": "nearest 90 s", "late": "phase {third}"},
        times="{t}",
        injection="{start}",
        missing_phase="last",
    )
    (patient,) = cohort.patients
    assert set(patient.phases.values()) == {tmp_path / "A" / "*.nii.gz"}
    assert patient.files() == {"exam": tmp_path / "A" / "*.nii.gz", "mask": tmp_path / "A_m.nii.gz"}
    assert patient.reading == Reading(
        {"pre": "pre", "early": "nearest 90 s", "late": "phase 2.0"},
        header_id="A",
        starts_s=(0.0, 60.0, 120.0),
        injection_s=10.0,
        missing_phase="last",
    )


def test_geometry_and_box_come_from_the_row(read):
    text = "patient_id,dz,dxy,b\nA,2.5,0.7,1 2 3 4 5 6\nB,2.5,0.7,\n"
    geometry = {"orientation": "SPL", "spacing_mm": "{dz} {dxy} {dxy}"}
    boxed, masked = read(text, geometry=geometry, box="{b}", mask="{patient_id}_m.nii.gz").patients
    assert (boxed.mask, boxed.reading.box) == (None, (1, 2, 3, 4, 5, 6))
    assert (masked.mask.name, masked.reading.box) == ("B_m.nii.gz", ())
    assert boxed.reading.spacing_mm == (2.5, 0.7, 0.7)


def test_a_column_of_masks_counts_where_the_row_has_no_box(read):
    boxed, masked = read("patient_id,b,mask\nA,1 2 3 4 5 6,\nB,,m.nii\n", box="{b}", mask="{mask}").patients
    assert (boxed.mask, masked.mask.name) == (None, "m.nii")


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"exam": "x", "phases": {"pre": "soon"}}, "phase_rule"),
        ({"times": "{t}"}, "number_format"),
        ({"box": "1 2 3"}, "number_format"),
        ({"geometry": {"orientation": "RAS", "spacing_mm": "1 1"}}, "number_format"),
        ({"phases": {"exam": "x"}}, "config_value"),
    ],
)
def test_what_cannot_be_read_from_a_row_stops(refused, settings, code):
    assert refused('patient_id,t\nA,"[0, x]"\n', **settings)[0] == code


def test_an_empty_file_name_is_no_folder(read):
    (patient,) = read("patient_id,pre,mask\nA,,\n", phases={"pre": "{pre}"}, mask="{mask}").patients
    assert patient.phases["pre"].name == "(no file named in the table)"
    assert patient.mask.name == "(no file named in the table)"
