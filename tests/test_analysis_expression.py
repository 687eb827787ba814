"""The expression table: which axis the samples are on, what its values are, names of genes, and TCGA barcodes."""

import gzip

import numpy as np
import pytest

from analysis.genes.barcodes import match_samples, read_barcode
from analysis.genes.expression import read_expression
from analysis.genes.gene_names import likely_gene, read_gene_names
from triher.errors import StopRun
from triher.settings import TranscriptomicsConfig

IDS = ("P1", "P2", "P3")
WANTED = {name: name for name in IDS}
COUNTS = {"ERBB2": (5, 60, 700), "ESR1": (0, 3, 90), "GRB7": (12, 8, 4)}


def genes_by_samples(table=COUNTS, names=IDS, corner="gene,"):
    rows = [f"{gene},{','.join(map(str, values))}" for gene, values in table.items()]
    return "\n".join([corner + ",".join(names), *rows]) + "\n"


@pytest.fixture
def read(tmp_path):
    def reading(text, *, kind="counts", wanted=None, name="rna.csv", **settings):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        config = TranscriptomicsConfig(expression=path, kind=kind, **settings)
        return read_expression(config, wanted or WANTED)

    return reading


def codes(expression):
    return [note.code for note in expression.notes]


@pytest.mark.fault("F11")
def test_both_orientations_are_told_by_the_ids(read):
    across = read(genes_by_samples())
    samples = [f"{name},{','.join(str(v[i]) for v in COUNTS.values())}" for i, name in enumerate(IDS)]
    down = read("\n".join(["patient," + ",".join(COUNTS), *samples]))
    assert across.patient_id == down.patient_id == IDS
    assert across.genes == down.genes == tuple(COUNTS)
    np.testing.assert_array_equal(across.values, np.array(list(COUNTS.values()), float).T)
    np.testing.assert_array_equal(across.values, down.values)
    assert across.notes == down.notes == ()
    np.testing.assert_array_equal(across.of(["P3", "P1"]), across.values[[2, 0]])


@pytest.mark.parametrize("name", ["rna.csv.gz", "rna.tsv"])
def test_compressed_tables_tabs_quotes_and_headers_without_corner_are_read(read, name):
    text = genes_by_samples(corner="").replace("ERBB2", '"ERBB2"').replace("\n", "\r\n")
    if name.endswith("tsv"):
        text = text.replace(",", "\t")
    expected = read(genes_by_samples())
    found = read(text, name=name)
    assert found.genes == expected.genes
    np.testing.assert_array_equal(found.values, expected.values)


def test_only_samples_of_the_cohort_are_taken_in_the_order_of_their_ids(read):
    found = read(genes_by_samples(names=("P3", "stranger", "P1")), wanted={"P1": "P1", "P3": "P3", "P9": "P9"})
    assert found.patient_id == ("P1", "P3")
    assert found.values[:, 0].tolist() == [700, 5]


def test_samples_may_be_named_by_a_column_of_their_own(read):
    found = read(genes_by_samples(names=("GSM1", "GSM2", "GSM3")), wanted={"P7": "gsm2"})
    assert found.patient_id == ("P7",)
    assert found.values.tolist() == [[60, 3, 8]]


@pytest.mark.fault("F11", "F13")
def test_a_table_without_samples_of_the_cohort_says_what_was_found(read):
    with pytest.raises(StopRun) as stop:
        read(genes_by_samples(names=("X1", "X2", "X3")))
    assert stop.value.code == "expression_samples"
    for text in ("3 patients ('P1', 'P2', 'P3')", "'X1'", "'ERBB2'", "found none", "rna.csv"):
        assert text in stop.value.message


@pytest.mark.fault("F11")
def test_expected_counts_stop_and_may_be_rounded(read):
    text = genes_by_samples(COUNTS | {"TP53": (1.5, 2.25, 7)})
    with pytest.raises(StopRun) as stop:
        read(text)
    assert stop.value.code == "counts_not_integer"
    assert "2 of 12 values are no whole numbers" in stop.value.message
    assert "round_counts" in stop.value.remedy
    assert "kind: log" in stop.value.remedy
    found = read(text, round_counts=True)
    assert found.values[:, 3].tolist() == [2, 2, 7]
    assert codes(found) == ["counts_rounded"]


