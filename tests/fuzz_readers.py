"""How each artefact is read, when two answers are equal, and what else a damaged one may rightly say.

An artefact with a checksum gives the right answer or an error. Without one there is this:

- voxels of images may differ where the file was changed, and nowhere else, unless a note tells of another scaling;
- geometry that is written twice (NIfTI, DICOM of one image a file) stays; where text states it once (NRRD, MetaImage,
  enhanced DICOM), it may be what the text states now, and so may times;
- a table may hold what its text says now: no text is lost, no row is shifted, and a line that was left alone gives
  the row that it gave before;
- a configuration may differ in keys whose own lines were changed or lost.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

Answer = dict[str, Any]
Unexplained = Callable[..., str]


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, arrays by type, shape and values."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def differs(found: Answer, right: Answer, *_: object) -> str:
    """Where an answer differs that has no right to."""
    return ", ".join(key for key in right if not same(found.get(key), right[key])) or "other keys"


@dataclass(frozen=True)
class Reader:
    """How an artefact is read and judged."""

    read: Callable[[Path], Answer]
    unexplained: Unexplained = differs
    equal: Callable[[Answer, Answer], bool] = same


# Images


def read_image(path: Path) -> Answer:
    """Every volume of a file or folder."""
    from extract.volumes import open_source

    source = open_source(path)
    images = source.read(range(source.n_volumes))
    return {
        "geometry": [image.affine for image in images],
        "voxels": [np.ascontiguousarray(image.voxels) for image in images],
        "remarks": [image.remarks for image in images],
        "times": source.times_s,
    }


def other_voxels(found: Answer, right: Answer, damage: Any, *_: object) -> str:
    """Why an image is another one than the damage can explain: geometry, or voxels that were left alone."""
    moved = [lies_apart(*pair) for pair in zip(found["geometry"], right["geometry"], strict=True)]
    shapes = [[voxels.shape for voxels in answer["voxels"]] for answer in (found, right)]
    if any(moved) or shapes[0] != shapes[1]:
        return f"geometry, shapes {shapes}"
    if not same(found["remarks"], right["remarks"]):
        return ""  # a note tells how the values were scaled
    pairs = zip(found["voxels"], right["voxels"], strict=True)
    n_other = sum(int(np.count_nonzero(one != other)) for one, other in pairs)
    return f"{n_other} voxels are others" if n_other > 2 * damage.length else ""


def as_stated(found: Answer, right: Answer, damage: Any, *texts: bytes) -> str:
    """The same, where the geometry is text: whichever it states, the values are those that were written."""
    if not any(lies_apart(*pair) for pair in zip(found["geometry"], right["geometry"], strict=True)):
        return other_voxels(found, right, damage, *texts)
    counts = [Counter(np.concatenate(answer["voxels"], axis=None).tolist()) for answer in (found, right)]
    n_other = (counts[0] - counts[1]).total()
    return f"{n_other} values are others" if n_other > 2 * damage.length else ""


def lies_apart(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two affines differ by more than half a voxel somewhere among a dozen slices, rows and columns."""
    apart_mm = np.linalg.norm(((one - other) * [12, 12, 12, 1])[:3], axis=0)
    return bool(apart_mm.max() > np.linalg.norm(other[:3, :3], axis=0).min() / 2)


def read_cached(path: Path) -> Answer:
    """A slab of the cache."""
    from extract.cache import read_slab

    slab = read_slab(path)
    histograms = [h for p, v in enumerate(slab.volume_histograms) for h in (v, *slab.slice_histograms[p])]
    arrays = {"voxels": slab.voxels, "mask": slab.mask, "histograms": [(h.values, h.counts) for h in histograms]}
    return arrays | {"facts": [slab.phases, slab.first_slice, slab.spacing_mm, slab.plane, slab.volume_shape]}


# Text


def table_answer(path: Path) -> Answer:
    """Header and rows as they were read, with their lines."""
    from triher.tables import read_table

    frame = read_table(path)
    return {"header": list(frame.columns), "rows": [list(row) for row in frame.to_numpy()]}


