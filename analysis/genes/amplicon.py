"""The genes that are amplified together with ERBB2, which tell HER2-positive tumors without any further biology."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

REGION = "17q12-q21"
# From MED1 to TOP2A in the order of the chromosome. In 54 ERBB2-amplified tumors CDK12 (CRKRS) and IKZF3 were the
# most frequent borders of the amplicon (Sircoulomb et al., BMC Cancer 10:539, 2010). In 200, the core was TCAP to
# GRB7, and 31 % reached TOP2A (Staaf et al., Breast Cancer Res 12:R25, 2010). MED1 is amplified with ERBB2 as well
# (Lamy et al., Breast Cancer Res 13:R15, 2011). What lies between is taken whole.
_ENSEMBL = {
    "MED1": "ENSG00000125686",
    "CDK12": "ENSG00000167258",
    "NEUROD2": "ENSG00000171532",
    "PPP1R1B": "ENSG00000131771",
    "STARD3": "ENSG00000131748",
    "TCAP": "ENSG00000173991",
    "PNMT": "ENSG00000141744",
    "PGAP3": "ENSG00000161395",
    "ERBB2": "ENSG00000141736",
    "MIEN1": "ENSG00000141741",
    "GRB7": "ENSG00000141738",
    "IKZF3": "ENSG00000161405",
    "ZPBP2": "ENSG00000186075",
    "GSDMB": "ENSG00000073605",
    "ORMDL3": "ENSG00000172057",
    "LRRC3C": "ENSG00000204913",
    "GSDMA": "ENSG00000167914",
    "PSMD3": "ENSG00000108344",
    "CSF3": "ENSG00000108342",
    "MED24": "ENSG00000008838",
    "THRA": "ENSG00000126351",
    "NR1D1": "ENSG00000126368",
    "MSL1": "ENSG00000188895",
    "CASC3": "ENSG00000108349",
    "RAPGEFL1": "ENSG00000108352",
    "WIPF2": "ENSG00000171475",
    "CDC6": "ENSG00000094804",
    "RARA": "ENSG00000131759",
    "GJD3": "ENSG00000183153",
    "TOP2A": "ENSG00000131747",
}
_EARLIER = ("PPARBP", "CRKRS", "PERLD1", "C17orf37", "ZNFN1A3", "GSDML", "GSDM1", "THRAP4")
"""Names that older tables have for MED1, CDK12, PGAP3, MIEN1, IKZF3, GSDMB, GSDMA and MED24."""
GENES = tuple(_ENSEMBL)
_ALL = frozenset(name.casefold() for name in (*_ENSEMBL, *_ENSEMBL.values(), *_EARLIER))


def in_amplicon(genes: Sequence[str]) -> Bool[np.ndarray, " gene"]:
    """Which genes lie in the ERBB2 amplicon, by symbol, earlier symbol or Ensembl id.

    >>> in_amplicon(["ERBB2", "ESR1", "C17orf37", "ENSG00000141738"]).tolist()
    [True, False, True, True]
    """
    return np.array([gene.casefold() in _ALL for gene in genes], dtype=bool)
