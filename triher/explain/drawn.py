"""The part of the stage that draws: whom to explain, their maps, and the sanity tests of these."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analysis.patients.matched import Matched, matched_pairs, shown_pairs
from classify.attribution.everyone import Everyone
from extract.lanes import RADIOMICS
from triher.errors import Note, SkipPatient
from triher.explain.checks import Measured, judge_maps
from triher.explain.choice import choose
from triher.explain.lesion_share import LesionShare
from triher.explain.material import Material, Written
from triher.explained import NAME as CHOSEN
from triher.explained import Chosen, write_chosen
from triher.explanation_checks import NAME as CHECKS
from triher.explanation_checks import Check, write_checks
from triher.explanations import NAME as MAPS
from triher.explanations import PatientMaps, write_maps
from triher.labels import scheme_classes
from triher.progress import Reporter

if TYPE_CHECKING:
    from triher.explain.scene import Scene
    from triher.explain.testing import Shuffles

_PAIRED_SPLITS = ("test", "oof")  # those whom the explained model was not trained on first
_MAP, _TEST = "map", "map and tests"


def explain_pictures(material: Material, reporter: Reporter) -> Written:
    """Choose patients and map what in their slices speaks for each class.

    Where there are no pictures or no model to explain, a note says so.

    Raises:
        StopRun: as `triher.explain.scene.open_scene` and `triher.explain.patients.look`.
    """
    folder = material.run.explanations
    chosen = _chosen(material)
    write_chosen(folder / CHOSEN, chosen)
    files = (folder / CHOSEN,)
    reason = _why_no_maps(material)
    if reason or material.everyone is None:
        return Written(files, (Note("", "maps_impossible", reason),), {"method": "", "n_maps": 0, "n_tested": 0})
    walk = _open_walk(material, material.everyone, min(material.options.sanity_patients, len(chosen)))
    classes = scheme_classes(material.config.scheme)
    write_maps(folder / MAPS, _walk(walk, chosen, reporter), classes=classes, method=walk.scene.method)
    draws = {"resamples": material.config.analysis.resamples, "seed": material.config.seed}
    checks = judge_maps(walk.measured, walk.shares, **draws)
    write_checks(folder / CHECKS, checks)
    _say(checks, reporter)
    facts = {"method": walk.scene.method, "n_maps": len(walk.shares), "n_tested": len(walk.measured)}
    return Written((*files, folder / MAPS, folder / CHECKS), tuple(walk.notes), facts)


def _why_no_maps(material: Material) -> str:
    """Why there is nothing to draw; an empty text where there is."""
    if material.everyone is None:
        return f"the head '{material.config.classify.head}' is not locked into a bundle that could be explained"
    if material.source.is_table:
        return "the features come from a table, which has no pictures"
    if not material.config.has_images:
        return "the features come from a store of another run, which knows the images; explain that one"
    if material.source.header.encoder.get("builder") == RADIOMICS:
        return "radiomics have names and no place in the picture: SHAP says which of them count"
    return ""


def _chosen(material: Material) -> tuple[Chosen, ...]:
    """Those who are predicted and embedded, the most telling first."""
    everyone, n = material.everyone, material.options.patients
    known = material.source.features.patient_id if everyone is None else [p.patient_id for p in everyone.patients]
    return choose(material.predictions, material.config.scheme, _pairs(material), n=n, among=known)


def _pairs(material: Material) -> list[tuple[str, str]]:
    """Matched pairs: those that stand for all, then those of the largest margin."""
    frame = material.predictions
    found: list[Matched] = []
    for split in _PAIRED_SPLITS:
        rows = frame[frame["split"] == split]
        if len(rows):
            found.append(matched_pairs(rows, material.cohort, material.options, material.config.scheme))
    shown = [pair for matched in found for _, pair in shown_pairs(matched)]
    rest = [pair for matched in found for pair in sorted(matched.pairs, key=lambda one: -abs(one.margin))]
    ids = [(pair.zero.patient.patient_id, pair.low.patient.patient_id) for pair in (*shown, *rest)]
    return list(dict.fromkeys(ids))


@dataclass(frozen=True)
class _Walk:
    """One patient after the other; each is looked at once, for map and tests."""

    scene: "Scene"
    shuffles: "Shuffles | None"
    n_tests: int
    measured: list[Measured] = field(default_factory=list)
    shares: list[LesionShare] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    """Who has no map, and why."""


def _open_walk(material: Material, everyone: Everyone, n_tests: int) -> _Walk:
    """Load the encoder; torch is imported only from here on."""
    from triher.explain.scene import open_scene
    from triher.explain.testing import Shuffles

    scene = open_scene(material.config, everyone, material.run.slabs)
    return _Walk(scene, Shuffles(material.config.seed) if n_tests else None, n_tests)


def _walk(walk: _Walk, chosen: Sequence[Chosen], reporter: Reporter) -> Iterator[PatientMaps]:
    """Look at one patient after the other, and hand on the maps; the first ones with a map are put to the tests."""
    from triher.explain.patients import look
    from triher.explain.testing import put_to_test

    kinds = [_TEST] * walk.n_tests + [_MAP] * (len(chosen) - walk.n_tests)
    with reporter.work(f"explain: {walk.scene.method} maps", kinds) as advance:
        for number, (one, kind) in enumerate(zip(chosen, kinds, strict=True)):
            try:
                looked = look(walk.scene, one.patient_id)
            except SkipPatient as reason:
                walk.notes.append(Note(one.patient_id, "maps_left_out", reason.message))
            else:
                yield looked.maps
                walk.shares.append(looked.share)
                if walk.shuffles is not None and len(walk.measured) < walk.n_tests:
                    walk.measured.append(put_to_test(walk.scene, looked, walk.shuffles, number))
            advance(kind)


def _say(checks: Sequence[Check], reporter: Reporter) -> None:
    """Name the tests that failed."""
    failed = sorted({check.test for check in checks if check.passed is False})
    n_judged = len({check.test for check in checks if check.passed is not None})
    verdict = f"failed: {', '.join(failed)}" if failed else "none failed"
    reporter.say(f"explain: {n_judged} sanity tests of the maps, {verdict}")
