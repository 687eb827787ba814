"""What can be configured: every key with its type, its default, and what it does."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt

STAGES = ("finetune", "extract", "classify", "explain", "analysis")

Positive = Annotated[StrictInt, Field(ge=1)]
Whole = Annotated[StrictInt, Field(ge=0)]

PhaseName = Annotated[str, Field(pattern=r"^\w[\w .+-]*$")]  # part of the names of views in the store


class Section(BaseModel):
    """A part of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GeometryConfig(Section):
    """Geometry that replaces the headers' of every image and mask."""

    orientation: Annotated[str, Field(pattern=r"^[LRAPSI]{3}$")]
    """Where each axis points as stored, ``RAS`` for instance: first axis to the right, second anterior, third up."""
    spacing_mm: str = ""
    """Three numbers along the axes as stored, ``{slice_thick} {xy_spacing} {xy_spacing}``; the headers' if empty."""


class CohortConfig(Section):
    """Where the patients and their files are."""

    table: Path
    """CSV, TSV or XLSX, one row a patient; relative to the configuration's folder."""
    sheet: str = ""
    """Which sheet of a workbook."""
    decimal: Literal[".", ","] = "."
    """The decimal separator of the table's numbers."""
    her2_rules: str = "asco-cap-2018"
    """The rule set that turns IHC and ISH into a class."""
    root: Path | None = None
    """Folder that image paths are relative to; the table's own folder when empty."""
    name: str = "cohort"
    """Cohort of every patient whose row names none."""
    columns: dict[str, str] = {}
    """Our column name -> the table's, for those that differ: ``patient_id: PID``."""
    phases: Annotated[dict[PhaseName, str], Field(min_length=1)] = {
        "pre": "{pre}",
        "early": "{early}",
        "late": "{late}",
    }
    """Phase -> file name with the row's cells in braces, in the order of time: ``{patient_id}_0000.nii.gz``."""
    exam: str = ""
    """One source for all phases, instead of a file for each: a 4-D file, a folder of DICOM, or a pattern with ``*``
    for files in the order of their names. The phases are then rules: ``pre``, ``first post``, ``post 3``, ``last``,
    ``phase 4`` (0 is the first), ``nearest 90 s``."""
    series: str = ""
    """Which series of a DICOM folder: SeriesInstanceUIDs, or a regular expression for their descriptions."""
    dicom_id: str = "{patient_id}"
    """PatientID that the DICOM headers of a row must carry, if they carry any; empty to take any."""
    times: str = ""
    """Start of each volume in seconds, ``"[0, 120, 210]"``, where the headers do not say; written like the phases."""
    injection: str = ""
    """Start of the injection on the same clock; without it the second volume stands for it."""
    missing_phase: Literal["skip", "last"] = "skip"
    """What to do when an exam does not have a phase: leave the patient out, or take the last volume and note it."""
    nonfinite: Literal["skip", "zero"] = "skip"
    """What to do when an image holds NaN or infinity: leave the patient out, or take such voxels as 0 and note it."""
    geometry: GeometryConfig | None = None
    """How voxels lie, for files whose headers do not say or say wrong."""
    mask: str = "{mask}"
    """The lesion mask's file name, written like the phases'."""
    box: str = ""
    """Instead of a mask, a box around the lesion: six numbers, first and behind the last voxel along each axis as
    stored, counted from 0: ``{i0} {i1} {j0} {j1} {k0} {k1}``."""
    mask_label: Positive | None = None
    """Which label of a mask with several is the lesion."""
    covariates: tuple[str, ...] = ()
    """Numeric columns that the analysis may adjust for."""
    groups: tuple[str, ...] = ()
    """Text columns that patients are grouped by: menopause, receptor status, field strength."""
    allowed_covariates: tuple[str, ...] = ()
    """Covariates that are meant although their names tell of HER2."""
    time_unit: Literal["days", "months", "years"] | None = None
    """Unit of the ``time`` column; required where survival is analyzed."""
    event_codes: dict[str, Literal[0, 1, 2]] = {"0": 0, "1": 1}
    """Cell of the ``event`` column -> 0 (censored), 1 (event) or 2 (another event, which rules the event out)."""

    @property
    def images_root(self) -> Path:
        """The folder that image paths are relative to."""
        return self.root or self.table.parent


