"""The layer of a network that maps are read from, found by running the network once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float32, Shaped

from extract.models import Encoder

Inputs = Shaped[torch.Tensor, "input ..."]
Slopes = Float32[torch.Tensor, "class input feature"]
Charts = Float32[torch.Tensor, "class input *grid"]


def last_map(encoder: Encoder) -> torch.nn.Module | None:
    """The last module that gives a feature map with more than one position; None where there is none."""
    channels_last = encoder.layout is not None and encoder.layout.channels_last

    def is_map(output: torch.Tensor) -> bool:
        sides = output.shape[1:-1] if channels_last else output.shape[2:]
        return output.ndim == encoder.spec.dimensions + 2 and min(sides) > 1

    return _last(encoder, is_map)


def last_tokens(encoder: Encoder) -> torch.nn.Module | None:
    """The last module that gives a vector for every token; None where there is none."""
    n_tokens = encoder.layout.n_tokens if encoder.layout is not None else 0
    return _last(encoder, lambda output: output.ndim == 3 and output.shape[1] == n_tokens)


def _last(encoder: Encoder, is_wanted: Callable[[torch.Tensor], bool]) -> torch.nn.Module | None:
    """The module that is the last to finish among those whose output is wanted."""
    found: list[torch.nn.Module] = []

    def look(module: torch.nn.Module, _: tuple[object, ...], output: object) -> None:
        if isinstance(output, torch.Tensor) and is_wanted(output):
            found.append(module)

    hooks = [module.register_forward_hook(look) for module in encoder.module.modules()]
    inputs, masks = encoder.probe_inputs()
    try:
        with torch.no_grad():
            encoder.trace(inputs[:1], None if masks is None else masks[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return found[-1] if found else None


def tracked(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it from which on gradients are recorded; what lies before it then costs none."""
    return tensor if tensor.requires_grad else tensor.detach().requires_grad_()


class Tap(torch.nn.Module):
    """Stands behind a layer and lets its feature map through, channels first whatever the network's order."""

    def forward(self, chart: torch.Tensor) -> torch.Tensor:
        """The same map."""
        return tracked(chart)


@contextmanager
def tapped(layer: torch.nn.Module, *, channels_last: bool) -> Iterator[Tap]:
    """Put a tap behind a layer for the time being."""
    tap = Tap()

    def pass_through(_module: torch.nn.Module, _: tuple[object, ...], output: torch.Tensor) -> torch.Tensor:
        passed: torch.Tensor = tap(output.movedim(-1, 1)).movedim(1, -1) if channels_last else tap(output)
        return passed

    hook = layer.register_forward_hook(pass_through)
    try:
        yield tap
    finally:
        hook.remove()
