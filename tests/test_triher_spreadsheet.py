"""Reading sheets of workbooks: what a person reads in a cell is what comes out."""

import re
import zipfile
from datetime import date, datetime, time, timedelta

import pytest
from openpyxl import Workbook, load_workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.worksheet.formula import ArrayFormula

from triher import spreadsheet
from triher.errors import StopRun
from triher.spreadsheet import read_sheet, text_of
from triher.tables import read_cells, read_table


def save(tmp_path, rows, *, formats=None, change=None, name="table.xlsx"):
    """Write rows to a workbook; `change` maps parts of the archive to functions from text to text."""
    book = Workbook()
    for row in rows:
        book.active.append(row)
    for place, number_format in (formats or {}).items():
        book.active[place].number_format = number_format
    book.save(tmp_path / name)
    return edit(tmp_path / name, change or {})


def edit(path, change):
    """Rewrite parts of the archive; a part whose function gives None is left out."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            new = change[name](data.decode()) if name in change else data
            if new is not None:
                archive.writestr(name, new)
    return path


def refused(path, *arguments, **options):
    """The code and the text of the refusal."""
    with pytest.raises(StopRun) as caught:
        read_table(path, *arguments, **options)
    assert path.name in caught.value.message
    return caught.value.code, caught.value.message


SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.fault("C1")
def test_c01_ids_stay_as_a_person_reads_them(tmp_path):
    ids = ["001", "NA", "1e5", 7, 12.0, 1e5, 3, 4]
    path = save(tmp_path, [["patient_id"], *([x] for x in ids)], formats={"A5": "000", "A8": '"P"000', "A9": "00-00"})
    assert read_table(path)["patient_id"].tolist() == ["001", "NA", "1e5", "007", "12", "100000", "P003", "00-04"]


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (1.0, "General", "1"),
        (-0.0, "General", "0"),
        (0.1 + 0.2, "General", "0.3"),
        (1.1000000238419, "0.0", "1.1000000238419"),
        (1e-7, "General", "1e-07"),
        (123456789012345.0, "General", "123456789012345"),
        (5, "000", "005"),
        (5.0, "000;-000", "005"),
        (-5, "000", "-5"),
        (0, "000", "000"),
        (0, '000;-000;"none"', "0"),
        (1234, "000", "1234"),
        (5, "[$-409]0000", "0005"),
        (5, r"\P00", "P05"),
        (123456789, "000-00-0000", "123-45-6789"),
        (1123456789, "000-00-0000", "1123-45-6789"),
        (5, "0.00", "5"),
        (5, '0" mm"', "5"),
        (5, "#,##0", "5"),
        (5, "[<9]000;0", "5"),
        (1.5, "000", "1.5"),
        (True, "General", "TRUE"),
        (datetime(2020, 1, 31), "General", "2020-01-31"),
        (datetime(2020, 1, 31, 13, 5), "General", "2020-01-31T13:05:00"),
        (date(2020, 1, 31), "General", "2020-01-31"),
        (time(9, 30), "General", "09:30:00"),
        (timedelta(hours=26, minutes=3), "General", "26:03:00"),
        (" a\u00a0", "General", "a"),
        ("a_x000D_\nb", "General", "a\nb"),
    ],
)
def test_text_of_a_value(value, number_format, text):
    assert text_of(value, number_format) == text


@pytest.mark.fault("C19")
def test_c19_dates_and_truth_values(tmp_path):
    rows = [["id", "when", "yes"], ["P1", datetime(2021, 2, 3), True], ["P2", datetime(2021, 2, 3, 4, 5), False]]
    frame = read_table(save(tmp_path, rows))
    assert frame["when"].tolist() == ["2021-02-03", "2021-02-03T04:05:00"]
    assert frame["yes"].tolist() == ["TRUE", "FALSE"]


@pytest.mark.fault("C19")
def test_c19_a_date_that_no_calendar_has_is_an_error_of_its_cell(tmp_path):
    path = save(tmp_path, [["id", "when"], ["P1", 1e9]], formats={"B2": "yyyy-mm-dd"})
    code, message = refused(path)
    assert code == "xlsx_error"
    assert "cell B2" in message


@pytest.mark.fault("C19")
@pytest.mark.parametrize("formula", ["=1+1", ArrayFormula("B3:B3", "=1+1")])
def test_c19_a_formula_that_was_never_computed_is_named(tmp_path, formula):
    code, message = refused(save(tmp_path, [["id", "age"], ["P1", 50], ["P2", formula]]))
    assert code == "xlsx_formula"
    assert "sheet 'Sheet', cell B3" in message


def computed(tmp_path, cell, *, recompute=False):
    """A workbook whose cell B2 is this XML."""
    workbook = {"xl/workbook.xml": lambda text: text.replace(' fullCalcOnLoad="1"', "")}
    change = {SHEET: lambda text: re.sub(r'<c r="B2".*?</c>', cell, text), **({} if recompute else workbook)}
    return save(tmp_path, [["id", "age", "x"], ["P1", 50, "y"]], change=change)


@pytest.mark.fault("C19")
@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('<c r="B2"><f>C1+1</f><v>51.5</v></c>', "51.5"),
        ('<c r="B2"><f>0</f><v>0</v></c>', "0"),
        ('<c r="B2" t="str"><f>"a"</f><v>a</v></c>', "a"),
        ('<c r="B2" t="str"><f>""</f><v></v></c>', ""),
        ('<c r="B2" t="b"><f>TRUE()</f><v>1</v></c>', "TRUE"),
    ],
)
def test_c19_a_formula_that_was_computed_gives_its_value(tmp_path, cell, text):
    assert read_table(computed(tmp_path, cell))["age"].tolist() == [text]


@pytest.mark.fault("C19")
def test_c19_the_zero_that_a_writer_puts_in_place_of_a_result_is_no_result(tmp_path):
    cell = '<c r="B2"><f>C1+1</f><v>{}</v></c>'
    assert refused(computed(tmp_path, cell.format(0), recompute=True))[0] == "xlsx_formula"
    assert read_table(computed(tmp_path, cell.format(51), recompute=True))["age"].tolist() == ["51"]


@pytest.mark.fault("C19")
@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#DIV/0!"])
def test_c19_an_error_value_names_its_cell(tmp_path, error):
    code, message = refused(computed(tmp_path, f'<c r="B2" t="e"><f>C1/0</f><v>{error}</v></c>'))
    assert code == "xlsx_error"
    assert f"cell B2 holds the error {error}" in message


def two_sheets(tmp_path, *, hidden=False, empty=False):
    """A workbook with the sheets `clinical` and `legend`."""
    book = Workbook()
    book.active.title = "clinical"
    book.active.append(["id", "x"])
    book.active.append(["P1", "1"])
    legend = book.create_sheet("legend")
    legend.append([None] if empty else ["field", "meaning"])
    legend.append([None] if empty else ["id", "a patient"])
    legend.sheet_state = "hidden" if hidden else "visible"
    chart = BarChart()
    chart.add_data(Reference(book.active, min_col=2, min_row=1, max_row=2))
    book.create_chartsheet("plot").add_chart(chart)
    book.save(tmp_path / "two.xlsx")
    return tmp_path / "two.xlsx"


@pytest.mark.fault("C19")
def test_c19_of_several_sheets_one_must_be_named(tmp_path):
    path = two_sheets(tmp_path)
    code, message = refused(path)
    assert code == "xlsx_sheet"
    assert "'clinical', 'legend'" in message
    assert read_table(path, "clinical")["id"].tolist() == ["P1"]
    assert read_table(path, "legend").attrs["sheet"] == "legend"


@pytest.mark.fault("C19")
@pytest.mark.parametrize("options", [{"hidden": True}, {"empty": True}])
def test_c19_hidden_and_empty_sheets_do_not_count(tmp_path, options):
    path = two_sheets(tmp_path, **options)
    assert read_table(path).attrs["sheet"] == "clinical"
    assert read_cells(path, "legend") == ([] if "empty" in options else [["field", "meaning"], ["id", "a patient"]])


@pytest.mark.fault("C19")
def test_c19_an_unknown_sheet_names_the_nearest(tmp_path):
    code, message = refused(two_sheets(tmp_path), "Clinical data")
    assert code == "xlsx_sheet"
    assert "did you mean 'clinical'?" in message


@pytest.mark.fault("C19")
def test_c19_a_text_file_has_no_sheet(tmp_path):
    (tmp_path / "table.csv").write_text("id,x\n1,2\n")
    assert refused(tmp_path / "table.csv", "clinical")[0] == "xlsx_sheet"


def merged(tmp_path, *ranges):
    """A table of three columns and rows with merged cells."""
    path = save(tmp_path, [["id", "x", "y"], ["P1", "1", "2"], ["P2", "3", "4"]])
    book = load_workbook(path)
    for reference in ranges:
        book.active.merge_cells(reference)
    book.save(path)
    return path


@pytest.mark.fault("C19")
@pytest.mark.parametrize("reference", ["A1:B1", "B2:B3", "C3:E9"])
def test_c19_merged_cells_are_named(tmp_path, reference):
    code, message = refused(merged(tmp_path, reference))
    assert code == "xlsx_merged"
    assert reference in message


@pytest.mark.fault("C19")
def test_c19_cells_merged_beside_the_table_do_not_matter(tmp_path):
    assert read_table(merged(tmp_path, "A8:C9", "F1:G2")).shape == (2, 3)


def test_rows_of_a_header_that_takes_several(tmp_path):
    path = save(tmp_path, [["MRI", None, "Tumor"], ["id", "spacing", "ER"], [None, "mm", "0=no"], [1, 0.5, 0]])
    book = load_workbook(path)
    book.active.merge_cells("A1:B1")
    book.save(path)
    rows = [["MRI", "", "Tumor"], ["id", "spacing", "ER"], ["", "mm", "0=no"], ["1", "0.5", "0"]]
    assert read_cells(path, heading_rows=3) == rows
    with pytest.raises(StopRun) as caught:
        read_cells(path)
    assert caught.value.code == "xlsx_merged"


def test_empty_rows_and_columns_are_left_out_and_rows_keep_their_numbers(tmp_path):
    rows = [[], [None, "id", None, "x"], [None, "P1", None, 1], [], [None, "P2", None, " "], ["  "]]
    path = save(tmp_path, rows, formats={"Z99": "000"})
    frame = read_table(path)
    assert frame.to_dict("list") == {"id": ["P1", "P2"], "x": ["1", ""]}
    assert list(frame.attrs["lines"]) == [3, 5]
    assert len(read_cells(path)) == 5


@pytest.mark.fault("C12")
def test_c12_a_cell_beyond_the_header_names_its_row(tmp_path):
    code, message = refused(save(tmp_path, [["id", "x"], ["P1", 1], ["P2", 2, "note"]]))
    assert code == "csv_row"
    assert "row 3: 'note'" in message


@pytest.mark.fault("C11")
def test_c11_a_header_that_is_there_twice(tmp_path):
    assert refused(save(tmp_path, [["id", "t", "t "], ["P1", 1, 2]]))[0] == "table_header"


@pytest.mark.fault("C18")
@pytest.mark.parametrize("rows", [[], [["id", "x"]], [[" "], [None]]])
def test_c18_an_empty_sheet(tmp_path, rows):
    assert refused(save(tmp_path, rows))[0] == "table_empty"


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


@pytest.mark.parametrize(
    ("name", "data", "code", "said"),
    [
        ("a.xlsx", b"", "table_empty", "empty"),
        ("a.xls", OLE, "table_format", "old .xls"),
        ("a.xlsx", OLE + "EncryptedPackage".encode("utf-16-le"), "table_format", "encrypted"),
        ("a.xlsx", b"\xef\xbb\xbf\n<html><table>", "table_format", "web page"),
        ("a.xls", b"id\tx\n1\t2\n", "table_format", "no workbook"),
        ("a.xlsx", b"PK\x03\x04 and no more", "table_format", "BadZipFile"),
    ],
)
def test_what_is_no_workbook_is_refused(tmp_path, name, data, code, said):
    (tmp_path / name).write_bytes(data)
    found, message = refused(tmp_path / name)
    assert found == code
    assert said in message


def test_a_workbook_that_cannot_be_opened(tmp_path):
    (tmp_path / "folder.xlsx").mkdir()
    for name in ("none.xlsx", "folder.xlsx"):
        assert refused(tmp_path / name)[0] == "file_unreadable"


@pytest.mark.parametrize(
    ("part", "change"),
    [
        (SHEET, lambda text: text[:-40]),
        (SHEET, lambda text: text.replace('r="2"', 'r="9999999999"')),
        (SHEET, lambda text: text.replace('<row r="3"', '<row r="2"')),
        (SHEET, lambda text: text.replace('r="A3"', 'r="D3"')),
        (SHEET, lambda text: text.replace("<v>5</v>", "<v>five</v>")),
        (SHEET, lambda text: text.replace('r="B2"', 'r="B2" s="77"')),
        (
            SHEET,
            lambda text: text.replace("</sheetData>", '</sheetData><mergeCells><mergeCell ref="A:C"/></mergeCells>'),
        ),
        (SHEET, lambda _: None),
        (SHEET, lambda text: text.replace("P1", "&bomb;")),
        (SHEET, lambda text: text.replace(' t="n"', ' t="s"')),
        ("xl/workbook.xml", lambda _: None),
        ("[Content_Types].xml", lambda _: None),
        (
            "xl/workbook.xml",
            lambda text: text.replace(
                "schemas.openxmlformats.org/spreadsheetml/2006", "purl.oclc.org/ooxml/spreadsheetml"
            ),
        ),
    ],
)
def test_damage_is_refused_and_no_row_is_lost(tmp_path, part, change):
    path = save(tmp_path, [["id", "x"], ["P1", 5], ["P2", 6]], change={part: change})
    assert refused(path)[0] == "table_format"


def test_other_kinds_of_archives(tmp_path):
    for member, said in {"mimetype": ".ods", "xl/workbook.bin": ".xlsb", "photo.jpg": "KeyError"}.items():
        with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
            archive.writestr(member, "x")
        code, message = refused(tmp_path / "a.xlsx")
        assert code == "table_format"
        assert said in message


def test_locked_and_oddly_packed_members(tmp_path):
    for method, flags in ((zipfile.ZIP_DEFLATED, 1), (zipfile.ZIP_BZIP2, 0)):
        path = tmp_path / "a.xlsx"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("xl/workbook.xml", "x" * 100)
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\x01\x02") + 8] |= flags
        path.write_bytes(data)
        assert refused(path)[0] == "table_format"


def test_a_zip_bomb_is_refused_unopened(tmp_path):
    path = save(tmp_path, [["id"], ["P1"]])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/image1.bin", bytes(80_000_000))
    code, message = refused(path)
    assert code == "table_format"
    assert "80 MB" in message


def test_an_xml_bomb_is_refused(tmp_path):
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 30}">' for i in range(1, 9))
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><x>&a8;</x>'
    path = save(tmp_path, [["id"], ["P1"]], change={SHEET: lambda _: bomb})
    assert refused(path)[0] == "table_format"


def test_cells_far_apart_do_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(spreadsheet, "_MAX_CELLS", 1000)
    book = Workbook()
    book.active["A1"] = book.active["AA1"] = book.active["A50"] = "x"
    book.save(tmp_path / "wide.xlsx")
    assert refused(tmp_path / "wide.xlsx")[0] == "table_format"


def test_text_in_any_of_the_ways_that_workbooks_store_it(tmp_path):
    inline = '<c r="A2" t="inlineStr"><is><r><t>P</t></r><r><t>1 </t></r></is></c>'
    path = save(
        tmp_path,
        [["id"], ["P"]],
        change={SHEET: lambda text: re.sub(r'<c r="A2".*?</c>', inline, text)},
        name="a.XLSM",
    )
    assert read_table(path)["id"].tolist() == ["P1"]


def test_cells_without_places_count_from_the_left(tmp_path):
    bare = {SHEET: lambda text: re.sub(r'(<(?:c|row)) r="\w+"', r"\1", text)}
    assert read_table(save(tmp_path, [["id", "x"], ["P1", 5]], change=bare)).to_dict("list") == {
        "id": ["P1"],
        "x": ["5"],
    }


def test_the_extent_that_the_file_names_is_not_believed(tmp_path):
    wrong = {SHEET: lambda text: re.sub(r'<dimension ref="[^"]*"', '<dimension ref="A1:A1"', text)}
    path = save(tmp_path, [["id", "x"], ["P1", 5]], change=wrong)
    assert read_table(path).shape == (1, 2)


def test_reading_leaves_the_file_alone_and_closed(tmp_path):
    path = save(tmp_path, [["id", "x"], ["P1", 5]])
    before = path.read_bytes()
    read_sheet(path)
    assert path.read_bytes() == before
    path.rename(tmp_path / "moved.xlsx")


def test_mama_mia_says_the_same_in_both_of_its_files(shared):
    folder = shared / "data" / "mama-mia"
    sheet = read_table(folder / "clinical_and_imaging_info.xlsx", "dataset_info")
    text = read_table(folder / "clinical_and_imaging_info.csv")
    # Below the table, after an empty row, somebody computed the rate of pCR.
    assert sheet.attrs["lines"][-2:] == (1507, 1509)
    assert {name: cell for name, cell in sheet.iloc[-1].items() if cell} == {"pcr": "0.295103957075788"}
    sheet = sheet.iloc[:-1]
    assert list(sheet.columns) == list(text.columns)
    # The text file was written by pandas, which turned every whole number of a column with gaps into 1.0.
    whole = text.replace(r"^(-?\d+)\.0$", r"\1", regex=True)
    assert sheet.to_numpy().tolist() == whole.to_numpy().tolist()


def test_a_workbook_and_its_text_give_the_same_table(tmp_path):
    cells = [["patient_id", "ihc", "age"], ["001", "2+", "54.5"], ["1e5", "", "NA"]]
    (tmp_path / "table.csv").write_text("\n".join(map(",".join, cells)))
    text, sheet = read_table(tmp_path / "table.csv"), read_table(save(tmp_path, cells))
    assert text.to_dict("records") == sheet.to_dict("records")
    assert list(text.attrs["lines"]) == list(sheet.attrs["lines"]) == [2, 3]