class RegionConfig(Section):
    """The part of each slice that the encoder sees."""

    kind: Literal["box", "window", "slice", "mask", "ring", "control"] = "box"
    """``box``: the square around the lesion and a margin. ``window``: a square of fixed size on the lesion's middle.
    ``slice``: all of the slice. ``mask``: the box, black outside the lesion. ``ring``: the lesion's surroundings, the
    rest black. ``control``, a negative control: a box of the same size in tissue without lesion."""
    margin_mm: Annotated[StrictFloat, Field(ge=0, le=100)] = 5.0
    """Around the lesion on each side of the box, at least."""
    margin_px: Annotated[StrictInt, Field(ge=0, le=500)] = 0
    """The same in pixels; the larger margin counts."""
    window_mm: Annotated[StrictFloat, Field(ge=5, le=500)] = 80.0
    """Side of the ``window``."""
    ring_mm: Annotated[StrictFloat, Field(gt=0, le=100)] = 5.0
    """Width of the ``ring``."""
    depth_mm: Annotated[StrictFloat, Field(ge=0, le=100)] = 0.0
    """What is kept above and below the lesion for encoders of volumes; 2-D slices are chosen where lesion is."""
    largest_component: StrictBool = False
    """Take the largest connected part of a mask alone, instead of all parts."""


class SlicesConfig(Section):
    """Which slices of the lesion are embedded."""

    policy: Literal["all", "largest", "central", "spread"] = "spread"
    """``largest``: those with the largest lesion areas; ``central``: around the largest one;
    ``spread``: evenly from the first to the last."""
    n: Positive = 8
    """At most this many; ignored by ``all``."""


class CropConfig(Section):
    """The cube of voxels that encoders of volumes see."""

    mode: Literal["tight", "isotropic"] = "tight"
    """``tight``: the lesion's bounding box stretched to a cube, as FM-BCMRI does. ``isotropic``: a cube in mm."""
    margin_mm: Annotated[StrictFloat, Field(ge=0, le=100)] = 0.0
    """Around the lesion's bounding box on each side; see ``extract.region.depth_mm`` for what is there to cut."""


class RadiomicsConfig(Section):
    """How the encoder ``radiomics`` computes its features; see `extract.radiomics.settings`."""

    resample_mm: Annotated[StrictFloat, Field(gt=0, le=10)] | None = 1.0
    """Side of the cubic voxels that the lesion is brought to; null keeps the scanner's."""
    bin_count: Annotated[StrictInt, Field(ge=2, le=1024)] | None = 32
    """Gray levels between the lesion's least and largest value; null with ``bin_width``."""
    bin_width: Annotated[StrictFloat, Field(gt=0)] | None = None
    """Width of a gray level in units of the scanner."""
    filters: tuple[str, ...] = ("original",)
    """``original``, and ``log-2mm`` for the Laplacian of a Gaussian of that standard deviation."""
    dimensions: Literal[2, 3] = 3
    """Texture in the slices alone, or through them."""
    merged: StrictBool = True
    """Whether the matrices of all directions are added up, or the features averaged over the directions."""