def read_clinical(path: Path) -> Answer:
    """The cells of a cohort table; the cohort is read, too."""
    from triher.cohort import read_cohort
    from triher.settings import CohortConfig

    answer = table_answer(path)
    columns = {"covariates": ["age"], "time_unit": "months"}
    cohort = read_cohort(CohortConfig.model_validate({"table": path, **columns}))
    if len({*cohort.ids()}) != len(cohort.patients):
        raise AssertionError("a patient is there twice")
    return answer | {"patients": [repr(patient) for patient in cohort.patients]}


def other_cells(found: Answer, right: Answer, _: Any, before: bytes, after: bytes) -> str:
    """Why the rows are not what the damaged text says."""
    lines = after.decode("utf-8-sig").splitlines()
    kept = {*lines} & {*before.decode("utf-8-sig").splitlines()}
    rows = found["rows"]
    if any(len(row) != len(found["header"]) for row in rows):
        return "rows of several lengths"
    if bare("".join(map("".join, [found["header"], *rows]))) != bare("".join(lines)):
        return "text was lost"
    if found["header"] == right["header"]:
        lost = [row for row in right["rows"] if row not in rows and as_line(row) in kept]
        return f"rows were lost whose lines were left alone: {lost}" if lost else ""
    return ""


def bare(text: str) -> str:
    """Text without what separates and quotes cells."""
    return "".join(char for char in text if char not in ",;\t\"'" and not char.isspace())


def as_line(row: list[str]) -> str:
    """The line that a row was written as."""
    handle = io.StringIO()
    csv.writer(handle, lineterminator="").writerow(row)
    return handle.getvalue()


def read_yaml(path: Path) -> Answer:
    """Every key of a configuration."""
    from triher.config import dump_config, read_config

    return flat(dump_config(read_config(path)))


def flat(tree: Any, name: str = "") -> Answer:
    """Leaves by their dotted name."""
    if not isinstance(tree, dict) or not tree:
        return {name: tree}
    return {key: leaf for inner, value in tree.items() for key, leaf in flat(value, f"{name}.{inner}").items()}


def other_keys(found: Answer, right: Answer, _: Any, before: bytes, after: bytes) -> str:
    """Keys that differ although every line that names them was left alone."""
    lines = {line.strip() for line in after.decode(errors="replace").splitlines()}
    changed = " ".join(line for line in before.decode().splitlines() if line.strip() not in lines)
    names = [key for key in found.keys() | right.keys() if not same(found.get(key, ""), right.get(key, ""))]
    return ", ".join(name for name in names if not any(part and part in changed for part in name.split(".")))


def read_run(path: Path) -> Answer:
    """All that later stages read of a run folder."""
    from analysis.discrimination.beside import read_companions
    from analysis.discrimination.shortcut import read_shortcuts
    from triher.predictions import read_predictions
    from triher.runfolder import RunFolder

    run = RunFolder(path)
    record = run.read_record()
    run.require_unchanged(run.predictions_file, run.companions_file, run.shortcuts_file)
    run.is_fresh("classify", str(record["stages"].get("classify", {}).get("key")))
    tables = [read_predictions(run.predictions_file, "triple"), read_companions(run.companions_file, "triple")]
    shortcuts = [[s.target, s.groups, s.y, s.probabilities] for s in read_shortcuts(run.shortcuts_file)]
    cells = [frame.astype(str).to_numpy().tolist() for frame in tables]
    notes = len(run.read_skipped()) + len(run.read_notes())
    texts = {file.name: own_rows(file) for file in (run.skipped_file, run.notes_file)}
    return {"record": record, "tables": cells, "shortcuts": shortcuts, "texts": texts, "notes": notes}


def own_rows(path: Path) -> Answer:
    """The cells of a table that we wrote."""
    from triher.tables import read_own_rows

    rows = [row for _, row in read_own_rows(path)]
    return {"header": list(rows[0]) if rows else [], "rows": [list(row.values()) for row in rows]}


