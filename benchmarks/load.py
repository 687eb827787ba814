"""What loading a patient's volumes and their exact statistics cost, as ratios measured in one run.

Usage: ``python -P benchmarks/load.py [FILE.nii.gz ...]``, with files of one's own in place of the phantom's.
The script that people write, ours and the bare inflation, below which no reader of gzip can come, take turns in one
process, and what they compute is compared before anything is timed. Figures are CPU time of the process, medians.
"""

import argparse
import gzip
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom

from extract.dicom import open_dicom
from extract.histograms import count
from extract.nifti import open_nifti, read_volume
from extract.phantom import PHASES, write_phantom
from extract.phantom_dicom import write_dicom
from extract.voxel_bytes import inflate
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


def take_turns(ways: dict[str, Callable[[Sequence[Path]], object]], files: Sequence[Path]) -> dict[str, float]:
    """Median CPU milliseconds a volume of each way."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            way(files)
            spent[name].append(time.process_time() - start)
    return {name: statistics.median(times) * 1e3 / len(files) for name, times in spent.items()}


def show(title: str, files: Sequence[Path]) -> None:
    """One line of the table."""
    assert script(files) == ours(files)
    assert np.allclose(script_of_all(files), ours_of_all(files), rtol=1e-12)
    ways = {"script": script, "ours": ours, "script, all": script_of_all, "ours, all": ours_of_all, "bare": bare}
    ms = take_turns(ways, files)
    share = sum(path.stat().st_size for path in files) / sum(bare(files))
    print(
        f"{title:<34}{share:6.0%}{ms['script']:9.1f}{ms['ours']:7.1f}{ms['bare']:7.1f}"
        f"{ms['script'] / ms['ours']:9.2f}{ms['script'] / ms['bare']:8.2f}{ms['script, all'] / ms['ours, all']:12.2f}"
    )


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


def show_dicom(folder: Path, vendor: str) -> None:
    """One line of the table of DICOM."""
    rng = np.random.default_rng(0)
    phases = [rng.gamma(2.0, 150, SHAPE[::-1]).clip(0, 4000).astype(np.int16) for _ in PHASES]
    write_dicom(folder, phases, np.diag([-0.7, -0.7, 2.0, 1.0]), (-30.0, 90.0, 300.0), vendor=vendor, patient_id="P")
    for theirs, own in zip(dicom_script(folder), dicom_ours(folder), strict=True):
        assert np.array_equal(theirs, own)
    spent: dict[Callable[[Path], object], list[float]] = {dicom_script: [], dicom_ours: []}
    for _ in range(ROUNDS):
        for way, times in spent.items():
            start = time.process_time()
            way(folder)
            times.append(time.process_time() - start)
    script_ms, ours_ms = (statistics.median(times) * 1e3 for times in spent.values())
    print(f"{vendor:<34}{script_ms:15.1f}{ours_ms:7.1f}{script_ms / ours_ms:16.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    files = parser.parse_args().files
    columns = f"{'size':>6}{'script':>9}{'ours':>7}{'bare':>7}{'s/ours':>9}{'s/bare':>8}{'all s/ours':>12}"
    print(f"{'CPU time of a volume, ms':<34}{columns}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = files or phantom_files(folder)
        for what, level in LEVELS.items():
            show(f"{'files' if files else 'phantom'}, {what}", compressed_again(given, folder / str(level), level))
        if not files:
            show(f"noise, {next(iter(LEVELS))}", noise_files(folder))
            print(f"\n{'CPU time of a DICOM exam, ms':<34}{'pydicom':>15}{'ours':>7}{'pydicom/ours':>16}")
            for vendor in ("ge", "siemens", "philips"):
                show_dicom(folder / vendor, vendor)


if __name__ == "__main__":
    main()