@pytest.mark.fault("F11")
@pytest.mark.parametrize("round_counts", [True, False])
def test_negative_counts_are_log_values(read, round_counts):
    with pytest.raises(StopRun, match="1 of 3 values are negative") as stop:
        read(genes_by_samples({"ERBB2": (-1.5, 2, 3)}), round_counts=round_counts)
    assert stop.value.code == "counts_not_integer"
    assert "kind: log" in stop.value.remedy


@pytest.mark.fault("F11")
def test_log_values_that_look_like_counts_stop(read):
    with pytest.raises(StopRun, match="whole numbers up to 700") as stop:
        read(genes_by_samples(), kind="log")
    assert stop.value.code == "counts_not_integer"
    assert "kind: counts" in stop.value.remedy
    read(genes_by_samples({"ERBB2": (1, 2, 3)}), kind="log")


@pytest.mark.fault("F12")
def test_versions_are_stripped_and_equal_genes_merged(read):
    table = {"ENSG00000141736.12": (1, 2, 3), "ENSG00000141736.9_PAR_Y": (10, 20, 90), "ENSG00000091831": (7, 8, 9)}
    counts = read(genes_by_samples(table))
    assert counts.genes == ("ENSG00000141736", "ENSG00000091831")
    assert counts.values.T.tolist() == [[11, 22, 93], [7, 8, 9]]
    assert codes(counts) == ["gene_versions", "gene_duplicate"]
    logs = read(genes_by_samples(table), kind="log", wanted={"P1": "P1", "P2": "P2"})
    assert logs.values.T.tolist() == [[10, 20], [7, 8]]
    assert "largest mean" in logs.notes[1].text


@pytest.mark.fault("F12")
def test_symbols_are_taken_of_names_with_entrez_ids(tmp_path):
    found = read_gene_names(["ERBB2_2064", "C17orf37_84299", "?|100130426"], tmp_path / "x.csv")
    assert found.names == ("ERBB2", "C17orf37", "?|100130426")
    assert read_gene_names(["SNORA_70", "ERBB2", "GRB7"], tmp_path / "x.csv").names == ("SNORA_70", "ERBB2", "GRB7")


@pytest.mark.fault("F12")
@pytest.mark.parametrize(
    ("cell", "gene"),
    [
        ("1-Mar", "MARCHF1 or MTARC1"),
        ("Mar-01", "MARCHF1 or MTARC1"),
        ("2-Sep", "SEPTIN2"),
        ("1-DEC", "DELEC1"),
        ("9. Mrz", "MARCHF9"),
        ("15-Sep", "SELENOF"),
        ("2001-03-08", "MARCHF8"),
        ("2001-09-07 00:00:00", "SEPTIN7"),
        ("4-Jun", ""),
        ("JUN.1", None),
        ("MARCHF1", None),
        ("SEPTIN2", None),
        ("H2-K1", None),
        ("HLA-DRB1", None),
        ("DEC1", None),
        ("2001-23-08", None),
    ],
)
def test_dates_are_told_from_genes(cell, gene):
    assert likely_gene(cell) == gene


@pytest.mark.fault("F12")
def test_a_table_that_went_through_a_spreadsheet_stops(read):
    with pytest.raises(StopRun) as stop:
        read(genes_by_samples(COUNTS | {"1-Mar": (1, 2, 3), "7-Sep": (1, 2, 3)}))
    assert stop.value.code == "gene_dates"
    assert "2 names of genes are dates: '1-Mar', probably MARCHF1 or MTARC1; '7-Sep', probably SEPTIN7" in (
        stop.value.message
    )


def test_reads_outside_genes_are_left_out(read):
    found = read(genes_by_samples({"N_unmapped": (9, 9, 9), "__no_feature": (9, 9, 9)} | COUNTS))
    assert found.genes == tuple(COUNTS)
    assert codes(found) == ["gene_rows"]


