"""The published systems on the phantom: each design as it is shipped, and what is smaller there.

A design is written once, in ``configs/``, where people read and copy it; a wheel carries these files along. What
makes it small enough for a processor and a few minutes are assignments as ``--set`` takes them, so that everybody
sees what was changed and can put it back.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triher.config import read_tree
from triher.errors import StopRun, unknown_name


@dataclass(frozen=True)
class System:
    """One published system."""

    title: str
    design: str
    """File in ``configs/``."""
    reduced: tuple[str, ...]
    """What differs on the phantom, as ``--set`` takes it."""
    probe: tuple[str, ...] = ()
    """What differs from the reduced system in the frozen encoder that it is compared with; empty for none."""


_TABLE = "table: cohort/cohort.csv, name: phantom, covariates: [age], time_unit: months"
_PHANTOM = f"cohort={{{_TABLE}}}"
_EARLY = f'cohort={{{_TABLE}, phases: {{early: "{{early}}"}}}}'
_PLAIN = ("classify.split={kind: sites, test: [C]}", "analysis.published=[]")
_OFFLINE = "extract.encoder=efficientnet-lite0"  # its weights come as a package
PROBE, PROBE_FOLDER = "linear probe", "linear-probe"
_COMPARED = f"analysis.compare={{{PROBE}: {PROBE_FOLDER}/predictions.csv}}"
_PROBE = ("finetune=null", "classify.head=logistic", "analysis.compare={}", "explain=null")

SYSTEMS: dict[str, System] = {
    "a": System(
        "System A: frozen features, one classifier of three classes",
        "system_a_triher.yaml",
        (
            _PHANTOM,
            *_PLAIN,
            _OFFLINE,
            "extract.slices.n=2",
            "analysis.subgroups={age: [50]}",
            "analysis.reference=cohort/best_possible.csv",
            "explain={patients: 2, sanity_patients: 0, background: 30, match_on: [age], calipers: {age: 5}}",
        ),
    ),
    "b": System(
        "System B: a network of the early phase, two nested tasks",
        "system_b_vit.yaml",
        (
            _EARLY,
            *_PLAIN,
            _OFFLINE,
            "extract.slices.n=2",
            "finetune.input_size=96",
            "finetune.folds=2",
            "finetune.epochs=6",
            "finetune.patience=3",
            "finetune.batch_size=32",
            "finetune.learning_rate=1.0e-3",
            "analysis.covariates=[age]",
            "analysis.reference=cohort/best_possible.csv",
            _COMPARED,
            "explain={method: auto, patients: 4, sanity_patients: 0}",
        ),
        _PROBE,
    ),
    "c": System(
        "System C: a dual-attention network of three fused phases, negative against positive",
        "system_c_dual_attention.yaml",
        (
            _PHANTOM,
            *_PLAIN,
            _OFFLINE,
            "extract.slices.n=3",
            "finetune.input_size=96",
            'finetune.validation=""',
            "finetune.validation_share=0.3",
            "finetune.epochs=12",
            "finetune.patience=4",
            "finetune.batch_size=32",
            "finetune.learning_rate=1.0e-3",
            "analysis.subgroups={}",
            "analysis.reference=cohort/best_possible_binary.csv",
            _COMPARED,
        ),
        _PROBE,
    ),
}


def find_system(name: str) -> System:
    """The system of a letter.

    Raises:
        StopRun: ``unknown_name``, with the letters that are known.
    """
    if name.lower() not in SYSTEMS:
        raise unknown_name("system", name, SYSTEMS)
    return SYSTEMS[name.lower()]


def design_file(system: System) -> Path:
    """The shipped design: in a wheel within this package, in a checkout beside it.

    Raises:
        StopRun: ``file_unreadable`` when it lies in neither place.
    """
    here = Path(__file__).parent
    for folder in (here / "configs", here.parent / "configs"):
        if (folder / system.design).is_file():
            return folder / system.design
    message = f"the design {system.design} lies neither in {here / 'configs'} nor in {here.parent / 'configs'}"
    raise StopRun("file_unreadable", message, remedy="install triher again, or copy its folder configs there")


def reduced_tree(system: System, *, seed: int) -> dict[str, Any]:
    """The design as it runs on the phantom, unchecked, with paths relative to the run folder.

    Args:
        system: an entry of `SYSTEMS`.
        seed: of the run.

    Raises:
        StopRun: as `design_file` and `triher.config.read_tree`.
    """
    return read_tree(design_file(system), [*system.reduced, f"seed={seed}"])
