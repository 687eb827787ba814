"""Repair of a damaged store: whole patients are kept to the bit, only damaged ones are embedded again."""

import json
from pathlib import Path

import h5py
import pytest
import torch

from extract.builders import Network
from extract.encoders import ENCODERS, EncoderSpec
from extract.stage import extract
from triher.cli import main
from triher.config import read_config
from triher.errors import StopRun
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.store import read_index, read_store
from triher.store_repair import repair_store
from triher.store_salvage import salvage
from triher.tables import write_table

QUIET = Reporter(quiet=True)
N = 5


class ToyModule:
    """A small convolutional encoder with fixed weights."""

    @staticmethod
    def build(spec, weights):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 5, stride=3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2))
        return Network(net, lambda batch, _masks: net(batch).flatten(1), None, is_convolutional=True)


@pytest.fixture
def store(tmp_path, write_exam, monkeypatch) -> Path:
    """A run folder with the store of five patients, made with a toy encoder."""
    rows = []
    for i in range(N):
        patient = write_exam(f"P{i}", seed=i).patient
        rows.append([patient.patient_id, "A", *(str(p) for p in (*patient.phases.values(), patient.mask))])
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "pre", "early", "late", "mask"], rows)
    (tmp_path / "toy.bin").write_bytes(b"weights")
    half = (0.5, 0.5, 0.5)
    spec = EncoderSpec("toy", "toy:build", "toy", f"file:{tmp_path / 'toy.bin'}", 32, half, half, "MIT", "none")
    monkeypatch.setitem(ENCODERS, "toy", spec)
    monkeypatch.setattr("extract.builders.import_module", lambda _: ToyModule)
    (tmp_path / "config.yaml").write_text(
        "cohort: {table: cohort.csv}\nextract: {encoder: toy, slices: {n: 2}, fusions: [rgb, wash-in]}\n"
    )
    folder = RunFolder(tmp_path / "run")
    config = read_config(tmp_path / "config.yaml")
    folder.prepare()
    folder.record_command("triher extract", config.model_dump(mode="json"))
    return extract(config, folder, QUIET).store


@pytest.fixture
def embedded(monkeypatch) -> list[int]:
    """The sizes of all batches that are embedded from now on, without the probe's."""
    from extract.models import Encoder

    sizes: list[int] = []
    real, probe = Encoder.embed, Encoder.probe

    def probing(encoder):
        rows = probe(encoder)
        sizes.pop()
        return rows

    monkeypatch.setattr(
        Encoder, "embed", lambda self, batch, masks=None: sizes.append(len(batch)) or real(self, batch, masks)
    )
    monkeypatch.setattr(Encoder, "probe", probing)
    return sizes


def triher(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def flip(path: Path, needle: bytes) -> None:
    """Flip one bit in the middle of some bytes of the file."""
    data = bytearray(path.read_bytes())
    start = data.find(needle)
    assert start > 0
    data[start + len(needle) // 2] ^= 4
    path.write_bytes(data)


def test_only_the_damaged_patient_is_embedded_again_and_the_bytes_are_as_before(store, embedded):
    good = store.read_bytes()
    features = read_store(store)[1]
    flip(store, features.views["rgb"][features.rows(2)].tobytes())
    damaged = store.read_bytes()
    done = repair_store(store, QUIET)
    assert (done.found.damaged, done.restored, done.differing) == (("P2",), ("P2",), ())
    rows = features.rows(2)
    assert sum(embedded) == 2 * (rows.stop - rows.start)
    assert store.read_bytes() == good
    assert done.set_aside == store.with_name(f"{store.name}.damaged")
    assert done.set_aside.read_bytes() == damaged
    assert sorted(path.name for path in store.parent.iterdir()) == [store.name, f"{store.name}.damaged"]


def test_an_undamaged_store_is_left_alone(store, embedded, capsys):
    before = store.stat().st_mtime_ns
    assert triher("store", "repair", store) == 0
    assert "nothing is damaged" in capsys.readouterr().out
    assert (store.stat().st_mtime_ns, embedded) == (before, [])


def test_the_command_names_the_patient_and_where_the_damaged_file_lies(store, capsys):
    flip(store, read_store(store)[1].views["wash-in"][:2].tobytes())
    assert triher("store", "verify", store) == 2
    assert f"triher store repair {store}" in capsys.readouterr().err
    assert triher("store", "repair", store, "--quiet") == 0
    text = capsys.readouterr().out
    assert "whole: 4 of 5 patients; damaged: P0" in text
    assert "equal to the bit: P0" in text
    assert triher("store", "verify", store) == 0


@pytest.mark.fault("D5")
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.999])
def test_a_truncated_store_is_set_aside_and_all_is_embedded_again(store, share):
    good = store.read_bytes()
    store.write_bytes(good[: int(len(good) * share)])
    done = repair_store(store, QUIET)
    assert done.found.positions == ()
    assert done.found.lost
    assert store.read_bytes() == good
    assert len(done.set_aside.read_bytes()) == int(len(good) * share)


def test_a_second_repair_keeps_both_damaged_files(store):
    good = store.read_bytes()
    for _ in range(2):
        flip(store, read_store(store)[1].area_mm2.tobytes())
        repair_store(store, QUIET)
    assert store.read_bytes() == good
    assert len(list(store.parent.glob("*.damaged*"))) == 2


