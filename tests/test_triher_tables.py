"""Reading tables strictly, writing them safely."""

import csv
import math
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triher.delimited import sniff_separator
from triher.errors import StopRun
from triher.tables import (
    is_missing,
    matching_key,
    number,
    read_cells,
    read_own_table,
    read_table,
    require_column,
    write_table,
)


def read(tmp_path, data):
    """Read a table from bytes or text."""
    path = tmp_path / "table.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table(path)


def refused(tmp_path, data):
    """The code and the text of the refusal."""
    with pytest.raises(StopRun) as caught:
        read(tmp_path, data)
    assert "table.csv" in caught.value.message
    return caught.value.code, caught.value.message


@pytest.mark.fault("C1")
def test_c01_every_cell_stays_text(tmp_path):
    frame = read(tmp_path, "patient_id,x\n001,NA\n1e5,\n1.0,null\nTrue,0x1F\n")
    assert frame["patient_id"].tolist() == ["001", "1e5", "1.0", "True"]
    assert frame["x"].tolist() == ["NA", "", "null", "0x1F"]


@pytest.mark.fault("C14")
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_c14_separators(tmp_path, separator):
    frame = read(tmp_path, "id;ihc;ish\nP1;2+;\n".replace(";", separator))
    assert frame.to_dict("records") == [{"id": "P1", "ihc": "2+", "ish": ""}]
    assert frame.attrs["separator"] == separator == sniff_separator(tmp_path / "table.csv")


@pytest.mark.fault("C14")
@pytest.mark.parametrize("separator", ["|", "^", "~"])
def test_c14_another_separator_is_named(tmp_path, separator):
    code, message = refused(tmp_path, "\nid|ihc|ish\nP1|2+|\n".replace("|", separator))
    assert code == "table_format"
    assert f"'{separator}'" in message


@pytest.mark.fault("C14")
@pytest.mark.parametrize("text", ["gene\nERBB2|2064\n", "a|b\nERBB2\n", "id,a|b\nP1,2|3\n"])
def test_c14_a_bar_within_a_cell_is_no_separator(tmp_path, text):
    assert read(tmp_path, text).shape[0] == 1


def test_separator_within_a_quoted_header_does_not_count(tmp_path):
    assert list(read(tmp_path, '"a;b;c;d",x\n1,2\n').columns) == ["a;b;c;d", "x"]


@pytest.mark.fault("C16")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_c16_line_ends_and_byte_order_mark(tmp_path, end, mark):
    frame = read(tmp_path, mark + end.join(["id,x", "1,2", "3,4", ""]))
    assert frame.to_dict("list") == {"id": ["1", "3"], "x": ["2", "4"]}


def test_quoted_cells_keep_separators_quotes_and_line_breaks(tmp_path):
    frame = read(tmp_path, 'id,x\n1,"a\nb"\n2,"say ""hi"", twice"\n')
    assert frame["x"].tolist() == ["a\nb", 'say "hi", twice']


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_row_ends_only_at_a_line_break(tmp_path, odd):
    frame = read(tmp_path, f"id,x\n1,left{odd}right\n")
    assert frame["x"].tolist() == [f"left{odd}right"]


def test_spaces_are_trimmed_and_blank_lines_left_out(tmp_path):
    frame = read(tmp_path, "\nid , x\n\n P1\u00a0,\u3000a b \n\n")
    assert frame.to_dict("records") == [{"id": "P1", "x": "a b"}]


def test_every_row_knows_its_line(tmp_path):
    assert read(tmp_path, "id,x\n1,2\n3,4\n").attrs["lines"] == range(2, 4)
    assert read(tmp_path, 'id,x\n1,"a\nb"\n\n3,4\n').attrs["lines"] == (2, 5)


def test_rows_as_they_stand(tmp_path):
    (tmp_path / "table.csv").write_text("group;;\nid; spacing;ER\n\n1;0,5\n")
    assert read_cells(tmp_path / "table.csv") == [["group", "", ""], ["id", "spacing", "ER"], ["1", "0,5"]]


@pytest.mark.fault("C11")
def test_c11_a_repeated_column_is_named(tmp_path):
    code, message = refused(tmp_path, "id,t,t\n1,2,3\n")
    assert code == "table_header"
    assert "'t'" in message


@pytest.mark.fault("C12")
@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("id,x\n1,2\n3,4,5\n", "line 3: 3 cells where the header has 2"),
        ("id,x\n1,2\n\n3,4,\n", "line 4: 3 cells"),
        ("id\nP1,2\n", "line 2: 2 cells where the header has 1"),
    ],
)
def test_c12_a_row_with_a_cell_too_many_is_named(tmp_path, text, where):
    code, message = refused(tmp_path, text)
    assert code == "csv_row"
    assert where in message


