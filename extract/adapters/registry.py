"""The layouts that can be imported: what each one is called, expects and costs, and where its adapter is."""

from dataclasses import dataclass
from importlib import import_module

from extract.adapters.contract import COMMON_OPTIONS, Imported, Request
from extract.public import find_collection
from triher.errors import unknown_name


@dataclass(frozen=True)
class Adapter:
    """One layout; its module is imported when it is used."""

    title: str
    module: str
    """Has ``read(request) -> Imported`` and ``OPTIONS``."""
    expects: str
    """The folder as a short tree, or the table's columns."""
    license: str
    """Short name and citation; what the collection's own page says prevails."""

    def read(self, request: Request) -> Imported:
        """Read the collection.

        Raises:
            StopRun: whatever stands in the way.
        """
        imported: Imported = import_module(self.module).read(request)
        return imported

    def options(self) -> dict[str, str]:
        """The adapter's options and those of all adapters: name -> what it does."""
        return {**import_module(self.module).OPTIONS, **COMMON_OPTIONS}


def _terms(*collections: str) -> str:
    """License and citation of public collections."""
    found = map(find_collection, collections)
    return " ".join(f"{one.license[0]}. {one.citation} https://doi.org/{one.doi}" for one in found)


_YOURS = "that of your data"

ADAPTERS: dict[str, Adapter] = {
    "breastdcedl": Adapter(
        "BreastDCEDL: I-SPY1, I-SPY2 and Duke as NIfTI, whole or cropped to the tumor",
        "extract.adapters.breastdcedl",
        """\
BreastDCEDL_metadata_min_crop.csv
BreastDCEDL_ISPY2_min_crop/dce/<pid>_spy2_vis1_dce_aqc_<k>.nii.gz
BreastDCEDL_ISPY2_min_crop/mask/<pid>_spy2_vis1_mask.nii.gz""",
        _terms("breastdcedl"),
    ),
    "mama-mia": Adapter(
        "MAMA-MIA: I-SPY1, I-SPY2, NACT and Duke as NIfTI, with expert segmentations",
        "extract.adapters.mama_mia",
        """\
clinical_and_imaging_info.xlsx
images/<PATIENT_ID>/<patient_id>_<0000>.nii.gz
segmentations/expert/<patient_id>.nii.gz""",
        _terms("mama-mia"),
    ),
    "ispy2": Adapter(
        "I-SPY2 with HER2 in three classes, from the supplement of the trial",
        "extract.adapters.ispy2",
        """\
her2_triple_class.csv
images in the layout of BreastDCEDL or MAMA-MIA""",
        _terms("ispy2"),
    ),
    "fm-bcmri": Adapter(
        "FM-BCMRI: one NIfTI file a phase, with center, day and phase in its name",
        "extract.adapters.fm_bcmri",
        """\
label.csv
Image/<CENTER>_<d0>_<C0>_<PID>.nii.gz
Mask/<CENTER>_<d0>_<C0>_<PID>.nii.gz""",
        f"CC BY 3.0 for the code; for images {_YOURS}. https://github.com/zhenweishi/FM-BCMRI",
    ),
    "tcga-brca": Adapter(
        "TCGA-BRCA: clinical table with IHC and FISH, and MRI as DICOM or NIfTI",
        "extract.adapters.tcga_brca",
        """\
clinical_patient_brca.txt
<barcode>/...dcm, or <barcode>_phase<k>.nii.gz
<barcode>_mask.nii.gz""",
        _terms("tcga-brca"),
    ),
    "duke": Adapter(
        "Duke-Breast-Cancer-MRI: DICOM, with boxes around the tumors",
        "extract.adapters.duke",
        """\
Clinical_and_Other_Features.xlsx
Annotation_Boxes.xlsx
Duke-Breast-Cancer-MRI/Breast_MRI_<nnn>/<study>/<series>/1-<nnn>.dcm""",
        _terms("duke"),
    ),
    "dicom": Adapter(
        "Folders of DICOM, one a patient, with a table of labels",
        "extract.adapters.dicom",
        """\
<patient>/.../...dcm
<patient>/mask.nii.gz, or what the option mask says
a table with the patients' ids, named with --table""",
        _YOURS,
    ),
    "table": Adapter(
        "Any spreadsheet with one row a patient",
        "extract.adapters.table",
        """\
a CSV, TSV or XLSX file, one row a patient
the option map:patient_id=PID says which of its columns is which of ours""",
        _YOURS,
    ),
}


def find_adapter(name: str) -> Adapter:
    """The adapter of a name.

    Raises:
        StopRun: ``unknown_name``, with the names that are known.
    """
    if name not in ADAPTERS:
        raise unknown_name("layout", name, ADAPTERS)
    return ADAPTERS[name]


def outline() -> str:
    """Name, title and tree of every layout, as lines."""
    return "\n".join(
        line
        for name, adapter in ADAPTERS.items()
        for line in (f"{name}: {adapter.title}", *(f"    {part}" for part in adapter.expects.splitlines()))
    )


def describe(name: str) -> str:
    """Title, tree, options and license of a layout, as lines.

    Raises:
        StopRun: ``unknown_name``.
    """
    adapter = find_adapter(name)
    lines = (
        f"{name}: {adapter.title}",
        *(f"    {line}" for line in adapter.expects.splitlines()),
        *(f"  --option {option}=...  {text}" for option, text in adapter.options().items()),
        f"  license: {adapter.license}",
    )
    return "\n".join(lines)
