"""The report of a study: synthetic studies of all kinds, the pages made of them, and what the pages say."""

import hashlib
import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from analysis.ablation.cohort_matrix import Matrix
from analysis.ablation.comparison import Compared
from analysis.ablation.figures_cohorts import cohorts_figure
from analysis.ablation.figures_differences import differences_figure, ranks_figure
from analysis.ablation.figures_lattice import lattice_figure
from analysis.ablation.figures_prices import prices_figure
from analysis.ablation.figures_robustness import stability_figure
from analysis.ablation.figures_shares import shares_figure
from analysis.ablation.findings import Findings, find_out
from analysis.ablation.layout import lay_out
from analysis.ablation.material import read_material
from analysis.ablation.measures import find_measure, values
from analysis.ablation.prices import Price, price_cells, price_steps
from analysis.ablation.ranks import Rank
from analysis.ablation.report import build_study_page
from analysis.ablation.sections_account import account_section, left_out, registration_section
from analysis.ablation.sections_top import status, summary
from analysis.ablation.stability import Stability
from analysis.ablation.stage import STAGE, analyze_study, study_key
from analysis.ablation.variance import NOISE, Share
from analysis.figures.canvas import Drawing
from analysis.page import Paragraph, drawings, tables
from analysis.rendering import render
from triher.ablation.axes import read_lattice
from triher.config import build_config, dump_config
from triher.errors import StopRun
from triher.estimate import Estimate, not_estimable
from triher.labels import scheme_classes
from triher.predictions import write_predictions
from triher.progress import Reporter
from triher.registered import Registration
from triher.registration_record import Record
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.study import BASE, Cell, CellRun, Embedding, LeftOut, Study, StudyFolder
from triher.tables import write_table

