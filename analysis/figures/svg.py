"""SVG text of a figure: named for screen readers, with ids of its own, and small."""

import json
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET  # nosec B405  # reads what matplotlib wrote a moment before, nothing else

from analysis.figures.readings import Scale

_NAMESPACES = {"http://www.w3.org/2000/svg": "", "http://www.w3.org/1999/xlink": "xlink:"}
_FONTS = 'system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif'
_OWN_FONT = re.compile(r"(?:'DejaVu Sans'|\"DejaVu Sans\"|DejaVu Sans)(, sans-serif)*")
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_NUMBER = re.compile(r"-?\d+\.\d+")
_POLYGON = re.compile(r"[MLz0-9. -]+")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_MEASURES = ("d", "x", "y", "x1", "y1", "x2", "y2", "width", "height", "transform")
_DECIMALS = 2  # of a point, a 72nd of an inch


def finish(
    svg: str, name: str, title: str, description: str, curves: Mapping[str, tuple[int, str]], scales: Sequence[Scale]
) -> str:
    """Turn the SVG that matplotlib writes into the one that we keep.

    Args:
        svg: what matplotlib wrote.
        name: prefix of every id, so that figures can share a page.
        title: short title.
        description: what can be seen.
        curves: group id of a curve -> number of its axes, and its name.
        scales: of the axes.
    """
    root = ET.fromstring(_NO_XML.sub("", svg[svg.index("<svg") :]))  # noqa: S314 - matplotlib wrote it
    for element in root.iter():
        _own_names(element)
    _mark_curves(root, curves)
    ids = _used_ids(root, name)
    for element in root.iter():
        _shrink(element, ids)
    _unwrap(root)
    head = {"xmlns": "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink"}
    head |= {"role": "img", "aria-label": f"{title}. {description}"}
    # matplotlib says these of every element, which would reach beyond the figure in a page.
    head |= {"stroke-linejoin": "round", "stroke-linecap": "butt", "font-family": _FONTS}
    if curves:
        head["data-axes"] = json.dumps([scale.ends for scale in scales], separators=(",", ":"), allow_nan=False)
    root.attrib = head | dict(root.attrib)
    heading = ET.Element("title")
    heading.text = _NO_XML.sub("", title)
    root.insert(0, heading)
    return _NO_XML.sub("", ET.tostring(root, encoding="unicode"))


def _own_names(element: ET.Element) -> None:
    """Write names with the usual prefixes rather than with addresses, and no space between elements."""
    element.tag = _plain_name(element.tag)
    element.attrib = {_plain_name(key): value for key, value in element.attrib.items()}
    if element.tag not in {"text", "tspan"}:
        element.text = element.tail = None
    element.tail = None if element.tag == "text" else element.tail


def _plain_name(name: str) -> str:
    """``{address}name`` with the prefix of its address."""
    address, _, local = name.rpartition("}")
    return f"{_NAMESPACES.get(address.lstrip('{'), '')}{local}"


def _mark_curves(root: ET.Element, curves: Mapping[str, tuple[int, str]]) -> None:
    """Say at its group which curve it is, for those who ask the page for values."""
    for group in root.iter("g"):
        if group.get("id") in curves:
            axes, label = curves[group.get("id", "")]
            group.attrib = {"data-curve": _NO_XML.sub("", label), "data-axes-number": str(axes)}


def _used_ids(root: ET.Element, name: str) -> dict[str, str]:
    """Ids that something refers to -> their short name in this figure."""
    used: dict[str, str] = {}
    for element in root.iter():
        for key, value in element.attrib.items():
            found = [value[1:]] if key == "xlink:href" and value.startswith("#") else []
            for reference in [*found, *_REFERENCE.findall(value)]:
                used.setdefault(reference, f"{name}-{len(used) + 1}")
    return used


def _shrink(element: ET.Element, ids: Mapping[str, str]) -> None:
    """Round lengths, rename ids, and leave out what says nothing."""
    named = {key: _value(key, value, ids) for key, value in element.attrib.items()}
    element.attrib = {key: value for key, value in named.items() if value}
    if element.get("transform", "").startswith(("rotate(-0 ", "rotate(0 ")):
        del element.attrib["transform"]


def _value(key: str, value: str, ids: Mapping[str, str]) -> str:
    """An attribute as we write it, empty when it is not needed."""
    if key == "id":
        return ids.get(value, "")
    if key == "xlink:href" and value.startswith("#"):
        return f"#{ids[value[1:]]}"
    if key == "clip-path":
        return _REFERENCE.sub(lambda match: f"url(#{ids[match[1]]})", value)
    if key in _MEASURES:
        return _short(value)
    return _style(value) if key == "style" else value


def _short(lengths: str) -> str:
    """Rounded lengths; the points of a polygon need no letter of their own."""
    short = " ".join(_NUMBER.sub(_rounded, lengths).split())
    return short.replace(" L ", " ") if _POLYGON.fullmatch(short) else short


def _rounded(number: re.Match[str]) -> str:
    """A length with few decimals."""
    return f"{round(float(number[0]), _DECIMALS) + 0.0:.8g}"


def _style(style: str) -> str:
    """A style whose font is that of the whole figure."""
    parts = [part.strip() for part in style.split(";")]
    return "; ".join(_OWN_FONT.sub(_FONTS, part) for part in parts if not part.startswith("font-family:"))


def _unwrap(parent: ET.Element) -> None:
    """Leave out groups without a meaning, styles of the whole page, and shapes that nobody sees."""
    kept: list[ET.Element] = []
    for child in parent:
        _unwrap(child)
        if child.tag == "g" and not child.attrib:
            kept += child
        elif not _is_empty(child):
            kept.append(child)
    parent[:] = kept


def _is_empty(element: ET.Element) -> bool:
    """Whether nothing would change without it."""
    if element.tag == "path":
        return element.get("style") == "fill: none"
    return element.tag in {"style", "metadata"} or (element.tag in {"g", "defs"} and not len(element))
