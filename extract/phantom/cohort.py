"""Writes a synthetic breast DCE-MRI cohort whose truth is known.

Nothing in it is a patient. The classes differ in five named lesion traits (`extract.phantom.truth`), which show in
the pictures through body, lesion, contrast agent and scanner (`extract.phantom.anatomy`, `extract.phantom.lesion`,
`extract.phantom.physics`); so the best possible AUC is known, and a pipeline can be held against it.

For ablations more can be planted: that some of the traits alone tell the classes apart, so that a preparation of the
pictures that erases these traits must be found to destroy the signal; and that one site's exams went wrong
(`extract.phantom.physics.shifted`), so that the site must be found to matter.
"""

import gzip
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from jaxtyping import Float64, Shaped
from numpy.random import SeedSequence

from extract.phantom.anatomy import GLAND, Body, draw_body, make_grid, properties, tissue_map
from extract.phantom.lesion import grow_lesion, implant
from extract.phantom.physics import SCANNERS, Scanner, acquire, shifted
from extract.phantom.truth import CLASSES, PRIOR, draw_scores, draw_survival, posterior, trait_values
from triher.errors import unknown_name
from triher.files import make_writable, replacing
from triher.predictions import REFERENCE, probability_columns, write_predictions
from triher.progress import Reporter
from triher.tables import write_table

COHORT = "phantom"
PHASES = ("pre", "early", "late")
SPLIT_OF_SITE = {"A": "train", "B": "train", "C": "test"}
_FULL_SHAPE = (28, 112, 112)  # the scanners' voxel sizes are those of this matrix
_MIN_SHAPE = (24, 48, 48)
_BLOCK = 10  # patients that hold the classes in exactly their proportions
# IHC and ISH entries of each class, and how common each is within it.
_PATHOLOGY = {
    "zero": ((("0", ""), 1.0),),
    "low": ((("1+", ""), 0.6), (("2+", "negative"), 0.4)),
    "positive": ((("3+", ""), 0.8), (("2+", "positive"), 0.2)),
}


@dataclass(frozen=True)
class Draw:
    """What is true of one patient before the scan."""

    patient_id: str
    site: str
    y: int
    scores: Float64[np.ndarray, " trait"]
    ihc: str
    ish: str
    age_years: float
    time_months: float
    event: int
    body: Body
    scanner: Scanner
    gain: float
    seed: SeedSequence
    """Of the pictures."""


def write_phantom(
    folder: Path,
    *,
    n_patients: int = 120,
    shape: tuple[int, int, int] = _FULL_SHAPE,
    seed: int = 0,
    signal: Sequence[str] = (),
    shifted_site: str = "",
    reporter: Reporter,
) -> Path:
    """Write the cohort table, images, true parameters and the best possible predictions.

    Equal arguments give equal bytes, and a patient's images do not depend on how many patients there are.

    Args:
        folder: gets ``cohort.csv``, ``truth.csv``, ``best_possible.csv`` and ``images/``.
        n_patients: about a third at each of the sites A, B (training) and C (test).
        shape: voxels along slice, row and col, at least 24 x 48 x 48; the field of view stays the same.
        seed: whole number, 0 or more.
        signal: names of `extract.phantom.truth.TRAITS` that tell the classes apart; all of them where it is empty.
        shifted_site: whose exams went wrong; the others' files stay as they are without it.
        reporter: shows the progress.

    Returns:
        The path of ``cohort.csv``.

    Raises:
        StopRun: ``output_folder``; ``unknown_name`` for a trait or a site.
        ValueError: when there is no patient, or the shape is too small to show a lesion.
    """
    if n_patients < 1:
        raise ValueError(f"the phantom needs at least one patient, not {n_patients}")
    if any(n < least for n, least in zip(shape, _MIN_SHAPE, strict=True)):
        raise ValueError(f"the phantom needs at least {_MIN_SHAPE} voxels, not {shape}")
    draws = draw_patients(n_patients, seed, signal=signal, shifted_site=shifted_site)
    make_writable(folder / "images")
    # Threads suffice: random numbers, filters and compression all release the interpreter's lock.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        written = pool.map(lambda draw: _write_images(folder, draw, shape), draws)
        for _ in reporter.track(written, "phantom", len(draws)):
            pass
    _write_truth(folder / "truth.csv", draws)
    _write_best_possible(folder / "best_possible.csv", draws, seed, signal)
    _write_cohort(folder / "cohort.csv", draws)
    return folder / "cohort.csv"


def draw_patients(n_patients: int, seed: int, *, signal: Sequence[str] = (), shifted_site: str = "") -> list[Draw]:
    """Draw the patients' truth, site after site; each patient has an own seed."""
    if shifted_site and shifted_site not in SCANNERS:
        raise unknown_name("site of the phantom", shifted_site, SCANNERS)
    draws = []
    for place, site in enumerate(SPLIT_OF_SITE):
        n_here = (n_patients + len(SPLIT_OF_SITE) - 1 - place) // len(SPLIT_OF_SITE)
        blocks, patients = SeedSequence(seed, spawn_key=(place,)).spawn(2)
        seeds = patients.spawn(n_here)
        scanner = shifted(SCANNERS[site]) if site == shifted_site else SCANNERS[site]
        for number, (y, own) in enumerate(zip(_classes(blocks), seeds, strict=False), start=1):
            draws.append(_draw_patient(f"PH-{site}-{number:03d}", site, scanner, y, own, signal))
    return draws


