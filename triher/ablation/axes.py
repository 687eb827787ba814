"""The cells of a study: what the section ``ablation`` of a configuration means."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from triher.config import build_config
from triher.effective import training_choices, trains
from triher.errors import StopRun, unknown_name
from triher.files import sha256_of_json
from triher.settings import STAGES, AblationConfig, Config, Level
from triher.study import BASE, Cell

_SECTIONS = ("cohort", *STAGES)


@dataclass(frozen=True)
class Lattice:
    """Axes and cells, with the configuration of each cell."""

    axes: dict[str, tuple[str, ...]]
    """Axis -> labels of its levels, that of the base first."""
    cells: tuple[Cell, ...]
    """The base first."""
    configs: dict[str, Config]
    """Name of a cell -> its configuration, checked and without the section ``ablation``."""

    def spread(self, engine: str, workers: int) -> "Lattice":
        """The same cells, embedded by another engine, which changes no result.

        Args:
            engine: as ``extract.engine``.
            workers: as ``extract.workers``.
        """
        spread = {name: config.with_extract(engine=engine, workers=workers) for name, config in self.configs.items()}
        return replace(self, configs=spread)


@dataclass(frozen=True)
class _Axis:
    """A name, and its levels that are not the base's."""

    name: str
    base: str
    levels: dict[str, Level]


def read_lattice(tree: Mapping[str, Any], path: Path) -> Lattice:
    """Lay out the cells that a configuration asks for.

    Args:
        tree: the configuration as `triher.config.read_tree` gives it.
        path: of its file.

    Raises:
        StopRun: ``ablation_empty`` without a cell beside the base, ``ablation_base`` where an axis of a lattice has
            no level that is the base's, ``ablation_axis`` where two axes or levels set the same; ``config_key`` and
            ``config_value`` of any cell; ``unknown_name`` for a primary cell that is none.
    """
    base = build_config(tree, {}, path)
    own = base.ablation or AblationConfig()
    bare = {key: value for key, value in tree.items() if key != "ablation"}
    axes = [] if own.design == "list" else [_read_axis(n, v, bare, path, own) for n, v in _named(own.axes)]
    _refuse_shared_keys(axes, own.design)
    cells = [Cell(name=BASE, levels={axis.name: axis.base for axis in axes}, changes={}), *_combine(axes, own.design)]
    cells += _listed(own.cells, axes)
    configs = {cell.name: build_config(bare, cell.changes, path) for cell in cells}
    _refuse_equal(configs)
    for name in own.primary:
        if name not in configs or name == BASE:
            raise unknown_name("cell for ablation.primary", name, [n for n in configs if n != BASE])
    if len(configs) == 1:
        message = f"{path} asks for no cell beside the base: ablation.axes and ablation.cells name none"
        raise StopRun("ablation_empty", message)
    return Lattice({axis.name: (axis.base, *axis.levels) for axis in axes}, tuple(cells), configs)


def _named(axes: Mapping[str, Any]) -> list[tuple[str, dict[str, Level]]]:
    """Each axis with labeled levels; one that is a key is named without its section, where that tells it apart."""
    found = []
    for name, levels in axes.items():
        if isinstance(levels, dict):
            found.append((name, levels))
            continue
        inner = [other.partition(".")[2] or other for other in axes]
        short = name.partition(".")[2]
        labeled = {label_of(value): {name: value} for value in levels}
        if len(labeled) < len(levels):
            raise StopRun("ablation_axis", f"ablation.axes.{name} lists a value twice: {list(levels)}")
        found.append((short if short and inner.count(short) == 1 else name, labeled))
    return found