@pytest.mark.fault("C13")
@pytest.mark.parametrize(
    ("text", "where"),
    [("id,x\n1\n", "line 2: 1 cells where the header has 2"), ('id,x\n"a\nb",1\n2\n', "line 4: 1 cells")],
)
def test_c13_a_row_that_is_too_short_is_named(tmp_path, text, where):
    code, message = refused(tmp_path, text)
    assert code == "csv_row"
    assert where in message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('id,x\n1,"2\n3,4\n', "line 2"),
        ('id,x\n1,"2"3\n', "line 2"),
        ("id,x\n1," + "y" * 200_000 + "\n", "line 2"),
    ],
)
def test_a_row_with_broken_quotes_is_named_where_it_starts(tmp_path, text, where):
    code, message = refused(tmp_path, text)
    assert code == "csv_row"
    assert where in message


@pytest.mark.fault("C18")
@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "id,x\n", "id,x\n\n\n"])
def test_c18_an_empty_table_is_refused(tmp_path, text):
    assert refused(tmp_path, text)[0] == "table_empty"


def test_rows_of_separators_alone_as_spreadsheets_export_them_are_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"id;x\r\n;\r\n1;2\r\n;\r\n3;\r\n;\r\n\r\n")
    frame = read_table(path)
    assert frame.to_numpy().tolist() == [["1", "2"], ["3", ""]]
    assert list(frame.attrs["lines"]) == [3, 5]


