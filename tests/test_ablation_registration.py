"""Registered studies: what is frozen, what is refused, and what stays confirmatory."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.ablation.material import read_material
from analysis.ablation.results import Read, results_frame
from extract.encoders import find_encoder
from triher.ablation.axes import read_lattice
from triher.ablation.registration import NOBODY_HELD_OUT, check_data, register
from triher.cli_ablate import ablate
from triher.config import build_config, read_tree
from triher.errors import StopRun
from triher.files import sha256_of_json
from triher.predictions import write_predictions
from triher.progress import Reporter
from triher.registered import read_registration
from triher.runfolder import RunFolder
from triher.store import Header, write_store
from triher.study import BASE, CellRun, Embedding, Study, StudyFolder, Training

QUIET = Reporter(quiet=True)
CELL = "pooling=max"
N = 12
TRAIN = N // 2


class Project:
    """A cohort of twelve, six of them held out, and a study whose runs are written by hand."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "study.yaml"
        self.table = folder / "cohort.csv"
        self.folder = StudyFolder(RunFolder(folder / "out"))
        ids = [f"P{i:02d}" for i in range(N)]
        self.frame = pd.DataFrame(
            {
                "patient_id": ids,
                "split": ["train" if i < TRAIN else "test" for i in range(N)],
                "ihc": [str(i % 4) if i % 4 != 2 else "1+" for i in range(N)],
                "age": [str(40 + i) for i in range(N)],
                "remark": "",
            }
        )
        self.write_table()
        for i in range(N):
            for phase in ("pre", "early", "late", "mask"):
                (folder / f"P{i:02d}_{phase}.nii").write_bytes(f"{i} {phase}".encode())
        self.write("")

    def write_table(self, **changes: str) -> None:
        self.frame.assign(**changes).to_csv(self.table, index=False)

    def write(self, ablation: str, rest: str = "", primary: str = f"['{CELL}']", split: str = "column") -> None:
        phases = "{pre: '{patient_id}_pre.nii', early: '{patient_id}_early.nii', late: '{patient_id}_late.nii'}"
        self.path.write_text(
            f"cohort: {{table: cohort.csv, covariates: [age], phases: {phases}, mask: '{{patient_id}}_mask.nii'}}\n"
            "extract: {encoder: radiomics}\n"
            f"classify: {{split: {{kind: {split}}}}}\n"
            f"{rest}\n"
            "ablation:\n"
            "  axes: {classify.pooling: [[mean], [max], [std]]}\n"
            f"  primary: {primary}\n{ablation}"
        )

    def lattice(self, **changes):
        self.tree = read_tree(self.path, [f"{key}={value}" for key, value in changes.items()])
        return read_lattice(self.tree, self.path)

    def register(self, **changes):
        lattice = self.lattice(**changes)
        return register(lattice, self.tree, self.path, self.folder, QUIET)

    def run(self, store: str = "", without: dict[str, str] | None = None, **changes):
        """Pretend to run the study, and read what is confirmatory."""
        lattice = self.lattice(**changes)
        self.folder.run.prepare()
        check_data(lattice, self.folder, QUIET)
        config = build_config(self.tree, {}, self.path)
        runs = {}
        for cell in lattice.cells:
            settings = lattice.configs[cell.name].model_dump(mode="json")
            runs[cell.name] = tuple(sha256_of_json([settings, seed])[:16] for seed in range(config.ablation.seeds))
            for key in runs[cell.name]:
                self.predict(key, without=(without or {}).get(cell.name, ""), embedding=store)
        study = Study(
            axes=lattice.axes,
            design="lattice",
            cells=lattice.cells,
            runs=runs,
            broken={},
            config=config.model_dump(mode="json"),
        )
        self.folder.write_study(study)
        return read_registration(self.folder)

    def predict(
        self, key: str, *, without: str = "", embedding: str = "", patients=slice(None), at: float = 0
    ) -> None:
        if self.folder.read_cell(key) is not None:
            return
        frame = self.frame.iloc[patients][["patient_id", "split"]]
        frame = frame[~frame["patient_id"].str.fullmatch(without)].replace({"train": "oof"})
        frame = frame.assign(
            cohort="c", site="s", repeat=0, fold=0, seed=0, y=0, p_zero=1.0, p_low=0.0, p_positive=0.0
        )
        self.folder.predictions(key).parent.mkdir(parents=True, exist_ok=True)
        write_predictions(self.folder.predictions(key), frame, "triple")
        self.folder.write_cell(CellRun(key=key, seed=0, state="done", embedding=embedding, n=len(frame)))
        if at:
            os.utime(self.folder.run.path / "cells" / key / "cell.json", (at, at))


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def text(registration) -> str:
    return "\n".join(registration.remarks)


