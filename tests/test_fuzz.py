"""Damaged artefacts: cut off, flipped, zeroed, or with a block removed, doubled or swapped at random places.

Each gives the right answer or an error that names the file, in bounded time and memory, and no other file is touched.
`fuzz_readers` says what is right where an artefact has no checksum; `fuzz_campaign` does the damage, in a process of
its own. ``TRIHER_FUZZ_PLACES`` and ``TRIHER_FUZZ_SEED`` make a longer campaign of it.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest

from triher.cli import main
from triher.config import write_config
from triher.settings import Config

PLACES = int(os.environ.get("TRIHER_FUZZ_PLACES", "200"))
SEED = int(os.environ.get("TRIHER_FUZZ_SEED", "0"))
SECONDS = 300 + PLACES  # of a campaign over several artefacts
CAMPAIGN = Path(__file__).with_name("fuzz_campaign.py")
AFFINE = np.diag([-0.9, -0.9, 2.0, 1.0])
AFFINE[:3, 3] = (30.0, 20.0, -5.0)
IMAGES = ("nifti", "nifti-plain", "nrrd", "nrrd-plain", "metaimage", "dicom", "dicom-enhanced", "slab")
TEXTS = ("csv", "xlsx", "yaml")
BUNDLES = ("bundle", "bundle-boosted", "bundle-zip", "bundle-forged", "bundle-boosted-forged")


def place_for(folder: Path, name: str, file: str) -> Path:
    """Where an artefact goes: alone in a folder of its own."""
    (folder / name).mkdir(parents=True)
    return folder / name / file


def run_campaign(folder: Path, *names: str) -> dict[str, dict[str, int]]:
    """Outcomes by artefact; fails with every fault in words, each of which says how it is seen again."""
    command = [sys.executable, str(CAMPAIGN), str(folder), *names, "--places", str(PLACES), "--seed", str(SEED)]
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=SECONDS * len(names), check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for result in results:
        sys.stdout.write(f"{result['artefact']}: {result['counts']}, {result['cpu_s']} s\n")
    faults = [f"{result['artefact']}, seed {SEED}, {fault}" for result in results for fault in result["faults"]]
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults[:40])
    counts = {result["artefact"]: result["counts"] for result in results}
    assert {name: sum(counts[name].values()) for name in names} == dict.fromkeys(names, PLACES)
    return counts


def told(capsys, *arguments: str | Path) -> str:
    """What the command line says of an artefact that it cannot use: one line and exit code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    text = capsys.readouterr().err
    assert left.value.code == 2
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("triher: ")]
    return line


def cut(path: Path, share: float = 0.6) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def volume(seed: int = 0, shape: tuple[int, int, int] = (9, 8, 5)) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 900, shape).astype(np.int16)


def write_nifti(path: Path) -> None:
    image = nib.Nifti1Image(volume(), AFFINE)
    image.set_sform(AFFINE, code=1)
    image.set_qform(AFFINE, code=1)
    nib.save(image, path)


def write_itk(path: Path, *, encoding: str = "raw") -> None:
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([0.9, 0.9, 2.0]),
        "space origin": np.array([-30.0, -20.0, -5.0]),
        "encoding": encoding,
    }
    nrrd.write(str(path), volume(), header)


def write_metaimage(path: Path) -> None:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(volume())
    image.SetSpacing((0.9, 0.9, 2.0))
    SimpleITK.WriteImage(image, str(path), True)


def write_exam_as_dicom(folder: Path, vendor: str) -> None:
    from extract.phantom.dicom import write_dicom

    phases = [volume(k, (8, 7, 3)) for k in range(2)]
    write_dicom(folder, phases, np.diag([-1.0, -1.0, 2.0, 1.0]), (-30.0, 90.0), vendor=vendor, patient_id="P-1")


@pytest.mark.slow
@pytest.mark.fault("A1", "A2", "A3", "B10")
def test_images(tmp_path, write_exam):
    from extract.cache import ensure_slab
    from extract.recipe import SlabRecipe

    write_nifti(place_for(tmp_path, "nifti", "a.nii.gz"))
    write_nifti(place_for(tmp_path, "nifti-plain", "a.nii"))
    write_itk(place_for(tmp_path, "nrrd", "a.nrrd"), encoding="gzip")
    write_itk(place_for(tmp_path, "nrrd-plain", "a.nrrd"))
    write_metaimage(place_for(tmp_path, "metaimage", "a.mha"))
    write_exam_as_dicom(place_for(tmp_path, "dicom", "exam"), "ge")
    write_exam_as_dicom(place_for(tmp_path, "dicom-enhanced", "exam"), "philips-enhanced")
    slab = ensure_slab(tmp_path / "slabs", write_exam(shape=(24, 22, 9)).patient, SlabRecipe("box", 5.0)).path
    shutil.copy(slab, place_for(tmp_path, "slab", slab.name))
    run_campaign(tmp_path, *IMAGES)


