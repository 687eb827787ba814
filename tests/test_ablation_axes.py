"""The cells that a configuration asks for."""

from pathlib import Path

import pytest

from triher.ablation.axes import Lattice, read_lattice
from triher.config import read_tree
from triher.errors import StopRun

TWO_AXES = """
    extract.normalization: [clip99-joint, minmax-volume, clahe-joint]
    extract.n4: [none, shared]
"""


@pytest.fixture
def lay_out(tmp_path):
    def make(ablation: str, base: str = "") -> Lattice:
        path = tmp_path / "config.yaml"
        path.write_text(f"cohort: {{table: cohort.csv}}\n{base}\nablation:\n{ablation}")
        return read_lattice(read_tree(path), path)

    return make


def names(lattice: Lattice) -> list[str]:
    return [cell.name for cell in lattice.cells]


def test_a_lattice_combines_every_level_with_every_other(lay_out):
    lattice = lay_out(f"  axes:{TWO_AXES}")
    assert names(lattice) == [
        "base",
        "n4=shared",
        "normalization=minmax-volume",
        "normalization=minmax-volume, n4=shared",
        "normalization=clahe-joint",
        "normalization=clahe-joint, n4=shared",
    ]
    assert lattice.axes == {
        "normalization": ("clip99-joint", "minmax-volume", "clahe-joint"),
        "n4": ("none", "shared"),
    }
    config = lattice.configs["normalization=clahe-joint, n4=shared"]
    assert (config.extract.normalization, config.extract.n4) == ("clahe-joint", "shared")
    assert all(config.ablation is None for config in lattice.configs.values())


def test_the_base_is_the_level_that_changes_nothing_wherever_it_stands(lay_out):
    lattice = lay_out("  axes: {extract.n4: [shared, none]}")
    assert lattice.axes == {"n4": ("none", "shared")}
    assert names(lattice) == ["base", "n4=shared"]


def test_one_at_a_time_changes_one_axis_and_needs_no_level_of_the_base(lay_out):
    lattice = lay_out(
        "  design: one-at-a-time\n"
        "  axes: {extract.n4: [shared], extract.normalization: [minmax-volume, clip99-joint]}"
    )
    assert names(lattice) == ["base", "n4=shared", "normalization=minmax-volume"]
    assert lattice.cells[2].levels == {"n4": "base", "normalization": "minmax-volume"}


def test_levels_with_names_set_several_keys(lay_out):
    lattice = lay_out(
        "  axes:\n    region:\n      box: {}\n      ring: {extract.region.kind: ring, extract.region.ring_mm: 7.5}"
    )
    region = lattice.configs["region=ring"].extract.region
    assert (region.kind, region.ring_mm) == ("ring", 7.5)


def test_listed_cells_stand_beside_the_axes_or_alone(lay_out):
    listed = "\n  cells: {radiomics: {extract.encoder: radiomics, classify.head: xgboost}}"
    assert names(lay_out(f"  design: list{listed}")) == ["base", "radiomics"]
    assert names(lay_out(f"  axes: {{extract.n4: [none, shared]}}{listed}")) == ["base", "n4=shared", "radiomics"]


def test_axes_are_named_by_their_keys_without_the_section(lay_out):
    lattice = lay_out(
        "  axes: {extract.slices.n: [8, 4], extract.region.kind: [box, ring], seed: [0, 1], scheme: [triple, binary]}"
    )
    assert list(lattice.axes) == ["slices.n", "region.kind", "seed", "scheme"]


