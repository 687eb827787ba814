"""The report's section on why the model said so: sanity tests, shares of inputs, and the embedding space."""

import math
from collections.abc import Sequence

from analysis.explained_run import Explained, read_explained
from analysis.figures.explanations import features_figure, groups_figure
from analysis.figures.projection import class_figure, site_figure
from analysis.inference.corrected_p import SMALL_P
from analysis.limits.facts import Limit
from analysis.metrics import Cell
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table
from analysis.part import Material, Part
from analysis.patients.samples import class_label
from analysis.sections.patients import patient_blocks
from analysis.wording import count, equals, p_value, two_decimals
from triher.explanation_checks import Check
from triher.explanation_tables import Purity, mean_sizes
from triher.runfolder import RunFolder

_ANCHOR, _TITLE = "explanations", "Why the model said so"
_NONE = (
    "Nothing was explained in this run; `triher explain CONFIG` makes maps, shares of inputs and their sanity tests."
)
_STALE = (
    "The explanations in this run folder are of an earlier model than the predictions, so they are not shown; "
    "`triher explain CONFIG` makes them anew."
)
_TEXT = (
    "A map shows where in the slices the model's answer depends on the image, for this model and by this method. It "
    "does not show why a tumor is HER2-low, that the answer is right, or that the place means something to a "
    "pathologist; a map of a wrong answer looks as good as any. A place without color is one that this method did "
    "not find, not one that plays no part. What is explained is the final model; it was trained on the development "
    "patients, whose maps therefore say less about new patients than those of held-out ones."
)
_CHECKS = (
    "Before anybody reads a map, it must pass tests that it can fail: a map of a network with shuffled weights, or "
    "of a shuffled head, must look different; hiding the places that it names first must cost the answer more than "
    "hiding places at random, and uncovering them must bring it back sooner; and what it names should lie in or near "
    "the lesion more often than a map without any structure would."
)
_SHARES = (
    "SHAP values divide a patient's log-odds of a class, less their mean over training patients, among the inputs: "
    "phases or fusions of the image, and covariates. They say what this model used, not what causes HER2 expression; "
    "inputs that go together share their credit by convention. A share counts whatever its sign here."
)
_ONE_INPUT = (
    "This model has a single input, so nothing is divided here: its share is the whole distance from the mean of the "
    "training patients."
)
_FEATURES = (
    "A feature of the encoder is named by view, pooling and position. The position has no meaning of its own: the "
    "figures show how many features carry the answer and which way, not what they stand for."
)
_PLANE = (
    "The embeddings of all patients, brought to a plane. Axes have no unit; distances and gaps in the plane prove "
    "nothing, and both methods draw clusters in noise. The evidence is the table: how often a patient's nearest "
    "neighbors, in all dimensions, are of the same class or site, against labels permuted within the other one."
)


def judge_explanations(material: Material) -> Part:
    """What the explaining stage left, its failures first; one sentence where there is nothing.

    Raises:
        StopRun: as `analysis.explained_run.read_explained`, and the reader of the run's feature store.
    """
    run = material.run
    if run is None:
        return Part()
    explained = read_explained(run)
    if explained is None or run.explanations_are_stale:
        text = Paragraph(_NONE) if explained is None else Paragraph(_STALE, tone="note")
        return Part(section=Section(_ANCHOR, _TITLE, [text]))
    return _explained_part(explained, material, run)


def _explained_part(explained: Explained, material: Material, run: RunFolder) -> Part:
    """The section where there are explanations."""
    gallery, named = patient_blocks(explained, material, run)
    blocks: list[Block] = [
        Paragraph(_TEXT),
        *_check_blocks(explained),
        *_share_blocks(explained, material.classes),
        *_plane_blocks(explained, material),
        *gallery,
    ]
    summary = (_verdict(explained),) if explained.failed else ()
    limits = (Limit(52, "Maps are no reasons", _verdict(explained)),) if explained.failed else ()
    return Part(section=Section(_ANCHOR, _TITLE, blocks), summary=summary, named=named, limits=limits)


def _verdict(explained: Explained) -> str:
    """The sanity tests in one sentence."""
    failed, n = explained.failed, explained.n_judged
    if failed:
        return (
            f"The maps failed {len(failed)} of {count(n, 'sanity test')} ({', '.join(failed)}), so they must not be "
            "read as the reasons of the model."
        )
    if not n:
        return "No sanity test came to a verdict, so nothing says whether the maps can be trusted."
    return f"The maps passed {'the' if n == 1 else 'all'} {count(n, 'sanity test')} that came to a verdict."


def _check_blocks(explained: Explained) -> list[Block]:
    """The verdict first, then the numbers; nothing without maps."""
    if explained.maps is None and not explained.checks:
        return []
    passed = bool(explained.n_judged) and not explained.failed
    blocks: list[Block] = [
        Heading("Can the maps be trusted?"),
        Paragraph(_verdict(explained), tone="" if passed else "note"),
        Paragraph(_CHECKS),
    ]
    method = explained.maps.method if explained.maps else ""
    return [*blocks, _check_table(explained.checks, method)] if explained.checks else blocks