class PerturbConfig(Section):
    """A disturbance of images or masks, to see what it does to features and predictions; nothing by default."""

    mask_mm: Annotated[StrictFloat | StrictInt, Field(ge=-20, le=20)] = 0
    """The lesion's mask dilated by so many mm in its planes, or eroded where negative."""
    shift_mm: Annotated[StrictFloat | StrictInt, Field(ge=0, le=50)] = 0
    """The mask moved so far in its plane, in a direction drawn for each patient."""
    jitter_slices: Whole = 0
    """Every chosen slice replaced by one at most so many slices away that holds lesion, too."""
    drop_phase: str = ""
    """A phase that is missing: the one before it stands in its place, or the next one for the first."""
    noise: Annotated[StrictFloat | StrictInt, Field(ge=0, le=1)] = 0
    """Standard deviation of Gaussian noise added to every voxel, as a share of the phase's 98th percentile."""
    bias_field: Annotated[StrictFloat | StrictInt, Field(ge=0, lt=1)] = 0
    """A smooth field that brightens and darkens by at most this share, the same for all phases."""
    draw: Whole = 0
    """Which of the random draws."""

    @property
    def is_none(self) -> bool:
        """Whether nothing is disturbed."""
        return self.model_copy(update={"draw": 0}) == PerturbConfig()


_HOW = {
    "also", "weights_dir", "accept_license", "device", "runtime", "compile", "engine", "workers", "batch_size",
    "shard_patients", "readers",
}  # fmt: skip


class ExtractConfig(Section):
    """From volumes to a feature store."""

    encoder: str = "efficientnet-lite0"
    """A name of the encoder table, ``timm:MODEL``, ``open_clip:MODEL/PRETRAINED``, ``file:MODEL@CHECKPOINT``, or
    ``file:PATH`` for an encoder that `triher finetune` wrote."""
    also: tuple[str, ...] = ()
    """Further encoders, whose stores are made in the same pass over the slabs."""
    weights_dir: Path | None = None
    """Folder with weights placed by hand, for machines without a hub."""
    accept_license: tuple[str, ...] = ()
    """Encoders whose terms were read and accepted; needed before weights under terms of their own are downloaded."""
    region: RegionConfig = RegionConfig()
    slices: SlicesConfig = SlicesConfig()
    normalization: str = "clip99-joint"
    """From scanner units to 8 bits, ``METHOD-SCOPE``. Methods: ``minmax``, ``clip95``, ``clip98``, ``clip99``,
    ``clip995``, ``percentile99``, ``percentile995``, ``zscore``, ``clahe``. Scopes: ``slice``, ``volume``, ``joint``,
    ``pre``, ``mask``, ``mask-joint``; ``joint``, ``pre`` and ``mask-joint`` keep enhancement comparable between the
    phases. Also ``nyul-volume``."""
    standard_scale: tuple[StrictFloat, ...] = ()
    """Landmarks of ``nyul-volume`` in 0..255; fitted on the training patients when empty."""
    fusions: tuple[str, ...] = ("rgb",)
    """Views to embed: names of the fusion table, or three channels such as ``pre,early,early-pre``."""
    n4: Literal["none", "shared", "per-phase"] = "none"
    """N4 bias field: ``shared`` is estimated on the phases' mean and divided out of all, which keeps enhancement;
    ``per-phase`` gives each phase a field of its own."""
    tokens: Literal["default", "cls", "mean", "mask", "cls+mean", "cls+mask", "cls+mean+mask"] = "default"
    """How the network's tokens, or its feature map, become one vector; ``mask`` weighs them by the lesion."""
    crop: CropConfig = CropConfig()
    radiomics: RadiomicsConfig = RadiomicsConfig()
    perturb: PerturbConfig = PerturbConfig()
    device: str = "auto"
    """``auto``: all GPUs of the machine, or else the processor; or names such as ``cpu``, ``cuda:0,cuda:1``."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 on GPUs that compute in it. Processors compute in float32 whatever is said here."""
    runtime: Literal["auto", "torch", "onnx"] = "auto"
    """``auto``: on processors ONNX Runtime for the networks that gain from it, torch for all others."""
    compile: StrictBool = False
    """Compile the network for the GPU first, which takes a minute and pays from some 100,000 pictures on."""
    engine: Literal["local", "ray"] = "local"
    """``ray`` spreads the work over the machines of a Ray cluster, or over processes of this machine."""
    workers: Whole = 0
    """Processes of the ``ray`` engine; 0 for one on each GPU, or one on every two processors."""
    batch_size: Positive = 32
    """Pictures in one forward pass."""
    shard_patients: Positive = 32
    """Patients committed together; a killed run loses at most this many."""
    readers: Positive = 2
    """Threads that read and prepare volumes."""

    def choices(self) -> dict[str, Any]:
        """What decides the embeddings, as JSON values; device, batches and threads do not.

        A trained encoder goes by the name of its file, which holds a hash of its training, wherever that lies.
        """
        chosen = self.model_dump(mode="json", exclude=_HOW | ({"perturb"} if self.perturb.is_none else set()))
        name = Path(self.encoder.removeprefix("file:")).name
        return chosen | ({"encoder": f"file:{name}"} if self.is_trained else {})

    @property
    def is_trained(self) -> bool:
        """Whether the encoder is a file that `triher finetune` wrote."""
        return self.encoder.startswith("file:") and "@" not in self.encoder


