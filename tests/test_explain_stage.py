"""The stage ``explain`` on the phantom: what it writes, when it is fresh, what it says where it cannot draw."""

import math
from pathlib import Path

import numpy as np
import pytest

from classify.attribution.projection import METHODS
from extract.phantom.cohort import write_phantom
from triher.errors import StopRun
from triher.explained import read_chosen
from triher.explanation_checks import OVERLAP, RANDOMIZED, read_checks
from triher.explanation_tables import (
    PROJECTION,
    SHAP_FEATURES,
    SHAP_GROUPS,
    FeatureShare,
    GroupShare,
    Projected,
    read_rows,
)
from triher.explanations import read_maps, read_maps_index
from triher.files import sha256_of_file
from triher.pipeline import run_stages
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import STAGES, Config

pytestmark = pytest.mark.slow
PLUGIN = Path(__file__).parent / "data" / "plugin"
FAST = {"split": {"kind": "sites", "test": ["C"]}, "trials": 3, "folds": 3}


def configured(table: Path, **explain: object) -> Config:
    return Config.model_validate(
        {
            "cohort": {"table": table, "time_unit": "months"},
            "extract": {"encoder": "toy", "slices": {"n": 3}, "runtime": "torch"},
            "classify": FAST,
            "explain": {"patients": 15, "sanity_patients": 8, **explain},
        }
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A classified and explained run of the phantom with a small network, and its configuration."""
    folder = tmp_path_factory.mktemp("explain")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        patch.setattr("triher.explain.attributed.METHODS", {"t-SNE": METHODS["t-SNE"]})  # UMAP is compiled for long
        table = write_phantom(
            folder / "cohort", n_patients=48, shape=(24, 48, 48), seed=0, reporter=Reporter(quiet=True)
        )
        config, run = configured(table), RunFolder(folder / "run")
        run_stages(config, run, Reporter(quiet=True), ("extract", "classify", "explain"))
        yield config, run


def test_everything_is_written_and_on_record(world):
    _, run = world
    entry = run.read_record()["stages"]["explain"]
    names = {"patients.csv", "maps.h5", "sanity.csv", SHAP_GROUPS, SHAP_FEATURES, PROJECTION, "projection_purity.csv"}
    assert {Path(name).name for name in entry["outputs"]} == names == {p.name for p in run.explanations.iterdir()}
    assert (entry["method"], entry["n_patients"], entry["n_maps"], entry["n_tested"]) == ("hirescam", 48, 15, 8)
    assert entry["seconds"] > 0
    assert entry["predictions"] == sha256_of_file(run.predictions_file)
    assert not run.explanations_are_stale
    index = read_maps_index(run.explanations / "maps.h5")
    assert list(index.patient_ids) == [one.patient_id for one in read_chosen(run.explanations / "patients.csv")]
    assert index.classes == ("zero", "low", "positive")
    assert {row.patient_id for row in read_rows(run.explanations / PROJECTION, Projected)} == {
        row.patient_id for row in read_rows(run.explanations / SHAP_GROUPS, GroupShare)
    }
    assert read_rows(run.explanations / SHAP_FEATURES, FeatureShare)


def test_held_out_patients_are_shown_and_said_to_be(world):
    _, run = world
    maps = run.explanations / "maps.h5"
    index = read_maps_index(maps)
    found = {name: read_maps(maps, name) for name in index.patient_ids}
    assert {name: one.in_training for name, one in found.items()} == {name: "-C-" not in name for name in found}
    assert sum(not one.in_training for one in found.values()) > len(found) / 2
    for one in found.values():
        assert one.maps.shape[:2] == (3, len(one.slice_index))
        assert np.isfinite(one.maps).all()


def test_maps_hold_half_of_their_mass_in_the_lesion_and_those_of_shuffled_weights_do_not(world):
    """The box is more than half tissue around the lesion, and the network pools all of it alike."""
    _, run = world
    checks = {(one.test, one.quantity.partition(",")[0]): one for one in read_checks(run.explanations / "sanity.csv")}
    quantity = "share of what speaks for the class within 5 mm of the lesion"
    overlap = checks[OVERLAP, quantity]
    assert overlap.expected < 0.5 < overlap.low < overlap.value
    assert overlap.passed
    assert overlap.p < 0.01
    shuffled = checks[RANDOMIZED, f"{quantity} in maps of shuffled weights"]
    assert shuffled.passed
    assert shuffled.value < 0.5


def test_a_network_of_one_random_layer_fails_the_test_of_its_weights(world):
    """Its maps show edges and gray values, as those of any weights do: they say where, and not what was learned."""
    _, run = world
    checks = [one for one in read_checks(run.explanations / "sanity.csv") if "rank correlation" in one.quantity]
    assert (checks[0].test, checks[0].passed) == (RANDOMIZED, False)


def test_a_second_run_explains_nothing_and_another_choice_does(world, monkeypatch, capsys):
    config, run = world
    monkeypatch.syspath_prepend(PLUGIN)
    assert not run_stages(config, run, Reporter(), ("explain",)).did_work
    assert "explain: up to date" in capsys.readouterr().err
    before = {path.name: path.stat().st_mtime_ns for path in run.explanations.iterdir()}
    (run.explanations / "sanity.csv").unlink()
    monkeypatch.setattr("triher.explain.attributed.METHODS", {})
    changed = configured(config.cohort.table, patients=2, sanity_patients=0)
    assert run_stages(changed, run, Reporter(quiet=True), ("explain",)).did_work
    assert len(read_maps_index(run.explanations / "maps.h5").patient_ids) == 2
    assert {one.n for one in read_checks(run.explanations / "sanity.csv") if one.test != OVERLAP} == {0}
    assert before["maps.h5"] != (run.explanations / "maps.h5").stat().st_mtime_ns


def test_a_patient_whose_mask_is_gone_gets_no_map_and_a_note(world, monkeypatch):
    config, run = world
    monkeypatch.syspath_prepend(PLUGIN)
    monkeypatch.setattr("triher.explain.attributed.METHODS", {})
    chosen = read_chosen(run.explanations / "patients.csv")[0].patient_id
    mask = config.cohort.table.parent / "images" / f"{chosen}_mask.nii.gz"
    aside = mask.rename(mask.with_suffix(".aside"))
    try:
        changed = configured(config.cohort.table, patients=1, sanity_patients=0)
        assert run_stages(changed, run, Reporter(quiet=True), ("explain",)).did_work
    finally:
        aside.rename(mask)
    assert [(note.patient_id, note.code) for note in run.read_notes() if note.code.startswith("maps")] == [
        (chosen, "maps_left_out")
    ]
    assert read_maps_index(run.explanations / "maps.h5").patient_ids == ()


def test_a_bundle_of_other_features_is_not_explained(world, make_study):
    from triher.explain.stage import explain

    config, run = world
    with pytest.raises(StopRun, match="bundle was trained on other features"):
        explain(configured(config.cohort.table, patients=3), run, make_study().store, Reporter(quiet=True))


def test_what_a_killed_run_left_is_not_taken_for_a_later_model_s(make_study):
    from triher.explain.stage import FILES, _clear

    run = make_study().run
    run.explanations.mkdir()
    for name in (*FILES, "mine.txt"):
        (run.explanations / name).touch()
    _clear(run, {"predictions": "0" * 64})
    assert [path.name for path in run.explanations.iterdir()] == ["mine.txt"]
    run.predictions_file.write_text("of a later model")
    assert run.explanations_are_stale
    assert not run.is_fresh("explain", "key")


def test_predictions_of_an_applied_bundle_are_explained_where_it_was_trained(make_study):
    from triher.explain.stage import explain

    study = make_study()
    study.run.prepare()
    study.run.predictions_file.touch()
    study.run.record_stage("apply", "key", [], 1.0, bundle="elsewhere/bundle")
    with pytest.raises(StopRun, match=r"a bundle that was applied.*elsewhere"):
        explain(study.config, study.run, study.store, Reporter(quiet=True))


def test_nobody_is_explained_who_is_not_predicted(world):
    """Patients without HER2 label, or of whom the split makes no use, have features as well."""
    from classify.bundle import read_bundle
    from classify.source import read_source
    from triher.cohort import read_cohort
    from triher.explain.stage import _everyone

    config, run = world
    cohort, source = read_cohort(config.cohort), read_source(next(run.features.glob("*.h5")))
    predicted = [patient.patient_id for patient in cohort.patients[3:9]]
    everyone = _everyone(read_bundle(run.bundle), source, cohort, predicted)
    assert [patient.patient_id for patient in everyone.patients] == predicted


def test_a_table_of_features_has_attributions_and_no_maps(tmp_path, monkeypatch):
    monkeypatch.setattr("triher.explain.attributed.METHODS", {})
    rng = np.random.default_rng(0)
    rows = [f"P{i:02d},{'AC'[i % 2]},{('0', '1+', '3+')[i % 3]}" for i in range(36)]
    (tmp_path / "cohort.csv").write_text("patient_id,site,ihc\n" + "\n".join(rows) + "\n")
    values = [f"P{i:02d},{i % 3 + rng.normal():.4f},{rng.normal():.4f}" for i in range(36)]
    (tmp_path / "mine.csv").write_text("patient_id,uptake,noise\n" + "\n".join(values) + "\n")
    tree = {"cohort": {"table": tmp_path / "cohort.csv"}, "explain": {}}
    config = Config.model_validate(tree | {"classify": FAST | {"features": tmp_path / "mine.csv"}})
    run = RunFolder(tmp_path / "run")
    assert run_stages(config, run, Reporter(quiet=True), ("classify", "explain")).did_work
    assert [note.text for note in run.read_notes() if note.code == "maps_impossible"] == [
        "the features come from a table, which has no pictures"
    ]
    shares = read_rows(run.explanations / SHAP_FEATURES, FeatureShare)
    assert {row.feature for row in shares} == {"uptake", "noise"}
    assert not (run.explanations / "maps.h5").exists()
    assert not run_stages(config, run, Reporter(quiet=True), ("explain",)).did_work
    assert math.isfinite(run.read_record()["stages"]["explain"]["seconds"])


def test_explanations_are_made_when_asked_for_and_libraries_are_asked_for_before_any_work(monkeypatch, make_study):
    from triher.pipeline import _unasked

    config = make_study().config
    assert _unasked(config, STAGES) == ("extract", "classify", "analysis")
    assert _unasked(config, ("explain",)) == ("explain",)
    wanted = Config.model_validate(config.model_dump() | {"explain": {}})
    assert _unasked(wanted, STAGES) == tuple(stage for stage in STAGES if stage != "finetune")
    monkeypatch.setattr("triher.explain.extras._MODULES", ("captum", "no_such_library"))
    with pytest.raises(StopRun, match=r"need no_such_library.*extra_missing.*explain"):
        run_stages(config, RunFolder(make_study(name="other").run.path), Reporter(quiet=True), ("explain",))