def test_what_was_registered_and_run_unchanged_is_confirmatory(project):
    registered = project.register()
    found = project.run()
    check = project.folder.run.path / "registration_check.json"
    written = check.stat().st_mtime_ns
    assert (project.run(), check.stat().st_mtime_ns) == (found, written)  # nothing makes the report stale
    assert found.seal == registered.seal
    assert re.fullmatch("[0-9a-f]{64}", found.seal)
    assert found.date.endswith("+00:00")
    assert (found.confirmatory(CELL), found.confirmatory("pooling=std"), found.confirmatory(BASE)) == (
        True,
        False,
        False,
    )
    assert found.remarks == ()
    assert found.metric == "auc_macro"


def test_the_seal_is_the_hash_of_all_else_in_canonical_json(project):
    seal = project.register().seal
    written = json.loads(project.folder.registration_file.read_text())
    assert written.pop("seal") == seal
    assert sha256_of_json(written) == seal


def test_the_record_holds_the_whole_plan(project):
    record = project.register(**{"ablation.seeds": 2, "seed": 5}).record
    assert record.seeds == (5, 6)
    assert record.held_out == tuple(f"P{i:02d}" for i in range(TRAIN, N))
    assert record.cells[CELL].settings == {"classify.pooling": ["max"]}
    assert record.config["ablation"]["primary"] == [CELL]
    assert record.weights == {"radiomics": ""}
    assert record.data[BASE].columns == (
        "label",
        "ihc",
        "cohort",
        "site",
        "split",
        "vendor",
        "age",
        "files",
        "reading",
    )
    images = record.data[BASE].images["P03"]
    assert (images.n_files, images.n_bytes) == (4, len("3 pre3 early3 late3 mask"))


def test_without_a_registration_all_is_exploratory(project):
    assert project.run() is None


@pytest.mark.parametrize(("old", "new"), [('"metric": "auc_macro"', '"metric": "brier"'), ('"format"', '"fromat"')])
def test_a_registration_that_was_edited_stops(project, old, new):
    project.register()
    file = project.folder.registration_file
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(StopRun, match="registration") as stop:
        project.run()
    assert stop.value.code == "registration_damaged"


def test_registering_twice_says_so_and_registering_something_else_stops(project):
    seal = project.register().seal
    assert project.register(**{"extract.workers": 3}).seal == seal
    with pytest.raises(StopRun, match=r"scheme: triple -> binary.*'label'") as stop:
        project.register(scheme="binary")
    assert stop.value.code == "registration_exists"
    with pytest.raises(StopRun, match="metric"):
        project.register(**{"ablation.metric": "brier"})


def test_nothing_to_confirm_stops(project):
    project.write("", primary="[]")
    with pytest.raises(StopRun, match=r"ablation\.primary") as stop:
        project.register()
    assert stop.value.code == "registration_primary"


def test_a_registration_after_held_out_patients_were_predicted_stops(project):
    project.folder.run.prepare()
    project.predict("development", patients=slice(0, TRAIN))
    assert project.register()
    project.folder.registration_file.unlink()
    project.predict("early", patients=slice(TRAIN + 2, N))
    with pytest.raises(StopRun, match="4 of the 6 held-out patients were predicted") as stop:
        project.register()
    assert stop.value.code == "registration_late"


def test_cross_validation_is_registered_with_a_remark_and_only_before_any_result(project):
    project.write("", split="none")
    assert project.register().remarks == (NOBODY_HELD_OUT,)
    assert project.run().confirmatory(CELL)
    project.folder.registration_file.unlink()
    with pytest.raises(StopRun, match="12 of the 12"):
        project.register()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ablation.metric": "brier"}, "ablation.metric: auc_macro -> brier"),
        ({"ablation.seeds": 2}, "seeds: [0] -> [0, 1]"),
        ({"analysis.resamples": 500}, "analysis.resamples: 2000 -> 500"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"classify.head": "xgboost"}, "classify.head: logistic -> xgboost"),
        ({"extract.n4": "shared"}, "extract.n4: none -> shared"),
        ({"ablation.primary": "[pooling=std]"}, "ablation.primary no longer names 'pooling=max'"),
    ],
)
def test_what_is_changed_for_all_leaves_nothing_confirmatory(project, changes, why):
    project.register()
    found = project.run(**changes)
    assert not found.confirmatory(CELL)
    assert f"nothing is confirmatory: {why}" in text(found)


