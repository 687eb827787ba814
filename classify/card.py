"""The model card of a bundle, as Markdown, from nothing but what the bundle says of itself.

Headings and their order are those of Mitchell et al., Model cards for model reporting, FAT* 2019,
doi 10.1145/3287560.3287596. Text that came from tables or configurations is escaped, and lists of fingerprints are
counted, never printed.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from classify.manifest import Manifest

_SPECIAL = re.compile(r"([\\`*{}\[\]<>()#|~$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;))")
_DIGEST = re.compile(r"[0-9a-f]{16,}")
_LONG = 12  # longer lists are counted
_SMALL_CLASS = 20  # as in the limits of the report
_SHOWN_APART = {
    "format", "version", "versions", "store_versions", "acquisition", "embedding_threshold", "conformal",
    "thresholds", "parts", "log_loss",
}  # fmt: skip
_OF_TRAINING = ("training", "search")

_USE = (
    "**Research use only. This is no medical device; no patient's treatment may depend on it.** "
    "Immunohistochemistry and in-situ hybridization remain the way to determine HER2.",
    "Meant for: research on cohorts whose lesions were found and outlined beforehand, imaged with the phases and "
    "prepared with the recipe below. `triher apply BUNDLE COHORT` prepares them so, and names for every patient what "
    "lies outside the range of the training.",
    "Not meant for: screening, finding lesions, images without contrast agent, the choice of a therapy.",
)
_FACTORS = (
    "What the model has seen of scanners and protocols is the range below. Age, menopause, ethnicity, vendor and "
    "field strength are not recorded in a bundle: whether it serves these groups alike is for the evaluation to say."
)
_METRICS = (
    "Log loss (natural logarithm) of the classes; sensitivity and specificity at thresholds by Youden's index "
    "(Cancer 1950;3:32) for the nested two-class questions; prediction sets by class-conditional conformal "
    "prediction (Vovk, Gammerman & Shafer 2005, section 4.5), which hold the true class with the stated probability "
    "for new patients exchangeable with those of the training."
)
_EVALUATION = (
    "A bundle holds no patients to evaluate it on. All numbers below come from patients of the training part, each "
    "predicted by a model that had not seen that patient. What held-out patients say stands in the report and in "
    "`metrics.csv` of the run that made the bundle."
)
_ETHICS = (
    "The bundle holds no name, no id, no image and no patient's embedding. It holds shortened fingerprints of the "
    "exams it was trained on ({n} of them, not listed here), so that it does not pass its own training patients off "
    "as new: who has such an exam can tell that it was among them. The smallest and the largest value of each "
    "acquisition fact are some patient's.{sites}",
    "The encoder's weights stand under their own license ({license}). Misuse that is easy to foresee: taking "
    "a probability for a diagnosis, or withholding a HER2 test because of it.",
)
_SITES = " It holds the names of the training sites, for which features were harmonized."
_CAVEATS = (
    "Thresholds were chosen on the very predictions that their sensitivity and specificity are computed from, so "
    "these are somewhat too good.",
    "Other scanners, protocols, sites or class shares can change ranking and calibration, and void the promise of "
    "the prediction sets. Before relying on the numbers elsewhere, measure them on labeled patients from there.",
    "The prediction for a patient who is flagged as outside the range of the training should not be relied on.",
)


def card(manifest: Manifest, *, sha256: str) -> str:
    """Write the model card.

    Args:
        manifest: of a bundle that has passed `classify.bundle.read_bundle`.
        sha256: of the file ``manifest.json``, which names the hashes of all others.

    Returns:
        Markdown (GitHub's dialect, for its tables) without any patient's id or vector.
    """
    tree: dict[str, Any] = manifest.model_dump(mode="json")
    training = tree["training"]
    control = (
        ["> **Negative control: the labels were shuffled before training. It predicts nothing.**"]
        if training.get("labels_shuffled")
        else []
    )
    own = {key: value for key, value in tree.items() if key not in {*_SHOWN_APART, *_OF_TRAINING, "recipe"}}
    blocks = [
        f"# Model card: {_escaped(', '.join(tree['classes']))} (HER2) from breast DCE-MRI",
        *control,
        "## Model details",
        f"Format {tree['format']} version {tree['version']}. SHA-256 of manifest.json, which holds the hashes of the "
        f"other files: `{sha256}`.",
        _facts(own),
        _versions(tree),
        "## Intended use",
        *_USE,
        "## Factors",
        _FACTORS,
        _table(("acquisition", "smallest", "largest"), ((k, *v) for k, v in tree["acquisition"].items())),
        f"Largest distance of an embedding that counts as inside: {_number(tree['embedding_threshold'])}.",
        _facts(tree["recipe"]),
        "## Metrics",
        _METRICS,
        "## Evaluation data",
        _EVALUATION,
        "## Training data",
        _facts({key: tree[key] for key in _OF_TRAINING}),
        "## Quantitative analyses",
        *_analyses(tree),
        "## Ethical considerations",
        *_ethics(tree),
        "## Caveats and recommendations",
        "\n".join(f"- {text}" for text in [*_small(tree), *_CAVEATS]),
        "## Files",
        _table(("file", "bytes", "SHA-256"), ((k, v["size"], v["sha256"]) for k, v in sorted(tree["parts"].items()))),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _ethics(tree: Mapping[str, Any]) -> list[str]:
    """What the bundle holds of its patients, and under which terms its encoder stands."""
    n_images = len(tree["training"].get("images", ()))
    license_name = _escaped(str(tree["encoder"].get("license", "not stated")))
    sites = _SITES if (tree["preparation"]["harmonizer"] or {}).get("sites") else ""
    return [text.format(n=n_images, license=license_name, sites=sites) for text in _ETHICS]


def _versions(tree: Mapping[str, Any]) -> str:
    """Libraries at the training and at the extraction."""
    training, extraction = tree["versions"], tree["store_versions"]
    names = sorted({*training, *extraction}, key=str.lower)
    rows = [(name, training.get(name, ""), extraction.get(name, "")) for name in names]
    return _table(("library", "at the training", "at the extraction"), rows)


def _analyses(tree: Mapping[str, Any]) -> list[str]:
    """Log loss, thresholds and prediction sets."""
    counts, conformal = tree["training"]["class_counts"], tree["conformal"]
    n = sum(counts.values())
    guess = -sum(k / n * math.log(k / n) for k in counts.values() if k)
    asked = tree["thresholds"]
    sets = zip(tree["classes"], conformal["counts"], conformal["quantiles"], strict=True)
    return [
        f"Log loss of the inner folds, before calibration: {_number(tree['log_loss'])}. Guessing by the class shares "
        f"of the training gives {_number(guess)}.",
        "Yes to a question at or above its threshold:",
        _table([name.replace("_", " ") for name in (asked or [{}])[0]], [list(one.values()) for one in asked]),
        f"Prediction sets at error rate {_number(conformal['alpha'])}: a class is in the set when 1 - p is at most",
        _table(("class", "calibration patients", "largest 1 - p"), sets),
    ]


def _small(tree: Mapping[str, Any]) -> list[str]:
    """Caveats that follow from the numbers."""
    counts, conformal = tree["training"]["class_counts"], tree["conformal"]
    few = [f"{k} {_escaped(name)}" for name, k in counts.items() if k < _SMALL_CLASS]
    always = [_escaped(c) for c, q in zip(tree["classes"], conformal["quantiles"], strict=True) if q >= 1]
    found = [f"Few patients: {', '.join(few)}. Every number about these is uncertain."] if few else []
    if always:
        found.append(f"{', '.join(always)}: in every prediction set, for too few patients calibrate the class.")
    return found


def _facts(tree: Mapping[str, Any]) -> str:
    """Nested facts as a table of names and values."""
    return _table(("fact", "value"), _flat(tree))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Nested facts as flat names and values; what is empty is left away."""
    pairs: list[tuple[str, object]] = []
    for key, value in tree.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{name}: ")
        elif value not in ("", None, []):
            pairs.append((name, _value(value)))
    return pairs


def _value(value: object) -> str:
    """A fact as text of bounded length."""
    if isinstance(value, list):
        texts = ["-".join(filter(None, map(_number, v))) if isinstance(v, list) else _value(v) for v in value]
        is_hidden = len(texts) > _LONG or any(_DIGEST.fullmatch(text) for text in texts)
        return f"{len(texts)} values" if is_hidden else ", ".join(texts)
    text = _number(value)
    return f"file:…/{text.rpartition('/')[2]}" if text.startswith("file:") and "/" in text else text


def _number(value: object) -> str:
    """A value as text: floats with four digits, yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; nothing where there are no rows."""
    lines = [f"| {' | '.join(_escaped(_number(cell)) for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines]) if lines else ""


def _escaped(text: str) -> str:
    r"""Text that Markdown shows as it is, on one line.

    >>> print(_escaped("a|b <img> [x](y)"))
    a\|b \<img\> \[x\]\(y\)
    """
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
