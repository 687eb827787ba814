"""Pictures with fewer bytes, for a page that would get too large."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

# Quality of the JPEG, and by how much its sides are divided: from what nobody sees to what is still of use.
_STEPS = ((88, 1), (75, 1), (75, 2), (65, 3))
_SIDES = {1: "all of its pixels", 2: "half the pixels a side", 3: "a third of the pixels a side"}


@dataclass(frozen=True)
class Lighter:
    """Pictures that fit together."""

    pictures: dict[bytes, bytes]
    """Picture -> the same with fewer bytes; those that did not fit are not in it."""
    remark: str
    """What was done, for the reader."""


def size_in_page(picture: bytes) -> int:
    """Characters that a picture takes in a page, where it is written in base 64."""
    return 4 * ((len(picture) + 2) // 3)


def lighter(pictures: Sequence[bytes], budget: int) -> Lighter:
    """Store pictures as JPEG, with fewer pixels where that is not enough, and leave out the last where nothing is.

    Args:
        pictures: PNG files.
        budget: characters that all may take together.
    """
    for quality, divisor in _STEPS:
        made = {picture: _jpeg(picture, quality, divisor) for picture in pictures}
        if sum(size_in_page(made[picture]) for picture in pictures) <= budget:
            return Lighter(made, f"they are JPEG of quality {quality} with {_SIDES[divisor]}.")
    kept: dict[bytes, bytes] = {}
    for picture in pictures:
        budget -= size_in_page(made[picture])
        if budget < 0:
            break
        kept[picture] = made[picture]
    n_out = sum(picture not in kept for picture in pictures)
    return Lighter(kept, f"they are JPEG of quality {quality} with {_SIDES[divisor]}, and {n_out} are left out.")


def _jpeg(picture: bytes, quality: int, divisor: int) -> bytes:
    """The picture as a JPEG file whose colors are as sharp as its grays."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as image:
        small = image.convert("RGB").reduce(divisor)
        small.save(stream, format="JPEG", quality=quality, subsampling=0, optimize=True)
    return stream.getvalue()
