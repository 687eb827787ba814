"""TRIPOD+AI: 27 items, 52 with their parts, for studies that develop or evaluate a prediction model.

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

_ABSTRACT = (
    "Fill the separate checklist TRIPOD+AI for Abstracts: aim, data, outcome, number of patients and events, type of "
    "model, performance with intervals, limits, registration."
)

TRIPOD_AI = Checklist(
    name="tripod_ai",
    title="TRIPOD+AI",
    citation=(
        "Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for reporting clinical "
        "prediction models that use regression or machine learning methods. BMJ 2024;385:e078378. "
        "doi:10.1136/bmj-2023-078378"
    ),
    form="https://www.tripod-statement.org",
    items=(
        Item("1", "Title", "Title", "Development or evaluation, patients, outcome.", model.title),
        Item("2", "Abstract", "Abstract", "As TRIPOD+AI for Abstracts asks.", author(_ABSTRACT)),
        Item(
            "3a", "Introduction", "Background", "Medical context, diagnostic or prognostic; why; earlier models.",
            author(
                "Say which decision in breast cancer the model is to help with, whether it is diagnostic or "
                "prognostic, why it is needed, and cite earlier models that predict HER2 from MRI."
            ),
        ),
        Item(
            "3b", "Introduction", "Background", "For whom it is meant, where in the care pathway, used by whom.",
            author(
                "Name the patients it is meant for, the moment in the care pathway (before biopsy, beside it) and "
                "who is to use it."
            ),
        ),
        Item(
            "3c", "Introduction", "Background", "Known inequalities of health between groups.",
            author(
                "Name known inequalities between sociodemographic groups in access to MRI and biopsy, HER2 testing "
                "and therapy."
            ),
        ),
        Item(
            "4", "Introduction", "Objectives", "Aims, and whether a model is developed, evaluated, or both.",
            model.objective,
        ),
        Item(
            "5a", "Methods", "Data", "Sources for development and evaluation; why these; how representative.",
            patients.sources,
        ),
        Item("5b", "Methods", "Data", "Dates of recruitment and end of follow-up.", patients.dates),
        Item("6a", "Methods", "Participants", "Setting, number and place of centers.", patients.setting),
        Item("6b", "Methods", "Participants", "Criteria of eligibility.", patients.eligibility),
        Item(
            "6c", "Methods", "Participants", "Treatments, and how they were handled.",
            author(
                "Say whether any patient was treated before the images or between images and biopsy, and, where "
                "survival is reported, which therapies were given (HER2-directed ones above all)."
            ),
        ),
        Item(
            "7", "Methods", "Data preparation", "Preprocessing and quality checks, alike in all groups?",
            images.preprocessing,
        ),
        Item("8a", "Methods", "Outcome", "Definition, how and when, why, alike in all groups?", images.outcome),
        Item(
            "8b", "Methods", "Outcome", "Who determined it, where judgment is needed.",
            author(
                "Immunohistochemistry is read by people: give number, qualification and demographics of the "
                "pathologists, and whether reading was central. HER2 0 against 1+ is poorly reproducible."
            ),
        ),
        Item(
            "8c", "Methods", "Outcome", "Blinding of those who determined it.",
            author("Say whether pathologists were blind to the images and the model's prediction."),
        ),
        Item("9a", "Methods", "Predictors", "First choice of predictors, any selection before.", images.predictors),
        Item(
            "9b", "Methods", "Predictors", "Definition of all, how and when measured, blinding.",
            images.predictors_defined,
        ),
        Item(
            "9c", "Methods", "Predictors", "Who measured them, where judgment is needed.", images.predictor_assessors
        ),
        Item("10", "Methods", "Sample size", "How it came about, why it suffices.", patients.sample_size),
        Item("11", "Methods", "Missing data", "How handled; reasons for leaving data out.", patients.missing),
        Item("12a", "Methods", "Analysis", "How data were used and divided.", division.partition),
        Item("12b", "Methods", "Analysis", "How predictors were transformed.", images.handling),
        Item("12c", "Methods", "Analysis", "Type of model, tuning, internal validation.", training.development),
        Item("12d", "Methods", "Analysis", "Differences between clusters: how handled.", testing.heterogeneity),
        Item("12e", "Methods", "Analysis", "Measures and plots of performance.", results.measures),
        Item("12f", "Methods", "Analysis", "Any updating after the evaluation.", testing.updating),
        Item("12g", "Methods", "Analysis", "How predictions were calculated.", model.calculation),
        Item("13", "Methods", "Class imbalance", "Methods against it, and recalibration after.", division.imbalance),
        Item("14", "Methods", "Fairness", "What was done for fairness, and why.", testing.fairness),
        Item("15", "Methods", "Model output", "What comes out; thresholds and how they were found.", model.output),
        Item(
            "16", "Methods", "Training versus evaluation", "Differences between development and evaluation data.",
            patients.differences,
        ),
        Item(
            "17", "Methods", "Ethical approval", "Committee, and consent or its waiver.",
            author("Name the ethics committee, the number of its approval, and consent or waiver, for every cohort."),
        ),
        Item(
            "18a", "Open science", "Funding", "Who paid, and the role of who paid.",
            author("Name all sources of funding and what part the funders had in the study."),
        ),
        Item(
            "18b", "Open science", "Conflicts of interest", "Declarations of all authors.",
            author("Declare conflicts of interest and payments of every author, or that there are none."),
        ),
        Item(
            "18c", "Open science", "Protocol", "Where it is, or that there was none.",
            author("Say where the protocol can be read, or that none was prepared."),
        ),
        Item(
            "18d", "Open science", "Registration", "Register and number, or that there was none.",
            author("Give register and number, or say that the study was not registered."),
        ),
        Item(
            "18e", "Open science", "Data sharing", "Whether data can be had.",
            author("Say where images, masks and the cohort table can be had, under which terms, or why they cannot."),
        ),
        Item("18f", "Open science", "Code sharing", "Whether the code can be had.", use.code),
        Item(
            "19", "Patient and public involvement", "Patient and public involvement", "How they took part.",
            author("Say how patients or the public took part in design, conduct or reporting, or that they did not."),
        ),
        Item("20a", "Results", "Participants", "Flow, numbers with each outcome, follow-up.", patients.flow),
        Item("20b", "Results", "Participants", "Characteristics and missing data.", patients.characteristics),
        Item(
            "20c", "Results", "Participants", "Evaluation beside development.", patients.compared_with_development
        ),
        Item("21", "Results", "Model development", "Patients, events of each analysis.", patients.numbers_analyzed),
        Item("22", "Results", "Model specification", "The full model, usable by others.", use.specification),
        Item("23a", "Results", "Model performance", "With intervals, in key subgroups, too.", results.performance),
        Item("23b", "Results", "Model performance", "Differences between clusters.", testing.heterogeneity_found),
        Item("24", "Results", "Model updating", "The updated model and how it did.", testing.updating),
        Item(
            "25", "Discussion", "Interpretation", "Main results, fairness, earlier studies.",
            author(
                "Interpret the results against the aim and earlier studies, issues of fairness included; the "
                "summary at the top of the report may serve as a start."
            ),
        ),
        Item("26", "Discussion", "Limitations", "Limits and their effects.", results.limitations),
        Item("27a", "Discussion", "Usability", "Poor or missing input in use.", use.poor_input),
        Item("27b", "Discussion", "Usability", "What users do, which expertise they need.", use.interaction),
        Item(
            "27c", "Discussion", "Usability", "Next steps of research.",
            author(
                "Name the next steps: test in other institutions and scanners, prospectively, and against what is "
                "decided today."
            ),
        ),
    ),
)  # fmt: skip