class SplitConfig(Section):
    """Which patients are held out."""

    kind: Literal["none", "column", "sites", "cohorts", "leave-one-site-out", "leave-one-cohort-out"] = "none"
    """``column``: the table's ``split`` says ``train`` or ``test``; ``sites`` and ``cohorts``: those listed under
    ``test``."""
    test: tuple[str, ...] = ()
    """With ``sites`` and ``cohorts``, those that are held out."""
    train: tuple[str, ...] = ()
    """With ``sites`` and ``cohorts``, those that are trained on, where these are not all others; with ``test`` empty,
    all others are tested. Whoever is in neither is left out and named."""
    reopen: StrictBool = False
    """Allow that held-out ``cohorts`` are predicted again with other settings, which is counted and reported."""


class HarmonizeConfig(Section):
    """How the features of different sites are brought together; learned in training parts only, without labels."""

    method: Literal["none", "combat", "combat-mean", "sitewise"] = "none"
    """``combat`` brings mean and variance of the sites together, ``combat-mean`` the mean alone; ``sitewise``
    standardizes each site by its own training patients."""
    unseen: Literal["stop", "pass", "standardize"] = "stop"
    """What to do with patients of a site that was not trained on: stop, leave their features as they are, or
    standardize them by the patients of that site who are predicted together, which looks at no label."""