def other_text(found: Answer, right: Answer, damage: Any, *texts: bytes) -> str:
    """Why a run folder says something else: only the two tables that no stage computes with may."""
    wrong = [key for key in ("record", "tables", "shortcuts") if not same(found[key], right[key])]
    name = Path(damage.file).name
    if wrong or name not in found["texts"]:
        return f"{wrong or name}"
    answer = found["texts"][name]
    return other_cells(answer, right["texts"][name], damage, *texts) if answer["rows"] else ""


# Stores, bundles, networks


def read_features(path: Path) -> Answer:
    """A store through every reader, whose answers must be one."""
    from triher.store import read_header, read_index, read_store
    from triher.store_check import verify_store
    from triher.store_model import concatenate
    from triher.store_parts import read_parts

    index, header = read_index(path), read_header(path)
    verified = verify_store(path)
    whole, features = read_store(path)
    if verified.damaged:
        raise AssertionError("a store was read whose patients are damaged")
    if not same(vars(concatenate(list(read_parts(path)))), vars(features)) or not same(vars(whole), vars(header)):
        raise AssertionError("two readers give other answers")
    return {"index": asdict(index), "header": vars(header), "features": vars(features), "notes": verified.notes}


def read_model(path: Path) -> Answer:
    """A bundle, and what it predicts."""
    from classify.bundle import read_bundle
    from classify.parts import golden_arrays

    bundle = read_bundle(path)
    facts = {
        name: getattr(bundle, name) for name in ("scheme", "views", "pooling", "covariates", "recipe", "encoder")
    }
    golden = golden_arrays(bundle.seen.subspace, bundle.model)
    rest = [bundle.model.temperature, bundle.model.thresholds, bundle.model.conformal, bundle.training]
    return facts | {"golden": golden, "probe": bundle.header.probe, "rest": rest, "seen": vars(bundle.seen.subspace)}


def read_forged(path: Path) -> Answer:
    """A bundle whose manifest was given the hashes of its damaged parts, as a forger would."""
    import hashlib

    from triher.files import sha256_of_json

    manifest = path / "manifest.json"
    good = manifest.read_bytes()
    try:
        tree = json.loads(good)
        for name in tree["parts"]:
            data = (path / name).read_bytes()
            tree["parts"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        tree.pop("sha256", None)
        manifest.write_text(json.dumps(tree | {"sha256": sha256_of_json(tree)}), encoding="utf-8")
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    try:
        return read_model(path)
    finally:
        manifest.write_bytes(good)


def anything(*_: object) -> str:
    """Whoever makes hashes anew says what is right."""
    return ""


def read_trained(path: Path) -> Answer:
    """The card of a trained encoder and all its tensors."""
    from extract.trained import read_network
    from extract.trained_spec import trained_spec
    from triher.trained import read_card, require_whole

    require_whole(path)
    card, spec = read_card(path), trained_spec(path)
    tensors = {name: {key: t.numpy() for key, t in read_network(path, name).items()} for name in card.networks}
    return {"card": asdict(card), "spec": asdict(spec), "tensors": tensors}


READERS = {
    "nifti": Reader(read_image),
    "nifti-plain": Reader(read_image, other_voxels),
    "nrrd": Reader(read_image, as_stated),
    "nrrd-plain": Reader(read_image, as_stated),
    "metaimage": Reader(read_image, as_stated),
    "dicom": Reader(read_image, other_voxels),
    "dicom-enhanced": Reader(read_image, as_stated),
    "slab": Reader(read_cached),
    "csv": Reader(read_clinical, other_cells),
    "xlsx": Reader(read_clinical),
    "yaml": Reader(read_yaml, other_keys),
    "run": Reader(read_run, other_text),
    "store": Reader(read_features),
    "bundle": Reader(read_model),
    "bundle-boosted": Reader(read_model),
    "bundle-zip": Reader(read_model),
    "bundle-forged": Reader(read_forged, anything),
    "bundle-boosted-forged": Reader(read_forged, anything),
    "network": Reader(read_trained),
}
