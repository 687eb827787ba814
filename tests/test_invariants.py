"""The five invariants of bad input, over random cohorts with random faults mixed in.

Whatever is wrong with a cohort: (a) what was there before is still readable; (b) the patients that come in are those
done and those skipped, counted and printed; (c) running again finishes the rest and gives what one clean run gives;
(d) no partial file stands under a final name; (e) text about patients is never unescaped in HTML or CSV, nor in a
path. With TRIHER_EXAMPLES in the environment, that many cohorts are drawn at random, from ``--hypothesis-seed``.
"""

import contextlib
import csv
import io
import itertools
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from faulty_cohorts import (
    TABLE_FAULTS,
    Drawn,
    Person,
    cohort_options,
    cohorts_with_faults,
    rows_of,
    spoil,
    write_images,
    write_table,
)
from faulty_images import NOTE, SECRETS, SKIP
from faulty_tables import Table, tables_with_faults
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from triher.cli import main
from triher.files import sha256_of_file
from triher.runfolder import RunFolder
from triher.store import read_index, read_store
from triher.store_check import verify_whole
from triher.tables import read_own_table

N_EXAMPLES = int(os.environ.get("TRIHER_EXAMPLES", "0"))
BOUNDED = settings(
    deadline=None,
    derandomize=not N_EXAMPLES,
    database=None,
    phases=(Phase.explicit, Phase.generate),  # without making failures smaller, which takes minutes
    suppress_health_check=[*HealthCheck],
)


@dataclass(frozen=True)
class Told:
    """What a command said."""

    code: int
    text: str


def triher(*arguments: object) -> Told:
    """Run a command in this process."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as left, contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
        main([str(argument) for argument in arguments])
    return Told(int(left.value.code or 0), out.getvalue())


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash, links by where they point."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@contextlib.contextmanager
def interrupted(step: int, *, after: bool) -> Iterator[None]:
    """Ctrl-C before or after a certain access to the disk, counted from 1."""
    steps = itertools.count(1)

    def counting(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            is_now = next(steps) == step
            if is_now and not after:
                raise KeyboardInterrupt
            found = real(*arguments, **options)
            if is_now:
                raise KeyboardInterrupt
            return found

        return call

    with contextlib.ExitStack() as stack:
        for owner, name in ((Path, "replace"), (Path, "read_bytes"), (Path, "mkdir"), (os, "fsync")):
            stack.enter_context(mock.patch.object(owner, name, counting(getattr(owner, name))))
        yield


# What must hold of any run folder


class _Markup(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.handlers: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


_NUMBER = re.compile(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?")


def check_tables(folder: Path) -> None:
    """No cell of a table is a formula of a spreadsheet, and every row has the header's length."""
    for path in folder.rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle, strict=True))
        assert {len(row) for row in rows} == {len(rows[0])}, path
        for cell in itertools.chain(*rows):
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or _NUMBER.fullmatch(cell), (path, cell)


def check_pages(folder: Path, texts: list[str]) -> None:
    """No page holds markup that text about patients brought in."""
    for path in (*folder.rglob("*.html"), *folder.rglob("*.svg")):
        page = path.read_text(encoding="utf-8")
        found = _Markup(page)
        assert found.handlers == [], path
        assert found.tags["script"] <= 1, path
        assert "onerror=alert" not in [*found.tags], path
        assert not [text for text in texts if re.search("[<>]", text) and text in page], path


def check_paths(folder: Path, texts: list[str]) -> None:
    """No path holds text about patients; temporary files and locks are gone."""
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        assert path.suffix not in (".part", ".lock"), name
        assert not [text for text in texts if text in name], name


def check_folder(folder: Path, texts: list[str]) -> None:
    """All that holds of any folder that a command left, whatever came of it."""
    check_tables(folder)
    check_pages(folder, texts)
    check_paths(folder, texts)
    for path in folder.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    for store in folder.glob("features/*.h5"):
        verify_whole(store)
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not [secret for secret in SECRETS.values() if secret.encode() in data], path


def texts_of(drawn: Drawn) -> list[str]:
    """What must not be seen raw."""
    return [*{text for person in drawn.people for text in (person.patient_id, person.cohort, person.site)}]


# Extraction


