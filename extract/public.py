"""The public collections that TriHER knows: what they are, under which license, how to get them by hand."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from triher.errors import unknown_name

LAYOUT = "%PatientID/%StudyInstanceUID/%Modality_%SeriesInstanceUID"
"""Folders below the target, in the words of the Imaging Data Commons' client: the patient comes first."""
IDC_CITATION = "Fedorov A et al. (2023). RadioGraphics. https://doi.org/10.1148/rg.230180"

_CC = "https://creativecommons.org/licenses"
_BY_3 = ("CC BY 3.0", f"{_CC}/by/3.0/")
_BY_4 = ("CC BY 4.0", f"{_CC}/by/4.0/")
_BY_NC_4 = ("CC BY-NC 4.0", f"{_CC}/by-nc/4.0/")

_BASELINE = "--option study=first --option 'mask={exam}'"
_OWN_TABLE = f"--table LABELS.csv --option map:patient_id=ID --option map:ihc=HER2 {_BASELINE}"
_ISPY2_TABLE = (
    "--table her2_triple_class.csv --option map:patient_id=breastdcedl_pid --option map:ihc=her2_3class " + _BASELINE
)


@dataclass(frozen=True)
class Collection:
    """A public collection of breast MRI."""

    title: str
    license: tuple[str, str]
    """Short name and address. What the collection's own page says prevails."""
    doi: str
    """Of the data; leads to the collection's page."""
    citation: str
    adapter: str
    """Which adapter of ``triher cohort import`` reads it."""
    labels: str = ""
    """Its options for the table of labels, which no archive of images holds, and for masks."""
    collection_id: str = ""
    """On the Imaging Data Commons; empty where the collection is downloaded by hand only."""
    by_hand: tuple[str, ...] = ()
    """What to download and where from, a step each; empty where the Imaging Data Commons has it."""


# Licenses and citations as MAMA-MIA's README (I-SPY1, I-SPY2, Duke, NACT) and works that reuse the data (the others)
# quote the collections' pages. What the index says of each series is shown beside it before anything is downloaded.
COLLECTIONS: dict[str, Collection] = {
    "ispy1": Collection(
        "I-SPY1 (ACRIN 6657): breast DCE-MRI with segmentations",
        _BY_3,
        "10.7937/K9/TCIA.2016.HdHpgJLK",
        "Newitt D, Hylton N, on behalf of the I-SPY 1 Network and ACRIN 6657 Trial Team (2016). Multi-center breast "
        "DCE-MRI data and segmentations from patients in the I-SPY 1/ACRIN 6657 trials. The Cancer Imaging Archive.",
        "dicom",
        _OWN_TABLE,
        "ispy1",
    ),
    "ispy2": Collection(
        "I-SPY2: breast dynamic contrast-enhanced MRI trial (without the patients of ACRIN-6698)",
        _BY_4,
        "10.7937/TCIA.D8Z0-9T85",
        "Li W, Newitt DC, Gibbs J, et al. (2022). I-SPY 2 Breast Dynamic Contrast Enhanced MRI Trial (ISPY2) "
        "(Version 1) [Data set]. The Cancer Imaging Archive.",
        "dicom",
        _ISPY2_TABLE,
        "ispy2",
    ),
    "acrin-6698": Collection(
        "ACRIN-6698: sub-study of I-SPY2 with diffusion-weighted MRI",
        _BY_4,
        "10.7937/TCIA.KK02-6D95",
        "Newitt DC, Partridge SC, Zhang Z, et al. (2021). ACRIN 6698/I-SPY2 Breast DWI [Data set]. The Cancer "
        "Imaging Archive.",
        "dicom",
        _ISPY2_TABLE,
        "acrin_6698",
    ),
    "duke": Collection(
        "Duke-Breast-Cancer-MRI",
        _BY_NC_4,
        "10.7937/TCIA.e3sv-re93",
        "Saha A, Harowicz MR, Grimm LJ, et al. (2021). Dynamic contrast-enhanced magnetic resonance images of breast "
        "cancer patients with tumor locations [Data set]. The Cancer Imaging Archive.",
        "duke",
        "--table Clinical_and_Other_Features.xlsx --option boxes=Annotation_Boxes.xlsx",
        "duke_breast_cancer_mri",
    ),
    "tcga-brca": Collection(
        "TCGA-BRCA: images of The Cancer Genome Atlas, breast invasive carcinoma",
        _BY_3,
        "10.7937/K9/TCIA.2016.AB2NAZRP",
        "Lingle W, Erickson BJ, Zuley ML, et al. (2016). The Cancer Genome Atlas Breast Invasive Carcinoma "
        "Collection (TCGA-BRCA) (Version 3) [Data set]. The Cancer Imaging Archive.",
        "tcga-brca",
        "--table clinical_patient_brca.txt",
        "tcga_brca",
    ),
    "advanced-mri-breast-lesions": Collection(
        "Advanced-MRI-Breast-Lesions: standard and delayed contrast-enhanced MRI of breast lesions",
        _BY_4,
        "10.7937/C7X1-YN57",
        "Daniels D, Last D, Cohen K, Mardor Y, Sklair-Levy M (2024). Standard and Delayed Contrast-Enhanced MRI of "
        "Malignant and Benign Breast Lesions with Histological and Clinical Supporting Data "
        "(Advanced-MRI-Breast-Lesions) (Version 2) [Data set]. The Cancer Imaging Archive.",
        "dicom",
        _OWN_TABLE,
        "advanced_mri_breast_lesions",
    ),
    "breast-mri-nact-pilot": Collection(
        "Breast-MRI-NACT-Pilot: single-site breast DCE-MRI during neoadjuvant chemotherapy",
        _BY_3,
        "10.7937/K9/TCIA.2016.QHsyhJKy",
        "Newitt D, Hylton N (2016). Single site breast DCE-MRI data and segmentations from patients undergoing "
        "neoadjuvant chemotherapy (Version 3) [Data set]. The Cancer Imaging Archive.",
        "dicom",
        _OWN_TABLE,
        "breast_mri_nact_pilot",
    ),
    "breastdcedl": Collection(
        "BreastDCEDL: I-SPY1, I-SPY2 and Duke as NIfTI, cropped around the tumor",
        ("CC BY-NC 4.0 for the Duke part; for the rest see the record's page", f"{_CC}/by-nc/4.0/"),
        "10.5281/zenodo.18114231",
        "Fridman N et al. (2026). Scientific Data 13:264. https://doi.org/10.1038/s41597-026-06589-6",
        "breastdcedl",
        by_hand=(
            "open Zenodo record 18114231 (about 22 GB to download, 35 GB unpacked)",
            "download BreastDCEDL_metadata_min_crop.csv, BreastDCEDL_ISPY1_min_crop.tar.gz, "
            "BreastDCEDL_ISPY2_min_crop.tar.gz and BreastDCEDL_DUKE_min_crop.tar.gz into {folder}",
            "unpack each archive there (tar xzf), so that {folder}/BreastDCEDL_ISPY2_min_crop/dce holds the volumes",
        ),
    ),
    "mama-mia": Collection(
        "MAMA-MIA: I-SPY1, I-SPY2, Duke and NACT as NIfTI with expert segmentations",
        _BY_NC_4,
        "10.7303/syn60868042",
        "Garrucho L, Kushibar K, Reidel CA, et al. (2025). A large-scale multicenter breast cancer DCE-MRI benchmark "
        "dataset with expert segmentations. Scientific Data 12:453. https://doi.org/10.1038/s41597-025-04707-4",
        "mama-mia",
        by_hand=(
            "make an account at Synapse and a personal access token, and accept the conditions of syn60868042",
            "in {folder}, run: synapse get -r syn60868042",
            "{folder} must then hold the folders images and segmentations and clinical_and_imaging_info.xlsx",
        ),
    ),
}


