"""The configuration file: one YAML file, read, checked and written."""

import copy
import io
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event

from triher.errors import StopRun
from triher.runfolder import RunFolder
from triher.settings import AnalysisConfig, Config

_MAX_BYTES = 1_000_000  # no configuration is longer; a larger file is a mistake or an attack
_MAX_ALIASES = 20  # aliases of aliases multiply: 20 make at most 1,600 copies, a hundred make 1e16
_MAX_DEPTH = 20  # the deepest of our sections is 4 deep


def read_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration and resolve its paths against its own folder.

    Args:
        path: YAML 1.2.
        overrides: ``section.key=value`` assignments, each value written as in YAML.

    Raises:
        StopRun: ``file_unreadable``, ``config_yaml``, ``config_key`` or ``config_value``.
    """
    return build_config(read_tree(path, overrides), {}, path)


def recorded_config(run: RunFolder) -> Config:
    """The configuration that a run was made with, whose predictions must be as the run left them.

    Raises:
        StopRun: ``output_changed``; as `build_config`.
    """
    run.require_unchanged(run.predictions_file)
    return build_config(run.read_record()["config"], {}, run.record_file)


def is_config_file(path: Path) -> bool:
    """Whether a file is a configuration, by its name."""
    return path.suffix in (".yaml", ".yml")


def build_config(tree: Mapping[str, Any], changes: Mapping[str, Any], path: Path) -> Config:
    """Check a configuration with some keys changed, and resolve its paths.

    Args:
        tree: as `read_tree` gives it; stays as it is.
        changes: ``section.key`` -> value.
        path: of the file, for messages and to resolve paths against its folder.

    Raises:
        StopRun: ``config_key`` or ``config_value``.
    """
    changed = copy.deepcopy(dict(tree))
    for key, value in changes.items():
        _put(changed, key, copy.deepcopy(value))
    return _resolve(_validate(changed, str(path)), path.parent)


def read_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a configuration as it is written, unchecked.

    Args:
        path: YAML 1.2.
        overrides: ``section.key=value`` assignments, each value written as in YAML.

    Raises:
        StopRun: ``file_unreadable``, ``config_yaml``, ``config_key`` or ``config_value``.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StopRun("file_unreadable", f"cannot read the configuration {path}: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise StopRun("config_yaml", f"{path} holds {len(data)} bytes; a configuration has at most {_MAX_BYTES}")
    tree = _load_yaml(data, str(path))
    if not isinstance(tree, dict):
        remedy = "begin with 'cohort:', as configs/own_cohort.yaml does; a table is named there, under cohort.table"
        raise StopRun("config_yaml", f"{path} is not a mapping of sections", remedy=remedy)
    for assignment in overrides:
        _assign(tree, assignment)
    return tree


def _load_yaml(data: bytes, where: str) -> Any:  # noqa: ANN401 - any YAML value
    """Read YAML 1.2 (``no`` is text, duplicate keys are errors)."""
    yaml = YAML(typ="safe", pure=True)
    try:
        _refuse_bomb(yaml.parse(io.BytesIO(data)), where)
        return yaml.load(io.BytesIO(data))
    except YAMLError as error:
        text = " ".join(str(error).split("To suppress")[0].split())
        raise StopRun("config_yaml", f"{where}: {text}") from error


def _refuse_bomb(events: Iterable[Event], where: str) -> None:
    """Refuse text that would grow without end, or nest beyond all sense, when it is built."""
    n_aliases = depth = 0
    for event in events:
        n_aliases += isinstance(event, AliasEvent)
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if n_aliases > _MAX_ALIASES or depth > _MAX_DEPTH:
            message = f"{where} has more than {_MAX_ALIASES} aliases or {_MAX_DEPTH} levels"
            raise StopRun("config_yaml", message)


def _assign(tree: dict[str, Any], assignment: str) -> None:
    """Put the value of ``a.b=value`` into the tree."""
    key, text = split_assignment(assignment, "--set")
    _put(tree, key, _load_yaml(text.encode(), f"--set {key}"))


def split_assignment(text: str, option: str) -> tuple[str, str]:
    """Key and value of ``key=value``, as an option of the command line takes it.

    Raises:
        StopRun: ``config_value`` naming the option.

    >>> split_assignment("seed=1", "--set")
    ('seed', '1')
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise StopRun("config_value", f"{option} expects KEY=VALUE, found '{text}'")
    return key.strip(), value