@dataclass(frozen=True)
class Place:
    """Where a cohort lies and its runs go."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def config(self) -> Path:
        return self.source / "config.yaml"

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.root / name)

    def others(self, *runs: str) -> dict[str, str]:
        """All files but those of the runs."""
        return {name: digest for name, digest in tree(self.root).items() if name.split("/")[0] not in runs}


def write_config(place: Place, drawn: Drawn) -> None:
    """A configuration for the encoder of the plug-in."""
    extract = {"encoder": "toy", "slices": {"n": 1}, "device": "cpu", **drawn.options}
    classify = {"trials": 1, "folds": 2}
    config = {"cohort": {"table": "cohort.csv", **cohort_options(drawn)}, "extract": extract, "classify": classify}
    place.config.write_text(json.dumps(config), encoding="utf-8")


def stores_of(run: RunFolder) -> list[Path]:
    return sorted(run.features.glob("*.h5"))


def assert_equal_stores(a: RunFolder, b: RunFolder, *, to_the_bit: bool) -> None:
    """Two runs hold the same patients with the same embeddings."""
    (left, right) = (stores_of(run) for run in (a, b))
    assert [path.name for path in left] == [path.name for path in right]
    for one, other in zip(left, right, strict=True):
        (_, found), (_, expected) = read_store(one), read_store(other)
        assert found.patient_id == expected.patient_id
        assert found.input_sha256 == expected.input_sha256
        assert found.views.keys() == expected.views.keys()
        np.testing.assert_array_equal(found.slice_index, expected.slice_index)
        for view, rows in expected.views.items():
            scale = float(np.abs(rows).max())
            np.testing.assert_allclose(found.views[view], rows, rtol=0, atol=0 if to_the_bit else 1e-5 * scale)


def check_counted(run: RunFolder, drawn: Drawn, told: Told) -> None:
    """Everybody is done or skipped for the right reason, which is counted and printed."""
    rows = run.read_skipped()
    wanted = drawn.skipped()
    assert sorted(row.patient_id for row in rows) == sorted(wanted)
    for row in rows:
        assert row.code in wanted[row.patient_id], row
        assert row.reason
        assert row.remedy
    assert list(read_index(stores_of(run)[0]).inputs) == drawn.done()
    facts = run.read_record()["stages"]["extract"]
    assert facts["n_patients"] == len(drawn.people) == facts["n_done"] + facts["n_skipped"]
    assert facts["n_skipped"] == len(rows)
    assert told.code == (3 if rows else 0), told.text
    assert "Traceback" not in told.text
    if rows:
        assert f"{len(rows)} left out" in told.text
    counts = [re.search(r"(\d+) reused, (\d+) made from volumes, (\d+) skipped", told.text)]
    assert [sum(map(int, found.groups())) for found in counts if found] == [len(drawn.people)], told.text
    noted = {(note.patient_id, note.code) for note in run.read_notes()}
    assert drawn.noted() <= noted


def check_applied(place: Place, bundle: Path, drawn: Drawn) -> None:
    """A bundle meets the faulty cohort: everybody is predicted, or left out for the right reason."""
    run, wanted = place.run("new"), drawn.skipped()
    told = triher("apply", bundle, place.config, "--out", run.path)
    assert (told.code, "Traceback" in told.text) == (3 if wanted else 0, False), told.text
    assert sorted(row.patient_id for row in run.read_skipped()) == sorted(wanted)
    assert all(row.code in wanted[row.patient_id] for row in run.read_skipped())
    assert predicted(run) == drawn.done()
    check_folder(run.path, texts_of(drawn))


def check_extraction(root: Path, bundle: Path, drawn: Drawn, table_fault: str, step: int, *, after: bool) -> None:
    """One cohort through a fault of its table, its faulty images, an interruption, and after its repair."""
    place, texts = Place(root), texts_of(drawn)
    exams = write_images(place.source / "images", drawn)
    clean = tree(place.source)
    shutil.copytree(place.source / "images", root / "kept")
    write_config(place, drawn)
    rows, table = rows_of(drawn, exams), place.source / "cohort.csv"
    spoil(drawn, exams)
    run, again, fresh = place.run("run"), place.run("again"), place.run("fresh")

    change, code = TABLE_FAULTS[table_fault]
    write_table(table, change(rows), drawn.separator, mark=drawn.byte_order_mark)
    before = tree(root)
    told = triher("extract", place.config, "--out", run.path)
    assert (told.code, f"[{code}]" in told.text, "Traceback" in told.text) == (2, True, False), told.text
    assert tree(root) == before
    assert not run.path.exists()

    write_table(table, rows, drawn.separator, mark=drawn.byte_order_mark)
    before = place.others("run")
    told = triher("extract", place.config, "--out", run.path)
    check_counted(run, drawn, told)
    check_folder(run.path, texts)
    assert place.others("run") == before
    held = tree(run.path)
    check_applied(place, bundle, drawn)
    assert place.others("run", "new") == before

    with interrupted(step, after=after):
        told = triher("extract", place.config, "--out", again.path, "--quiet")
    assert told.code in (130, 3, 0), told.text
    if again.path.exists():
        check_folder(again.path, texts)
    triher("extract", place.config, "--out", again.path)
    check_folder(again.path, texts)
    assert again.read_skipped() == run.read_skipped()
    assert_equal_stores(again, run, to_the_bit=True)

    write_table(table, change(rows), drawn.separator, mark=drawn.byte_order_mark)
    assert triher("extract", place.config, "--out", run.path).code == 2
    assert tree(run.path) == held

    write_table(table, rows, drawn.separator, mark=drawn.byte_order_mark)
    shutil.rmtree(place.source / "images")
    shutil.copytree(root / "kept", place.source / "images")
    assert {name: digest for name, digest in tree(place.source).items() if name in clean} == clean
    with interrupted(step, after=after):
        triher("extract", place.config, "--out", run.path, "--quiet")
    check_folder(run.path, texts)
    (store,) = stores_of(run)
    assert list(read_index(store).inputs) in (drawn.done(), [person.patient_id for person in drawn.people])
    told = triher("extract", place.config, "--out", run.path)
    assert (told.code, run.read_skipped()) == (0, []), told.text
    triher("extract", place.config, "--out", fresh.path)
    assert_equal_stores(run, fresh, to_the_bit=False)
    told = triher("extract", place.config, "--out", run.path)
    assert "nothing was computed" in told.text
    check_folder(run.path, texts)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Iterator[Path]:
    """A bundle trained on a cohort without faults, with a small encoder that stays findable."""
    place = Place(tmp_path_factory.mktemp("trained"))
    shape, spacing_mm, labels = (14, 14, 7), (1.0, 1.0, 2.0), ("zero", "low", "positive")
    people = [Person(f"P{k}", "A", "A", labels[k % 3], f"{k}", ".nii", shape, spacing_mm, k) for k in range(18)]
    drawn = Drawn(tuple(people))
    rows = rows_of(drawn, write_images(place.source / "images", drawn))
    write_table(place.source / "cohort.csv", rows)
    write_config(place, drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent / "data" / "plugin")
        assert triher("extract", place.config, "--out", place.run("run").path).code == 0
        assert triher("classify", place.config, "--out", place.run("run").path).code == 0
        yield place.run("run").bundle


def is_faulty(drawn: Drawn | Table) -> bool:
    """Whether anybody has a fault; what hypothesis draws first has none."""
    return any(one.fault for one in (drawn.people if isinstance(drawn, Drawn) else drawn.subjects))


def moments() -> dict[str, st.SearchStrategy]:
    """What else is drawn: a fault of the table, and when the run is interrupted."""
    return {
        "table_fault": st.sampled_from(sorted(TABLE_FAULTS)),
        "step": st.integers(1, 60),
        "after": st.booleans(),
    }


@pytest.mark.slow
@settings(BOUNDED, max_examples=N_EXAMPLES or 3)
@given(drawn=cohorts_with_faults().filter(is_faulty), **moments())
def test_extraction(bundle, drawn, table_fault, step, after):
    with tempfile.TemporaryDirectory() as folder:
        check_extraction(Path(folder), bundle, drawn, table_fault, step, after=after)


@pytest.mark.slow
@settings(BOUNDED, max_examples=N_EXAMPLES or 2)
@given(drawn=cohorts_with_faults(5, ("",)).filter(is_faulty), **moments())
def test_dicom(bundle, drawn, table_fault, step, after):
    with tempfile.TemporaryDirectory() as folder:
        check_extraction(Path(folder), bundle, drawn, table_fault, step, after=after)


# Classification and what follows


def write_tables(place: Place, table: Table) -> None:
    """Cohort, features and configuration."""
    place.source.mkdir(exist_ok=True)
    write_table(place.source / "cohort.csv", table.cohort_rows())
    write_table(place.source / "features.csv", table.feature_rows())
    unit = {"time_unit": "months"} if table.has_survival else {}
    analysis = {"resamples": 100, "calibrators": ["temperature"], "covariates": ["age"]}
    config = {
        "cohort": {"table": "cohort.csv", "covariates": ["age"], **unit},
        "classify": {"features": "features.csv", **table.options},
        "analysis": analysis,
    }
    place.config.write_text(json.dumps(config), encoding="utf-8")


def predicted(run: RunFolder) -> list[str]:
    """Who has a prediction."""
    return read_own_table(run.predictions_file)["patient_id"].tolist()


def check_predicted(run: RunFolder, table: Table, told: Told, skipped: dict[str, str]) -> None:
    """Everybody is predicted or left out for the right reason, which is counted and printed."""
    assert (told.code, "Traceback" in told.text) == (3 if skipped else 0, False), told.text
    rows = run.read_skipped()
    assert sorted((row.patient_id, row.code) for row in rows) == sorted(skipped.items()), told.text
    everybody = {subject.patient_id for subject in table.subjects}
    assert sorted(predicted(run)) == sorted(everybody - {*skipped})
    assert not rows or f"{len(rows)} left out" in told.text


def outputs(run: RunFolder) -> dict[str, str]:
    """What the numbers of a run stand in, but for what it took."""
    kept = (
        "predictions.csv",
        "companions.csv",
        "shortcuts.csv",
        "metrics.csv",
        "label_audit.csv",
        "bundle",
        "tables",
    )
    return {
        name: digest for name, digest in tree(run.path).items() if name.split("/")[0] in kept and "cost-" not in name
    }


def check_tables_of_features(root: Path, command: str, table: Table, step: int, *, after: bool) -> None:
    """Faulty tables through a run, an interruption, the application of a bundle, and after their repair."""
    place = Place(root)
    texts = [*{text for s in table.subjects for text in (s.patient_id, s.cohort, s.site)}]
    run, again, fresh, new = (place.run(name) for name in ("run", "again", "fresh", "new"))
    write_tables(place, table)
    before = place.others("run")
    told = triher(command, place.config, "--out", run.path)
    skipped = table.with_code(SKIP)
    assert place.others("run") == before
    check_predicted(run, table, told, skipped)
    check_folder(run.path, texts)
    n_done = len(table.subjects) - len(skipped)
    assert f"classify: {n_done} patients, {len(skipped)} left out" in told.text
    assert {*table.with_code(NOTE).items()} <= {(note.patient_id, note.code) for note in run.read_notes()}

    with interrupted(step, after=after):
        told = triher("classify", place.config, "--out", again.path, "--quiet")
    assert told.code in (130, 3, 0), told.text
    if again.path.exists():
        check_folder(again.path, texts)
    triher("classify", place.config, "--out", again.path)
    check_folder(again.path, texts)
    same = outputs(again)
    assert same == {name: digest for name, digest in outputs(run).items() if name in same}

    told = triher("apply", run.bundle, place.config, "--features", place.source / "features.csv", "--out", new.path)
    kept = {patient_id: code for patient_id, code in skipped.items() if code != "her2_unknown"}
    check_predicted(new, table, told, kept)
    check_folder(new.path, texts)

    write_tables(place, table.repaired())
    with interrupted(step, after=after):
        triher("classify", place.config, "--out", run.path, "--quiet")
    check_folder(run.path, texts)
    told = triher(command, place.config, "--out", run.path)
    check_predicted(run, table, told, {})
    triher(command, place.config, "--out", fresh.path)
    assert outputs(run) == outputs(fresh)
    check_folder(run.path, texts)


@pytest.mark.slow
@settings(BOUNDED, max_examples=N_EXAMPLES or 2)
@given(table=tables_with_faults().filter(is_faulty), step=st.integers(1, 40), after=st.booleans())
def test_features_of_tables(table, step, after):
    with tempfile.TemporaryDirectory() as folder:
        check_tables_of_features(Path(folder), "classify", table, step, after=after)


@pytest.mark.slow
@settings(BOUNDED, max_examples=N_EXAMPLES or 1)
@given(table=tables_with_faults().filter(is_faulty), step=st.integers(1, 40), after=st.booleans())
def test_whole_runs(table, step, after):
    with tempfile.TemporaryDirectory() as folder:
        check_tables_of_features(Path(folder), "run", table, step, after=after)
