"""Gene-set files held against the genes tested: what is kept, what is dropped, and what stops the run."""

import gzip

import pytest

from analysis.genes.gene_sets import GeneSet, match_gene_sets, read_gene_sets
from analysis.genes.immune import SIGNATURES, signature_sets
from triher.errors import StopRun

TESTED = [f"GENE{i}" for i in range(40)]


def write(path, *sets):
    """A GMT file of (name, genes)."""
    path.write_text("".join("\t".join([name, "from a test", *genes]) + "\n" for name, genes in sets), "utf-8")
    return path


def read(*paths, tested=TESTED, min_genes=3, max_genes=20):
    return read_gene_sets(paths, tested, min_genes=min_genes, max_genes=max_genes)


def test_a_set_keeps_the_genes_that_were_tested(tmp_path):
    path = write(tmp_path / "a.gmt", ("A", ["GENE1", "OTHER", "GENE2", "GENE2", "GENE3", "", "GENE4,1.0"]))
    found = read(path)
    assert found.sets == (GeneSet("A", "a.gmt", ("GENE1", "GENE2", "GENE3", "GENE4"), 5),)
    assert found.background == tuple(sorted(TESTED))
    assert found.notes == ()


@pytest.mark.fault("F15")
def test_too_small_and_too_large_sets_are_dropped_and_counted(tmp_path):
    sets = [("SMALL", TESTED[:2]), ("FITS", TESTED[:3]), ("LARGE", TESTED[:21]), ("EMPTY", []), ("FULL", TESTED[:20])]
    found = read(write(tmp_path / "a.gmt", *sets))
    assert [one.name for one in found.sets] == ["FITS", "FULL"]
    assert [(one.name, one.n_genes, one.n_listed, one.reason) for one in found.dropped] == [
        ("SMALL", 2, 2, "fewer than 3 genes tested"),
        ("LARGE", 21, 21, "more than 20 genes tested"),
        ("EMPTY", 0, 0, "fewer than 3 genes tested"),
    ]
    [note] = found.notes
    assert note.code == "gene_set_dropped"
    assert note.text == "3 gene sets are not tested: 2 fewer than 3 genes tested; 1 more than 20 genes tested"


@pytest.mark.fault("F15")
def test_a_set_of_which_less_than_half_was_tested_is_noted_with_its_overlap(tmp_path):
    others = [f"OTHER{i}" for i in range(5)]
    found = read(write(tmp_path / "a.gmt", ("PART", TESTED[:4] + others), ("WHOLE", TESTED[:5])))
    [note] = found.notes
    assert note.code == "gene_set_partial"
    assert note.text == "less than half of the genes of 1 of 2 gene sets were tested: PART (4 of 9)"


@pytest.mark.fault("F15")
def test_symbols_of_another_species_stop_the_run_and_are_called_so(tmp_path):
    path = write(tmp_path / "mouse.gmt", ("A", ["Erbb2", "Grb7", "Esr1", "Pgr", "Mki67"]))
    with pytest.raises(StopRun, match=r"0% of its 5 genes .* 100% would be .* another species") as stopped:
        read(path, tested=["ERBB2", "GRB7", "ESR1", "PGR", "MKI67"])
    assert stopped.value.code == "gene_set_overlap"


@pytest.mark.fault("F15")
def test_ids_of_another_kind_stop_the_run_and_both_kinds_are_shown(tmp_path):
    path = write(tmp_path / "symbols.gmt", ("A", ["ERBB2", "GRB7", "ESR1"]))
    message = r"the file has 'ERBB2', 'GRB7', 'ESR1'; tested were 'ENSG00000141736', 'ENSG00000141738'"
    with pytest.raises(StopRun, match=message) as stopped:
        read(path, tested=["ENSG00000141736", "ENSG00000141738"])
    assert "species" not in stopped.value.message


@pytest.mark.fault("F15")
@pytest.mark.parametrize(("n_known", "stops"), [(1, True), (2, False)])
def test_a_fifth_of_the_genes_must_be_among_those_tested(tmp_path, n_known, stops):
    path = write(tmp_path / "a.gmt", ("A", TESTED[:n_known] + [f"OTHER{i}" for i in range(10 - n_known)]))
    if stops:
        with pytest.raises(StopRun, match="10% of its 10 genes"):
            read(path, min_genes=1)
    else:
        assert len(read(path, min_genes=1).sets) == 1


@pytest.mark.fault("F15")
def test_one_wrong_file_among_right_ones_is_found(tmp_path):
    right = write(tmp_path / "right.gmt", ("A", TESTED))
    wrong = write(tmp_path / "wrong.gmt", ("B", [f"OTHER{i}" for i in range(5)]))
    with pytest.raises(StopRun, match=r"wrong\.gmt: 0% of its 5 genes"):
        read(right, wrong)


@pytest.mark.fault("F15")
def test_a_file_of_mixed_case_is_noted(tmp_path):
    path = write(tmp_path / "a.gmt", ("A", TESTED[:10]), ("B", [gene.lower() for gene in TESTED[10:20]]))
    found = read(path)
    assert [note.code for note in found.notes] == ["gene_set_case", "gene_set_dropped"]
    assert "50% of its genes were tested; 100% would be" in found.notes[0].text