def find_collection(name: str) -> Collection:
    """The entry of a name.

    Raises:
        StopRun: ``unknown_name``, with the names that are known.
    """
    if name not in COLLECTIONS:
        raise unknown_name("public collection", name, COLLECTIONS)
    return COLLECTIONS[name]


def describe(name: str) -> str:
    """Title, license, citation and origin of a collection, a line each; needs neither network nor client.

    Raises:
        StopRun: ``unknown_name``.
    """
    collection = find_collection(name)
    short, address = collection.license
    origin = f"Imaging Data Commons, collection {collection.collection_id}"
    lines = (
        f"{name}: {collection.title}",
        f"license:  {short} ({address})",
        f"cite:     {collection.citation} https://doi.org/{collection.doi}",
        f"          {IDC_CITATION} (where the images come from)" if collection.collection_id else "",
        f"origin:   {origin if collection.collection_id else 'by hand only: see the steps'}",
    )
    return "\n".join(line for line in lines if line)


def import_line(name: str, folder: Path) -> str:
    """The command that turns the downloaded folder into a cohort table."""
    collection = find_collection(name)
    parts = (
        "triher cohort import",
        collection.adapter,
        shlex.quote(str(folder)),
        collection.labels,
        f"--out {name}.csv",
    )
    return " ".join(filter(None, parts))


def steps_by_hand(name: str, folder: Path) -> str:
    """How to bring the collection here without this program's help: what, where from, where to, and what follows."""
    collection = find_collection(name)
    steps = collection.by_hand or (
        f"on a machine with network, install the client of the Imaging Data Commons (idc-index) and run: "
        f"idc download {collection.collection_id} --download-dir {{folder}} --dir-template '{LAYOUT}' "
        f"(or open https://doi.org/{collection.doi} and download the MR and SEG series with the archive's retriever)",
        "copy the folders of the patients, with all that is below them, into {folder}",
    )
    placed = [step.replace("{folder}", shlex.quote(str(folder))) for step in (*steps, import_line(name, folder))]
    return "; ".join(f"({number}) {step}" for number, step in enumerate(placed, 1))
