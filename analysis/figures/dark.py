"""Colors of figures on a dark page: dark becomes light, and hue stays."""

import re
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

Color = Float[np.ndarray, "3"]

_PAINT = re.compile(r"((fill|stroke|stop-color)(?::\s*|=\"))#([0-9a-f]{6})\b")
_TAG = re.compile(r"<[a-z][^>]*>")
_AREA = re.compile(r"<(path|rect|polygon)(?![^>]*opacity)")
# Lightness in OKLab of the ink and of the paper of figures, by day and by night as in report.css.
_INK, _PAPER = 0.28, 1.0
_NIGHT_INK, _NIGHT_PAPER = 0.93, 0.24
# Above 1, so that lines and marks of middle lightness stand out from dark paper; below 1 for opaque areas, so that
# text on them, light or dark, can still be read.
_MARK_BEND, _AREA_BEND = 1.4, 0.8
_LEAST_CHROMA_STEP = 0.97
# Ottosson (2020), A perceptual color space for image processing, https://bottosson.github.io/posts/oklab/
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def painted(svgs: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The variables of some figures, see `with_variables` -> their colors by day and by night, as ``#rrggbb``."""
    found = {name for svg in svgs for tag in _TAG.finditer(svg) for name in _names(tag)}
    return {name: (f"#{name[1:]}", at_night(f"#{name[1:]}", is_area=name[0] == "a")) for name in sorted(found)}


def with_variables(svg: str) -> str:
    """Let every color of a figure be a variable of the page: ``--a`` of an opaque area, else ``--c``, and digits.

    >>> with_variables('<path style="fill: #0072b2; stroke: #1f2a37"/>')
    '<path style="fill: var(--a0072b2); stroke: var(--c1f2a37)"/>'
    """

    def of_page(tag: re.Match[str]) -> str:
        return _PAINT.sub(lambda paint: f"{paint[1]}var(--{_name(tag, paint)})", tag[0])

    return _TAG.sub(of_page, svg)


def _names(tag: re.Match[str]) -> list[str]:
    """The variables of a tag."""
    return [_name(tag, paint) for paint in _PAINT.finditer(tag[0])]


def _name(tag: re.Match[str], paint: re.Match[str]) -> str:
    """The variable of one color of a tag."""
    return f"{'a' if paint[2] == 'fill' and _AREA.match(tag[0]) else 'c'}{paint[3]}"


def at_night(color: str, *, is_area: bool = False) -> str:
    """The color that stands out from dark paper as much as this one does from white.

    Lightness is turned over, hue stays, and so does chroma where a screen can show it.

    Args:
        color: ``#rrggbb``.
        is_area: whether it fills an opaque area, on which there may be text, and is no line, mark or text.
    """
    lightness, a, b = oklab(color)
    share = np.clip((lightness - _INK) / (_PAPER - _INK), 0, 1) ** (_AREA_BEND if is_area else _MARK_BEND)
    turned = _NIGHT_INK - share * (_NIGHT_INK - _NIGHT_PAPER)
    chroma = 1.0
    while not _fits(light := _linear(np.array([turned, chroma * a, chroma * b]))):
        chroma *= _LEAST_CHROMA_STEP
    return _hex(light)


def oklab(color: str) -> Color:
    """Lightness (0 to 1), green to red, and blue to yellow, of ``#rrggbb``."""
    s = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    return np.asarray(_TO_LAB @ np.cbrt(_TO_CONES @ linear))


def _linear(lab: Color) -> Color:
    """Linear red, green and blue of a color, beyond 0 to 1 where no screen shows it."""
    return np.asarray(np.linalg.solve(_TO_CONES, np.linalg.solve(_TO_LAB, lab) ** 3))


def _fits(linear: Color) -> bool:
    """Whether a screen can show it, but for rounding."""
    return bool(linear.min() > -0.002 and linear.max() < 1.002)


def _hex(linear: Color) -> str:
    """The color as ``#rrggbb``."""
    clipped = np.clip(linear, 0, 1)
    s = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * v):02x}" for v in s)
