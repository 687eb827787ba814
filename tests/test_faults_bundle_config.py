"""Bad bundles, configurations, folders, terminals and signals: what the catalogue says must happen.

Section G of the catalogue. The cases that belong to one module are tested beside it and marked there.
"""

import ast
import dataclasses
import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from classify.bundle import read_bundle
from classify.stage import classify
from extract.models import Encoder
from triher.applying import apply_to_cohort, config_for_bundle
from triher.cli import main
from triher.config import read_config
from triher.errors import StopRun
from triher.files import sha256_of_json
from triher.progress import Reporter
from triher.runfolder import RunFolder, library_versions
from triher.tables import write_table

ROOT = Path(__file__).parents[1]
PACKAGES = ("triher", "extract", "classify", "analysis")
PLUGIN = Path(__file__).parent / "data" / "plugin"


def triher(*arguments: str | Path) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where the trained bundles of these tests lie, one a head."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def trained(make_study, kept):
    """A run of 24 patients with its bundle; each head is trained once."""

    def build(head="logistic"):
        made = make_study(n=24, head=head, trials=1, folds=2)
        if not (kept / head).exists():
            assert classify(*made)
            shutil.copytree(made.run.bundle, kept / head)
            made.run.bundle.rename(made.run.path / "trained")
        shutil.copytree(kept / head, made.run.bundle)
        return made

    return build


def forge(folder: Path, **parts: bytes) -> None:
    """Replace files of a bundle and give the manifest their hashes, as a forger would."""
    path = folder / "manifest.json"
    tree = json.loads(path.read_text())
    tree.pop("sha256")
    for name, data in parts.items():
        file = name.replace("_", ".")
        (folder / file).write_bytes(data)
        tree["parts"][file] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    path.write_text(json.dumps({**tree, "sha256": sha256_of_json(tree)}))


def code_of(folder: Path) -> str:
    with pytest.raises(StopRun) as caught:
        read_bundle(folder)
    return caught.value.code