def test_genes_with_gaps_are_left_out_and_counted(read):
    found = read(genes_by_samples({"A": ("NA", 2, 3), "B": ("", 2, 3)} | COUNTS))
    assert found.genes == tuple(COUNTS)
    assert "2 of 5 genes lack a value" in found.notes[0].text
    with pytest.raises(StopRun) as stop:
        read(genes_by_samples({"A": ("NA", 2, 3)}))
    assert stop.value.code == "expression_genes"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("gene,P1,P2\n", "table_empty"),
        ("gene,P1,P2\nERBB2,1,x\n", "number_format"),
        ("gene,P1,P2\nERBB2,1,inf\n", "number_format"),
        ("gene,P1,P2\nERBB2,1,2\nESR1,1\n", "csv_row"),
        ("gene,P1,p1\nERBB2,1,2\n", "sample_duplicate"),
    ],
)
def test_broken_tables_stop(read, text, code):
    with pytest.raises(StopRun) as stop:
        read(text)
    assert stop.value.code == code


def test_files_that_cannot_be_read_stop(tmp_path):
    path = tmp_path / "rna.csv.gz"
    whole = gzip.compress(genes_by_samples({f"G{i}": (i, i * 7, i * 3) for i in range(999)}).encode())
    for data, code in ((whole[: len(whole) // 2], "file_unreadable"), (b"gene,P1\n", "file_unreadable")):
        path.write_bytes(data)
        with pytest.raises(StopRun) as stop:
            read_expression(TranscriptomicsConfig(expression=path, kind="counts"), WANTED)
        assert stop.value.code == code
    latin = tmp_path / "rna.csv"
    latin.write_bytes(b"gene,P1\nERBB2\xe4,1\n")
    for file, code in ((latin, "encoding"), (tmp_path / "none.csv", "file_unreadable")):
        with pytest.raises(StopRun) as stop:
            read_expression(TranscriptomicsConfig(expression=file, kind="counts"), WANTED)
        assert stop.value.code == code


@pytest.mark.fault("F13")
def test_primary_tumors_alone_and_one_sample_a_patient():
    names = [
        "TCGA-AO-A03M-11A-11R-A034-07",
        "TCGA-AO-A03M-01B-11R-A034-07",
        "TCGA.AO.A03M.01A.21R.A034.07",
        "TCGA-AO-A03M-01A-11R-A900-07",
        "TCGA-AO-A03M-01A-11R-A034-07",
        "TCGA-AO-A03M-06A-11R-A034-07",
        "TCGA-AO-A03N-11A",
        "TCGA-ZZ-ZZZZ-01A",
    ]
    found = match_samples(names, {"TCGA-AO-A03M": "TCGA-AO-A03M", "TCGA-AO-A03N": "tcga-ao-a03n"})
    assert found.position == {"TCGA-AO-A03M": 4}
    assert [note.code for note in found.notes] == ["sample_not_primary", "sample_several"]
    assert "3 samples are no primary tumors" in found.notes[0].text
    assert "3 further samples" in found.notes[1].text
    assert "first by vial, portion" in found.notes[1].text
    for order in (names[::-1], names[3:] + names[:3]):
        assert order[match_samples(order, {"P": "TCGA-AO-A03M"}).position["P"]] == names[4]


@pytest.mark.fault("F13")
def test_a_sample_may_be_named_instead_of_the_patient():
    names = ["TCGA-AO-A03M-01A-11R-A034-07", "TCGA-AO-A03M-01B-11R-A034-07"]
    assert match_samples(names, {"P": "TCGA-AO-A03M-01B"}).position == {"P": 1}
    assert match_samples(["TCGA-AO-A03M"], {"P": "TCGA-AO-A03M"}).position == {"P": 0}
    assert read_barcode("TCGA-AO-A03M-01") is not None
    assert read_barcode("TCGA-AO-A03M2") is None