@pytest.mark.parametrize(
    ("ablation", "code", "found"),
    [
        ("  seeds: 2", "ablation_empty", "no cell beside the base"),
        ("  axes: {extract.n4: [shared]}", "ablation_base", "no level of the axis 'n4'"),
        ("  axes: {extract.n4: [none, none]}", "ablation_axis", "twice"),
        ("  axes: {extract.n4: [none, bias]}", "config_value", "bias"),
        ("  axes: {extract.n5: [none]}", "config_key", "n4"),
        ("  axes: {a: {x: {}, y: {}}}", "ablation_axis", "both the base's"),
        (
            "  axes: {extract.n4: [none, shared], b: {x: {}, y: {extract.n4: per-phase}}}",
            "ablation_axis",
            "both set extract.n4",
        ),
        ("  design: list\n  cells: {same: {extract.n4: none}}", "ablation_axis", "'base' and 'same'"),
        ("  cells: {base: {extract.n4: shared}}", "ablation_axis", "the configuration itself"),
        ("  axes: {extract.n4: [none, shared]}\n  primary: [n4=shred]", "unknown_name", "n4=shared"),
        ("  axes: {classify.head: knn}", "config_value", "a list of values, or a mapping of names to levels"),
        ("  axes: {classify.head: []}", "ablation_axis", "names no level"),
        ("  axes: {analysis.score: [positive, low]}", "ablation_axis", "both the base's|predict the same"),
        ("  cells: {a: {classify: {head: knn}}}", "ablation_axis", "name its keys one by one"),
        ("  axes: {ablation.seeds: [1, 2]}", "ablation_axis", "ablation"),
        ("  cells: {a: {extract: null}}", "ablation_axis", "name its keys one by one"),
        ("  cells: {a: {finetune: {epochs: 3}}}", "ablation_axis", "name its keys one by one"),
        ("  cells: {a: {finetune: null, finetune.epochs: 3}}", "ablation_axis", "within it, finetune.epochs"),
        (
            "  cells: {a: {classify.features: t.csv}, b: {classify.features: t.csv, finetune.epochs: 3}}",
            "ablation_axis",
            "'a' and 'b'",
        ),
    ],
)
def test_mistakes_stop_before_any_work(lay_out, ablation, code, found):
    with pytest.raises(StopRun, match=found) as stop:
        lay_out(ablation)
    assert stop.value.code == code


def test_a_cell_may_leave_training_out_or_begin_it(lay_out):
    base = "finetune: {epochs: 3, network: dual-attention}"
    lattice = lay_out(
        "  axes: {finetune.heads: [parallel, sequential], extract.n4: [none, shared]}\n"
        "  cells: {probe: {finetune: null}}",
        base,
    )
    assert lattice.configs["probe"].finetune is None
    assert lattice.configs["heads=sequential, n4=shared"].finetune.epochs == 3
    one = lay_out("  design: one-at-a-time\n  axes: {how: {probe: {finetune: null}}, finetune.dropout: [0.0]}", base)
    assert names(one) == ["base", "how=probe", "dropout=0.0"]
    begun = lay_out("  axes: {how: {probe: {}, trained: {finetune.epochs: 5}}}")
    assert begun.configs["base"].finetune is None
    assert begun.configs["how=trained"].finetune.epochs == 5


def test_a_lattice_has_no_axis_within_a_section_that_another_takes_out(lay_out):
    axes = "  axes: {finetune.heads: [parallel, sequential], how: {trained: {}, probe: {finetune: null}}}"
    with pytest.raises(StopRun, match=r"set finetune.heads and finetune, one within the other.*ablation\.cells"):
        lay_out(axes, "finetune: {epochs: 3}")
    assert names(lay_out(f"  design: one-at-a-time\n{axes}", "finetune: {epochs: 3}")) == [
        "base",
        "heads=sequential",
        "how=probe",
    ]


def test_where_pictures_lie_while_a_network_learns_makes_no_other_cell(lay_out):
    with pytest.raises(StopRun, match="'base' and 'there'"):
        lay_out("  cells: {there: {finetune.resident: host}}", "finetune: {epochs: 3}")


def test_paths_of_levels_are_relative_to_the_configuration(lay_out):
    lattice = lay_out("  axes: {classify.features: [null, mine.csv]}")
    assert lattice.configs["features=mine.csv"].classify.features == (
        Path(lattice.configs["base"].cohort.table).parent / "mine.csv"
    )
