"""The configurations of the published systems: each reads, says what its paper says, and runs in small."""

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.main import get_command

from analysis.inference.expected import expected_area, expected_share
from extract.adapters.breastdcedl import read as read_breastdcedl
from extract.adapters.contract import Request
from extract.encoders import find_encoder
from extract.fusion import find_fusions
from extract.normalization import find_normalization
from triher.cli import app
from triher.cohort import read_cohort
from triher.config import read_config, read_tree
from triher.demo import system_config, write_binary_reference
from triher.errors import StopRun
from triher.predictions import REFERENCE, read_predictions, write_predictions
from triher.settings import CohortConfig
from triher.systems import SYSTEMS, System, design_file, find_system, reduced_tree
from triher.tables import write_table

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
DESIGNS = {letter: CONFIGS / system.design for letter, system in SYSTEMS.items()}
OURS = (*DESIGNS.values(), CONFIGS / "system_c_ambl.yaml", *CONFIGS.glob("ablation_system_c*.yaml"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_reads(path):
    config = read_config(path)
    find_encoder(config.extract.encoder)
    find_normalization(config.extract.normalization)
    find_fusions(config.extract.fusions, tuple(config.cohort.phases)) if "rgb" not in config.extract.fusions else None


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_the_commands_in_its_head_are_commands(path):
    """Each is one of ours, with options that it has, and the configurations that it names are there."""
    text = path.read_text().replace("\\\n#", "")
    lines = [line[1:].strip().split("   ")[0] for line in text.splitlines() if line.startswith("#   triher ")]
    assert len(lines) >= 2
    for line in lines:
        words = [word for word in shlex.split(line, comments=True)[1:] if word != "$FM"]
        command = get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
        for word in words:
            assert not word.startswith("configs/") or (ROOT / word).is_file(), line


@pytest.mark.parametrize("path", DESIGNS.values(), ids=lambda path: path.stem)
def test_it_says_of_every_choice_whose_it_is(path):
    """Up to the lines of the section on training that are declared to be ours altogether."""
    lines = path.read_text().splitlines()
    section, ours, bare = "", False, []
    for line in lines:
        if match := re.match(r"(\w+):", line):
            section, ours = match[1], False
        ours = ours or "as all below" in line
        if section in ("extract", "classify", "finetune") and re.match(r"  \w+:", line) and not ours:
            marked = re.search(r"\[(stated|quoted|group|choice)\]", line)
            bare += [] if marked else [line]
    assert [line for line in bare if not line.startswith("  head: network #")] == []


def published(path: Path) -> list[tuple[str, float, str]]:
    return [(one.quantity, one.value, one.split) for one in read_config(path).analysis.published]


def test_the_published_numbers_are_those_of_the_abstracts():
    assert published(DESIGNS["a"]) == [
        ("auc_micro", 0.821, "test"),
        ("auc_micro", 0.835, "test"),
        ("auc_macro", 0.833, "test"),
        ("auc_macro", 0.857, "test"),
    ]
    assert [(one.low, one.high) for one in read_config(DESIGNS["a"]).analysis.published] == [
        (0.795, 0.846),
        (0.797, 0.864),
        (0.818, 0.847),
        (0.837, 0.872),
    ]
    zero, low = "auc_zero_vs_rest", "auc_low_vs_positive"
    assert published(DESIGNS["b"]) == [
        (zero, 0.80, "oof"),
        (zero, 0.73, "test"),
        (zero, 0.71, "test"),
        (low, 0.86, "oof"),
        (low, 0.80, "test"),
        (low, 0.79, "test"),
    ]
    assert published(DESIGNS["c"]) == [("auc", 0.74, "test"), ("accuracy", 0.75, "test")]
    assert published(CONFIGS / "system_c_ambl.yaml") == [("auc", 0.66, "new")]


@pytest.mark.parametrize("name", ["ablation_system_c", "ablation_system_c_models"])
def test_an_ablation_of_system_c_begins_with_system_c(name):
    base, design = read_tree(CONFIGS / f"{name}.yaml"), read_tree(DESIGNS["c"])
    del base["ablation"], design["analysis"]["published"]
    assert base == design


def test_the_cohort_of_system_c_is_what_the_import_writes(tmp_path):
    row = {
        "pid": "ISPY2-100001", "pCR": "0", "n_xy": "256", "n_z": "6", "n_times": "7", "pre": "0", "post_early": "2",
        "post_late": "5", "slice_thick": "2", "xy_spacing": "0.7", "age": "50", "menopause": "0", "HR": "1",
        "HER2": "0", "test": "2",
    }  # fmt: skip
    rows = [row, row | {"pid": "ISPY1_1001", "post_early": "1", "post_late": "2", "n_times": "3", "test": "1"}]
    table = tmp_path / "BreastDCEDL_metadata_min_crop.csv"
    write_table(table, list(row), [list(one.values()) for one in rows])
    imported = read_breastdcedl(Request(tmp_path, options={"without-images": "keep"}))
    ours = read_tree(DESIGNS["c"])["cohort"]
    written = imported.settings | {"covariates": ours["covariates"]}
    assert {key: ours[key] for key in written} == written
    assert {*ours["covariates"], *ours["groups"]} <= set(imported.rows[0])
    assert {one["official_split"] for one in imported.rows} == {"validation", "test"}


def test_what_system_c_trains_on_and_stops_by_is_the_official_split():
    config = read_config(DESIGNS["c"])
    assert config.finetune is not None
    assert (config.finetune.validation, config.finetune.folds) == ("official_split=validation", 0)
    assert "official_split" in config.cohort.groups
    assert config.classify.split.kind == "column"


def test_system_a_sees_the_three_inputs_of_bl4as_each_as_a_view():
    """C2-C0, C2 and C5-C2, counted from 0; one channel each, so that encoders of volumes take them."""
    config = read_config(DESIGNS["a"])
    assert config.cohort.phases == {"pre": "phase 0", "early": "phase 2", "late": "phase 5"}
    views = find_fusions(config.extract.fusions, tuple(config.cohort.phases))
    assert [view.channels[0] for view in views] == [("early", "pre"), ("early", ""), ("late", "early")]
    assert all(len(set(view.channels)) == 1 for view in views)


def flat(tree: dict, start: str = "") -> dict:
    """Every value under its whole key; an empty section under its own."""
    found = {}
    for key, value in tree.items():
        inner = flat(value, f"{start}{key}.") if isinstance(value, dict) else {}
        found |= inner or {f"{start}{key}": value}
    return found


@pytest.mark.parametrize("letter", SYSTEMS)
def test_in_small_it_is_the_same_design_but_for_what_is_named(letter):
    """Every section that differs from the design is named by an assignment that everybody can read."""
    system, small = SYSTEMS[letter], system_config(letter, 7)
    design, tree = (flat(one) for one in (read_tree(design_file(system)), reduced_tree(system, seed=7)))
    differing = {key for key in design.keys() | tree.keys() if design.get(key) != tree.get(key)} - {"seed"}
    named = {text.partition("=")[0] for text in system.reduced}
    assert {next((name for name in named if f"{key}.".startswith(f"{name}.")), key) for key in differing} == named
    assert small.seed == 7
    assert small.cohort.table == Path("cohort/cohort.csv")
    assert small.scheme == design["scheme"]
    assert find_encoder(small.extract.encoder).package  # no hub


@pytest.mark.parametrize("letter", [name for name, system in SYSTEMS.items() if system.probe])
def test_the_probe_differs_in_the_training_alone(letter):
    tree = {text.partition("=")[0]: text.partition("=")[2] for text in SYSTEMS[letter].probe}
    assert tree == {
        "finetune": "null", "classify.head": "logistic", "analysis.compare": "{}", "explain": "null"
    }  # fmt: skip


def test_a_wheel_carries_the_designs():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    expected = {f"configs/{system.design}": f"triher/configs/{system.design}" for system in SYSTEMS.values()}
    assert built["force-include"] == expected


def test_an_unknown_system_names_the_known():
    with pytest.raises(StopRun, match=r"unknown system 'd'.*a, b, c") as caught:
        find_system("d")
    assert caught.value.code == "unknown_name"
    assert find_system("C") is SYSTEMS["c"]


def test_a_design_that_is_not_there_says_where_it_was_looked_for():
    with pytest.raises(StopRun, match=r"lost\.yaml lies neither in .*configs nor in .*configs") as caught:
        design_file(System("lost", "lost.yaml", ()))
    assert caught.value.code == "file_unreadable"


def test_the_best_of_two_classes_is_that_of_three_with_two_joined(tmp_path):
    best = pd.DataFrame(
        {
            "patient_id": ["P1", "P2", "P3"], "cohort": "phantom", "site": "A", "split": REFERENCE, "repeat": 0,
            "fold": 0, "seed": 0, "y": [0, 1, 2], "p_zero": [0.5, 0.25, 0.0], "p_low": [0.25, 0.5, 0.25],
            "p_positive": [0.25, 0.25, 0.75],
        }
    )  # fmt: skip
    write_predictions(tmp_path / "best_possible.csv", best, "triple")
    write_binary_reference(tmp_path)
    found = read_predictions(tmp_path / "best_possible_binary.csv", "binary", (REFERENCE,))
    assert found["y"].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(found["p_negative"], [0.75, 0.75, 0.25])
    np.testing.assert_array_equal(found["p_positive"], [0.25, 0.25, 0.75])


@pytest.mark.parametrize(
    ("ids", "code"), [(("AMBL-014-1", "AMBL-014-2"), "patient_leak"), (("L014-1", "L014-2"), "")]
)
def test_two_lesions_of_one_patient_are_two_rows_under_names_of_ones_own_alone(tmp_path, ids, code):
    """docs/systems.md says so, and that their images, which are the same, keep them in one fold."""
    rows = [[name, "1+", "pre.nii.gz", f"{name}.nii.gz"] for name in ids]
    write_table(tmp_path / "lesions.csv", ["patient_id", "ihc", "pre", "mask"], rows)
    config = CohortConfig(table=tmp_path / "lesions.csv", phases={"pre": "{pre}"})
    if code:
        with pytest.raises(StopRun, match="are one person, AMBL-014") as caught:
            read_cohort(config)
        assert caught.value.code == code
    else:
        assert read_cohort(config).ids() == list(ids)


def test_the_expected_intervals_of_the_documentation_are_those_of_the_report():
    text = (ROOT / "docs" / "systems.md").read_text()
    for value, positive, negative in (
        (0.74, 29, 103), (0.70, 29, 103), (0.668, 29, 103), (0.66, 8, 35), (0.66, 21, 22), (0.73, 53, 27),
        (0.71, 67, 34), (0.80, 27, 26), (0.79, 34, 33), (0.833, 43, 122), (0.833, 73, 92), (0.833, 49, 116),
    ):  # fmt: skip
        found = expected_area(value, positive, negative, names=("with it", "without it"))
        assert f"{found.low:.2f} to {found.high:.2f}" in text, (value, positive, negative)
    share = expected_share(0.75, 132)
    assert f"{share.low:.2f} to {share.high:.2f}" in text
