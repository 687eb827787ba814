"""Which devices compute, and how exactly."""

from typing import Literal

import torch

from triher.errors import StopRun


def choose_devices(name: str) -> list[torch.device]:
    """The devices of a configuration: ``auto`` takes every GPU of the machine, or else the processor.

    Args:
        name: ``auto``, or devices as torch calls them, separated by commas: ``cuda:0,cuda:1``.

    Raises:
        StopRun: ``device_missing`` or, for a name that torch does not know, ``config_value``.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return [torch.device("cuda", i) for i in range(n_gpus)] or [torch.device("cpu")]
    return [_device(part.strip(), n_gpus) for part in name.split(",")]


def _device(name: str, n_gpus: int) -> torch.device:
    """One device by its name."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        message = f"extract.device: '{name}' is no device; auto, cpu, cuda, or several such as cuda:0,cuda:1"
        raise StopRun("config_value", message) from error
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        found = f"torch sees {n_gpus} GPUs" if n_gpus else "torch sees no GPU"
        raise StopRun("device_missing", f"extract.device is '{name}', and {found}")
    return device


def device_name(device: torch.device) -> str:
    """What the machine calls a device: the model of the GPU, or the number of processors.

    >>> device_name(torch.device("cpu")).startswith("cpu, ")
    True
    """
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type}, {torch.get_num_threads()} threads"


def describe_devices(name: str) -> str:
    """What the machine calls the devices of a configuration, and how many there are.

    Raises:
        StopRun: as `choose_devices`.
    """
    devices = choose_devices(name)
    return device_name(devices[0]) if len(devices) == 1 else f"{len(devices)} x {device_name(devices[0])}"


def best_precision(device: str) -> Literal["float32", "bfloat16"]:
    """bfloat16 on GPUs that compute in it, float32 elsewhere."""
    is_gpu = choose_devices(device)[0].type == "cuda"
    return "bfloat16" if is_gpu and torch.cuda.is_bf16_supported() else "float32"