def test_how_and_where_it_is_computed_may_change(project):
    project.register()
    found = project.run(**{"extract.workers": 3, "extract.device": "cpu", "classify.workers": 1})
    assert found.confirmatory(CELL)


def test_cells_that_are_added_or_renamed_are_exploratory(project):
    project.register()
    project.write("  cells: {later: {classify.head: xgboost}}", primary=f"['{CELL}', later]")
    found = project.run()
    assert (found.confirmatory(CELL), found.confirmatory("later")) == (True, False)
    assert "not registered as they are, and exploratory: 'later'" in text(found)


def test_a_primary_cell_that_means_something_else_now_is_exploratory_alone(project):
    cells = "  cells: {other: {classify.head: %s}}"
    project.write(cells % "xgboost", primary=f"['{CELL}', other]")
    project.register()
    project.write(cells % "knn", primary=f"['{CELL}', other]")
    found = project.run()
    assert (found.confirmatory(CELL), found.confirmatory("other")) == (True, False)
    assert "'other' is exploratory: classify.head: xgboost -> knn" in text(found)


def test_a_later_cell_that_takes_patients_away_spoils_the_comparison(project):
    project.register()
    project.write("  cells: {later: {classify.head: xgboost}}")
    assert "lack 1 patients" in text(project.run(without={"later": "P07"}))


def test_a_later_cell_with_another_split_moves_the_comparison_to_other_patients(project):
    project.register()
    project.write("  cells: {later: {classify.split.kind: none}}")
    found = project.run()
    assert not found.confirmatory(CELL)
    assert "'later' changes classify.split" in text(found)


def test_a_section_that_holds_another_split_is_another_split(project):
    project.register()
    project.write("  cells: {later: {classify.split: {kind: none}}}")
    found = project.run()
    assert not found.confirmatory(CELL)
    assert "'later' changes classify.split" in text(found)
    project.write("  cells: {later: {classify.head: knn, classify.split: {kind: column}}}")
    assert project.run().confirmatory(CELL)


def test_a_later_cell_that_leaves_no_held_out_patients_to_compare_spoils_the_comparison(project):
    project.register()
    project.write("  cells: {later: {classify.head: xgboost}}")
    others = dict.fromkeys((BASE, CELL, "pooling=std"), "P06")
    found = project.run(without={**others, "later": "P07|P08|P09|P1."})
    assert not found.confirmatory(CELL)
    assert "compared in the split 'oof', and not in 'test'" in text(found)


def test_a_later_cell_whose_table_holds_out_others_spoils_the_comparison(project):
    project.register()
    project.write("  cells: {later: {classify.head: xgboost}}")
    project.run()
    table = project.folder.predictions(project.folder.read_study().runs["later"][0])
    table.write_text(table.read_text().replace("P00,c,s,oof", "P00,c,s,test"))
    found = read_registration(project.folder)
    assert not found.confirmatory(CELL)
    assert "compared in the split 'held out', and not in 'test'" in text(found)


def test_where_no_held_out_patient_is_judged_nothing_is_confirmatory(project):
    project.register()
    assert "other patients than those who were to be held out" in text(
        project.run(without=dict.fromkeys((BASE, CELL, "pooling=std"), "P0[6-9]|P1."))
    )


def test_only_the_registered_metric_in_the_first_split_is_marked_in_the_results(project):
    project.register()
    found = project.run()
    material = read_material(project.folder, build_config(project.tree, {}, project.path))
    assert [arena.split for arena in material.arenas] == ["test", "oof"]
    names = [cell.cell.name for cell in material.results]
    frame = results_frame(material, Read({}), {name: found.confirmatory(name) for name in names})
    marked = frame[frame["confirmatory"]]
    assert marked[["cell", "split", "measure"]].to_numpy().tolist() == [[CELL, "test", "auc_macro"]]


def test_a_registered_cell_may_lack_patients(project):
    project.register()
    assert project.run(without={"pooling=std": "P07"}).confirmatory(CELL)


def test_changed_cells_of_the_table_are_named_by_column_and_patient(project):
    project.register()
    project.frame.loc[3, "ihc"] = "0"
    project.frame.loc[[4, 5], "age"] = "99"
    project.write_table()
    found = project.run()
    assert not found.confirmatory(CELL)
    assert "data: 1 patient changed in 'label': P03" in found.remarks
    assert "data: 2 patients changed in 'age': P04, P05" in found.remarks


