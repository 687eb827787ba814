"""What loading a patient's volumes and their exact statistics cost, as ratios measured in one run.

Usage: ``python -P benchmarks/load.py [FILE.nii.gz ...]``, with files of one's own in place of the phantom's.
The script that people write, ours and the bare inflation, below which no reader of gzip can come, take turns in one
process, and what they compute is compared before anything is timed. Figures are ratios of CPU
time, medians and quartiles of nine rounds.
"""

import argparse
import gzip
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom

from benchmarks.figures import NONE, Target, at_least, show
from extract.dicom.exam import open_dicom
from extract.formats.nifti import open_nifti, read_volume
from extract.formats.voxel_bytes import inflate
from extract.histograms import count
from extract.phantom.cohort import PHASES, write_phantom
from extract.phantom.dicom import write_dicom
from triher.progress import Reporter

SHAPE = (80, 256, 256)
ROUNDS = 9
QUANTILES = (0.01, 0.95, 0.98, 0.99, 0.995)  # of `extract.normalization`
LEVELS = {"nibabel's gzip level": 1, "dcm2niix's gzip level": 6}


def phantom_files(folder: Path) -> list[Path]:
    """A patient of the phantom, at real size: anatomy, contrast and the noise of a scanner."""
    write_phantom(folder, n_patients=1, shape=SHAPE, reporter=Reporter(quiet=True))
    return [next((folder / "images").glob(f"*_{name}.nii.gz")) for name in PHASES]


def noise_files(folder: Path) -> list[Path]:
    """Noise, which hardly compresses."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{name}.nii.gz" for name in PHASES]
    for path in paths:
        image = nib.Nifti1Image(rng.gamma(2.0, 150, SHAPE[::-1]).astype(np.int16), np.diag([0.7, 0.7, 2.0, 1.0]))
        nib.save(image, path)
    return paths


def compressed_again(files: Sequence[Path], folder: Path, level: int) -> list[Path]:
    """The same files at another level."""
    folder.mkdir()
    for path in files:
        (folder / path.name).write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), level))
    return [folder / path.name for path in files]


def script(files: Sequence[Path]) -> list[float]:
    """Volumes in float64, `numpy.percentile`."""
    return [float(np.percentile(nib.load(path).get_fdata(), 98)) for path in files]


def ours(files: Sequence[Path]) -> list[float]:
    """Own inflation into int16, exact histogram."""
    return [count(read_volume(path).voxels).quantile(0.98) for path in files]


def script_of_all(files: Sequence[Path]) -> list[float]:
    """The same, with all statistics of the table of normalizations: they share one reading."""
    found = []
    for path in files:
        voxels = nib.load(path).get_fdata()
        percentiles = np.percentile(voxels, [100 * q for q in QUANTILES])
        found += [*percentiles.tolist(), float(voxels.min()), float(voxels.max()), voxels.mean(), voxels.std()]
    return found


def ours_of_all(files: Sequence[Path]) -> list[float]:
    """All from one histogram."""
    found = []
    for path in files:
        histogram = count(read_volume(path).voxels)
        ends = (float(histogram.values[0]), float(histogram.values[-1]))
        found += [*map(histogram.quantile, QUANTILES), *ends, *histogram.moments()]
    return found


def bare(files: Sequence[Path]) -> list[int]:
    """Inflation alone."""
    return [inflate(path.read_bytes(), open_nifti(path).layout.end, "gzip", str(path))[1] for path in files]


def take_turns(ways: dict[str, Callable[[], object]]) -> dict[str, np.ndarray]:
    """CPU milliseconds of each way in each round."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            way()
            spent[name].append(1e3 * (time.process_time() - start))
    return {name: np.array(times) for name, times in spent.items()}


def show_ratio(what: str, above: np.ndarray, below: np.ndarray, target: Target = NONE) -> None:
    """The median of the rounds' ratios, and their quartiles."""
    low, middle, high = (float(value) for value in np.quantile(above / below, (0.25, 0.5, 0.75)))
    show(what, middle, target, spread=(low, high))


def measure(title: str, files: Sequence[Path]) -> None:
    """Three phases, by every way."""
    assert script(files) == ours(files)
    assert np.allclose(script_of_all(files), ours_of_all(files), rtol=1e-12)
    ways = {"script": script, "ours": ours, "script, all": script_of_all, "ours, all": ours_of_all, "bare": bare}
    ms = take_turns({name: partial(way, files) for name, way in ways.items()})
    share = sum(path.stat().st_size for path in files) / sum(bare(files))
    told = ", ".join(f"{name} {np.median(values) / len(files):.1f}" for name, values in ms.items())
    print(f"    {title}, compressed to {share:.0%}; CPU ms a volume: {told}", flush=True)
    show_ratio(f"nibabel and one percentile / ours, {title}", ms["script"], ms["ours"], at_least(6))
    show_ratio(f"the same with all statistics, {title}", ms["script, all"], ms["ours, all"], at_least(6))
    show_ratio(f"nibabel and one percentile / bare inflation, {title}", ms["script"], ms["bare"])


def dicom_script(folder: Path) -> list[np.ndarray]:
    """`pydicom.dcmread`, `pixel_array`, rescale, sort, stack."""
    found: dict[tuple[str, int], list[tuple[float, np.ndarray]]] = {}
    for path in filter(Path.is_file, folder.rglob("*")):
        header = pydicom.dcmread(path)
        values = header.pixel_array
        if "RescaleSlope" in header:
            values = values * float(header.RescaleSlope) + float(header.RescaleIntercept)
        key = (str(header.AcquisitionTime), int(header.get("TemporalPositionIdentifier", 0)))
        found.setdefault(key, []).append((float(header.ImagePositionPatient[2]), values))
    return [np.stack([part for _, part in sorted(found[key], key=lambda pair: pair[0])]) for key in sorted(found)]


def dicom_ours(folder: Path) -> list[np.ndarray]:
    """Headers of all files, positions and phases in a full grid, every check, values."""
    source = open_dicom(folder)
    return [image.voxels for image in source.read(range(source.n_volumes))]


def measure_dicom(folder: Path, vendor: str) -> None:
    """An exam of three phases as a vendor writes it."""
    rng = np.random.default_rng(0)
    phases = [rng.gamma(2.0, 150, SHAPE[::-1]).clip(0, 4000).astype(np.int16) for _ in PHASES]
    write_dicom(folder, phases, np.diag([-0.7, -0.7, 2.0, 1.0]), (-30.0, 90.0, 300.0), vendor=vendor, patient_id="P")
    for theirs, own in zip(dicom_script(folder), dicom_ours(folder), strict=True):
        assert np.array_equal(theirs, own)
    ms = take_turns({"script": partial(dicom_script, folder), "ours": partial(dicom_ours, folder)})
    show_ratio(
        f"DICOM exam, pydicom and stack / ours with every check, {vendor}", ms["script"], ms["ours"], at_least(1.3)
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    files = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = files or phantom_files(folder)
        for what, level in LEVELS.items():
            measure(f"{'files' if files else 'phantom'}, {what}", compressed_again(given, folder / str(level), level))
        if not files:
            measure(f"noise, {next(iter(LEVELS))}", noise_files(folder))
            for vendor in ("ge", "siemens", "philips"):
                measure_dicom(folder / vendor, vendor)


if __name__ == "__main__":
    main()