class ClassifyConfig(Section):
    """From a feature store to predictions and a bundle."""

    features: Path | None = None
    """A table of features of one's own (CSV, TSV, Parquet, h5ad) in place of an extraction."""
    head: str = "logistic"
    """The classifier, by its name in the table of heads: ``logistic``, ``elastic-net``, ``xgboost``."""
    pooling: tuple[str, ...] = ("mean",)
    """Statistics over a patient's slices, concatenated; heads of bags take the slices themselves."""
    views: tuple[str, ...] = ()
    """Views to use, concatenated; all when empty. Also ``early-pre``, ``ratio(early,pre)``, ``slope(pre,early)``."""
    missing: Literal["skip", "impute"] = "skip"
    """What to do with a patient who lacks a view, a feature or a covariate: leave out, or fill with the median of the
    training part."""
    covariates: tuple[str, ...] = ()
    """Columns of ``cohort.covariates`` that join the images."""
    join: Literal["early", "late"] = "early"
    """``early``: beside the features, as a block of equal weight. ``late``: in a second model on top (stacking)."""
    harmonize: HarmonizeConfig = HarmonizeConfig()
    components: Whole = 0
    """Principal components that replace the features; 0 keeps the features."""
    class_weights: Literal["none", "balanced"] = "none"
    """``balanced`` weighs every class alike, which spoils the calibration of the probabilities."""
    split: SplitConfig = SplitConfig()
    folds: Annotated[StrictInt, Field(ge=2, le=20)] = 5
    """Of the cross-validation over the development patients."""
    repeats: Positive = 1
    """How often the cross-validation is repeated with other folds."""
    trials: Positive = 25
    """Optuna trials for each tuned model."""
    objective: Literal["log-loss", "auc"] = "log-loss"
    """What trials are compared by."""
    prune: StrictBool = True
    """Give up trials that are worse than the best one after some folds."""
    workers: Whole = 0
    """Threads that evaluate trials; 0 for one on each processor. The result does not depend on it."""
    storage: str = ""
    """Where Optuna keeps its studies: a file ending in ``.journal``, or the URL of a database; memory when empty."""
    alpha: Annotated[StrictFloat, Field(gt=0, lt=1)] = 0.1
    """Error rate of the conformal prediction sets."""
    control: Path | None = None
    """Feature store of the negative control (``extract.region.kind=control``), judged beside the model."""
    label_noise: tuple[Annotated[StrictFloat, Field(gt=0, le=0.5)], ...] = ()
    """Shares of the patients of IHC 0 and 1+ whose training labels are exchanged, to see how much that matters."""
    noise_draws: Positive = 5
    """Random draws for each share."""
    shuffle_labels: StrictBool = False
    """Negative control: permute the labels within sites; the AUC must fall to what the site alone tells."""


class AugmentConfig(Section):
    """How training pictures are varied, anew in every epoch; each number is drawn evenly up to it, on both sides."""

    flips: Literal["none", "horizontal", "both"] = "both"
    """Left and right exchanged at random, or top and bottom as well."""
    rotate_deg: Annotated[StrictFloat | StrictInt, Field(ge=0, le=180)] = 15
    """Turned by at most so many degrees."""
    scale: Annotated[StrictFloat, Field(ge=0, lt=1)] = 0.1
    """Larger or smaller by at most this share."""
    shift: Annotated[StrictFloat, Field(ge=0, lt=1)] = 0.05
    """Along rows and columns, as a share of the side."""
    brightness: Annotated[StrictFloat, Field(ge=0, lt=1)] = 0.1
    """Added, as a share of white; the same for all channels, so that enhancement stays."""
    contrast: Annotated[StrictFloat, Field(ge=0, lt=1)] = 0.1
    """Multiplied by 1 plus or minus this; the same for all channels."""
    noise: Annotated[StrictFloat, Field(ge=0, lt=1)] = 0.0
    """Standard deviation of Gaussian noise, as a share of white."""


