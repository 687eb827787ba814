"""METRICS: 30 weighted items in nine categories, of which five conditions decide whether some apply.

Numbers, categories, topics and weights are those of the published table; what an item asks is told in our own words.
Conditions: 1 segmentation (items 8 to 10), 2 fully automated segmentation (9), 3 hand-crafted features (12),
4 tabular data, deep features in a table included (14 to 16), 5 end-to-end deep learning (17).
"""

from analysis.checklists import answers_features as features
from analysis.checklists import answers_images as images
from analysis.checklists import answers_metrics as answers
from analysis.checklists import answers_patients as patients
from analysis.checklists import answers_results as results
from analysis.checklists import answers_use as use
from analysis.checklists.item import Checklist, Item, author

_DESIGN, _IMAGING, _SEGMENTATION = "Study design", "Imaging data", "Segmentation"
_PROCESSING, _FEATURES = "Image processing and feature extraction", "Feature processing"
_MODELING, _METRICS, _TESTING, _OPEN = (
    "Preparation for modeling", "Metrics and comparison", "Testing", "Open science",
)  # fmt: skip

METRICS = Checklist(
    name="metrics",
    title="METRICS",
    citation=(
        "Kocak B, Akinci D'Antonoli T, Mercaldo N, et al. METhodological RadiomICs Score (METRICS): a quality "
        "scoring tool for radiomics research endorsed by EuSoMII. "
        "Insights Imaging 2024;15:8. doi:10.1186/s13244-023-01572-w"
    ),
    form="https://metricsscore.github.io/metrics/METRICS.html",
    remark=(
        "A score of quality, not a reporting guideline. Conditions as they hold here: deep features in a table count "
        "as tabular data (condition 4), and a frozen encoder with a trained head is no end-to-end deep learning, "
        "unlike one that was trained on the cohort (condition 5). Whether segmentation was fully automated "
        "(condition 2) the run cannot know, so item 9 is left to the author. Weights of items that do not apply are "
        "taken out, and the rest count as the whole."
    ),
    items=(
        Item("1", _DESIGN, "Guideline", "A guideline or checklist was adhered to.", answers.guideline, 0.0368),
        Item("2", _DESIGN, "Eligibility", "Criteria, giving representative patients.", patients.eligibility, 0.0735),
        Item(
            "3", _DESIGN, "Reference standard", "Of high quality and clearly defined.",
            answers.reference_standard, 0.0919,
        ),
        Item("4", _IMAGING, "Multi-center", "Images of more than one institution.", answers.multi_center, 0.0438),
        Item(
            "5", _IMAGING, "Clinical translatability", "Imaging as it is done in standardized practice.",
            author(
                "Say by which guideline the dynamic series was acquired (EUSOBI, ACR), and whether it is the "
                "routine protocol of the centers."
            ),
            0.0292,
        ),
        Item(
            "6", _IMAGING, "Imaging protocol", "Acquisition parameters are given.",
            author("Give all acquisition parameters of each site, so that others can repeat them."), 0.0438,
        ),
        Item(
            "7", _IMAGING, "Interval to the reference", "Time between images and reference standard.",
            author("Give the time between MRI and the biopsy that HER2 is from; without it the item is not met."),
            0.0292,
        ),
        Item("8", _SEGMENTATION, "Description", "How regions were delineated.", images.segmentation, 0.0337),
        Item(
            "9", _SEGMENTATION, "Automated segmentation", "Formal evaluation, if fully automated.",
            author("If outlines are fully automated, report their accuracy against an expert; else strike it."),
            0.0225,
        ),
        Item(
            "10", _SEGMENTATION, "Single reader or tool", "Test outlines by one reader or tool.",
            author("Say whether the test patients' outlines are of one reader or one automated tool."), 0.0112,
        ),
        Item(
            "11", _PROCESSING, "Preprocessing", "Appropriate and transparent.", features.preprocessing, 0.0622,
        ),
        Item(
            "12", _PROCESSING, "Standard software", "Of hand-crafted features.", features.feature_software, 0.0311
        ),
        Item("13", _PROCESSING, "Extraction parameters", "Fully reported.", features.feature_parameters, 0.0415),
        Item("14", _FEATURES, "Non-robust features", "Removed.", features.non_robust_features, 0.02),
        Item("15", _FEATURES, "Redundant features", "Removed.", features.redundant_features, 0.02),
        Item("16", _FEATURES, "Dimensionality", "Fits the number of patients.", features.dimensionality, 0.03),
        Item("17", _FEATURES, "End-to-end robustness", "Assessed, if learned end to end.", features.end_to_end, 0.02),
        Item("18", _MODELING, "Partitioning", "Proper, by patient, before all else.", answers.partitioning, 0.0599),
        Item("19", _MODELING, "Confounding", "Confounders analyzed.", answers.confounding, 0.03),
        Item("20", _METRICS, "Performance metrics", "Fit the task.", answers.suitable_metrics, 0.0352),
        Item("21", _METRICS, "Uncertainty", "Intervals or the like.", results.uncertainty, 0.0234),
        Item("22", _METRICS, "Calibration", "Assessed.", answers.calibration, 0.0176),
        Item(
            "23", _METRICS, "Uni-parametric imaging", "Used, or shown to be inferior.", answers.uni_parametric, 0.0117
        ),
        Item("24", _METRICS, "Non-radiomic comparison", "Or added clinical value.", answers.non_radiomic, 0.0293),
        Item("25", _METRICS, "Simple models", "Compared with.", answers.simple_models, 0.0176),
        Item("26", _TESTING, "Internal testing", "Independent data, same source.", answers.internal_testing, 0.0375),
        Item("27", _TESTING, "External testing", "Data of other institutions.", answers.external_testing, 0.0749),
        Item("28", _OPEN, "Data", "Available to others.",
            author("Say which images, outlines, tables or features are public, and where."), 0.0075,
        ),
        Item("29", _OPEN, "Code", "Available to others.", use.code, 0.0075),
        Item("30", _OPEN, "Model", "Available to others.", use.specification, 0.0075),
    ),
)  # fmt: skip