def _classes(seed: SeedSequence) -> Iterator[int]:
    """Yield classes without end, in shuffled blocks that hold them in exactly their proportions."""
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(len(CLASSES)), [round(part * _BLOCK) for part in PRIOR])
    while True:
        yield from (int(y) for y in rng.permutation(block))


def _draw_patient(
    patient_id: str, site: str, scanner: Scanner, y: int, seed: SeedSequence, signal: Sequence[str]
) -> Draw:
    """Draw one patient: traits, pathology, age, follow-up and anatomy."""
    facts, pictures = seed.spawn(2)
    rng = np.random.default_rng(facts)
    entries, weights = zip(*_PATHOLOGY[CLASSES[y]], strict=True)
    ihc, ish = entries[rng.choice(len(entries), p=weights)]
    age = float(np.clip(rng.normal(55, 11), 28, 85))
    time, event = draw_survival(np.array([y]), np.array([age]), rng)
    return Draw(
        patient_id,
        site,
        y,
        scores=draw_scores(np.array([y]), rng, signal)[0],
        ihc=ihc,
        ish=ish,
        age_years=age,
        time_months=float(time[0]),
        event=int(event[0]),
        body=draw_body(rng),
        scanner=scanner,
        gain=scanner.gain * float(np.exp(0.1 * rng.normal())),
        seed=pictures,
    )


def _write_images(folder: Path, draw: Draw, shape: tuple[int, int, int]) -> None:
    """Simulate one patient's examination and write the three phases with the mask."""
    rng = np.random.default_rng(draw.seed)
    scanner = draw.scanner
    spacing_mm = _spacing_mm(scanner, shape)
    traits = trait_values(draw.scores)
    grid = make_grid(shape, spacing_mm)
    labels = tissue_map(draw.body, grid, rng)
    lesion = grow_lesion(draw.body, traits["irregularity_fraction"], labels, grid, rng)
    labels[lesion.mask] = GLAND
    breast = properties(labels, draw.body, field_t=scanner.field_t, fat_left=scanner.fat_left_fraction)
    tissue = implant(breast, lesion, traits, spacing_mm, rng)
    phases = acquire(tissue, scanner, spacing_mm, gain=draw.gain, rng=rng)
    for name, voxels in zip((*PHASES, "mask"), (*phases, lesion.mask.astype(np.uint8)), strict=True):
        _write_nifti(folder / _image_path(draw, name), voxels, spacing_mm)


def _spacing_mm(scanner: Scanner, shape: tuple[int, int, int]) -> tuple[float, float, float]:
    """The scanner's voxel size, larger where the same field of view has fewer voxels."""
    in_plane = scanner.in_plane_mm
    return (
        scanner.slice_mm * _FULL_SHAPE[0] / shape[0],
        in_plane * _FULL_SHAPE[1] / shape[1],
        in_plane * _FULL_SHAPE[2] / shape[2],
    )


def _image_path(draw: Draw, name: str) -> str:
    """Path of a phase or the mask, relative to the cohort table."""
    return f"images/{draw.patient_id}_{name}.nii.gz"


def _write_nifti(
    path: Path, voxels: Shaped[np.ndarray, "slice row col"], spacing_mm: tuple[float, float, float]
) -> None:
    """Write a volume with axes right, anterior, superior; the same voxels always give the same bytes."""
    affine = np.diag([*spacing_mm[::-1], 1.0])
    affine[:3, 3] = -0.5 * (np.array(voxels.shape[::-1]) - 1) * spacing_mm[::-1]
    picture = nib.Nifti1Image(voxels.transpose(2, 1, 0), affine)
    picture.set_sform(affine, code="scanner")
    picture.set_qform(affine, code="scanner")
    picture.header.set_xyzt_units("mm")
    with replacing(path) as part:
        part.write_bytes(gzip.compress(picture.to_bytes(), 1, mtime=0))


def _write_cohort(path: Path, draws: list[Draw]) -> None:
    """Write the table that `triher.cohort` reads."""
    columns = ("patient_id", "cohort", "site", "split", "ihc", "ish", "age", "time", "event", *PHASES, "mask")
    rows = [
        (
            *(d.patient_id, COHORT, d.site, SPLIT_OF_SITE[d.site], d.ihc, d.ish),
            *(f"{d.age_years:.1f}", f"{d.time_months:.3f}", d.event),
            *(_image_path(d, name) for name in (*PHASES, "mask")),
        )
        for d in draws
    ]
    write_table(path, columns, rows)


def _write_truth(path: Path, draws: list[Draw]) -> None:
    """Write every true parameter by name."""
    rows = [
        {
            "patient_id": d.patient_id,
            "class": CLASSES[d.y],
            **trait_values(d.scores),
            **asdict(d.body),
            "age_years": d.age_years,
            "time_months": d.time_months,
            "event": d.event,
            "gain_per_signal": d.gain,
            **{name: value for name, value in asdict(d.scanner).items() if name != "gain"},
        }
        for d in draws
    ]
    write_table(path, list(rows[0]), [list(row.values()) for row in rows])


def _write_best_possible(path: Path, draws: list[Draw], seed: int, signal: Sequence[str]) -> None:
    """Write the posterior on the true traits as a prediction table."""
    best = posterior(np.stack([d.scores for d in draws]), signal)
    frame = pd.DataFrame(best, columns=probability_columns("triple"))
    for name in ("patient_id", "site", "y"):
        frame[name] = [getattr(d, name) for d in draws]
    frame = frame.assign(cohort=COHORT, split=REFERENCE, repeat=0, fold=0, seed=seed)
    write_predictions(path, frame, "triple")