class FinetuneConfig(Section):
    """Training ``extract.encoder`` end to end on the cohort; then it is frozen and judged like any other."""

    network: Literal["plain", "dual-attention"] = "plain"
    """``plain``: a linear classifier on the encoder's own vector. ``dual-attention``: system C's heads on its last
    feature map, see ``heads``."""
    heads: Literal["parallel", "phases", "tasks", "sequential"] = "parallel"
    """What "triple head" means. ``parallel``: channel-attended, spatially attended and plainly pooled features, one
    classifier each. ``phases``: each channel of the picture goes through the backbone alone, to a head of its own.
    ``tasks``: one head for HER2, one for each column of ``also_predict``. ``sequential``: channel, then spatial
    attention and one head, as CBAM and a published re-implementation have it."""
    combine: Literal["average", "concatenate"] = "average"
    """Of several heads: the mean of their log-odds, or one classifier on all their features."""
    also_predict: tuple[str, ...] = ()
    """Columns of ``cohort.groups`` that ``heads: tasks`` learns beside HER2, hormone receptors and response say."""
    task: Literal["classes", "nested"] = "classes"
    """``classes``: one choice among the classes. ``nested``: zero against the rest, then low against positive among
    the rest, whose probabilities multiply to those of the classes."""
    dropout: Annotated[StrictFloat, Field(ge=0, lt=1)] = 0.5
    """Before each classifier."""
    pretrained: StrictBool = True
    """Start from the encoder's weights; from random ones otherwise."""
    input_size: Annotated[StrictInt, Field(ge=32, le=1024)] | None = None
    """Side of the pictures in pixels; the encoder's own when null."""
    folds: Annotated[StrictInt, Field(ge=0, le=20)] = 5
    """Networks that each do without one part of the development patients, whom they score. 0: one network alone, and
    nobody whom it was trained on is scored. Where the split holds out each site or cohort in turn, there is one
    network for each, whatever is said here."""
    validation: str = ""
    """``COLUMN=VALUE`` of ``cohort.groups``: the patients who decide when the training of the final network stops;
    ``official_split=validation`` for BreastDCEDL. A share of each network's training patients when empty."""
    validation_share: Annotated[StrictFloat, Field(gt=0, le=0.5)] = 0.15
    """Share of the training patients by whom the training is stopped, where ``validation`` names nobody."""
    epochs: Positive = 30
    """At most so many walks through the training patients."""
    patience: Positive = 8
    """Epochs without a better validation loss before the training stops; the best epoch's weights are kept."""
    batch_size: Positive = 64
    """Pictures in one step."""
    learning_rate: Annotated[StrictFloat, Field(gt=0, le=1)] = 1e-4
    """The largest, after a linear rise; it falls as half a cosine."""
    warmup: Annotated[StrictFloat, Field(ge=0, lt=1)] = 0.1
    """Share of all steps in which the learning rate rises."""
    weight_decay: Annotated[StrictFloat, Field(ge=0)] = 0.05
    """Of AdamW."""
    label_smoothing: Annotated[StrictFloat, Field(ge=0, lt=1)] = 0.0
    """Share of each label that is spread over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """Of the loss."""
    balanced_sampling: StrictBool = False
    """Draw slices so that every class comes up alike; spoils the calibration, as ``class_weights`` does."""
    augment: AugmentConfig = AugmentConfig()
    resident: Literal["auto", "device", "host"] = "auto"
    """Where the pictures lie while the network is trained; ``auto``: on the device if they take less than half of
    its free memory."""
    devices: Whole = 0
    """How many GPUs train one network together; 0 for all that ``extract.device`` names."""


class TranscriptomicsConfig(Section):
    """What genes tell two classes apart, by true and by predicted class."""

    expression: Path
    """Genes in rows and samples in columns, or the other way round: CSV or TSV, also ``.gz``."""
    kind: Literal["counts", "log"]
    """``counts``: raw counts, for DESeq2. ``log``: log2 values, for a moderated t as limma's."""
    samples: str = ""
    """Column of ``cohort.groups`` with each patient's sample; the patient id, or a TCGA barcode of it, when empty."""
    compare: tuple[str, str] = ("low", "positive")
    """The classes; a log fold change above 0 is higher in the second."""
    covariates: tuple[str, ...] = ()
    """Columns of ``cohort.covariates`` or ``cohort.groups`` in the design: batch, ER, purity."""
    gene_sets: tuple[Path, ...] = ()
    """GMT files."""
    min_genes: Positive = 10
    """Of a gene set among the genes tested; smaller sets are dropped and counted."""
    max_genes: Positive = 500
    """Larger sets are dropped and counted."""
    fdr: Annotated[StrictFloat, Field(gt=0, lt=1)] = 0.05
    """False discovery rate below which genes and sets are named."""
    permutations: Annotated[StrictInt, Field(ge=100)] = 1000
    """Of the genes, for the enrichment score."""
    round_counts: StrictBool = False
    """Round expected counts (RSEM, salmon) to whole numbers."""


Share = Annotated[StrictFloat, Field(gt=0, lt=1)]