@cache
def sources() -> list[tuple[Path, ast.Module]]:
    """Every module of the project."""
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def calls(name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Where a function is called by this name, with its keyword arguments as text."""
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                yield f"{path}:{node.lineno}", {k.arg or "**": ast.unparse(k.value) for k in node.keywords}


# Bundles


@pytest.mark.fault("G1")
def test_altered_leaves_are_found_before_the_model_is_parsed(trained, monkeypatch):
    folder = trained("xgboost").run.bundle
    model = json.loads((folder / "head.json").read_text())
    weights = model["learner"]["gradient_booster"]["model"]["trees"][0]["base_weights"]
    weights[-1] += 1.0
    (folder / "head.json").write_text(json.dumps(model))
    monkeypatch.setattr("classify.boosting.xgboost.Booster", None)
    assert code_of(folder) == "bundle_tampered"


@pytest.mark.fault("G2")
@pytest.mark.parametrize(
    ("key", "value"),
    [("left_children", 10**6), ("right_children", -2), ("left_children", 0), ("split_indices", 10**6)],
)
def test_no_foreign_tree_leads_astray_so_no_option_of_trust_is_needed(trained, key, value):
    """XGBoost itself ends the process at such an index; the structure of every tree is checked, whoever made it."""
    folder = trained("xgboost").run.bundle
    model = json.loads((folder / "head.json").read_text())
    tree = next(t for t in model["learner"]["gradient_booster"]["model"]["trees"] if t["left_children"][0] > 0)
    tree[key][0] = value
    forge(folder, head_json=json.dumps(model).encode())
    assert code_of(folder) == "bundle_corrupt"


@pytest.mark.fault("G3")
@pytest.mark.parametrize(("head", "file"), [("xgboost", "head.json"), ("logistic", "head.safetensors")])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_head_is_corrupt_even_with_its_hash(trained, head, file, share):
    folder = trained(head).run.bundle
    data = (folder / file).read_bytes()
    forge(folder, **{file.replace(".", "_"): data[: int(share * len(data))]})
    assert code_of(folder) == "bundle_corrupt"


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.fault("G4")
@pytest.mark.parametrize("head", ["logistic", "xgboost"])
def test_a_pickle_in_the_place_of_any_part_is_never_run(trained, head, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = trained(head).run.bundle
    bomb = pickle.dumps(Bomb())
    for path in sorted(folder.glob("*.safetensors")) + sorted(folder.glob("head.*")):
        good = path.read_bytes()
        forge(folder, **{path.name.replace(".", "_"): bomb})
        assert code_of(folder) == "bundle_corrupt"
        forge(folder, **{path.name.replace(".", "_"): good})
    read_bundle(folder)
    (tmp_path / "model.joblib").write_bytes(bomb)
    assert code_of(tmp_path / "model.joblib") == "bundle_corrupt"
    assert not (tmp_path / "exploded").exists()
    pickle.loads(bomb)  # noqa: S301 - it would have worked
    assert (tmp_path / "exploded").exists()


@pytest.mark.fault("G4")
def test_no_module_can_unpickle():
    forbidden = {"joblib", "skops", "dill", "cloudpickle", "shelve", "marshal"}
    for path, tree in sources():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                assert name.partition(".")[0] not in forbidden, path
                assert not name.startswith("pickle") or name == "pickle.UnpicklingError", path
    assert not [place for name in ("np.load", "numpy.load", "pd.read_pickle") for place, _ in calls(name)]


@pytest.mark.fault("G5")
def test_torch_reads_weights_only_and_is_new_enough_for_that_to_hold():
    """CVE-2025-32434 (before 2.6) and CVE-2026-24747 (before 2.10) got around ``weights_only``."""
    found = list(calls("torch.load"))
    assert found
    assert all(options["weights_only"] == "True" for _, options in found)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [torch] = [line for line in project["optional-dependencies"]["extract"] if line.startswith("torch")]
    assert re.match(r"torch>=2\.1\d", torch)
    assert tuple(map(int, library_versions()["torch"].split(".")[:2])) >= (2, 10)


@pytest.mark.fault("G7")
@pytest.mark.parametrize(("shift", "code"), [(0.8e-5, ""), (1.2e-5, "bundle_drift")])
def test_the_golden_output_is_computed_again_and_may_differ_by_a_hundred_thousandth(trained, shift, code):
    folder = trained().run.bundle
    arrays = safetensors.numpy.load_file(folder / "golden.safetensors")
    arrays["probabilities"][0] += np.array([shift, -shift, 0])
    forge(folder, golden_safetensors=safetensors.numpy.save(arrays))
    if code:
        assert code_of(folder) == code
    else:
        read_bundle(folder)


@pytest.mark.fault("G7")
def test_another_version_of_a_library_is_noted_when_the_bundle_is_applied(trained, monkeypatch):
    study = trained()
    monkeypatch.setattr("triher.applying.config_for_bundle", lambda *_, **__: study.config)
    run = RunFolder(study.run.path.parent / "new")
    apply_to_cohort(study.run.bundle, study.config.cohort.table, run, Reporter(quiet=True), features=study.store)
    assert run.read_notes() == []
    monkeypatch.setattr("triher.runfolder.library_versions", lambda: library_versions() | {"xgboost": "99.0"})
    apply_to_cohort(study.run.bundle, study.config.cohort.table, run, Reporter(quiet=True), features=study.store)
    [note] = run.read_notes()
    assert note.code == "bundle_libraries"
    assert f"xgboost {library_versions()['xgboost']}, here 99.0" in note.text


@pytest.mark.fault("G8")
def test_other_phases_than_the_bundles_are_refused_with_both(tmp_path):
    bundle = SimpleNamespace(recipe={"phases": ["pre", "early"]}, covariates=(), feature_names=())
    with pytest.raises(StopRun, match=r"\['pre', 'early', 'late'\], the bundle needs \['pre', 'early'\]") as caught:
        config_for_bundle(bundle, tmp_path / "cohort.csv")
    assert caught.value.code == "bundle_encoder"


# Configurations


@pytest.mark.fault("G13")
@pytest.mark.parametrize(
    ("assignment", "place", "allowed"),
    [
        ("classify.folds=-3", "classify.folds", "greater than or equal to 2"),
        ("classify.alpha=2", "classify.alpha", "less than 1"),
        ("classify.trials=0", "classify.trials", "greater than or equal to 1"),
        ("analysis.resamples=1", "analysis.resamples", "greater than or equal to 100"),
        ("extract.region.margin_mm=-1", "extract.region.margin_mm", "greater than or equal to 0"),
        ("extract.n4=yes", "extract.n4", "'none', 'shared' or 'per-phase'"),
    ],
)
def test_a_value_out_of_range_names_its_key_and_what_is_allowed(tmp_path, assignment, place, allowed):
    (tmp_path / "c.yaml").write_text("cohort: {table: t.csv}\n")
    with pytest.raises(StopRun) as caught:
        read_config(tmp_path / "c.yaml", [assignment])
    assert caught.value.code == "config_value"
    assert place in caught.value.message
    assert allowed in caught.value.message


# A cohort of three, with an encoder that takes no time


@pytest.fixture
def cohort(tmp_path, write_exam, toy_plugin) -> Path:
    """A configuration of three patients, the first of whom has an umlaut."""
    rows = []
    for i, patient_id in enumerate(("Müller-ß", "P1", "P2")):
        patient = write_exam(patient_id, seed=i, folder="DOE_JANE_19610412").patient
        rows.append([patient_id, "Zürich", "3+", "", *(str(p) for p in (*patient.phases.values(), patient.mask))])
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "ihc", "ish", "pre", "early", "late", "mask"], rows)
    text = "cohort: {table: cohort.csv}\nextract: {encoder: toy, slices: {n: 2}, shard_patients: 1, readers: 1}\n"
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "config.yaml"


def stores(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "features").glob("*.h5")}


@pytest.mark.fault("G13", "G14")
@pytest.mark.parametrize(
    ("assignment", "text"),
    [
        ("extract.fusions=[]", "extract.fusions is empty"),
        ("classify.pooling=[]", "classify.pooling is empty"),
        ("classify.head=logistik", "did you mean 'logistic'"),
        ("extract.encoder=dinov2-smal", "did you mean 'dinov2-small'"),
        ("extract.normalization=clip9-joint", "did you mean"),
        ("extract.fusions=[rbg]", "did you mean 'rgb'"),
    ],
)
def test_an_empty_list_or_an_unknown_name_stops_and_names_the_nearest(cohort, capsys, assignment, text):
    command = "extract" if assignment.startswith("extract.") else "run"
    assert triher(command, cohort, "--out", cohort.parent / "run", "--set", assignment) == 2
    assert text in capsys.readouterr().err


@pytest.mark.fault("G16")
def test_without_a_gpu_auto_says_what_it_computes_on(cohort, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert triher("extract", cohort, "--out", cohort.parent / "run") == 0
    assert "loading toy on cpu" in capsys.readouterr().err
    assert triher("extract", cohort, "--out", cohort.parent / "gpu", "--set", "extract.device=cuda") == 2
    text = capsys.readouterr().err
    assert "torch sees no GPU" in text
    assert "device_missing" in text


@pytest.mark.fault("G17")
def test_no_run_goes_into_the_input_or_among_the_files_of_another_run(cohort, capsys):
    here, run = cohort.parent, cohort.parent / "run"
    assert triher("extract", cohort, "--out", here) == 2
    assert "is not empty" in capsys.readouterr().err
    assert triher("extract", cohort, "--out", run) == 0
    before = sorted(run.rglob("*"))
    for inner in ("features", "features/mine", "slabs/a/b", "bundle"):
        assert triher("extract", cohort, "--out", run / inner) == 2
        assert "[output_folder]" in capsys.readouterr().err
    assert triher("extract", cohort, "--out", cohort) == 2
    assert "[output_folder]" in capsys.readouterr().err
    assert sorted(run.rglob("*")) == before
    assert sorted(path.name for path in here.iterdir()) == ["DOE_JANE_19610412", "cohort.csv", "config.yaml", "run"]


@pytest.mark.fault("G18")
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_the_run_well_and_the_same_command_does_the_rest(
    cohort, capsys, monkeypatch, number, code, word
):
    run, whole = cohort.parent / "run", cohort.parent / "whole"
    assert triher("extract", cohort, "--out", whole) == 0
    embed, n_calls = Encoder.embed, []

    def interrupted(self, *arguments):
        n_calls.append(1)
        if len(n_calls) == 2:
            os.kill(os.getpid(), number)
        return embed(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Encoder, "embed", interrupted)
        capsys.readouterr()
        assert triher("extract", cohort, "--out", run) == code
    assert f"{word}; continue with the same command" in capsys.readouterr().err
    assert not list(run.rglob("*.part"))
    assert not list(run.rglob("*.lock"))
    assert triher("extract", cohort, "--out", run) == 0
    assert stores(run) == stores(whole)


# Terminals, environments and pipes: in processes of their own


def started(*arguments: str | Path, environment: dict[str, str], **options) -> subprocess.CompletedProcess[bytes]:
    """The command line with nothing in its environment but what is given."""
    code = "import sys; from triher.cli import main; main(sys.argv[1:])"
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{PLUGIN}", "PATH": os.environ["PATH"], "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, env=paths | environment, check=False, timeout=120, **pipes)


BARE = {"LC_ALL": "C", "LANG": "C"}


@pytest.mark.fault("G19")
@pytest.mark.parametrize(
    "more",
    [
        {"PYTHONIOENCODING": "ascii", "TMPDIR": "/nowhere", "HOME": "/nowhere"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"PYTHONIOENCODING": "cp1252"}, marks=pytest.mark.slow),
    ],
    ids=["ascii", "C", "cp1252"],
)
def test_any_terminal_and_a_bare_environment_will_do(cohort, more):
    """No ``$HOME`` in most of these; file names and cells hold letters that some of the terminals do not have."""
    Path(cohort.parent / "DOE_JANE_19610412" / "Müller-ß_mask.nii.gz").unlink()
    done = started("cohort", "check", cohort, "--no-cost", environment=BARE | more)
    assert b"Traceback" not in done.stderr, done.stderr[-2000:]
    assert done.returncode == 3
    assert b"3 patients" in done.stdout
    letters = "M\\xfcller" if more.get("PYTHONIOENCODING") == "ascii" else "Müller"
    assert letters.encode(more.get("PYTHONIOENCODING", "utf-8")) in done.stdout


@pytest.mark.fault("G19")
@pytest.mark.slow
def test_an_extraction_in_a_bare_environment_gives_the_same_bytes(cohort):
    assert triher("extract", cohort, "--out", cohort.parent / "here") == 0
    done = started(
        "extract", cohort, "--out", cohort.parent / "bare", environment=BARE | {"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert stores(cohort.parent / "bare") == stores(cohort.parent / "here")
    skipped = [(cohort.parent / folder / "skipped.csv").read_bytes() for folder in ("here", "bare")]
    assert skipped[0] == skipped[1]


@pytest.mark.fault("G19")
def test_text_files_name_their_encoding():
    """What a file holds may not depend on the locale."""
    for name in ("read_text", "write_text", "open"):
        for path, tree in sources():
            for node in ast.walk(tree):
                if not (
                    isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name
                ):
                    continue
                text = ast.unparse(node)
                is_path = name != "open" or re.search(r"\.open\(('[rwax+]+t?'|\)$)", text)
                assert not is_path or "encoding=" in text or "/ 'stat'" in text, f"{path}:{node.lineno} {text}"


@pytest.mark.fault("G19")
def test_paths_of_windows_in_a_table_are_taken_as_they_are_written(cohort, capsys):
    table = cohort.parent / "cohort.csv"
    folder = f"{cohort.parent}/DOE_JANE_19610412/"
    table.write_text(
        table.read_text(encoding="utf-8").replace(f"{folder}P2_mask", "C:\\scans\\P2_mask"), encoding="utf-8"
    )
    assert triher("cohort", "check", cohort, "--no-cost") == 3
    text = "".join(capsys.readouterr().out.split())
    assert "mask_missing" in text
    assert "C:\\scans\\P2_mask.nii.gz" in re.sub("[│|]", "", text)


@pytest.mark.fault("G21")
@pytest.mark.parametrize(
    ("command", "closed"),
    [
        ("encoders", {"stdout"}),
        ("store info none.h5", {"stderr"}),
        ("cohort check {} --no-cost", {"stdout", "stderr"}),
    ],
    ids=["results", "errors", "both"],
)
def test_a_reader_that_has_left_ends_the_command_without_noise(cohort, command, closed):
    """As in ``triher encoders | head -1``, and with ``2>&1``."""
    reader, writer = os.pipe()
    os.close(reader)
    done = started(*command.format(cohort).split(), environment={}, **dict.fromkeys(closed, writer))
    os.close(writer)
    assert (done.stderr or b"") == b""
    assert 0 <= done.returncode <= 3


@pytest.mark.fault("G22")
def test_nothing_but_the_tables_ids_is_written_of_a_patient(cohort, capsys):
    """The folder of the images is named after a woman and her birthday; only her id may be told."""
    run = cohort.parent / "run"
    assert triher("extract", cohort, "--out", run) == 0
    told = capsys.readouterr()
    written = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert len(written) >= 6
    for place, data in {**written, "terminal": (told.out + told.err).encode()}.items():
        assert b"DOE_JANE" not in data, place
        assert b"19610412" not in data, place
    assert "DOE_JANE" not in " ".join(str(path.relative_to(run)) for path in written)


# Reports and JSON


@pytest.mark.fault("G23")
def test_the_template_of_the_report_asks_for_nothing_from_elsewhere():
    text = (ROOT / "analysis" / "templates" / "report.html.j2").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"https?://", text.replace("http://www.w3.org/", ""))
    assert "script-src 'sha256-{{ script_hash }}'" in text
    assert re.findall(r"<script\b.*?</script>", text, re.DOTALL) == ["<script>{{ script }}</script>"]
    for name in ("report.html.j2", "checklist.html.j2", "report.css"):
        text = (ROOT / "analysis" / "templates" / name).read_text(encoding="utf-8").replace("<script>", "")
        assert not re.search(r"<(script|link|iframe|object|embed)\b|\son\w+=|@import|url\((?!#)|\|\s*safe", text)
    script = (ROOT / "analysis" / "templates" / "report.js").read_text(encoding="utf-8")
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|import|eval|innerHTML|outerHTML|insertAdjacentHTML)\b", script
    )


@pytest.mark.fault("G24")
def test_whatever_writes_a_json_file_refuses_nan():
    """Python would write ``NaN``, which is no JSON; what goes into attributes and headers was checked before."""
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dump",):
                raise AssertionError(f"{path}:{node.lineno} writes without the care of triher.files.write_json")
    assert {
        place.rpartition("/")[2].partition(":")[0] for place, options in calls("json.dumps") if "allow_nan" in options
    } >= {
        "files.py",
        "manifest.py",
    }


@pytest.mark.fault("G24")
def test_nan_in_a_model_never_becomes_a_bundle(trained):
    from classify.bundle import write_bundle

    study = trained()
    bundle = read_bundle(study.run.bundle)
    before = (study.run.bundle / "manifest.json").read_bytes()
    for value in (np.nan, np.inf):
        broken = dataclasses.replace(bundle, model=dataclasses.replace(bundle.model, log_loss=float(value)))
        with pytest.raises(ValueError, match="JSON"):
            write_bundle(study.run.bundle, broken)
    assert (study.run.bundle / "manifest.json").read_bytes() == before
