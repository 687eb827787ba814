"""Bring pictures to the device as bytes, the next ones while the network learns from the last."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from mmap import mmap
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from extract.training.material import Material
from extract.training.orders import Part

_AHEAD = 2  # batches that are gathered before they are asked for
_SHARE = 0.5  # of the device's free memory that the pictures may take; says the documentation of `finetune.resident`
_CHUNK_BYTES = 1 << 28  # that are copied at a time

Resident = Literal["auto", "device", "host"]
Bytes = UInt8[np.ndarray, "slice 3 side side"]
Some = Int64[np.ndarray, " _"]


@dataclass(frozen=True)
class MappedFile:
    """Where a mapped array lies on disk: what goes to the process of another GPU in place of a copy."""

    path: str
    offset: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, pixels: Bytes) -> "MappedFile | None":
        """None for what is no whole mapped array."""
        if not (isinstance(pixels, np.memmap) and pixels.filename and pixels.flags.c_contiguous):
            return None
        base: object = pixels.base
        if not isinstance(base, mmap):  # a part of one, whose offset is not its own
            return None
        return cls(str(pixels.filename), int(pixels.offset), pixels.shape)

    def array(self) -> Bytes:
        """Map it again."""
        return np.memmap(self.path, np.uint8, "r", self.offset, self.shape)


@dataclass(frozen=True)
class Batch:
    """What one step takes, on the device."""

    pictures: UInt8[torch.Tensor, "picture 3 side side"]
    y: Int64[torch.Tensor, " picture"]
    tasks: Int64[torch.Tensor, "picture task"]
    weight: float
    """See `extract.training.orders.Part`."""
    step: int
    """Counted from 0 in every epoch."""


@runtime_checkable
class Pictures(Protocol):
    """Where pictures are taken from."""

    def batches(self, parts: Sequence[Some], index: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The pictures of each part, on the device.

        Args:
            parts: positions of the pictures.
            index: the same on the device.
        """


class OnDevice:
    """All pictures lie on the device."""

    def __init__(self, pixels: Bytes, device: torch.device) -> None:
        """Copy them there."""
        self._pixels = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
        n = max(1, _CHUNK_BYTES // max(1, pixels[:1].nbytes))
        for start in range(0, len(pixels), n):
            part = torch.from_numpy(np.array(pixels[start : start + n]))
            self._pixels[start : start + n].copy_(part)

    def batches(self, parts: Sequence[Some], index: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """See `Pictures`; the device gathers."""
        del parts
        for chosen in index:
            yield self._pixels.index_select(0, chosen)


@dataclass
class _Buffer:
    """Memory of the host that is filled again and again."""

    memory: torch.Tensor
    copied: torch.cuda.Event | None = None
    """When the device has what was in it last."""


class OnHost:
    """Pictures lie in the host's memory or in a mapped file; a thread gathers ahead, and a stream copies."""

    def __init__(self, pixels: Bytes, device: torch.device, largest: int) -> None:
        """Reserve the buffers, pinned where the device is a GPU.

        Args:
            pixels: all pictures.
            device: where they are wanted.
            largest: pictures of the largest batch.
        """
        self._pixels, self._device = pixels, device
        is_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if is_gpu else None  # type: ignore[no-untyped-call]
        shape = (largest, *pixels.shape[1:])
        self._buffers = [_Buffer(torch.empty(shape, dtype=torch.uint8, pin_memory=is_gpu)) for _ in range(_AHEAD + 1)]

    def batches(self, parts: Sequence[Some], index: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """See `Pictures`; on a processor a batch stands only until the next is asked for."""
        del index
        waiting: deque[Future[tuple[torch.Tensor, torch.cuda.Event | None]]] = deque()
        with ThreadPoolExecutor(1) as pool:
            try:
                for k, part in enumerate(parts):
                    # The buffer is free: what was in it was handed out one step ago, and the next is asked for.
                    waiting.append(pool.submit(self._gather, self._buffers[k % len(self._buffers)], part))
                    if len(waiting) > _AHEAD:
                        yield self._arrived(*waiting.popleft().result())
                while waiting:
                    yield self._arrived(*waiting.popleft().result())
            finally:
                for future in waiting:
                    future.cancel()

    def _gather(self, buffer: _Buffer, part: Some) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        """Fill a buffer and begin to copy it."""
        if buffer.copied is not None:
            buffer.copied.synchronize()
        chosen = buffer.memory[: len(part)]
        # With another mode NumPy would gather elsewhere first; the positions are known to be good.
        np.take(self._pixels, part, axis=0, out=chosen.numpy(), mode="clip")
        if self._stream is None:
            return chosen, None
        with torch.cuda.stream(self._stream):
            there = chosen.to(self._device, non_blocking=True)
            buffer.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            buffer.copied.record(self._stream)
        return there, buffer.copied

    def _arrived(self, pictures: torch.Tensor, copied: torch.cuda.Event | None) -> torch.Tensor:
        """Let what is computed next wait for the copy."""
        if copied is not None:
            now = torch.cuda.current_stream(self._device)
            now.wait_event(copied)
            pictures.record_stream(now)
        return pictures


def place(pixels: Bytes, device: torch.device, resident: Resident, largest: int) -> Pictures:
    """Put the pictures where they stay while the network is trained.

    Args:
        pixels: all pictures.
        device: that trains.
        resident: ``auto`` is ``device`` for a GPU with twice as much free memory as they take. A processor reads
            them where they are.
        largest: pictures of the largest batch.
    """
    if resident == "auto":
        fits = device.type == "cuda" and pixels.nbytes < _SHARE * torch.cuda.mem_get_info(device)[0]
        resident = "device" if fits else "host"
    return OnDevice(pixels, device) if resident == "device" else OnHost(pixels, device, largest)


class Feed:
    """The batches of an epoch, anew each time that they are asked for."""

    def __init__(
        self,
        pictures: Pictures,
        material: Material,
        device: torch.device,
        parts: Callable[[int], Sequence[Part]],
    ) -> None:
        """Put the labels on the device.

        Args:
            pictures: where the pictures are.
            material: their labels.
            device: where the batches are wanted.
            parts: from the epoch, counted from 1, to its batches; always as many.
        """
        self.epoch = 1
        self._pictures, self._device, self._parts = pictures, device, parts
        self._y = torch.from_numpy(material.y[material.patient]).to(device)
        self._tasks = torch.from_numpy(material.tasks[material.patient]).to(device)
        self._n = len(parts(1))

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._n

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the epoch that `epoch` says when the first is taken."""
        parts = self._parts(self.epoch)
        drawn = [part.slices for part in parts]
        # All positions at once: a copy from memory that is not pinned waits for all that the device has to do.
        order = torch.from_numpy(np.concatenate(drawn)).to(self._device)
        index = torch.split(order, [len(part) for part in drawn])
        pictures = self._pictures.batches(drawn, index)
        for step, (part, chosen, shown) in enumerate(zip(parts, index, pictures, strict=True)):
            y, tasks = self._y.index_select(0, chosen), self._tasks.index_select(0, chosen)
            yield Batch(shown, y, tasks, part.weight, step)
