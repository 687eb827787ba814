"""The parts that a report page is made of, and how they become one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from analysis.canvas import Drawing

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str
    tone: str = ""
    """``note`` sets it apart as a remark."""
    kind: str = "paragraph"


@dataclass(frozen=True)
class Table:
    """A table with its caption; the first cell of each row is its heading."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: str = ""
    """When not empty, the table hides behind this line until it is opened."""
    text_cells: bool = False
    """Whether the cells hold words rather than numbers."""
    kind: str = "table"


@dataclass(frozen=True)
class Gallery:
    """Figures beside each other."""

    title: str
    drawings: Sequence[Drawing]
    kind: str = "gallery"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    title: str
    pairs: Sequence[tuple[str, str]]
    kind: str = "facts"


Block = Paragraph | Table | Gallery | Facts | Heading


@dataclass(frozen=True)
class Section:
    """A part of the page with its own anchor."""

    anchor: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Card:
    """One key number."""

    label: str
    value: str
    interval: str
    note: str
    bar: tuple[float, float, float] | None = None
    """Left end, width and mark of the interval, each as percent of the scale."""


@dataclass(frozen=True)
class Page:
    """All of a report."""

    title: str
    lead: str
    summary: Sequence[str]
    cards: Sequence[Card]
    sections: Sequence[Section]
    patient_level: str
    footer: str


def render(page: Page) -> str:
    """Fill the template; every text is escaped, and only our own drawings go in as markup."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawing"] = _markup
    return environment.get_template("report.html.j2").render(page=page)


def _markup(drawing: Drawing) -> Markup:
    """A drawing's SVG; matplotlib and `analysis.canvas` escaped the text inside."""
    return Markup(drawing.svg)  # noqa: S704