def clinical_rows(n: int = 20) -> list[list[str]]:
    header = [
        "patient_id",
        "cohort",
        "site",
        "split",
        "ihc",
        "ish",
        "age",
        "time",
        "event",
        "pre",
        "early",
        "late",
        "mask",
    ]
    files = ("{}_0.nii.gz", "{}_1.nii.gz", "{}_2.nii.gz", "{}_mask.nii.gz")
    rows = [header]
    for i in range(n):
        who = [
            f"{i:03}",
            "AB"[i % 2],
            f"S{i % 3}, north",
            "train",
            ("0", "2+", "3+")[i % 3],
            "negative" * (i % 3 == 1),
        ]
        rows.append([*who, f"{40 + i}.5", f"{12 + i}", f"{i % 2}", *(file.format(who[0]) for file in files)])
    return rows


def write_csv(path: Path) -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(clinical_rows())


def write_workbook(path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    for row in clinical_rows():
        book.active.append(row)
    for (cell,) in book.active["A2:A21"]:
        cell.value, cell.number_format = int(cell.value), "000"
    book.save(path)


def write_settings(path: Path) -> None:
    tree = {"cohort": {"table": "cohort.csv", "covariates": ["age"], "time_unit": "months"}, "seed": 3}
    tree |= {
        "extract": {"fusions": ["rgb"]},
        "classify": {"head": "xgboost", "split": {"kind": "sites", "test": ["C"]}},
    }
    write_config(Config.model_validate(tree), path)


@pytest.mark.fault("C17", "G10")
def test_tables_and_configurations(tmp_path, capsys):
    write_csv(place_for(tmp_path, "csv", "cohort.csv"))
    write_workbook(place_for(tmp_path, "xlsx", "cohort.xlsx"))
    write_settings(place_for(tmp_path, "yaml", "config.yaml"))
    run_campaign(tmp_path, *TEXTS)
    settings = cut(tmp_path / "yaml" / "config.yaml")
    assert str(settings) in told(capsys, "run", settings, "--out", tmp_path / "run")
    for name, code in {"csv/cohort.csv": "csv_row", "xlsx/cohort.xlsx": "table_format"}.items():
        config = tmp_path / "whole.yaml"
        config.write_text(f"cohort: {{table: {cut(tmp_path / name)}}}\n", encoding="utf-8")
        assert code in told(capsys, "cohort", "check", config)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.fault("D6", "G1")
def test_stores_bundles_and_run_folders(tmp_path, make_study, capsys):
    from classify.archive import open_files, pack
    from classify.stage import classify

    folder = tmp_path / "fuzz"
    small = {"n": 18, "n_features": 12, "trials": 1, "folds": 2}
    study = make_study(**small, name="logistic", covariates={"age": lambda i: 40 + i})
    boosted = make_study(**small, name="boosted", head="xgboost")
    for made in (study, boosted):
        classify(*made)
    shutil.copy(study.store, place_for(folder, "store", "features.h5"))
    for name in ("bundle", "bundle-forged"):
        shutil.copytree(study.run.bundle, place_for(folder, name, "model"))
        shutil.copytree(boosted.run.bundle, place_for(folder, name.replace("bundle", "bundle-boosted"), "model"))
    pack(open_files(study.run.bundle), place_for(folder, "bundle-zip", "model.zip"))
    place_for(folder, "run", "run").mkdir()
    for path in study.run.path.iterdir():
        if path.is_file():
            shutil.copy(path, folder / "run" / "run")
    run_campaign(folder, "store", *BUNDLES, "run")
    for command, path in {"store verify": "store/features.h5", "bundle info": "bundle-zip/model.zip"}.items():
        assert path in told(capsys, *command.split(), cut(folder / path))
    write_config(study.config, tmp_path / "config.yaml")
    cut(study.run.record_file)
    assert "run.json is not JSON" in told(capsys, "analysis", tmp_path / "config.yaml", "--out", study.run.path)


def test_trained_encoders(tmp_path):
    import torch

    from extract.encoder_spec import EncoderSpec
    from extract.trained import write_trained
    from triher.settings import FinetuneConfig
    from triher.trained import Card, Part

    half = (0.5, 0.5, 0.5)
    start = EncoderSpec("tiny", "timm", "test_resnet", "hub:none/none", 64, half, half, "MIT", "Somebody 2024")
    options = FinetuneConfig.model_validate({"network": "dual-attention"}).model_dump(mode="json")
    names = ("fold-0", "fold-1", "final")
    patients, recipe = {f"{i:032x}": Part(i % 2, "train") for i in range(9)}, {"normalization": "clip98-volume"}
    card = Card(
        "tiny-0123456789", asdict(start), "", options, "triple", ("zero", "low", "positive"), {}, 64, recipe, 0,
        names, {}, {"zero": 9}, False, {}, patients,
    )  # fmt: skip
    numbers = torch.Generator().manual_seed(0)
    tensors = {"layer.weight": torch.randn(20, 30, generator=numbers), "layer.bias": torch.zeros(20)}
    networks = {name: {key: tensor.clone() for key, tensor in tensors.items()} for name in names}
    write_trained(place_for(tmp_path, "network", f"{card.name}.safetensors"), card, networks)
    run_campaign(tmp_path, "network")