def test_a_primary_cell_must_read_the_data_it_was_registered_with(project):
    cells = "  cells: {other: {classify.head: knn%s}}"
    primary = f"['{CELL}', other]"
    features = project.path.parent / "fb.csv"
    features.write_text("patient_id,a\nP00,1\n")
    project.write(cells % "", primary=primary)
    project.register()
    project.write(cells % ", classify.features: fb.csv", primary=primary)
    found = project.run()
    assert (found.confirmatory(CELL), found.confirmatory("other")) == (True, False)
    assert "'other' is exploratory: its data are not those registered" in text(found)
    assert "data of 'other': features come from a table that was not registered" in text(found)
    with pytest.raises(StopRun, match="a table that was not registered") as stop:
        project.register()
    assert stop.value.code == "registration_exists"


def test_a_file_of_a_cell_is_known_by_its_content(project):
    cells = "  cells: {other: {classify.features: %s.csv}, 'no file': {classify.features: none.csv}}"
    for name in "ab":
        (project.path.parent / f"{name}.csv").write_text("patient_id,a\nP00,1\n")
    project.write(cells % "a", primary="[other]")
    assert list(project.register().record.data) == [BASE, "other", "no file"]
    project.write(cells % "b", primary="[other]")
    assert project.run().confirmatory("other")
    (project.path.parent / "b.csv").write_text("patient_id,a\nP00,2\n")
    found = project.run()
    assert not found.confirmatory("other")
    assert "data of 'other': the table of features is another file" in found.remarks


def test_a_refused_registration_leaves_the_record_of_a_run_as_it_is(project):
    run = project.folder.run
    run.prepare()
    run.record_command("triher classify", {})
    project.predict("early")
    before = run.record_file.read_bytes()
    with pytest.raises(StopRun) as late:
        project.register()
    run.record_stage("classify", "k", [], 1.0)
    whole = run.record_file.read_bytes()
    with pytest.raises(StopRun, match="no ablation study") as ordinary:
        project.register()
    assert (late.value.code, ordinary.value.code) == ("registration_late", "output_folder")
    assert whole == run.record_file.read_bytes() != before
    assert b"triher classify" in whole


def test_registering_and_planning_at_once_is_refused(project):
    with pytest.raises(StopRun, match="--register and --plan") as stop:
        ablate(project.path, project.folder.run.path, plan=True, register=True)
    assert stop.value.code == "config_value"
    assert not project.folder.run.path.exists()


def test_patients_who_come_or_go_are_named(project):
    project.register()
    project.frame.loc[3, "patient_id"] = "P99"
    project.write_table()
    found = project.run()
    assert "data: 1 patient no longer in the table: P03" in found.remarks
    assert "data: 1 patient new in the table: P99" in found.remarks


def test_other_bytes_of_the_same_cells_are_no_other_data(project):
    project.register()
    project.frame = project.frame.iloc[::-1]
    project.write_table(remark="seen")
    found = project.run()
    assert found.confirmatory(CELL)
    assert "another file" in text(found)


def test_an_image_is_known_by_its_bytes_and_not_by_its_time(project):
    project.register()
    file = project.path.parent / "P02_early.nii"
    os.utime(file, (1, 1))
    assert project.run().confirmatory(CELL)
    file.write_bytes(b"3 early")
    found = project.run()
    assert not found.confirmatory(CELL)
    assert "data: 1 patient changed in their images: P02" in found.remarks
    file.write_bytes(b"2 early")
    assert project.run().confirmatory(CELL)


def test_data_that_were_not_compared_confirm_nothing(project):
    project.register()
    project.run()
    (project.folder.run.path / "registration_check.json").unlink()
    found = read_registration(project.folder)
    assert not found.confirmatory(CELL)
    assert "not compared" in text(found)


def test_other_weights_are_seen_in_the_feature_stores(project, make_features):
    project.register()
    features, rows = project.folder.run.features, make_features()
    features.mkdir()
    encoder = {"name": "radiomics", "sha256": "f" * 64, "input_px": 32}
    write_store(
        features / "one.h5",
        Header(encoder, {}, {}, np.ones((2, 6), np.float32)),
        [rows],
        n_slices=len(rows.slice_index),
    )
    record = Embedding(
        key="k", store="one.h5", encoder="radiomics", n_patients=N, n_slices=N, n_features=6, n_bytes=1, seconds=None,
        device="",
    )  # fmt: skip
    project.folder.write_embedding(record)
    found = project.run(store="k")
    assert not found.confirmatory(CELL)
    assert f"'{CELL}' is exploratory: the weights of radiomics are not those registered" in text(found)