COST = {"efficientnet-lite0": 4.0, "dinov2-vitb14": 40.0, "medsam": 400.0}
BACKBONES = {
    "extract.encoder": list(COST),
    "extract.normalization": ["clip99-joint", "zscore-volume", "clahe-slice", "nyul-volume"],
    "classify.pooling": [["mean"], ["max"], ["mean", "max"]],
    "classify.head": ["logistic", "elastic-net", "xgboost"],
}
NORMALIZATIONS = {
    "extract.normalization": [
        "clip99-joint", "minmax-slice", "zscore-volume", "clahe-slice", "percentile99-joint", "clip95-mask",
        "nyul-volume",
    ],
    "extract.n4": ["none", "shared"],
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a synthetic study is like."""

    ablation: Mapping[str, Any]
    scheme: str = "triple"
    n: int = 90
    sites: tuple[str, ...] = ("site A", "site B", "site C")
    split: str = "test"
    seeds: int = 1
    failed: tuple[str, ...] = ()
    signal: Callable[[Cell], float] = lambda _: 1.2
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Cell -> patients that it could not predict."""
    resamples: int = 100


def make_study(path: Path, plan: Plan) -> tuple[Config, StudyFolder]:
    """Write a study as `triher ablate` leaves it: what the cells predict is drawn, with a planted signal."""
    tree = {
        "cohort": {"table": "cohort.csv"},
        "scheme": plan.scheme,
        "analysis": {"resamples": plan.resamples},
        "ablation": {"seeds": plan.seeds, **plan.ablation},
    }
    lattice = read_lattice(tree, path / "config.yaml")
    config = build_config(tree, {}, path / "config.yaml")
    folder = StudyFolder(RunFolder(path / "run"))
    folder.run.prepare()
    runs, broken = {}, {}
    for cell in lattice.cells:
        keys = [_key(cell.name, seed) for seed in range(plan.seeds)]
        runs[cell.name] = tuple(keys)
        for seed, key in enumerate(keys):
            _write_run(folder, plan, cell, seed, key, lattice.configs[cell.name])
    design = config.ablation.design if config.ablation else "list"
    folder.write_study(
        Study(
            axes=lattice.axes,
            design=design,
            cells=lattice.cells,
            runs=runs,
            broken=broken,
            config=dump_config(config),
        )
    )
    return config, folder


def _key(*parts: object) -> str:
    """A key of ours."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _write_run(folder: StudyFolder, plan: Plan, cell: Cell, seed: int, key: str, config: Config) -> None:
    """One cell with one seed."""
    embedding = _key(config.extract.encoder, config.extract.normalization, config.extract.n4)
    _write_embedding(folder, plan, embedding, config)
    if cell.name in plan.failed:
        reason = "the fit did not converge: 2 classes of 3 have patients"
        folder.write_cell(CellRun(key=key, seed=seed, state="failed", code="class_missing", reason=reason))
        return
    n_left = plan.left_out.get(cell.name, 0)
    rows = _predictions(plan, cell, seed)
    skipped = tuple(
        LeftOut(
            patient_id=name, cohort="main", stage="extract", code="mask_empty", reason="the mask is empty", remedy=""
        )
        for name in rows["patient_id"].iloc[:n_left]
    )
    write_predictions(folder.predictions(key), rows.iloc[n_left:], plan.scheme)
    run = CellRun(
        key=key, seed=seed, state="done", embedding=embedding, head=config.classify.head, n=plan.n - n_left,
        seconds=3.0, cpu_seconds=5.0, skipped=skipped,
    )  # fmt: skip
    folder.write_cell(run)


def _write_embedding(folder: StudyFolder, plan: Plan, key: str, config: Config) -> None:
    """A feature store by name; nothing of it is read."""
    store = f"{key}.h5"
    folder.run.features.mkdir(exist_ok=True)
    (folder.run.features / store).write_bytes(b"")
    cost = COST.get(config.extract.encoder, 10.0)
    folder.write_embedding(
        Embedding(
            key=key, store=store, encoder=config.extract.encoder, n_patients=plan.n, n_slices=8 * plan.n,
            n_features=384, n_bytes=10**6, seconds=cost * plan.n / 100, device="NVIDIA H100 80GB HBM3",
        )
    )  # fmt: skip


def _predictions(plan: Plan, cell: Cell, seed: int) -> pd.DataFrame:
    """Probabilities from a signal that all cells share, and noise of each."""
    n_classes = len(scheme_classes(plan.scheme))
    common, own = np.random.default_rng(0), np.random.default_rng(int(_key(cell.name, seed), 16))
    y = np.arange(plan.n) % n_classes
    logits = common.normal(size=(plan.n, n_classes)) + 0.35 * own.normal(size=(plan.n, n_classes))
    logits[np.arange(plan.n), y] += plan.signal(cell)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    site = [plan.sites[i % len(plan.sites)] if plan.sites else "" for i in range(plan.n)]
    rows = {
        "patient_id": [f"P{i:03d}" for i in range(plan.n)], "cohort": "main", "site": site, "split": plan.split,
        "repeat": 0, "fold": np.arange(plan.n) % 5 if plan.split == "oof" else 0, "seed": seed, "y": y,
    }  # fmt: skip
    names = [f"p_{name}" for name in scheme_classes(plan.scheme)]
    return pd.DataFrame({**rows, **dict(zip(names, p.T, strict=True))})


PLANS = {
    "four": Plan({"axes": {"extract.n4": ["none", "shared"], "classify.head": ["logistic", "xgboost"]}}),
    "fourteen": Plan(
        {"axes": NORMALIZATIONS, "primary": ["normalization=clahe-slice", "n4=shared"]},
        signal=lambda cell: 0.1 if cell.levels["normalization"] == "clahe-slice" else 1.2,
        failed=("normalization=nyul-volume, n4=shared",),
        left_out={"n4=shared": 3, "normalization=clip95-mask": 2},
        seeds=2,
        split="oof",
    ),
    "hundred": Plan(
        {"axes": BACKBONES, "primary": ["encoder=medsam"]},
        signal=lambda cell: 1.0 + 0.2 * list(COST).index(cell.levels["encoder"]),
        failed=("encoder=medsam, head=xgboost", "normalization=clahe-slice, pooling=max"),
        n=180,
    ),
    "no-base": Plan(
        {"axes": {"extract.n4": ["none", "shared", "per-phase"], "classify.head": ["logistic", "xgboost"]}},
        failed=("base",),
    ),
    "one-at-a-time": Plan(
        {
            "design": "one-at-a-time",
            "axes": {
                "extract.region": {
                    "the lesion and 5 mm around it, all other tissue black": {"extract.region.kind": "mask"},
                    "a ring": {"extract.region.kind": "ring"},
                },
                "extract.encoder": ["open_clip:ViT-B-16/laion2b_s34b_b88k", "file:a-long-model-name@/runs/best.pt"],
            },
        },
        sites=(),
        scheme="binary",
        n=40,
    ),
    "listed": Plan(
        {
            "design": "list",
            "cells": {"big": {"extract.encoder": "dinov2-vitb14"}, 'a <b> & "c"': {"extract.n4": "shared"}},
        },
        scheme="ultralow",
        n=80,
    ),
}  # fmt: skip


QUIET = Reporter(quiet=True)
SMALL = Plan(
    {"axes": {"extract.n4": ["none", "shared"],
              "extract.normalization": ["clip99-joint", "clahe-slice", "zscore-slice"]},
     "primary": ["normalization=clahe-slice"]},
    signal=lambda cell: 0.0 if cell.levels["normalization"] == "clahe-slice" else 1.4,
    failed=("n4=shared, normalization=zscore-slice",),
    left_out={"n4=shared": 2},
    n=60,
)  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A study of six cells of which one failed and two destroy the signal, and all that was found."""
    config, folder = make_study(tmp_path_factory.mktemp("small"), SMALL)
    found = find_out(folder, read_material(folder, config))
    return found, build_study_page(found, {"stages": {}})


def outputs(folder: StudyFolder) -> dict[str, bytes]:
    """All files that the reading of a study leaves, but the record with its times."""
    kinds = ("report.html", "results.csv", "results.parquet", "tables/*.csv", "figures/*.svg")
    return {
        path.relative_to(folder.run.path).as_posix(): path.read_bytes()
        for kind in kinds
        for path in sorted(folder.run.path.glob(kind))
    }


def lattice_cells(axes: Mapping[str, list[str]]) -> list[Cell]:
    """All cells of a lattice, the base first."""
    cells = []
    for levels in itertools.product(*axes.values()):
        pairs = zip(axes.items(), levels, strict=True)
        changed = [f"{axis}={level}" for (axis, known), level in pairs if level != known[0]]
        cells.append(Cell(name=", ".join(changed) or BASE, levels=dict(zip(axes, levels, strict=True)), changes={}))
    return cells


AXES = {
    "encoder": ["a", "b", "c"], "normalization": ["w", "x", "y", "z"], "pooling": ["mean", "max", "both"],
    "head": ["logistic", "elastic-net", "xgboost"],
}  # fmt: skip
CELLS = lattice_cells(AXES)


def around(value: float, half: float = 0.05) -> Estimate:
    """An estimate with an interval."""
    return Estimate(value, value - half, value + half, 90, "test")


def compared(names: list[str], differences: np.ndarray, *, primary: tuple[str, ...] = ()) -> list[Compared]:
    """Comparisons with the base of given differences."""
    return [
        Compared(name, "auc_macro", around(0.7 + d), around(d), 0.01, 0.02 if abs(d) > 0.05 else 0.9, name in primary)
        for name, d in zip(names, differences, strict=True)
    ]


def texts(drawing: Drawing) -> list[str]:
    """All texts within a figure."""
    root = ET.fromstring(drawing.svg)  # noqa: S314 - our own output
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_equal_studies_give_equal_files_and_what_is_no_longer_said_is_removed(tmp_path):
    plan = Plan({"design": "list", "cells": {"big": {"extract.encoder": "dinov2-vitb14"}}}, n=30, scheme="binary")
    (config, folder), (other, again) = (make_study(tmp_path / name, plan) for name in "ab")
    stale = again.run.path / "tables" / "ablation-old.csv"
    write_table(stale, ["cell"], [["gone"]])
    again.run.record_stage(STAGE, "of an earlier reading", [stale], 0.0)
    assert analyze_study(config, folder, QUIET)
    assert analyze_study(other, again, QUIET)
    assert {"report.html", "results.csv", "tables/ablation-cost.csv"} <= set(outputs(folder))
    assert outputs(folder) == outputs(again)
    assert not stale.exists()
    assert not analyze_study(other, again, QUIET)
    for store in folder.run.features.iterdir():
        store.unlink()
    assert not folder.run.is_fresh(STAGE, study_key(config, folder))


def test_a_folder_without_study_says_so(tmp_path):
    config, _ = make_study(tmp_path, Plan({"design": "list", "cells": {"x": {"extract.n4": "shared"}}}, n=12))
    folder = StudyFolder(RunFolder(tmp_path / "empty"))
    with pytest.raises(StopRun, match="holds no ablation study"):
        analyze_study(config, folder, QUIET)


def test_the_top_says_what_was_found_and_what_was_planned(small):
    found, _ = small
    text, state = summary(found)
    assert text.startswith("Of 6 cells 1 failed, and the others stand")
    assert "On 58 held-out patients of site A, site B and site C, whom all compared cells predicted, the " in text
    assert "macro AUC of the base is 0.88 (95 % interval 0.79 to 0.94)" in text
    assert re.search(r"Planned, after Holm's correction: “normalization=clahe-slice” -0\.\d\d \(p < 0\.001\)\.", text)
    assert "After Holm's correction 1 of 3 other cells differs from the base" in text
    assert "corrected for its having been chosen among 5 cells" in text
    assert "normalization" in text.rsplit("most goes with", 1)[1]
    assert state == "Exploratory, all of it: nothing was registered before the patients were predicted."


def without_differences(found: Findings) -> Findings:
    """The same study, had no cell differed from the base."""
    arena = found.arenas[0]
    same = [
        replace(one, p=0.4, p_corrected=1.0 if math.isfinite(one.p_corrected) else math.nan) for one in arena.compared
    ]
    return replace(found, arenas=(replace(arena, compared=tuple(same)),))


def test_without_a_difference_there_is_no_winner_in_the_text(small):
    text = " ".join(summary(without_differences(small[0])))
    assert "No other cell differs from the base after Holm's correction for 3 comparisons" in text
    assert "no proof that they are equal" in text
    assert "significant" not in text
    assert "differs from the base, " not in text


def test_only_what_was_registered_is_confirmatory(small):
    found, _ = small
    record = replaced_record(found.material.own.metric)
    registered = Registration(record, ("the data were read again",), frozenset({"normalization=clahe-slice"}))
    told = status(replace(found, registration=registered))
    assert told.startswith(
        "Confirmatory: the comparison of “normalization=clahe-slice” with the base, registered on 2026-01-02"
    )
    assert told.endswith("All else is exploratory.")
    other = Registration(replaced_record("brier"), (), frozenset({"normalization=clahe-slice"}))
    assert status(replace(found, registration=other)).startswith("Exploratory, all of it: a study was registered")
    section = registration_section(replace(found, registration=registered))
    assert Paragraph("the data were read again", tone="note") in section.blocks


def replaced_record(metric: str) -> Record:
    """What the report reads of a registration."""
    return Record.model_construct(seal="a" * 64, date="2026-01-02T03:04:05Z", metric=metric)


def test_failed_cells_and_patients_left_out_are_named_with_their_reasons(small):
    _, page = small
    known = tables(page)
    failed = known["ablation-failed"].rows
    assert failed == [["n4=shared, normalization=zscore-slice", "failed", "class_missing", failed[0][3]]]
    assert "did not converge" in failed[0][3]
    left = known["ablation-left-out"].rows
    assert [(row[0], row[3]) for row in left] == [("P000", "n4=shared"), ("P001", "n4=shared")]
    assert page.patient_level == "yes: the ids of 2 patients who were left out"
    n_own = {row[0]: row[1] for row in known["ablation-patients-test"].rows}
    assert n_own["n4=shared"] == "58"
    assert n_own[BASE] == "60"


def test_a_failed_base_leaves_values_and_no_differences(tmp_path):
    plan = Plan({"axes": {"extract.n4": ["none", "shared", "per-phase"]}}, failed=(BASE,), n=30, sites=())
    config, folder = make_study(tmp_path, plan)
    found = find_out(folder, read_material(folder, config))
    text = summary(found)[0]
    assert (
        "On 30 held-out patients, whom all compared cells predicted, there is no base to compare with: the fit"
        in text
    )
    page = build_study_page(found, {"stages": {}})
    assert "Nothing is compared with the base: the fit did not converge" in render(page)
    assert not any(drawing.name.startswith("ablation-differences") for drawing in drawings(page))


def test_nothing_in_common_leaves_a_page_that_says_so(tmp_path):
    plan = Plan({"axes": {"extract.n4": ["none", "shared"]}}, failed=(BASE, "n4=shared"), n=12)
    config, folder = make_study(tmp_path, plan)
    analyze_study(config, folder, QUIET)
    page = folder.run.report_file.read_text(encoding="utf-8")
    assert "Of 2 cells 2 failed, and nothing can be compared" in page


def test_where_the_base_alone_is_comparable_the_page_says_why_and_shows_its_values(tmp_path):
    plan = Plan({"axes": {"scheme": ["triple", "binary"]}}, n=30, sites=())
    config, folder = make_study(tmp_path, plan)
    [run] = folder.read_study().runs["scheme=binary"]
    write_predictions(folder.predictions(run), _predictions(replace(plan, scheme="binary"), CELLS[0], 0), "binary")
    analyze_study(config, folder, QUIET)
    page = folder.run.report_file.read_text(encoding="utf-8")
    assert "Of 2 cells 1 is not comparable, and the other stands" in page
    assert "Of all cells the base alone can be compared, so there is nothing to compare it with." in page
    assert re.search(r"On 30 held-out patients the macro AUC of the base is 0\.\d\d \(95 % interval", page)
    assert "No two cells" not in page
    own = pd.read_csv(folder.run.path / "tables" / "ablation-cells-test.csv").set_index("measure")
    results = pd.read_csv(folder.results_file)
    base = results[results["cell"] == BASE].set_index("measure")
    assert own.loc["auc_macro", "value"] == base.loc["auc_macro", "value_own"]
    failed = pd.read_csv(folder.run.path / "tables" / "ablation-failed.csv")
    assert failed["Code"].isna().all()


def test_who_is_missing_from_the_images_shown_is_left_out_and_named(small):
    found, _ = small
    row = LeftOut(patient_id="P009", cohort="main", stage="extract", code="mask_empty", reason="eroded", remedy="")
    first, *rest = (replace(one, runs=()) for one in found.material.results)
    store = rest[0].embedding.model_copy(update={"skipped": (row,)})
    material = replace(found.material, results=(first, replace(rest[0], shown=store), *rest[1:]))
    assert left_out(replace(found, material=material)) == {row: [rest[0].cell.name]}
    unexplained = replace(found, material=replace(material, results=(first, *rest)))
    texts = [block.text for block in account_section(unexplained).blocks if isinstance(block, Paragraph)]
    assert "Why cells differ in whom they predicted is not recorded." in texts
    assert not any("No patient was left out" in text for text in texts)


def test_a_cell_with_constant_predictions_says_that_all_scores_are_equal(tmp_path):
    plan = Plan({"design": "list", "cells": {"flat": {"extract.n4": "shared"}}}, n=30, sites=())
    config, folder = make_study(tmp_path, plan)
    [run] = folder.read_study().runs["flat"]
    rows = _predictions(plan, CELLS[0], 0)
    write_predictions(folder.predictions(run), rows.assign(p_zero=0.4, p_low=0.3, p_positive=0.3), "triple")
    analyze_study(config, folder, QUIET)
    assert "0.50 (no interval: all scores are equal)" in folder.run.report_file.read_text(encoding="utf-8")
    results = pd.read_csv(folder.results_file).set_index(["cell", "measure"])
    assert results.loc[("flat", "auc_macro"), "remark"] == "all scores are equal"


def test_names_from_tables_are_never_markup(small):
    found, page = small
    first, *rest = found.material.results
    evil = replace(first, reason="<script>alert(1)</script>", state="failed")
    section = account_section(replace(found, material=replace(found.material, results=(evil, *rest))))
    text = render(replace(page, sections=[section]))
    assert text.count("<script") == 1  # our own
    assert "&lt;script&gt;" in text


# Figures


def test_a_lattice_of_108_cells_has_a_place_for_each_and_no_number_for_failed_ones():
    grid = lay_out(AXES, CELLS, "lattice")
    assert grid is not None
    assert sorted(grid.names.values()) == sorted(cell.name for cell in CELLS)
    assert (len(grid.rows), len(grid.columns)) == (12, 9)
    for (r, c), name in grid.names.items():
        levels = dict(zip((*grid.row_axes, *grid.column_axes), (*grid.rows[r], *grid.columns[c]), strict=True))
        assert next(cell for cell in CELLS if cell.name == name).levels == levels
    failed = {CELLS[5].name, CELLS[77].name}
    known = {cell.name: around(0.6 + 0.001 * k) for k, cell in enumerate(CELLS) if cell.name not in failed}
    drawing = lattice_figure("lattice", "t", grid, known, base=BASE, best=CELLS[107].name, failed=failed)
    numbers = [text for text in texts(drawing) if re.fullmatch(r"0\.\d\d", text)]
    assert len(numbers) == 106
    assert all(f"Failed: {CELLS[5].name}, {CELLS[77].name}." in text for text in [drawing.svg])


def test_one_axis_and_cells_that_change_one_axis_stand_in_a_column():
    grid = lay_out({"n4": ["none", "shared"]}, lattice_cells({"n4": ["none", "shared"]}), "lattice")
    assert grid is not None
    assert (grid.rows, grid.columns) == ((("none",), ("shared",)), ((),))
    single = [cell for cell in CELLS if sum(cell.levels[axis] != AXES[axis][0] for axis in AXES) <= 1]
    column = lay_out(AXES, single, "one-at-a-time")
    assert column is not None
    assert [column.names[r, 0] for r in range(len(column.rows))] == [cell.name for cell in single_by_axis(single)]
    assert lay_out({}, [Cell(name="big", levels={}, changes={})], "list") is None


def single_by_axis(cells: list[Cell]) -> list[Cell]:
    """The base, and the others axis by axis."""
    others = [cell for axis in AXES for cell in cells[1:] if cell.levels[axis] != AXES[axis][0]]
    return [cells[0], *others]


def test_a_long_forest_shows_both_ends_and_all_that_was_planned():
    names = [cell.name for cell in CELLS[1:]]
    differences = np.linspace(-0.1, 0.1, len(names))
    planned = names[50]
    drawing = differences_figure("x", "t", compared(names, differences, primary=(planned,)), label="AUC", sign=1)
    assert drawing is not None
    said = texts(drawing)
    assert "Planned beforehand" in said
    assert "The best 12 of 106 others" in said
    assert "The worst 12" in said
    shown = [text.split(": ")[0] for text in re.findall(r'aria-label="t\. ([^"]*)"', drawing.svg)[0].split("; ")]
    assert shown == [planned, *names[::-1][:12], *names[:12][::-1]]
    assert differences_figure("x", "t", compared(names, -differences), label="Brier", sign=-1, n_shown=4) is not None
    assert differences_figure("x", "t", [], label="AUC", sign=1) is None


def all_figures() -> list[Drawing]:
    """A figure of each kind, with names that a table may hold."""
    evil = 'a "<b>" & \x00 $x$' + "y" * 60
    shares = [
        Share(evil, around(0.4), 2),
        Share("site", not_estimable("few", n=3, method="x"), 2),
        Share(NOISE, around(0.3), 0),
    ]
    entries = {(evil, "B"): around(0.7), (evil, "C"): not_estimable("0 HER2-low", n=3, method="AUC")}
    steady = [
        Stability("toy", evil, 40, 8, 0.8, (0.7, 0.9), 0.6, 0.2, 0.5, 0.9),
        Stability(
            "flat", evil, 40, 0, math.nan, (math.nan, math.nan), math.nan, math.nan, math.nan, math.nan, 8, "constant"
        ),
    ]
    prices = [Price(evil, "toy", "cpu", 3.0, 1.0, True), Price("b", "big", "cpu", 30.0, 1.0, False)]
    grid = lay_out({evil: ["none", evil]}, lattice_cells({evil: ["none", evil]}), "lattice")
    assert grid is not None
    known = {evil: around(0.7), "b": around(0.6)}
    return [
        shares_figure("x", "Shares", shares),
        cohorts_figure("Cohorts", Matrix((evil,), ("B", "C"), entries, frozenset({(evil, "B")}), "cohort")),
        stability_figure("Stability", steady),
        prices_figure("cost", "Cost", prices, known, label="AUC", base="b"),
        ranks_figure("x", "Ranks", [Rank(evil, 1.2, 1.0, 2.0, 0.8), Rank(BASE, 1.8, 1.0, 2.0, 0.2)], base=BASE),
        lattice_figure("lattice", "Lattice", grid, {}, base=BASE, best="", failed=()),
    ]


def test_figures_are_well_formed_and_safe():
    for drawing in all_figures():
        root = ET.fromstring(drawing.svg)  # noqa: S314 - our own output
        assert root.get("role") == "img"
        assert root.get("aria-label", "").startswith(f"{drawing.title}. ")
        assert "<b>" not in drawing.svg
        assert "\x00" not in drawing.svg


# Prices


def test_a_cell_is_a_good_buy_unless_another_is_better_for_no_more(small):
    found, _ = small
    known = {price.cell: price for price in found.prices}
    assert [price.seconds for price in found.prices] == pytest.approx([4.0] * 5)
    own = found.arenas[0].values("auc_macro")
    assert [name for name in known if known[name].is_best_buy] == [max(own, key=lambda name: own[name].value)]
    assert price_steps(found.prices, found.arenas[0].arena, found.material) == ()


def test_what_an_encoder_buys_is_the_mean_over_cells_that_are_alike_otherwise(tmp_path):
    plan = Plan(
        {"axes": {"extract.encoder": ["efficientnet-lite0", "medsam"], "extract.n4": ["none", "shared"]}}, n=45
    )  # fmt: skip
    config, folder = make_study(tmp_path, plan)
    material = read_material(folder, config)
    arena = material.arenas[0]
    exact = dict(zip(arena.names, values(arena, find_measure("auc_macro", "triple"))[:, 0], strict=True))
    prices = price_cells({name: around(value) for name, value in exact.items()}, material)
    (step,) = price_steps(prices, arena, material)
    gain = (exact["encoder=medsam"] - exact[BASE] + exact["encoder=medsam, n4=shared"] - exact["n4=shared"]) / 2
    assert (step.cheaper, step.dearer, step.n_pairs) == ("efficientnet-lite0", "medsam", 2)
    assert step.seconds == pytest.approx((4.0, 400.0))
    assert step.gain.value == pytest.approx(gain)
    assert step.gain.low < step.gain.value < step.gain.high
    assert step.gain_per_minute == pytest.approx(gain / ((400 - 4) / 60))