class PublishedConfig(Section):
    """A number of a publication, to stand beside this run's."""

    source: str
    """Who, where and when: ``Fridman & Goldstein 2025, arXiv 2510.13897``."""
    quantity: str
    """``auc``, ``accuracy``, ``sensitivity``, ``specificity`` of the scheme ``binary``, or a quantity of
    ``metrics.csv``."""
    value: Share
    """As published, between 0 and 1."""
    low: Share | None = None
    """Of the 95 % interval, where one is given."""
    high: Share | None = None
    """Of the same interval."""
    split: Literal["oof", "test", "new"] = "test"
    """The part of this run that it stands beside: ``oof`` cross-validated, ``test`` held out, ``new`` applied."""
    cohort: str = ""
    """All cohorts of that split when empty."""


class AnalysisConfig(Section):
    """From predictions to statements."""

    resamples: Annotated[StrictInt, Field(ge=100)] = 2000
    """Bootstrap resamples of the patients."""
    primary: tuple[str, ...] = ("auc_zero_vs_rest", "auc_low_vs_positive")
    """Quantities of ``metrics.csv`` that the study was planned for; their p values are corrected after Holm, all
    others after Benjamini and Hochberg."""
    compare: dict[str, Path] = {}
    """Name -> prediction table of another run, compared with this one on the patients of both."""
    subgroups: dict[str, tuple[StrictFloat | StrictInt, ...]] = {}
    """``site``, ``vendor``, a column of ``cohort.groups`` (no cut points), or one of ``cohort.covariates`` with its
    cut points: ``age: [50]``. A value at a cut point belongs above it."""
    calibrators: tuple[Literal["temperature", "vector", "dirichlet", "platt", "isotonic", "venn-abers"], ...] = (
        "temperature",
        "vector",
        "dirichlet",
        "platt",
        "isotonic",
        "venn-abers",
    )
    """Recalibrations to judge, each fitted on other patients than it is judged on."""
    recalibrate: Literal["none", "prevalence", "site"] = "none"
    """Write ``recalibrated.csv``: predictions for the class shares of ``prevalence``, or with an intercept a site."""
    prevalence: dict[str, Share] = {}
    """Class -> its share where the model is to be used."""
    score: str = "positive"
    """The class whose predicted probability is the prognostic score."""
    covariates: tuple[str, ...] = ()
    """Covariates of the adjusted Cox model, chosen beforehand."""
    strata: tuple[Literal["cohort", "site"], ...] = ()
    """Groups with a baseline hazard of their own."""
    horizons_months: tuple[Annotated[StrictFloat | StrictInt, Field(gt=0)], ...] = (24, 36, 60)
    """Times for time-dependent AUC, Brier score and restricted mean survival."""
    few_events: Literal["refuse", "firth"] = "refuse"
    """What to do with a Cox model of fewer than 5 events a coefficient, or with a monotone likelihood: refuse it, or
    fit it with Firth's penalty."""
    cutpoint: StrictBool = False
    """Look for the cut of the score that separates survival most, with the p value corrected for the search."""
    transcriptomics: TranscriptomicsConfig | None = None
    reference: Path | None = None
    """Prediction table of a reference (the phantom's best possible classifier) to print beside the model's."""
    published: tuple[PublishedConfig, ...] = ()
    """Published values to stand beside this run's."""
    study: Path | None = None
    """Folder of an ablation study (`triher ablate --out`) whose lattice and differences the report repeats."""