@pytest.mark.fault("F15")
@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("", "gene_set_file", "holds no gene set"),
        ("A\tnothing\n\n", "gene_set_file", "holds no gene set"),
        ("<!DOCTYPE html><html>\n", "gene_set_file", "line 1: expected NAME, DESCRIPTION and genes .* found '<!DOC"),
        ("A\tx\tGENE1\n\n\tx\tGENE2\n", "gene_set_file", "line 3: .* found a line without a name"),
        ("A,x,GENE1,GENE2\n", "gene_set_file", "line 1: .* separated by tabs, found 'A,x,GENE1,GENE2'"),
    ],
)
def test_a_file_without_sets_stops_the_run(tmp_path, text, code, message):
    path = tmp_path / "a.gmt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StopRun, match=message) as stopped:
        read(path)
    assert stopped.value.code == code


def test_a_file_that_is_missing_or_packed_stops_the_run(tmp_path):
    with pytest.raises(StopRun, match="cannot read the table") as stopped:
        read(tmp_path / "none.gmt")
    assert stopped.value.code == "file_unreadable"
    packed = tmp_path / "a.gmt"
    packed.write_bytes(gzip.compress(b"A\tx\tGENE1\n"))
    with pytest.raises(StopRun) as stopped:
        read(packed)
    assert stopped.value.code == "encoding"


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    path = tmp_path / "a.gmt"
    path.write_bytes("\ufeffA\thttp://x\tGENE1\tGENE2\tGENE3\t\r\n".encode())
    assert read(path).sets == (GeneSet("A", "a.gmt", ("GENE1", "GENE2", "GENE3"), 3),)


@pytest.mark.fault("F15")
def test_sets_of_one_name_are_told_apart_and_copies_count_once(tmp_path):
    first = write(tmp_path / "a.gmt", ("A", TESTED[:3]), ("A", TESTED[5:9]))
    second = write(tmp_path / "b.gmt", ("A", TESTED[2::-1]), ("A", TESTED[10:14]))
    found = read(first, second)
    assert [(one.name, one.source) for one in found.sets] == [("A", "a.gmt"), ("A (2)", "a.gmt"), ("A (3)", "b.gmt")]
    assert [(one.source, one.reason) for one in found.dropped] == [("b.gmt", "listed before with the same genes")]
    assert {note.code for note in found.notes} == {"gene_set_name", "gene_set_dropped"}


def test_a_set_of_all_genes_tested_has_nothing_to_be_compared_with():
    found = match_gene_sets([GeneSet("ALL", "a", tuple(TESTED), 40)], TESTED, min_genes=1, max_genes=500)
    assert [one.reason for one in found.dropped] == ["all genes tested belong to it"]


def test_the_order_of_the_genes_tested_changes_nothing(tmp_path):
    path = write(tmp_path / "a.gmt", ("A", TESTED[:4]), ("B", TESTED[3:9]))
    assert read(path, tested=TESTED[::-1]) == read(path)


def test_signatures_are_distinct_sorted_symbols_with_a_source():
    assert len(SIGNATURES["T-cell-inflamed profile"][0]) == 18
    assert len(SIGNATURES["Tertiary lymphoid structures"][0]) == 12
    for genes, source in SIGNATURES.values():
        assert list(genes) == sorted(set(genes))
        assert "20" in source


def test_a_signature_needs_half_of_its_genes_and_at_least_two():
    found = signature_sets(["GZMA", "CD3D", "CD3E", "CD3G", "CD68", "BLK", "CD19", "OTHER"])
    assert [one.name for one in found.sets] == ["T cells"]
    reasons = {one.name: one.reason for one in found.dropped}
    assert reasons["Cytolytic activity"] == "fewer than 2 genes tested"
    assert reasons["B cells"] == "less than half of its genes tested"
    assert len(found.sets) + len(found.dropped) == len(SIGNATURES)


@pytest.mark.fault("F15")
def test_the_hallmarks_overlap_with_a_table_of_tcga(shared):
    """The table holds 6000 genes of TCGA-BRCA as SYMBOL_ENTREZ; joined ids stop the run, symbols do not."""
    with gzip.open(shared / "data" / "tcga-brca" / "rna_log2_6000x769.csv.gz", "rt") as handle:
        joined = handle.readline().strip().split(",")[1:]
    hallmarks = shared / "data" / "genesets" / "hallmark_v7.0.symbols.gmt"
    with pytest.raises(StopRun, match=r"0% of its 4384 genes .* tested were 'ESR1_2099'"):
        read_gene_sets([hallmarks], joined, min_genes=10, max_genes=500)
    symbols = list(dict.fromkeys(name.rsplit("_", 1)[0] for name in joined))
    found = read_gene_sets([hallmarks], symbols, min_genes=10, max_genes=500)
    assert (len(found.sets), len(found.dropped)) == (48, 2)
    assert all(one.n_listed >= 32 for one in found.sets)
