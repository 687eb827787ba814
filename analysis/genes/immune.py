"""Short published signatures of immune cells in tumors, shipped as facts with their sources."""

from collections.abc import Sequence

from analysis.genes.gene_sets import DroppedSet, GeneSet, GeneSets, match_gene_sets

_DANAHER = "Danaher et al., J Immunother Cancer 2017;5:18"

SIGNATURES: dict[str, tuple[tuple[str, ...], str]] = {
    # name: (HGNC symbols, source)
    "Cytolytic activity": (("GZMA", "PRF1"), "Rooney et al., Cell 2015;160:48"),
    "T-cell-inflamed profile": (
        (
            "CCL5", "CD27", "CD274", "CD276", "CD8A", "CMKLR1", "CXCL9", "CXCR6", "HLA-DQA1", "HLA-DRB1", "HLA-E",
            "IDO1", "LAG3", "NKG7", "PDCD1LG2", "PSMB10", "STAT1", "TIGIT",
        ),
        "Ayers et al., J Clin Invest 2017;127:2930 (18 genes)",
    ),
    "Interferon gamma": (
        ("CXCL10", "CXCL9", "HLA-DRA", "IDO1", "IFNG", "STAT1"),
        "Ayers et al., J Clin Invest 2017;127:2930 (6 genes)",
    ),
    "Effector T cells": (
        ("CD8A", "CXCL10", "CXCL9", "EOMES", "GZMA", "GZMB", "IFNG", "TBX21"),
        "Fehrenbacher et al. (POPLAR), Lancet 2016;387:1837",
    ),
    "Tertiary lymphoid structures": (
        (
            "CCL18", "CCL19", "CCL2", "CCL21", "CCL3", "CCL4", "CCL5", "CCL8", "CXCL10", "CXCL11", "CXCL13", "CXCL9",
        ),
        "Coppola et al., Am J Pathol 2011;179:37 (12 chemokines)",
    ),
    "B cells": (
        ("BLK", "CD19", "FCRL2", "KIAA0125", "MS4A1", "PNOC", "SPIB", "TCL1A", "TNFRSF17"),
        _DANAHER,
    ),
    "T cells": (("CD3D", "CD3E", "CD3G", "CD6", "SH2D1A", "TRAT1"), _DANAHER),
    "Cytotoxic cells": (
        ("CTSW", "GNLY", "GZMA", "GZMB", "GZMH", "KLRB1", "KLRD1", "KLRK1", "NKG7", "PRF1"),
        _DANAHER,
    ),
    "Exhausted CD8 T cells": (("CD244", "EOMES", "LAG3", "PTGER4"), _DANAHER),
    "Macrophages": (("CD163", "CD68", "CD84", "MS4A4A"), _DANAHER),
}  # fmt: skip
"""Name -> genes and source. Higher scores mean more of it, relative to the other genes of the tumor."""

_FEWEST = 2  # genes tested; one gene is no signature
_SHARE = 0.5  # of the genes, for the signature to be what its name says


def signature_sets(tested: Sequence[str]) -> GeneSets:
    """The signatures with at least two of their genes, and at least half of them, among the genes tested.

    Args:
        tested: HGNC symbols of the genes tested, each once.
    """
    listed = [GeneSet(name, source, genes, len(genes)) for name, (genes, source) in SIGNATURES.items()]
    found = match_gene_sets(listed, tested, min_genes=_FEWEST, max_genes=max(one.n_listed for one in listed))
    whole = tuple(one for one in found.sets if len(one.genes) >= _SHARE * one.n_listed)
    partial = tuple(
        DroppedSet(one.name, one.source, len(one.genes), one.n_listed, "less than half of its genes tested")
        for one in found.sets
        if one not in whole
    )
    return GeneSets(whole, (*found.dropped, *partial), (), found.background)