def _put(tree: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401 - any YAML value
    """Put a value into the tree under ``a.b``."""
    *parents, last = key.split(".")
    for name in parents:
        if tree.get(name) is None:  # also where a section that may be left out is written as null
            tree[name] = {}
        tree = tree[name]
        if not isinstance(tree, dict):
            raise StopRun("config_key", f"{key}: '{name}' is a value, not a section")
    tree[last] = value


def _validate(tree: dict[str, Any], where: str) -> Config:
    """Check the tree against the schema; report the first unknown key, else all wrong values."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        for fault in faults:
            if fault["type"] == "extra_forbidden":
                raise _unknown_key(fault["loc"], where) from error
        listed = "; ".join(
            f"{'.'.join(map(str, f['loc']))}: {f['msg'].lower()}, found {reprlib.repr(f['input'])}" for f in faults
        )
        raise StopRun("config_value", f"{where}: {listed}") from error


def _unknown_key(location: tuple[int | str, ...], where: str) -> StopRun:
    """Name the key, the nearest known one, and all that are known in that section."""
    section: type[BaseModel] = Config
    for name in location[:-1]:
        inner = section.model_fields[str(name)].annotation
        section = next(t for t in (inner, *get_args(inner)) if isinstance(t, type) and issubclass(t, BaseModel))
    known = list(section.model_fields)
    near = get_close_matches(str(location[-1]), known, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    key = ".".join(map(str, location))
    return StopRun("config_key", f"{where}: unknown key '{key}'{hint} known here: {', '.join(known)}")


def _resolve(config: Config, folder: Path) -> Config:
    """Make the paths absolute, so that they hold from any working folder."""
    table = (folder / config.cohort.table).resolve()
    root = table.parent if config.cohort.root is None else (folder / config.cohort.root).resolve()
    cohort = config.cohort.model_copy(update={"table": table, "root": root})
    weights = config.extract.weights_dir
    resolved = None if weights is None else (folder / weights).resolve()
    extract = config.extract.model_copy(update={"weights_dir": resolved})
    paths = {name: getattr(config.classify, name) for name in ("features", "control")}
    found = {name: None if path is None else (folder / path).resolve() for name, path in paths.items()}
    classify = config.classify.model_copy(
        update=found | {"storage": _resolved_storage(config.classify.storage, folder)}
    )
    analysis = _resolved_analysis(config.analysis, folder)
    return config.model_copy(
        update={"cohort": cohort, "extract": extract, "classify": classify, "analysis": analysis}
    )


def _resolved_analysis(analysis: AnalysisConfig, folder: Path) -> AnalysisConfig:
    """The section with absolute paths."""
    reference, genes = analysis.reference, analysis.transcriptomics
    changed: dict[str, object] = {
        "reference": None if reference is None else (folder / reference).resolve(),
        "study": None if analysis.study is None else (folder / analysis.study).resolve(),
        "compare": {name: (folder / path).resolve() for name, path in analysis.compare.items()},
    }
    if genes is not None:
        sets = tuple((folder / path).resolve() for path in genes.gene_sets)
        files = {"expression": (folder / genes.expression).resolve(), "gene_sets": sets}
        changed["transcriptomics"] = genes.model_copy(update=files)
    return analysis.model_copy(update=changed)


def _resolved_storage(storage: str, folder: Path) -> str:
    """The absolute path of a file; a URL stays."""
    return storage if not storage or "://" in storage else str((folder / storage).resolve())


def dump_config(config: Config) -> dict[str, Any]:
    """The configuration as JSON values, for `run.json` and for hashing."""
    return config.model_dump(mode="json")


def write_config(config: Config, path: Path) -> None:
    """Write the configuration as YAML that `read_config` reads back."""
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    # The order of the phases is the order of time. (The library declares this switch as always None.)
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    # The library folds long lines and rare line separators in ways that do not always read back.
    yaml.allow_unicode, yaml.width = False, _MAX_BYTES
    yaml.dump(dump_config(config), stream)
    path.write_text(stream.getvalue(), encoding="utf-8")
