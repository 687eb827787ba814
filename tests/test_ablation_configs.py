"""The configurations of ablations that we ship: each lays out, and asks what its first line says."""

import re
from pathlib import Path

import pytest

from extract.encoders import find_encoder
from extract.normalization import find_normalization
from triher.ablation.axes import read_lattice
from triher.config import read_config, read_tree
from triher.study import BASE

CONFIGS = Path(__file__).parents[1] / "configs"
N_CELLS = {
    "normalization": 8 * 2,
    "backbones": 8 * 3,
    "cohorts": 6 * 2 + 1,
    "robustness": 2 * 8,
    "system_c": 7 * 2,
    "system_c_models": 1 + 7,
}
ON_THE_PHANTOM = [name for name in N_CELLS if not name.startswith("system")]


def test_every_configuration_is_known_here() -> None:
    assert {path.stem for path in CONFIGS.glob("ablation_*.yaml")} == {f"ablation_{name}" for name in N_CELLS}


@pytest.mark.parametrize("name", N_CELLS)
def test_it_lays_out(name: str) -> None:
    path = CONFIGS / f"ablation_{name}.yaml"
    lattice, own = read_lattice(read_tree(path), path), read_config(path).ablation
    assert len(lattice.cells) == N_CELLS[name]
    assert lattice.cells[0].name == BASE
    assert lattice.cells[0].levels == {axis: levels[0] for axis, levels in lattice.axes.items()}
    assert own is not None
    assert own.primary
    for config in lattice.configs.values():
        find_encoder(config.extract.encoder)
        find_normalization(config.extract.normalization)


@pytest.mark.parametrize("name", ON_THE_PHANTOM)
def test_its_header_has_the_commands_that_make_and_run_it(name: str) -> None:
    path = CONFIGS / f"ablation_{name}.yaml"
    lines = [line.removeprefix("#   ") for line in path.read_text().splitlines() if line.startswith("#   triher ")]
    phantom, ablate = (line.split() for line in lines)
    assert phantom[:3] == ["triher", "phantom", "--out"]
    assert read_tree(path)["cohort"]["table"] == f"../{phantom[3]}/cohort.csv"
    assert ablate[1:3] == ["ablate", f"configs/{path.name}"]


def test_the_question_of_system_c_is_asked_whole() -> None:
    path = CONFIGS / "ablation_normalization.yaml"
    axes = read_lattice(read_tree(path), path).axes
    published = {"clip98-volume", "clip95-volume", "clip99-joint", "minmax-slice", "minmax-joint"}
    assert published < set(axes["normalization"])
    assert len(set(axes["normalization"]) - {"minmax-mask"}) == 7
    assert axes["n4"] == ("none", "shared")
    assert re.search(r"2510\.13897", path.read_text())


def test_trained_networks_are_asked_the_same_as_frozen_ones() -> None:
    """But for the negative control, which is known to lose and would cost two networks."""
    frozen, trained = (
        read_lattice(read_tree(path), path).axes
        for path in (CONFIGS / "ablation_normalization.yaml", CONFIGS / "ablation_system_c.yaml")
    )
    assert set(trained["normalization"]) == set(frozen["normalization"]) - {"minmax-mask"}
    assert trained["n4"] == frozen["n4"]
