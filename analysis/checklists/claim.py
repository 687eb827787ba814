"""CLAIM 2024: 44 items for studies of artificial intelligence in medical imaging.

Numbers and topics are official; what an item asks is told in our own words.
"""

from analysis.checklists import answers_images as images
from analysis.checklists import answers_model as model
from analysis.checklists import answers_partition as division
from analysis.checklists import answers_patients as patients
from analysis.checklists import answers_results as results
from analysis.checklists import answers_testing as testing
from analysis.checklists import answers_training as training
from analysis.checklists import answers_use as use
from analysis.checklists.item import Checklist, Item, author

_DESIGN, _DATA, _REFERENCE = "Methods: study design", "Methods: data", "Methods: reference standard"
_PARTITIONS, _TESTING, _MODEL = "Methods: data partitions", "Methods: testing data", "Methods: model"
_TRAINING, _EVALUATION = "Methods: training", "Methods: evaluation"
_RESULTS, _PERFORMANCE = "Results: data", "Results: model performance"

CLAIM = Checklist(
    name="claim",
    title="CLAIM 2024",
    citation=(
        "Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in Medical Imaging (CLAIM): "
        "2024 update. Radiol Artif Intell 2024;6(4):e240300. doi:10.1148/ryai.240300"
    ),
    form="https://pubs.rsna.org/doi/10.1148/ryai.240300",
    items=(
        Item("1", "Title", "Title", "Name artificial intelligence and its kind.", model.title),
        Item(
            "2", "Abstract", "Abstract", "Structured: design, methods, results, conclusions.",
            author(
                "Structure the abstract; give the number of patients and examinations of each part, whether it was "
                "prospective, the main result with its interval, and whether code, model and data can be had."
            ),
        ),
        Item(
            "3", "Introduction", "Background", "Science, clinic, intended use and role.",
            author("Say what is done today, what the model is meant to add, and where it would stand in the clinic."),
        ),
        Item("4", "Introduction", "Objectives", "Aims and hypotheses.", model.objective),
        Item(
            "5", _DESIGN, "Prospective or retrospective", "Which of both.",
            author("Say whether the data were collected for this study (prospective) or before it (retrospective)."),
        ),
        Item("6", _DESIGN, "Study goal", "Development, feasibility, test, trial.", model.objective),
        Item("7", _DATA, "Data sources", "Where from, with addresses of public ones.", patients.sources),
        Item("8", _DATA, "Eligibility", "Criteria, and how patients were selected.", patients.eligibility),
        Item("9", _DATA, "Preprocessing", "All steps, so that they can be repeated.", images.preprocessing),
        Item("10", _DATA, "Data subsets", "Which parts were used, selected how.", division.subsets),
        Item(
            "11", _DATA, "De-identification", "How, and by which rules.",
            author(
                "Say how headers, pixels and tables were de-identified, by which standard, and by whom. The report "
                "says at its end whether it holds ids of patients."
            ),
        ),
        Item("12", _DATA, "Missing data", "How handled, and which bias that brings.", patients.missing),
        Item("13", _DATA, "Acquisition protocol", "Machine, sequence, parameters.", images.acquisition),
        Item("14", _REFERENCE, "Definition", "What the reference standard is.", images.outcome),
        Item(
            "15", _REFERENCE, "Rationale", "Why this one, and its limits.",
            author(
                "Say why pathology of this specimen is the standard, and what is known of its errors: sampling of "
                "the tumor, and the poor agreement between HER2 0 and 1+."
            ),
        ),
        Item(
            "16", _REFERENCE, "Source of annotations", "Who annotated, with which training.",
            author("Give number and qualification of the pathologists and of those who outlined the lesions."),
        ),
        Item(
            "17", _REFERENCE, "Annotation of the test set", "How, with which tools.",
            author(
                "Say how HER2 and the outlines of the test patients were obtained, with which software, and whether "
                "in the same way as in training."
            ),
        ),
        Item(
            "18", _REFERENCE, "Variability of annotation", "Within and between readers.",
            author(
                "Report the agreement of pathologists (kappa of HER2) and of outlines (Dice), or say that each was "
                "made once."
            ),
        ),
        Item("19", _PARTITIONS, "Assignment", "How data were divided, in which proportions.", division.partition),
        Item("20", _PARTITIONS, "Level of disjointness", "Patient, series or image.", division.disjoint),
        Item("21", _TESTING, "Intended sample size", "How it was determined.", patients.sample_size),
        Item("22", _MODEL, "Description of the model", "Inputs, outputs, all layers.", model.description),
        Item("23", _MODEL, "Software", "Libraries, frameworks, versions.", model.software),
        Item("24", _MODEL, "Initialization", "Random, or from which weights.", model.initialization),
        Item("25", _TRAINING, "Training approach", "Augmentation, hyperparameters, stopping.", training.training),
        Item("26", _TRAINING, "Selection of the final model", "By which measure, on whom.", training.selection),
        Item("27", _TRAINING, "Ensembles", "How outputs are combined, if any.", training.ensembling),
        Item("28", _EVALUATION, "Metrics", "Measures of performance.", results.measures),
        Item("29", _EVALUATION, "Significance and uncertainty", "Intervals and tests.", results.uncertainty),
        Item("30", _EVALUATION, "Robustness", "Analyses of robustness or sensitivity.", results.robustness),
        Item("31", _EVALUATION, "Explainability", "Methods and their validation, if any.", results.explainability),
        Item("32", _EVALUATION, "Internal data", "Evaluation on data of the same source.", testing.internal),
        Item("33", _EVALUATION, "External data", "Testing on data from elsewhere.", testing.external),
        Item(
            "34", _EVALUATION, "Trial registration", "Number, if it is a clinical trial.",
            author("If it is a clinical trial, give register and number; if not, say so."),
        ),
        Item("35", _RESULTS, "Included and excluded", "Numbers, with a flow diagram.", patients.flow),
        Item("36", _RESULTS, "Characteristics", "Of each partition, to see bias.", patients.characteristics),
        Item("37", _PERFORMANCE, "Performance", "Measures with uncertainty, in subgroups, too.", results.performance),
        Item("38", _PERFORMANCE, "Diagnostic performance", "Estimates and their precision.", results.accuracy),
        Item("39", _PERFORMANCE, "Failure analysis", "What went wrong, with examples.", results.errors),
        Item("40", "Discussion", "Limitations", "Biases, uncertainty, generalization.", results.limitations),
        Item(
            "41", "Discussion", "Implications for practice", "Intended use and role.",
            author(
                "Say what would change in practice, what stands against it, and that today pathology decides on HER2."
            ),
        ),
        Item(
            "42", "Other information", "Protocol", "Where the full protocol or further details are.",
            author("Cite the study protocol or put technical details into a supplement; this report may be a part."),
        ),
        Item("43", "Other information", "Availability", "Of software, model and data.", use.availability),
        Item(
            "44", "Other information", "Funding", "Sources and role of funders.",
            author("Name all sources of funding and support, and the role of the funders."),
        ),
    ),
)  # fmt: skip