def test_weights_are_registered_where_they_are_to_be_had(project):
    cells = "  cells: {bundled: {extract.encoder: efficientnet-lite0}, by hand: {extract.encoder: fm-bcmri}}"
    project.write(cells)
    record = project.register().record
    assert record.weights == {"radiomics": "", "efficientnet-lite0": find_encoder("efficientnet-lite0").sha256}
    assert "the weights of fm-bcmri are not registered" in record.remarks[0]


def test_weights_of_a_primary_cell_must_be_there(project):
    project.write("  cells: {by hand: {extract.encoder: fm-bcmri}}", primary="['by hand']")
    with pytest.raises(StopRun, match="fm-bcmri") as stop:
        project.register()
    assert stop.value.code == "weights_missing"
    assert not project.folder.registration_file.exists()


def test_a_trained_cell_is_registered_by_what_it_starts_from_and_how_it_is_trained(project, make_features):
    cells = (
        "  cells: {trained: {extract.encoder: efficientnet-lite0, finetune.epochs: 3},"
        " random: {extract.encoder: 'timm:resnet10t', finetune.pretrained: false}}"
    )
    project.write(cells, primary="['trained']")
    record = project.register().record
    start = find_encoder("efficientnet-lite0").sha256
    assert record.weights == {"radiomics": "", "efficientnet-lite0": start}
    assert record.settings["finetune.epochs"] is None
    assert record.cells["trained"].settings["finetune.epochs"] == 3
    assert record.cells["random"].settings["finetune.pretrained"] is False
    assert "finetune.epochs" not in record.cells[CELL].settings

    run = project.folder.run
    run.features.mkdir()
    run.encoders.mkdir()
    (run.encoders / "net.safetensors").write_bytes(b"")
    rows = make_features()
    header = Header({"name": "file:net", "sha256": "e" * 64, "input_px": 32}, {}, {}, np.ones((2, 6), np.float32))
    write_store(run.features / "one.h5", header, [rows], n_slices=len(rows.slice_index))
    embedding = Embedding(
        key="k", store="one.h5", encoder="efficientnet-lite0", training="t", n_patients=N, n_slices=N, n_features=6,
        n_bytes=1, seconds=None, device="",
    )  # fmt: skip
    training = Training(
        key="t", file="net.safetensors", encoder="efficientnet-lite0", start_sha256=start, sha256="e" * 64, seed=0,
        n_networks=6, n_patients=TRAIN, n_learned=TRAIN, seconds=None, device="",
    )  # fmt: skip
    project.folder.write_embedding(embedding)
    assert "its trained encoder is gone" in text(project.run(store="k"))
    project.folder.write_training(training)
    assert project.run(store="k").confirmatory("trained")
    project.folder.write_training(training.model_copy(update={"start_sha256": "f" * 64}))
    assert "that its training started from are not those registered" in text(project.run(store="k"))
    project.folder.write_training(training.model_copy(update={"sha256": "f" * 64}))
    assert "another encoder than net.safetensors" in text(project.run(store="k"))
    project.folder.write_training(training)
    project.write(cells.replace("finetune.epochs: 3", "finetune.epochs: 4"), primary="['trained']")
    assert "finetune.epochs: 3 -> 4" in text(project.run(store="k"))


def test_looks_at_held_out_patients_by_other_runs_are_counted(project):
    project.register()
    project.predict("tried", at=1e9)
    project.predict("development", patients=slice(0, TRAIN), at=1e9)
    project.run()
    project.predict("afterwards", at=4e9)
    found = read_registration(project.folder)
    assert found.confirmatory(CELL)
    assert (
        "held-out patients were predicted once by runs that were not registered before the last confirmatory result "
        "was there"
    ) in text(found)


def test_a_base_that_failed_confirms_nothing(project):
    project.register()
    project.run()
    key = project.folder.read_study().runs[BASE][0]
    project.folder.write_cell(CellRun(key=key, seed=0, state="failed", code="x", reason="y"))
    found = read_registration(project.folder)
    assert not found.confirmatory(CELL)
    assert "the base was not computed" in text(found)


def yaml_blocks(document: Path) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_examples_of_the_documentation_are_studies(tmp_path):
    blocks = yaml_blocks(Path(__file__).parent.parent / "docs" / "ablations.md")
    lattices = []
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block, encoding="utf-8")
        lattices.append(read_lattice(read_tree(path), path))
    assert [len(lattice.cells) for lattice in lattices] == [8, 8, 3, 12, 4, 16, 8, 2]
    assert "normalization=minmax-volume, n4=shared" in lattices[0].configs
    assert list(lattices[4].axes["split.train"]) == ["DUKE", "ISPY1", "ISPY2", "DUKE+ISPY1"]
