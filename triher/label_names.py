"""Names of columns that tell HER2, or follow from it."""

import re

# Receptor, gene, drugs given for it, and subtypes that are defined by it (St. Gallen 2013).
_TELLS_HER2 = re.compile(
    r"her[-_ ]?2|erbb2|trastuzumab|herceptin|pertuzumab|lapatinib|t[-_]?dm1|t[-_]?dxd|triple[-_ ]?neg|tnbc|subtype",
    re.IGNORECASE,
)


def tells_her2(name: str) -> bool:
    """Whether a column of that name tells HER2, or follows from it.

    >>> tells_her2("HER-2 status"), tells_her2("neoadjuvant_trastuzumab"), tells_her2("age")
    (True, True, False)
    """
    return bool(_TELLS_HER2.search(name))