@pytest.mark.fault("C17")
@pytest.mark.parametrize(
    ("data", "where"),
    [
        ("id,x\n1,caf\u00e9\n".encode("latin-1"), "byte 0xe9 in line 2"),
        ("id,x\n1,2\n".encode("utf-16"), "byte 0xff in line 1"),
        ("id,x\n1,2\n".encode("utf-16-le"), "zero byte in line 1 (UTF-16?)"),
        (b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00\xee", "line 1"),
        (b"id,x\nP\x00x,2\n", "zero byte in line 2"),
        (b"id,x\r1,2\r3,caf\xe9\r", "byte 0xe9 in line 3"),
        (b"id,x\n" + b"1,2\n" * 50_000 + b"P\xff,2\n", "byte 0xff in line 50002"),
    ],
)
def test_c17_what_is_not_utf8_is_refused(tmp_path, data, where):
    code, message = refused(tmp_path, data)
    assert code == "encoding"
    assert where in message


@pytest.mark.fault("C17")
def test_c17_says_what_to_do(tmp_path):
    with pytest.raises(StopRun) as caught:
        read(tmp_path, "id,x\n1,caf\u00e9\n".encode("latin-1"))
    assert "UTF-8" in caught.value.remedy


def test_a_table_that_cannot_be_opened(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(StopRun) as caught:
            read_table(path)
        assert caught.value.code == "file_unreadable"


@pytest.mark.fault("C27")
def test_c27_a_hundred_thousand_rows_are_quick(tmp_path):
    rows = "".join(f"P{i:06d},a/{i}.nii.gz,2+,negative,3.5\n" for i in range(100_000))
    start = time.process_time()
    frame = read(tmp_path, "patient_id,pre,ihc,ish,age\n" + rows)
    assert time.process_time() - start < 10
    assert frame.shape == (100_000, 5)
    assert frame["patient_id"].iloc[-1] == "P099999"


@pytest.mark.slow
@pytest.mark.fault("C27")
def test_c27_a_million_rows_take_seconds_and_bounded_memory(tmp_path):
    path = tmp_path / "table.csv"
    rows = "".join(f"P{i:07d},A,S{i % 30},train,2+,negative,{i % 90},2\n" for i in range(10**6))
    path.write_text("patient_id,cohort,site,split,ihc,ish,age,grade\n" + rows)
    code = (
        "import sys, time; from pathlib import Path; from triher.tables import read_table;"
        "start = time.process_time(); frame = read_table(Path(sys.argv[1]));"
        # What getrusage tells begins with the memory of the process that started this one.
        "peak = Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0];"
        "print(*frame.shape, time.process_time() - start, peak)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True, timeout=120)
    n_rows, n_columns, seconds, kilobytes = map(float, done.stdout.split())
    assert (n_rows, n_columns) == (10**6, 8)
    assert seconds < 30
    assert kilobytes < 2e6


@pytest.mark.fault("C27")
def test_c27_thousands_of_columns_are_quick(tmp_path):
    names = ",".join(f"g{i}" for i in range(5000))
    row = ",".join(["1.5"] * 5000)
    start = time.process_time()
    frame = read(tmp_path, f"{names}\n" + f"{row}\n" * 200)
    assert time.process_time() - start < 5
    assert frame.shape == (200, 5000)


@pytest.mark.fault("C10")
def test_c10_a_missing_column_names_the_nearest(tmp_path):
    frame = read(tmp_path, "ID,os_months\n1,2\n")
    for wanted, near in (("os_month", "os_months"), ("id", "ID"), ("OS Months", "os_months")):
        with pytest.raises(StopRun, match=f"did you mean '{near}'") as caught:
            require_column(frame, wanted, purpose="time", where="cohort.csv")
        assert caught.value.code == "column_missing"
    with pytest.raises(StopRun, match=r"no column 'zzzz' \(time\)\. It has: ID, os_months"):
        require_column(frame, "zzzz", purpose="time", where="cohort.csv")


@pytest.mark.fault("C15")
@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        ("3.5", ".", 3.5),
        ("3,5", ",", 3.5),
        ("-7", ",", -7.0),
        ("+.5e-3", ".", 0.0005),
        ("1,5E3", ",", 1500.0),
        ("2.", ".", 2.0),
    ],
)
def test_c15_numbers(cell, decimal, value):
    assert number(cell, decimal=decimal, where="a.csv, line 2", column="age") == value


@pytest.mark.fault("C15")
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize(
    "cell",
    [
        *("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "[Not Available]", "[Not Evaluated]"),
        *("[Not Applicable]", "[Unknown]", "[Completed]", "[Discrepancy]"),
    ],
)
def test_c15_missing_numbers(cell, decimal):
    assert math.isnan(number(cell, decimal=decimal, where="a.csv, line 2", column="age"))
    assert is_missing(cell)


@pytest.mark.fault("C15")
@pytest.mark.parametrize(
    ("cell", "decimal", "remedy"),
    [
        ("3,5", ".", 'cohort.decimal: ","'),
        ("-3,5e2", ".", 'cohort.decimal: ","'),
        ("3.5", ",", 'cohort.decimal: "."'),
        ("1,234", ".", "thousands"),
        ("1,234", ".", 'cohort.decimal: ","'),
        ("1,234.5", ".", "thousands"),
        ("1.234,5", ",", "thousands"),
        ("1.234.567", ".", "thousands"),
        ("1 234", ".", "thousands"),
        ("1'234", ".", "thousands"),
        ("3,5,2", ".", "decimal point"),
        ("45 mm", ".", "unit"),
        ("inf", ".", "number"),
        ("1e999", ".", "number"),
        ("1_000", ".", "number"),
        ("0x1F", ".", "number"),
        ("\u0663", ".", "number"),
        (",", ",", "number"),
        ("Unknown", ".", "number"),
    ],
)
def test_c15_what_is_no_number_says_what_to_do(cell, decimal, remedy):
    with pytest.raises(StopRun) as caught:
        number(cell, decimal=decimal, where="a.csv, line 2", column="age")
    assert caught.value.code == "number_format"
    assert all(text in caught.value.message for text in ("a.csv, line 2", "'age'", f"'{cell}'"))
    assert remedy in str(caught.value)


@pytest.mark.fault("C15")
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_c15_any_number_reads_back_equal(value):
    for decimal in (".", ","):
        assert number(repr(value).replace(".", decimal), decimal=decimal, where="", column="") == value


def test_matching_key_folds_what_only_looks_different():
    alike = ["P\u00c91", "p\u00e91", " P\u00c9 1\u00a0", "\uff30E\u03011", "PE\u0301\u20091"]
    assert len({matching_key(text) for text in alike}) == 1
    assert matching_key("001") != matching_key("1")


FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=x", "''-x", "=", "-"]


@pytest.mark.fault("C25")
def test_c25_no_cell_is_a_formula_and_our_reader_takes_the_quote_off(tmp_path):
    path = tmp_path / "out.csv"
    write_table(path, ["id", "=x"], [[text, text] for text in FORMULAS])
    with path.open(newline="", encoding="utf-8") as handle:
        cells = [cell for row in csv.reader(handle) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    frame = read_own_table(path)
    assert list(frame.columns) == ["id", "=x"]
    assert frame["id"].tolist() == FORMULAS
    # A foreign table keeps its quotes: whoever typed '=x means '=x.
    assert read_table(path)["id"].tolist()[0] == "'" + FORMULAS[0]


def test_numbers_are_written_so_that_they_read_back_equal(tmp_path):
    path = tmp_path / "out.csv"
    values = [-1.5, 0.1 + 0.2, 1e-300, np.float64(1 / 3), np.float32(0.1), -7, np.int64(-3)]
    write_table(path, ["x", "y"], [[value, 0] for value in values])
    back = read_own_table(path)["x"].tolist()
    assert [type(value)(text) for value, text in zip(values, back, strict=True)] == values
    write_table(path, ["x", "y"], [[value, 0] for value in (None, math.nan, np.float32("nan"), np.float64("nan"))])
    assert read_own_table(path)["x"].tolist() == ["", "", "", ""]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(FORMULAS)] * 2),
        min_size=1,
        max_size=5,
    )
)
def test_text_written_by_us_reads_back_equal(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "property.csv"
    write_table(path, ["a", "b"], rows)
    frame = read_own_table(path)
    assert [tuple(row) for row in frame.to_numpy().tolist()] == rows
