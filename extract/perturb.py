"""An exam as it might have been: its images acquired, or its lesion outlined, a little differently.

Noise and the bias field act on the voxels as they come from the scanner, before N4 and before any statistic; the mask
is changed before the region is chosen from it. Draws depend on the images, on what is drawn and on
``extract.perturb.draw`` alone: not on the patient's name, the order of the table, other patients or workers. The
amount is no part of it, so that more noise is the same noise, stronger.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from extract.exam import MIN_LESION_VOXELS, Exam
from extract.histograms import count
from extract.perturb_mask import dilate, erode, move
from extract.perturb_voxels import draw_field, redraw
from extract.recipe import used
from triher.errors import SkipPatient, StopRun, unknown_name
from triher.files import sha256_of_json
from triher.settings import PerturbConfig
from triher.types import Mask, Phases

Drawn = Literal["shift", "noise", "field", "slices"]


def generator(what: Drawn, sha256: str, draw: int) -> np.random.Generator:
    """The random numbers for one thing that is drawn.

    Args:
        what: is drawn.
        sha256: of the images; equal images are disturbed equally.
        draw: as configured.
    """
    return np.random.default_rng(int(sha256_of_json([what, sha256, draw]), 16))


def images_sha256(exam: Exam) -> str:
    """32 hex digits of the phases' voxels as they were read, whatever the phases' names and the mask."""
    return sha256_of_json(sorted(digest for name, digest in exam.sha256.items() if name != "mask"))[:32]


def require_phase(perturb: PerturbConfig, phases: Sequence[str]) -> None:
    """Stop when a phase is to be dropped that is not there, or the only one.

    Raises:
        StopRun: ``unknown_name`` or ``config_value``.
    """
    if not perturb.drop_phase:
        return
    if perturb.drop_phase not in phases:
        raise unknown_name("phase in extract.perturb.drop_phase", perturb.drop_phase, phases)
    if len(phases) < 2:
        message = f"extract.perturb.drop_phase is '{perturb.drop_phase}', the only phase: no other can stand for it"
        raise StopRun("config_value", message, remedy="drop a phase of an exam with several, or none")


def disturb(exam: Exam, perturb: PerturbConfig) -> Exam:
    """The exam with other voxels or another mask; its hashes stay those of what was read.

    Args:
        exam: as read; it is not changed.
        perturb: what is done to it; the jitter of slices is not done here.

    Raises:
        SkipPatient: ``perturb_empty`` when less than 3 voxels of the lesion are left.
    """
    if perturb.is_none:
        return exam
    how = used(perturb)
    return replace(exam, voxels=_voxels(exam, how), mask=_mask(exam, how))


def _mask(exam: Exam, perturb: PerturbConfig) -> Mask:
    """The lesion's mask, larger or smaller, and moved."""
    mask, done = exam.mask, []
    if perturb.mask_mm:
        change, name = (dilate, "dilated") if perturb.mask_mm > 0 else (erode, "eroded")
        mask = change(mask, exam.spacing_mm, abs(perturb.mask_mm))
        done.append(f"{name} by {abs(perturb.mask_mm):g} mm")
    if perturb.shift_mm:
        mask = move(mask, exam.spacing_mm, perturb.shift_mm, generator("shift", images_sha256(exam), perturb.draw))
        done.append(f"moved by {perturb.shift_mm:g} mm")
    n_left = int(np.count_nonzero(mask))
    if n_left < MIN_LESION_VOXELS:
        n_before = int(np.count_nonzero(exam.mask))
        lesion = f"the lesion of {n_before * math.prod(exam.spacing_mm) / 1000:.2g} ml ({n_before} voxels)"
        message = f"{lesion}, {' and '.join(done)}, has {n_left} voxels left; {MIN_LESION_VOXELS} or more are needed"
        raise SkipPatient("perturb_empty", message)
    return mask


def _voxels(exam: Exam, perturb: PerturbConfig) -> Phases:
    """The phases under a bias field, with noise, and with one of them in the place of a dropped one."""
    if not (perturb.noise or perturb.bias_field or perturb.drop_phase):
        return exam.voxels
    field = None
    if perturb.bias_field:
        rng = generator("field", images_sha256(exam), perturb.draw)
        field = draw_field(exam.mask.shape, perturb.bias_field, rng)
    found = np.empty_like(exam.voxels)
    shown = _shown(exam.phases, perturb.drop_phase)
    for place, name in enumerate(shown):
        if name in shown[:place]:
            found[place] = found[shown.index(name)]
            continue
        phase = exam.voxels[exam.phases.index(name)]
        deviation = perturb.noise * count(phase).quantile(0.98) if perturb.noise else 0.0
        redraw(phase, field, deviation, generator("noise", exam.sha256[name], perturb.draw), found[place])
    return found


def _shown(phases: Sequence[str], dropped: str) -> tuple[str, ...]:
    """The phase that stands in each phase's place."""
    if not dropped:
        return tuple(phases)
    place = phases.index(dropped)
    stand_in = phases[place - 1] if place else phases[1]
    return tuple(stand_in if name == dropped else name for name in phases)