class ExplainConfig(Section):
    """Why the model said so: maps over the slices, attributions of features, and views of the embedding space."""

    method: Literal["auto", "gradcam", "hirescam", "rollout", "gradient-rollout", "occlusion"] = "auto"
    """``auto``: HiResCAM for convolutional networks, gradient-weighted rollout for transformers, and occlusion where
    the head has no gradient (trees) or the encoder is neither. ``rollout`` alone knows nothing of the classes."""
    patients: Whole = 24
    """How many patients get maps: matched pairs, the surest errors and the surest right ones first; 0 for all."""
    patch_mm: Annotated[StrictFloat | StrictInt, Field(gt=0, le=100)] = 8
    """Side of the square that ``occlusion`` hides."""
    stride_mm: Annotated[StrictFloat | StrictInt, Field(gt=0, le=100)] = 8
    """How far the square is moved from place to place."""
    sanity_patients: Whole = 12
    """How many of these patients the sanity tests are run on: shuffled weights, deletion and insertion."""
    background: Positive = 100
    """Training patients that features and covariates are compared with by SHAP."""
    match_on: tuple[str, ...] = ()
    """Columns of ``cohort.covariates`` or ``cohort.groups`` on which matched patients agree; all groups and the
    covariates when empty."""
    calipers: dict[str, Annotated[StrictFloat | StrictInt, Field(ge=0)]] = {}
    """Covariate -> how far two matched patients may lie apart in it; half a standard deviation when not named."""


def _levels(value: object) -> object:
    """Refuse one value in the place of several, with a message that names both forms."""
    if not isinstance(value, (list, tuple, dict)):
        raise ValueError("an axis is a list of values, or a mapping of names to levels")  # noqa: TRY004 - as pydantic
    return value


Level = dict[str, Any]
"""Keys of the configuration -> values: ``{extract.region.kind: ring, extract.region.ring_mm: 5.0}``."""


class AblationConfig(Section):
    """Variants of the configuration that `triher ablate` computes and compares."""

    design: Literal["lattice", "one-at-a-time", "list"] = "lattice"
    """``lattice``: every level of every axis with every level of all others. ``one-at-a-time``: the base, and the
    base with one axis changed. ``list``: the base and the ``cells`` alone."""
    axes: dict[str, Annotated[tuple[Any, ...] | dict[str, Level], BeforeValidator(_levels)]] = {}
    """A key of the configuration with its values, ``extract.n4: [none, shared]``; or a name of one's own with levels
    that each set several keys, ``region: {lesion: {extract.region.kind: mask}, as configured: {}}``."""
    cells: dict[str, Level] = {}
    """Further cells by name."""
    seeds: Positive = 1
    """Each cell is computed with so many seeds, from ``seed`` on, and judged by the mean."""
    metric: str = "auc_macro"
    """What cells are compared by; ``auc_zero_vs_rest``, ``brier`` and the like."""
    primary: tuple[str, ...] = ()
    """Cells whose comparison with the base the study was planned for, by name."""
    perturbed: Literal["test", "train"] = "test"
    """What levels of ``extract.perturb`` disturb: the held-out patients' images alone, shown to models that were
    trained on undisturbed ones; or the training images as well."""


class Config(Section):
    """Everything that a run depends on."""

    cohort: CohortConfig
    scheme: Literal["triple", "binary", "ultralow"] = "triple"
    """The classes. ``triple``: zero, low, positive; ``binary``: negative, positive; ``ultralow``: four of them, with
    ultralow between zero and low."""
    seed: Whole = 0
    """Of everything that is drawn: folds, searches, weights, resamples."""
    extract: ExtractConfig = ExtractConfig()
    finetune: FinetuneConfig | None = None
    """Train ``extract.encoder`` on this cohort before it embeds it; it stays as it came without."""
    classify: ClassifyConfig = ClassifyConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    explain: ExplainConfig | None = None
    """Explanations in every `triher run`; without it, `triher explain` makes them with these defaults when asked."""
    ablation: AblationConfig | None = None
    """For `triher ablate`; all else is the base, and runs as ever."""

    @property
    def has_images(self) -> bool:
        """Whether features are extracted from images, and not read from a table."""
        return self.classify.features is None

    def with_extract(self, **changes: object) -> "Config":
        """The same with some keys of ``extract`` changed, unchecked."""
        return self.model_copy(update={"extract": self.extract.model_copy(update=changes)})
