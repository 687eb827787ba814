"""One encoder's part of an extraction: what it is, and how it is brought to life on a device."""

import os
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from extract.encoder_spec import TRAINED, EncoderSpec
from extract.radiomics.settings import RadiomicsSettings
from extract.weights import locate_weights
from triher.errors import StopRun
from triher.settings import CropConfig, ExtractConfig
from triher.trained import require_whole

if TYPE_CHECKING:
    import torch

    from extract.packing import Embedder

# NVIDIA's, AMD's, and Windows' for Linux beside it.
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
# The second writes what the first reads.
_RUNTIME_MODULES = ("onnxruntime", "onnx")
RADIOMICS = "radiomics"
"""The builder of the entry that has no network."""

Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Choice:
    """A network of the encoder table, where its weights lie, and how exactly it computes."""

    spec: EncoderSpec
    weights: Path
    sha256: str
    precision: Precision
    runtime: str
    compiles: bool
    crop: CropConfig

    def facts(self) -> dict[str, Any]:
        """What the embeddings depend on, for the header of the store."""
        facts = self.spec.identity(self.sha256)
        if self.precision != "float32":
            facts["precision"] = self.precision
        if self.spec.dimensions == 3:
            facts["crop"] = self.crop.model_dump(mode="json")
        return facts

    def load(self, device: "torch.device") -> "Embedder":
        """Build the network on a device; takes seconds."""
        from extract.crops import CropRecipe
        from extract.models import Encoder, Running

        how = Running(self.precision, self.runtime, self.compiles)
        if self.spec.builder == TRAINED:
            from extract.trained import TrainedEncoder

            return TrainedEncoder(self.spec, self.weights, device, how)
        crop = CropRecipe(self.crop.mode, self.spec.input_size, float(self.crop.margin_mm))
        return Encoder(self.spec, self.weights, device, how, crop)


@dataclass(frozen=True)
class RadiomicsChoice:
    """Radiomics in the place of a network."""

    spec: EncoderSpec
    settings: RadiomicsSettings

    def facts(self) -> dict[str, Any]:
        """What the features depend on, for the header of the store."""
        settings = asdict(self.settings) | {"filters": list(self.settings.filters)}
        return self.spec.identity("") | {"radiomics": settings}

    def load(self, device: "torch.device") -> "Embedder":
        """Nothing to load."""
        from extract.radiomics.embedder import RadiomicsEmbedder

        return RadiomicsEmbedder(self.settings)


def choose(spec: EncoderSpec, options: ExtractConfig) -> Choice | RadiomicsChoice:
    """Find the weights of an encoder.

    Raises:
        StopRun: ``weights_missing``, ``weights_hash``, ``license_unaccepted``, ``config_value``,
            ``device_missing``, or ``extra_missing`` for a runtime that is not installed.
    """
    if spec.builder == RADIOMICS:
        return RadiomicsChoice(spec, RadiomicsSettings(**options.radiomics.model_dump()))
    weights, digest = locate_weights(spec, options.weights_dir, options.accept_license)
    if spec.builder == TRAINED:
        require_whole(weights)
    runtime = _runtime(options.runtime)
    return Choice(spec, weights, digest, resolved_precision(options), runtime, options.compile, options.crop)


def _runtime(name: str) -> str:
    """What ``auto`` means here: decided once, so that all machines of a run do the same."""
    lacking = [module for module in _RUNTIME_MODULES if find_spec(module) is None]
    if lacking and name == "onnx":
        message = f"extract.runtime is 'onnx', for which {' and '.join(lacking)} would have to be installed"
        raise StopRun("extra_missing", message, remedy="pip install 'triher[extract]', or use extract.runtime=auto")
    return "torch" if lacking else name


def resolved_precision(options: ExtractConfig) -> Precision:
    """What ``auto`` means here; torch, which takes seconds to import, is asked only where there may be a GPU."""
    if options.precision != "auto":
        return options.precision
    if sys.platform == "linux" and not any(map(os.path.exists, _GPU_DRIVERS)):
        return "float32"
    from extract.devices import best_precision

    return best_precision(options.device)
