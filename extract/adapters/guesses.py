"""What tables call our columns: spellings that are suggested in messages, and never taken without being asked."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from triher.tables import matching_key

# Ours -> spellings seen in public tables (TCGA, MAMA-MIA, I-SPY2, Duke, BreastDCEDL) and common in hospitals'; as
# `_fold` leaves them, the likeliest first. Not "censored", which means the opposite of an event, nor "accession", of
# which a patient has several.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "patient_id": (
        *("patientid", "pid", "id", "patient", "subjectid", "subject", "caseid", "case", "studyid", "recordid"),
        *("bcrpatientbarcode", "barcode", "mrn", "patientnumber", "patientno", "pseudonym", "name"),
    ),
    "ihc": (
        *("her2ihc", "ihc", "ihcher2", "her2ihcscore", "ihcscore", "her2score", "her2", "her2status", "her2neu"),
        *("her23class", "her2class", "cerbb2", "erbb2", "her2byihc"),
    ),
    "ish": (
        *("her2fish", "her2ish", "fish", "ish", "fishstatus", "fishresult", "her2fishstatus", "her2ishresult"),
        *("cish", "sish", "dish", "amplification", "her2amplification"),
    ),
    "ish_ratio": (
        *("her2cep17ratio", "her2cep17", "her2cent17ratio", "fishratio", "ishratio", "ratio", "her2chr17ratio"),
    ),
    "ish_copies": ("her2copynumber", "her2copies", "copynumber", "her2signals", "genecopies", "ishcopies"),
    "staining_percent": (
        "stainingpercent",
        "percentstained",
        "her2percent",
        "stainedcells",
        "her2ihcpercentpositive",
    ),
    "site": ("center", "centre", "hospital", "institution", "clinic", "site", "tissuesourcesite", "sitecode"),
    "cohort": ("dataset", "cohort", "study", "collection", "source"),
    "split": ("split", "partition", "set", "subset", "traintest"),
    "time": (
        *("osmonths", "osdays", "ostime", "os", "overallsurvival", "survivaltime", "followup", "followupmonths"),
        *("followupdays", "dfsmonths", "rfsmonths", "time", "timetoevent", "dayssurvival", "survivalmonths"),
    ),
    "event": (*("osevent", "osstatus", "event", "death", "dead", "deceased", "vitalstatus", "status", "died"),),
    "age": ("age", "ageatdiagnosis", "ageyears", "patientage", "agediagnosis"),
    "exam": ("exam", "folder", "dicomfolder", "imagefolder", "imagepath", "image", "path", "study", "series"),
    "mask": ("mask", "maskpath", "segmentation", "seg", "roi", "annotation"),
    "pre": ("pre", "precontrast", "phase0", "c0", "dce0", "t1pre"),
    "early": ("early", "postearly", "phase1", "post1", "c1", "c2", "dce1", "firstpost"),
    "late": ("late", "postlate", "phase5", "last", "c5", "lastpost"),
}


def suggest(ours: str, columns: Iterable[str]) -> list[str]:
    """The columns of a table that may be one of ours, the likeliest first.

    >>> suggest("patient_id", ["Age", "PID", "HER2 IHC"])
    ['PID']
    >>> suggest("ihc", ["PID", "HER-2 (IHC)"])
    ['HER-2 (IHC)']
    """
    spellings = SPELLINGS.get(ours, (_fold(ours),))
    folded = {_fold(column): column for column in columns}
    exact = [folded[spelling] for spelling in spellings if spelling in folded]
    return exact or list(dict.fromkeys(folded[name] for name in _near(spellings[:4], folded)))


def _near(spellings: Iterable[str], names: Iterable[str]) -> Iterator[str]:
    """Names with a slip of the pen; one with other digits means another thing, as ER does where HER2 is meant."""
    for spelling in spellings:
        for name in get_close_matches(spelling, names, n=2, cutoff=0.85):
            if re.findall(r"\d", name) == re.findall(r"\d", spelling):
                yield name


def _fold(text: str) -> str:
    """Letters and digits alone, without case and width."""
    return re.sub(r"[\W_]", "", matching_key(text))
