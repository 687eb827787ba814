"""Colors of figures on a dark page: dark becomes light, and hue stays."""

import re
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

Color = Float[np.ndarray, "3"]

_PAINT = re.compile(r"((?:fill|stroke|stop-color)(?::\s*|=\"))(#[0-9a-f]{6})\b")
_TAG = re.compile(r"<[a-z][^>]*>")
# Lightness in OKLab of the ink and of the paper of figures, by day and by night as in report.css.
_INK, _PAPER = 0.28, 1.0
_NIGHT_INK, _NIGHT_PAPER = 0.93, 0.24
_BEND = 1.4  # above 1, so that colors of middle lightness stand out from the dark paper
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


def painted(svgs: Iterable[str]) -> dict[str, str]:
    """The colors of some figures by day -> by night, both as ``#rrggbb``."""
    found = {match[2] for svg in svgs for tag in _TAG.findall(svg) for match in _PAINT.finditer(tag)}
    return {color: at_night(color) for color in sorted(found)}


def with_variables(svg: str) -> str:
    """Let every color of a figure be a variable that the page defines, ``--c`` and its digits.

    >>> with_variables('<path style="fill: #0072b2"/>')
    '<path style="fill: var(--c0072b2)"/>'
    """

    def of_page(tag: re.Match[str]) -> str:
        return _PAINT.sub(lambda paint: f"{paint[1]}var(--c{paint[2][1:]})", tag[0])

    return _TAG.sub(of_page, svg)


def at_night(color: str) -> str:
    """The color that stands out from dark paper as much as this one does from white.

    Lightness is turned over, hue stays, and so does chroma where a screen can show it.

    Args:
        color: ``#rrggbb``.
    """
    lightness, a, b = oklab(color)
    share = np.clip((lightness - _INK) / (_PAPER - _INK), 0, 1) ** _BEND
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