def change(path: Path, edit) -> None:
    with h5py.File(path, "r+") as file:
        edit(file)


def spoil(name):
    def edit(file):
        file[name][...] = file[name][...][::-1]

    return edit


def drop(name):
    def edit(file):
        del file[name]

    return edit


def drop_attribute(name):
    def edit(file):
        del file.attrs[name]

    return edit


@pytest.mark.parametrize(
    ("edit", "n_whole", "is_known", "lost"),
    [
        (spoil("patient_id"), 1, True, ()),  # the one in the middle stays
        (spoil("checksum"), 1, True, ("content",)),
        (spoil("indptr"), 0, True, ()),
        (drop("indptr"), 0, True, ("indptr",)),
        (drop("views/rgb/embeddings"), 0, True, ("views/rgb/embeddings",)),
        (drop("acquisition/n_rows"), 0, True, ()),
        (drop("acquisition"), 0, True, ("acquisition",)),
        (drop("probe"), 5, False, ("probe",)),
        (spoil("probe"), 5, True, ("encoder, recipe, versions, probe",)),
        (drop_attribute("encoder"), 5, False, ("encoder", "encoder, recipe, versions, probe")),
        (drop_attribute("versions"), 5, True, ("versions", "encoder, recipe, versions, probe")),
        (drop_attribute("origin"), 5, True, ("origin", "encoder, recipe, versions, probe")),
        (drop_attribute("content"), 5, True, ("content",)),
    ],
)
def test_what_can_be_saved_of_a_store_alone(store, edit, n_whole, is_known, lost):
    change(store, edit)
    found = salvage(store)
    assert len(found.positions) == n_whole
    assert (found.header is not None) == is_known
    assert tuple(found.lost) == lost


@pytest.mark.parametrize(
    "edit", [drop("probe"), spoil("probe"), drop_attribute("encoder"), drop_attribute("content")]
)
def test_whatever_is_lost_the_repaired_store_is_as_before(store, edit):
    good = store.read_bytes()
    change(store, edit)
    repair_store(store, QUIET)
    assert store.read_bytes() == good


def test_the_run_folder_remembers_what_the_file_lost(store, embedded):
    change(store, drop_attribute("encoder"))
    done = repair_store(store, QUIET)
    assert done.found.header.encoder["name"] == "toy"
    rows = read_store(store)[1].rows(N - 1)
    assert sum(embedded) == 2 * (rows.stop - rows.start)  # one patient, so that the probes are compared


def test_an_interrupted_repair_is_finished_by_the_next(store, monkeypatch, capsys):
    from extract import stage

    good, real = store.read_bytes(), stage.extract
    flip(store, read_store(store)[1].views["rgb"][:2].tobytes())

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        repair_store(store, QUIET)
    assert list(read_index(store).inputs) == ["P1", "P2", "P3", "P4"]
    monkeypatch.setattr(stage, "extract", real)
    monkeypatch.chdir(store.parent)
    assert triher("store", "repair", store.name, "--quiet") == 0
    assert "nothing is damaged; all 5 patients are there" in capsys.readouterr().out
    assert store.read_bytes() == good


def test_outside_its_run_folder_a_store_keeps_who_is_whole(store, tmp_path, capsys):
    alone = tmp_path / "alone.h5"
    alone.write_bytes(store.read_bytes())
    flip(alone, read_store(store)[1].views["rgb"][:2].tobytes())
    assert triher("store", "repair", alone) == 3
    assert "triher extract CONFIG --out RUN" in capsys.readouterr().out
    assert list(read_index(alone).inputs) == ["P1", "P2", "P3", "P4"]
    assert read_store(alone)[1].checksum(0) == read_store(store)[1].checksum(1)
    change(alone, drop_attribute("versions"))
    assert triher("store", "repair", alone) == 2
    alone.write_bytes(b"")
    assert triher("store", "repair", alone) == 2
    assert alone.exists()


def test_another_configuration_in_the_run_folder_is_not_taken_for_the_stores_own(store):
    record = store.parent.parent / "run.json"
    facts = json.loads(record.read_text())
    facts.pop("sha256")
    facts["config"]["extract"]["fusions"] = ["rgb"]
    record.write_text(json.dumps(facts))
    flip(store, read_store(store)[1].views["rgb"][:2].tobytes())
    assert not repair_store(store, QUIET).was_completed


def test_whole_patients_whose_images_are_gone_are_not_given_up(store, tmp_path):
    features = read_store(store)[1]
    flip(store, features.views["rgb"][:2].tobytes())
    for path in (tmp_path / "images").glob("P3_*"):
        path.unlink()
    with pytest.raises(StopRun, match=r"1 patients of .* are whole, but could not be extracted as before: P3"):
        repair_store(store, QUIET)
    assert list(read_index(store).inputs) == ["P1", "P2", "P3", "P4"]


def test_a_foreign_store_is_not_mended(store):
    change(store, lambda file: file.__setitem__("views/other", h5py.ExternalLink("x.h5", "/y")))
    with pytest.raises(StopRun) as caught:
        salvage(store)
    assert caught.value.code == "store_external"
