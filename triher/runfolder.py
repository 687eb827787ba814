"""The run folder: what a run left, what it was made from, and who was left out."""

import json
import platform
import subprocess  # nosec B404  # one fixed command: git, for the commit of a checkout
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from triher import __version__
from triher.errors import Note, Skipped, StopRun
from triher.files import make_writable, remove_leftovers, sha256_of_file, sha256_of_json, write_json
from triher.tables import read_own_rows, write_table

LIBRARIES = (
    "numpy", "scipy", "pandas", "h5py", "scikit-learn", "xgboost", "optuna", "lifelines", "nibabel", "SimpleITK",
    "torch", "timm", "open_clip_torch", "statsmodels", "scikit-misc", "firthmodels", "venn-abers", "pydeseq2",
    "gseapy", "captum", "shap", "umap-learn", "lightning",
)  # fmt: skip


_HASH = "sha256"
"""Key of ``run.json`` under which a hash of all other keys stands."""
_OWN_FOLDERS = ("slabs", "encoders", "features", "bundle", "explanations", "checklists", "figures", "tables")

_SKIPPED_COLUMNS = tuple(f.name for f in fields(Skipped))
_NOTES_COLUMNS = ("stage", *(f.name for f in fields(Note)))


@dataclass(frozen=True)
class RunFolder:
    """The folder given by ``--out``, and the names of what lies in it."""

    path: Path

    @property
    def record_file(self) -> Path:
        """Command, configuration, hashes, versions, timings."""
        return self.path / "run.json"

    @property
    def skipped_file(self) -> Path:
        """Who was left out, at which stage, and why."""
        return self.path / "skipped.csv"

    @property
    def notes_file(self) -> Path:
        """Remarks about patients who were processed all the same."""
        return self.path / "notes.csv"

    @property
    def label_audit_file(self) -> Path:
        """What every spelling of IHC and ISH became, and how often."""
        return self.path / "label_audit.csv"

    @property
    def slabs(self) -> Path:
        """The slab cache."""
        return self.path / "slabs"

    @property
    def encoders(self) -> Path:
        """Encoders that were trained here."""
        return self.path / "encoders"

    @property
    def features(self) -> Path:
        """The feature stores."""
        return self.path / "features"

    @property
    def predictions_file(self) -> Path:
        """The prediction table."""
        return self.path / "predictions.csv"

    @property
    def companions_file(self) -> Path:
        """The prediction table of what stands beside the model, with a column ``model``."""
        return self.path / "companions.csv"

    @property
    def shortcuts_file(self) -> Path:
        """How the features tell site, vendor and cohort, one row a patient and group."""
        return self.path / "shortcuts.csv"

    @property
    def bundle(self) -> Path:
        """The locked bundle."""
        return self.path / "bundle"

    @property
    def explanations(self) -> Path:
        """Maps, attributions and projections."""
        return self.path / "explanations"

    @property
    def checklists(self) -> Path:
        """Reporting checklists, filled as far as the run can."""
        return self.path / "checklists"

    @property
    def metrics_file(self) -> Path:
        """Every number of the analysis with its interval."""
        return self.path / "metrics.csv"

    @property
    def report_file(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def prepare(self) -> None:
        """Create the folder, or continue in one that an earlier run left; its temporary files go if it was killed.

        Raises:
            StopRun: ``output_folder`` when it cannot be written to, holds files of somebody else, or lies among the
                stores or in the bundle of another run.
        """
        self._refuse_inside()
        make_writable(self.path)
        remove_leftovers(self.path)
        if self.record_file.exists():
            self.read_record()
            return
        strangers = sorted(path.name for path in self.path.iterdir() if path.suffix != ".part")
        if strangers:
            message = (
                f"{self.path} is not empty ({', '.join(strangers[:3])}, ...) and no run folder: it has no run.json"
            )
            raise StopRun("output_folder", message)
        self._write_record({"stages": {}})

    def _refuse_inside(self) -> None:
        """Stop where a stage of another run looks for its own files, and replaces them."""
        for inner in (self.path.resolve(), *self.path.resolve().parents):
            if inner.name in _OWN_FOLDERS and (inner.parent / self.record_file.name).is_file():
                message = f"{self.path} lies in {inner.parent}, which is a run folder, under its {inner.name}"
                raise StopRun("output_folder", message)

    def read_record(self) -> dict[str, Any]:
        """The record of earlier runs, or an empty one.

        Raises:
            StopRun: ``output_folder`` when ``run.json`` is not of our making, ``output_changed`` when it differs from
                the hash that it carries.
        """
        if not self.record_file.exists():
            return {"stages": {}}
        try:
            record = json.loads(self.record_file.read_text(encoding="utf-8"))
        except ValueError as error:
            message = f"{self.record_file} is not JSON: {error}"
            raise StopRun("output_folder", message, remedy="move the file away") from error
        if not isinstance(record, dict) or not _are_stages(record.get("stages")):
            message = f"{self.record_file} is no record of a run: it has no 'stages'"
            raise StopRun("output_folder", message, remedy="choose another folder with --out")
        written = record.pop(_HASH, None)
        if written is not None and written != sha256_of_json(record):
            message = f"{self.record_file} differs from the hash that it carries"
            raise StopRun(
                "output_changed", message, remedy="put it back as it was, or choose another folder with --out"
            )
        return record

    def _write_record(self, record: dict[str, Any]) -> None:
        """Write ``run.json`` with a hash of the rest, as it will be read."""
        stored = json.loads(json.dumps(record))
        write_json(self.record_file, stored | {_HASH: sha256_of_json(stored)})

    def require_unchanged(self, *files: Path) -> None:
        """Stop where a table is another one than the stage left that wrote it.

        Args:
            files: those that are not there, and those that no stage wrote, are passed over.

        Raises:
            StopRun: ``output_changed``.
        """
        stages = self.read_record()["stages"]
        written = {
            name: (digest, stage)
            for stage, made in stages.items()
            for name, digest in made.get("outputs", {}).items()
        }
        for path in files:
            digest, stage = written.get(path.relative_to(self.path).as_posix(), ("", ""))
            if digest and path.is_file() and sha256_of_file(path) != digest:
                message = f"{path} is not as 'triher {stage}' left it"
                raise StopRun("output_changed", message, remedy=f"run 'triher {stage}' again with the same --out")

    def is_fresh(self, stage: str, key: str) -> bool:
        """Whether the stage ran with this very key and its outputs are as it left them."""
        entry = self.read_record()["stages"].get(stage)
        if entry is None or entry.get("key") != key:
            return False
        return all(
            (self.path / name).is_file() and sha256_of_file(self.path / name) == digest
            for name, digest in entry.get("outputs", {}).items()
        )

    @property
    def explanations_are_stale(self) -> bool:
        """Whether the explanations are of predictions that are no longer there."""
        made_of = self.read_record()["stages"].get("explain", {}).get("predictions", "")
        return bool(made_of) and made_of != sha256_of_file(self.predictions_file)

    def record_stage(self, stage: str, key: str, outputs: Sequence[Path], seconds: float, **facts: object) -> None:
        """Write down what a stage was made from and what it left."""
        record = self.read_record()
        digests = {str(path.relative_to(self.path)): sha256_of_file(path) for path in sorted(outputs)}
        record["stages"][stage] = {"key": key, "seconds": round(seconds, 2), "outputs": digests, **facts}
        self._write_record(record)

    def remove_stale(self, stage: str, outputs: Sequence[Path]) -> None:
        """Remove what the stage wrote earlier and did not write now."""
        earlier = self.read_record()["stages"].get(stage, {}).get("outputs", {})
        current = {path.relative_to(self.path).as_posix() for path in outputs}
        for name in earlier:
            if name not in current:
                (self.path / name).unlink(missing_ok=True)

    def record_command(self, command: str, config: dict[str, Any]) -> None:
        """Write down the command, the configuration and the machine."""
        record = self.read_record()
        record |= {
            "format": "triher-run",
            "version": 1,
            "triher": __version__,
            "command": command,
            "config": config,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "libraries": library_versions(),
            "commit": _commit(),
        }
        self._write_record(record)

    def write_skipped(self, stage: str, skipped: Iterable[Skipped]) -> None:
        """Replace the stage's rows of ``skipped.csv`` and keep the other stages'."""
        kept = [row for row in self.read_skipped() if row.stage != stage]
        rows = [astuple(row) for row in [*kept, *skipped]]
        write_table(self.skipped_file, _SKIPPED_COLUMNS, rows)

    def read_skipped(self) -> list[Skipped]:
        """The rows of ``skipped.csv``, none when there is no such file."""
        return [Skipped(**row) for row in _rows(self.skipped_file, _SKIPPED_COLUMNS)]

    def write_notes(self, stage: str, notes: Iterable[Note]) -> None:
        """Replace the stage's rows of ``notes.csv`` and keep the other stages'."""
        kept = [row for row in _rows(self.notes_file, _NOTES_COLUMNS) if row["stage"] != stage]
        rows = [*(list(row.values()) for row in kept), *([stage, *astuple(note)] for note in notes)]
        write_table(self.notes_file, _NOTES_COLUMNS, rows)

    def read_notes(self, *, but: str = "") -> list[Note]:
        """The remarks of all stages but one, none when there is no such file."""
        rows = [row for row in _rows(self.notes_file, _NOTES_COLUMNS) if row["stage"] != but]
        return [Note(row["patient_id"], row["code"], row["text"]) for row in rows]


def _are_stages(value: object) -> bool:
    """Whether a value can be what a record says of the stages."""
    return isinstance(value, dict) and all(isinstance(made, dict) for made in value.values())


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table of ours; none of it, or a header alone, is no fault here."""
    rows = [row for _, row in read_own_rows(path)] if path.exists() else []
    if rows and list(rows[0]) != list(columns):
        raise StopRun("column_missing", f"{path} has the columns {list(rows[0])}; expected {list(columns)}")
    return rows


def library_versions() -> dict[str, str]:
    """Versions of the libraries that results depend on, of those that are installed."""
    return {name: version for name in LIBRARIES if (version := _version(name))}


@cache
def _version(library: str) -> str:
    """What is installed, or an empty string; searched for once, as that takes a good part of a short command."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def changed_libraries(then: Mapping[str, str]) -> list[str]:
    """Libraries whose first two version numbers are others here than they were; those missing here are left out.

    >>> changed_libraries({"numpy": "0.1.2", "no-such-library": "1.0"})[0].startswith("numpy 0.1.2, here ")
    True

    Args:
        then: versions as `library_versions` gave them.
    """
    here = library_versions()
    return [f"{k} {v}, here {here[k]}" for k, v in then.items() if k in here and _minor(v) != _minor(here[k])]


def _minor(version: str) -> list[str]:
    """Major and minor number."""
    return version.split(".")[:2]


def _commit() -> str:
    """The commit of a development checkout, or an empty string; never that of a repository around an installation."""
    try:
        here = Path(__file__).resolve().parents[1]
        command = ["git", "-C", str(here), "rev-parse", "--show-toplevel", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    top, _, commit = found.stdout.strip().rpartition("\n")
    return commit if top and Path(top) == here else ""