def _check_table(checks: Sequence[Check], method: str) -> Table:
    """A line a quantity, failures first."""
    verdicts = {True: "passed", False: "failed", None: "reported only"}
    ordered = sorted(checks, key=lambda check: check.passed is not False)
    rows = [
        [c.test, verdicts[c.passed], c.quantity, _value(c), two_decimals(c.expected), p_value(c.p), str(c.n)]
        for c in ordered
    ]
    header = ["Test", "Verdict", "What was measured", "Mean (95 % interval)", "Compared with", "p", "n"]
    return Table(f"Sanity tests of the maps ({method or 'no maps'})", header, rows, text_cells=True, name="sanity")


def _value(check: Check) -> str:
    """The mean with its interval."""
    spread = f" ({two_decimals(check.low)} to {two_decimals(check.high)})" if math.isfinite(check.low) else ""
    return f"{two_decimals(check.value)}{spread}"


def _share_blocks(explained: Explained, classes: Sequence[str]) -> list[Block]:
    """What views and covariates, and single features, do on the whole."""
    if not explained.groups and not explained.features:
        return []
    blocks: list[Block] = [Heading("What the model goes by"), Paragraph(_SHARES)]
    blocks += [Paragraph(_ONE_INPUT)] if len({row.group for row in explained.groups}) == 1 else []
    if explained.groups:
        n = len({row.patient_id for row in explained.groups})
        blocks.append(
            Gallery(f"Views and covariates, {count(n, 'patient')}", [groups_figure(explained.groups, classes)])
        )
        blocks.append(_group_table(explained, classes))
    if explained.features:
        present = [label for label in classes if any(row.label == label for row in explained.features)]
        title = "Single features: one mark a patient, evenly chosen where there are many"
        blocks.append(Paragraph(_FEATURES))
        blocks.append(Gallery(title, [features_figure(explained.features, label) for label in present]))
    return blocks


def _group_table(explained: Explained, classes: Sequence[str]) -> Table:
    """The bars as numbers."""
    sizes = {(one.name, one.label): one for one in mean_sizes(explained.groups)}
    names = list(dict.fromkeys(name for name, _ in sizes))
    rows = [
        [name, *(f"{sizes[name, label].mean:.3f}" if (name, label) in sizes else "-" for label in classes)]
        for name in names
    ]
    data: list[list[Cell]] = [[o.name, o.label, o.mean, o.n] for o in sizes.values()]
    return Table(
        "Mean absolute share in the log-odds",
        ["View or covariate", *map(class_label, classes)],
        rows,
        folded="The bars as numbers",
        name="shap-groups",
        data=Data(["group", "class", "mean_absolute_share", "n"], data),
    )


def _plane_blocks(explained: Explained, material: Material) -> list[Block]:
    """t-SNE and UMAP by class and by site, and what the neighbors say."""
    if not explained.projected:
        return []
    people = material.frame.drop_duplicates("patient_id")
    y = {str(who): value for who, value in zip(people["patient_id"], people["y"], strict=True)}
    class_of = {who: "" if math.isnan(value) else material.classes[int(value)] for who, value in y.items()}
    site_of = {str(who): str(site) for who, site in zip(people["patient_id"], people["site"], strict=True)}
    blocks: list[Block] = [Heading("The embedding space"), Paragraph(_PLANE)]
    blocks += [Paragraph(_neighbors(purity)) for purity in explained.purity]
    for method in dict.fromkeys(point.method for point in explained.projected):
        points = [point for point in explained.projected if point.method == method]
        blocks.append(Gallery("", [class_figure(points, class_of, material.classes), site_figure(points, site_of)]))
    return [*blocks, _purity_table(explained.purity)] if explained.purity else blocks


def _neighbors(purity: Purity) -> str:
    """What one target's neighbors say, in a sentence."""
    found = (
        f"Of {purity.k} nearest neighbors {purity.purity:.0%} are of the patient's own {purity.target}; "
        f"{purity.expected:.0%} would be without any connection"
    )
    p = equals(p_value(purity.p))
    if purity.p >= SMALL_P:
        return f"{found} (p {p}), so no connection was found, which is no proof that there is none."
    return f"{found} (p {p}): the embeddings carry the {purity.target}."


def _purity_table(found: Sequence[Purity]) -> Table:
    """The neighbors in numbers."""
    rows = [
        [o.target, str(o.n), str(o.groups), str(o.k), two_decimals(o.purity), two_decimals(o.expected), p_value(o.p)]
        for o in found
    ]
    header = ["Neighbors of the same", "Patients", "Groups", "Neighbors", "Share", "Without connection", "p"]
    data: list[list[Cell]] = [[o.target, o.n, o.groups, o.k, o.purity, o.expected, o.p] for o in found]
    columns = ["target", "n", "groups", "k", "purity", "expected", "p"]
    caption = "Nearest neighbors in all dimensions of the embeddings"
    return Table(caption, header, rows, name="neighbors", data=Data(columns, data))
