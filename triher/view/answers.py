"""What the page is told about the run, a patient, and her images, as JSON values and packets."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from triher.errors import StopRun, TriherError
from triher.explanations import PatientMaps
from triher.phases import choose_phases, parse_rule, times_after_injection
from triher.view.cases import Case
from triher.view.images import Images, Uptake, grays, largest_slice, read_images, uptake_of
from triher.view.neighbors import nearest
from triher.view.packet import packet
from triher.view.shares import shown
from triher.view.viewed import Viewed

if TYPE_CHECKING:
    from triher.cohort import Patient

_MAP_TOP = 127


def listing(viewed: Viewed) -> dict[str, Any]:
    """The run, and every case with what the list shows, filters and sorts by."""
    maps = viewed.maps_index
    with_maps = frozenset(maps.patient_ids) if maps else frozenset()
    return {
        "run": viewed.run.path.resolve().name,
        "classes": viewed.classes,
        "encoder": viewed.config.extract.encoder if viewed.config.has_images else "",
        "head": viewed.config.classify.head,
        "maps": {"method": maps.method, "classes": maps.classes} if maps else None,
        "caution": viewed.caution,
        "cases": [
            {
                "id": case.patient_id,
                "cohort": case.cohort,
                "site": case.site,
                "split": case.split,
                "truth": case.truth,
                "p": [round(p, 6) for p in case.probabilities],
                "predicted": case.predicted,
                "wrongness": case.wrongness,
                "set": case.conformal_set,
                "outside": case.outside,
                "repeats": case.n_repeats,
                "images": case.patient_id in viewed.slabs,
                "maps": case.patient_id in with_maps,
            }
            for case in viewed.cases
        ],
    }


def about(viewed: Viewed, case: Case) -> dict[str, Any]:
    """What the cohort table, the notes, the embeddings and the explanations say of a patient."""
    patients, unread = _patients(viewed)
    patient = patients.get(case.patient_id)
    near, why = _neighbors(viewed, case)
    notes = [note.text for note in viewed.run.read_notes() if note.patient_id == case.patient_id]
    return {
        "facts": _facts(patient) if patient else [],
        "why_no_facts": unread,
        "times_s": times_s_of(patient) if patient else None,
        "notes": notes,
        "neighbors": near,
        "why_no_neighbors": why,
        "shap": shown(viewed.shares.get(case.patient_id, ()), viewed.classes),
    }


def _patients(viewed: Viewed) -> tuple[Mapping[str, "Patient"], str]:
    """The cohort by patient id, or why it cannot be read."""
    try:
        return viewed.patients, ""
    except StopRun as stop:
        return {}, stop.message


def _facts(patient: "Patient") -> list[tuple[str, str]]:
    """Names and values of the patient's row, those that are known."""
    facts = {"IHC": patient.ihc, "ISH": patient.ish, "HER2/CEP17": patient.ish_ratio}
    facts |= {"HER2 copies a cell": patient.ish_copies, "staining %": patient.staining_percent}
    facts |= {"scanner": patient.vendor}
    facts |= {name: f"{value:g}" for name, value in patient.covariates.items() if np.isfinite(value)}
    return [(name, value) for name, value in (facts | patient.groups).items() if value]


def times_s_of(patient: "Patient") -> list[float] | None:
    """Seconds from injection to each phase, where the cohort table gives the times of the volumes."""
    reading = patient.reading
    times = times_after_injection(reading.starts_s, reading.injection_s)
    if not times or not reading.rules:
        return None
    rules = {name: parse_rule(text) for name, text in reading.rules.items()}
    try:
        volumes = choose_phases(rules, len(times), times, missing=reading.missing_phase).volumes
    except TriherError:
        return None
    return [times[volumes[name]] for name in rules]


def _neighbors(viewed: Viewed, case: Case) -> tuple[list[dict[str, Any]], str]:
    """The nearest patients of the list, or why there are none."""
    try:
        embedded = viewed.embedded
    except StopRun as stop:
        return [], stop.message
    if case.patient_id not in embedded.position:
        return [], "this patient has no embedding"
    listed = {embedded.position[name]: n for name, n in viewed.case_of.items() if name in embedded.position}
    found = nearest(embedded.vectors, embedded.position[case.patient_id], list(listed))
    return [{"case": listed[row], "cosine": cosine, "her2": _her2(viewed, listed[row])} for row, cosine in found], ""


def _her2(viewed: Viewed, position: int) -> str:
    """IHC and ISH of a case, as the table has them."""
    patient = _patients(viewed)[0].get(viewed.cases[position].patient_id)
    cells = {"IHC": patient.ihc, "ISH": patient.ish} if patient else {}
    return ", ".join(f"{name} {cell}" for name, cell in cells.items() if cell)


def pictures(viewed: Viewed, case: Case) -> bytes | str:
    """All slices of all phases with mask and maps, or why there are none."""
    images = _images(viewed, case)
    if isinstance(images, str):
        return images
    scaled, maps = grays(images.voxels), viewed.maps(case.patient_id)
    facts = {
        "phases": images.phases,
        "first_slice": images.first_slice,
        "spacing_mm": images.spacing_mm,
        "plane": images.plane,
        "window": scaled.window,
        "range": scaled.range,
        "largest_slice": largest_slice(images.mask),
        "area_mm2": _areas(images),
        "uptake": _uptake(uptake_of(images)),
        "maps": None,
    }
    arrays = {"voxels": scaled.values, "mask": images.mask.astype(np.uint8)}
    if maps is not None and maps.maps.shape[2:] == images.voxels.shape[2:]:
        strongest = float(np.abs(maps.maps).max())
        arrays["maps"] = np.rint(maps.maps * (_MAP_TOP / strongest if strongest > 0 else 0)).astype(np.int8)
        facts["maps"] = _map_facts(maps, images, strongest)
    return packet(facts, arrays)


def _map_facts(maps: PatientMaps, images: Images, strongest: float) -> dict[str, Any]:
    """Which slices of the slab the maps lie on, and what they are of."""
    return {
        "slices": [int(n) - images.first_slice for n in maps.slice_index],
        "strongest": strongest,
        "log_odds": [float(value) for value in maps.log_odds],
        "in_training": maps.in_training,
    }


def _areas(images: Images) -> list[float]:
    """Lesion area of each slice in square millimeters."""
    pixel = images.spacing_mm[1] * images.spacing_mm[2]
    return [round(float(n) * pixel, 1) for n in images.mask.sum(axis=(1, 2))]


def _uptake(uptake: Uptake | None) -> dict[str, Sequence[float]] | None:
    """The curve as JSON values."""
    if uptake is None:
        return None
    return {"mean": uptake.mean.tolist(), "lower": uptake.lower.tolist(), "upper": uptake.upper.tolist()}


def thumbnail(viewed: Viewed, case: Case) -> bytes | str:
    """The slice with most lesion, in the first phase after contrast."""
    images = _images(viewed, case)
    if isinstance(images, str):
        return images
    phase, n = min(1, len(images.phases) - 1), largest_slice(images.mask)
    scaled = grays(images.voxels[phase, n])
    facts = {"window": scaled.window, "spacing_mm": images.spacing_mm}
    return packet(facts, {"voxels": scaled.values, "mask": images.mask[n].astype(np.uint8)})


def _images(viewed: Viewed, case: Case) -> Images | str:
    """A patient's slab, or why there is none."""
    path = viewed.slabs.get(case.patient_id)
    if path is None:
        return viewed.why_no_images
    try:
        return read_images(path)
    except (OSError, ValueError) as error:
        return f"The slab in the cache cannot be read: {error}"
