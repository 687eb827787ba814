"""What the run took: rates by hand, models counted, and nothing where nothing is on record."""

import pandas as pd
import pytest

from analysis.evaluation import Evaluation
from analysis.metrics import Metric
from analysis.sections.cost import cost_section, in_bytes, sizes_of
from triher.estimate import Estimate
from triher.runfolder import RunFolder

NOTHING = Evaluation("triple", ("zero", "low", "positive"), (), ())


def frame():
    rows = [(f"P{i}", "oof" if i < 20 else "test", 0, i % 5 if i < 20 else 0) for i in range(30)]
    return pd.DataFrame(rows, columns=["patient_id", "split", "repeat", "fold"])


def record(**extract):
    extract = {"seconds": 60.0, "n_done": 30, "n_slices": 240, **extract}
    search = {"trials": 25, "inner_folds": 4}
    outputs = {"bundle/manifest.json": "", "predictions.csv": ""}
    classify = {"seconds": 5.0, "search": search, "settings": {"prune": True}, "outputs": outputs}
    return {"platform": "Linux", "stages": {"extract": extract, "classify": classify}}


def test_rates_models_machine_and_disk():
    beside = Metric("beside", "test", "companion_auc_macro", Estimate(0.5, 0.4, 0.6, 10, "m"), "volume")
    evaluation = Evaluation("triple", NOTHING.classes, (), (beside,))
    told = record(device="NVIDIA H100", peak_memory_mb=812)
    [section] = cost_section(evaluation, frame(), told, {"slabs": 33_400_000})
    _, time, models, machine, disk = section.blocks
    assert [cell.replace("\u00a0", " ") for cell in time.rows[0][1:]] == ["1 min 0 s", "30", "0.5", "240", "4"]
    assert time.data.rows[0] == ["extract", 60.0, 30, 0.5, 240, 4.0]
    assert "5 models for predictions out of fold and 1 final model" in models.text
    assert "so up to 600 fits (trials that fall behind" in models.text
    assert "1 model beside the model was trained" in models.text
    assert dict(machine.pairs)["Extraction computed on"] == "NVIDIA H100"
    assert "812 MB" in dict(machine.pairs).values()
    assert disk.rows == [["Lesion slabs", "33.4 MB"]]


def test_a_device_that_is_not_on_record_is_not_guessed():
    [section] = cost_section(NOTHING, frame(), record(), {})
    assert ("Extraction computed on", "not recorded") in section.blocks[-1].pairs


@pytest.mark.parametrize("stages", [{}, {"analysis": {"seconds": 3.0}}])
def test_without_a_record_there_is_no_section(stages):
    assert cost_section(NOTHING, frame(), {"stages": stages}, {}) == []


def test_sizes_are_those_of_the_files(tmp_path):
    (tmp_path / "slabs" / "deep").mkdir(parents=True)
    (tmp_path / "slabs" / "a").write_bytes(b"12345")
    (tmp_path / "slabs" / "deep" / "b").write_bytes(b"123")
    assert sizes_of(RunFolder(tmp_path)) == {"slabs": 8}
    assert in_bytes(2_500_000_000) == "2.5 GB"