def label_of(value: Any) -> str:  # noqa: ANN401 - any YAML value
    """A value as the label of a level.

    >>> label_of(["mean", "max"]), label_of(True), label_of({"kind": "ring", "ring_mm": 5.0}), label_of([])
    ('mean+max', 'true', 'kind=ring, ring_mm=5.0', 'none')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={label_of(inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(map(label_of, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None or value == "" else str(value)


def _read_axis(
    name: str, levels: dict[str, Level], tree: Mapping[str, Any], path: Path, own: AblationConfig
) -> _Axis:
    """Find the level that leaves the configuration as it is."""
    for level in levels.values():
        _check_keys(f"the axis {name}", level)
    if not levels:
        raise StopRun("ablation_axis", f"the axis {name} names no level")
    unchanged = build_config(tree, {}, path)
    same = [label for label, level in levels.items() if build_config(tree, level, path) == unchanged]
    if len(same) > 1:
        raise StopRun("ablation_axis", f"the levels {' and '.join(same)} of the axis {name} are both the base's")
    if not same and own.design == "lattice":
        message = f"no level of the axis '{name}' is the configuration's own: {', '.join(levels)}"
        remedy = (
            "add the base's value to the axis, or set the base to one of them, or use ablation.design=one-at-a-time"
        )
        raise StopRun("ablation_base", message, remedy=remedy)
    return _Axis(name, same[0] if same else BASE, {k: v for k, v in levels.items() if k not in same})


def _check_keys(where: str, level: Level) -> None:
    """A level that set a whole section would put all that it does not name back to the defaults."""
    for key, value in level.items():
        if key.split(".")[0] == "ablation":
            raise StopRun("ablation_axis", f"{where} changes the section ablation, which is the study's own")
        if key in _SECTIONS and not (value is None and Config.model_fields[key].default is None):
            remedy = f"name its keys one by one, as {key}.KEY: VALUE"
            raise StopRun("ablation_axis", f"{where} sets all of the section {key}", remedy=remedy)
        inside = next((other for other in level if other.startswith(f"{key}.")), None)
        if inside is not None:
            raise StopRun("ablation_axis", f"{where} sets {key} and, within it, {inside}")


def _refuse_shared_keys(axes: Iterable[_Axis], design: str) -> None:
    """Two axes that set one key would overwrite each other; so would keys of a section that the other axis sets."""
    owner: dict[str, str] = {}
    for axis in axes:
        own = sorted({key for level in axis.levels.values() for key in level})
        for key in own:
            if key in owner:
                raise StopRun("ablation_axis", f"the axes {owner[key]} and {axis.name} both set {key}")
        for key, other in ((a, b) for a in own for b in owner if design == "lattice"):
            outer, inner = sorted((key, other), key=len)
            if inner.startswith(f"{outer}."):
                message = f"the axes {owner[other]} and {axis.name} set {other} and {key}, one within the other"
                remedy = f"list the cells that set {outer} under ablation.cells, or use ablation.design=one-at-a-time"
                raise StopRun("ablation_axis", message, remedy=remedy)
        owner |= dict.fromkeys(own, axis.name)


def _combine(axes: Sequence[_Axis], design: str) -> list[Cell]:
    """All cells but the base."""
    chosen: list[dict[str, str]]
    if design == "lattice":
        combined = product(*(((axis.name, None), *((axis.name, label) for label in axis.levels)) for axis in axes))
        chosen = [{name: label for name, label in one if label is not None} for one in combined][1:]
    else:
        chosen = [{axis.name: label} for axis in axes for label in axis.levels]
    return [_cell(one, axes) for one in chosen]


def _cell(chosen: Mapping[str, str], axes: Sequence[_Axis]) -> Cell:
    """The cell in which some axes have another level than the base."""
    name = ", ".join(f"{axis}={label}" for axis, label in chosen.items())
    levels = {axis.name: chosen.get(axis.name, axis.base) for axis in axes}
    changes = {k: v for axis in axes if axis.name in chosen for k, v in axis.levels[chosen[axis.name]].items()}
    return Cell(name=name, levels=levels, changes=changes)


def _listed(cells: Mapping[str, Level], axes: Sequence[_Axis]) -> list[Cell]:
    """The cells that are listed by name."""
    if BASE in cells:
        raise StopRun("ablation_axis", f"ablation.cells lists '{BASE}', which is the configuration itself")
    taken = [name for name in cells if "=" in name]
    if taken and axes:
        raise StopRun(
            "ablation_axis", f"ablation.cells lists '{taken[0]}'; names with '=' belong to cells of the axes"
        )
    for name, changes in cells.items():
        _check_keys(f"the cell '{name}'", changes)
    return [Cell(name=name, levels={}, changes=changes) for name, changes in cells.items()]


def _refuse_equal(configs: Mapping[str, Config]) -> None:
    """Cells that are the same would be counted as two comparisons."""
    known: dict[str, str] = {}
    for name, config in configs.items():
        text = sha256_of_json(_computed(config))
        if text in known:
            raise StopRun("ablation_axis", f"the cells '{known[text]}' and '{name}' would predict the same")
        known[text] = name


def _computed(config: Config) -> list[Any]:
    """What the predictions depend on; features that come from a table do not depend on the extraction."""
    classify = config.classify.model_dump(mode="json", exclude={"workers", "storage", "control"})
    extract = config.extract.choices() if config.has_images else None
    trained = training_choices(config)["finetune"] if trains(config) else None
    return [config.cohort.model_dump(mode="json"), config.scheme, config.seed, extract, trained, classify]
