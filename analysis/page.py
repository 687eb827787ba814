"""The parts that a report page is made of."""

import base64
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL import Image, UnidentifiedImageError

from analysis.figures.canvas import Drawing
from analysis.metrics import Cell
from analysis.wording import interval, unbroken
from triher.estimate import Estimate

_LONGEST_NAME = 60
_JPEG = b"\xff\xd8"
_BROAD, _BROADEST = 1.5, 2.6  # width of a picture in heights


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str
    tone: str = ""
    """``note`` sets it apart as a remark."""
    kind: str = "paragraph"


@dataclass(frozen=True)
class Data:
    """A table for machines: numbers unrounded, None where there is none."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


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
    sortable: bool = True
    """Whether its rows make sense in another order."""
    name: str = ""
    """File name without ending of its CSV in ``tables``; from the caption when empty."""
    data: Data | None = None
    """What goes into the CSV in full precision; the cells as printed when there is nothing else."""
    kind: str = "table"

    @property
    def n_characters(self) -> int:
        """How many characters its narrowest form has side by side, for the size of its type in print."""
        columns = zip(self.header, *self.rows, strict=False)
        return sum(2 + max(len(word) for cell in column for word in unbroken(cell).split(" ")) for column in columns)


@dataclass(frozen=True)
class Gallery:
    """Figures beside each other."""

    title: str
    drawings: Sequence[Drawing]
    kind: str = "gallery"


@dataclass(frozen=True)
class Picture:
    """A picture of a slice that goes into the page itself."""

    png: bytes
    alternative: str
    """What is to be seen, for those who cannot see it."""
    caption: str

    @property
    def uri(self) -> str:
        """The picture as the address of an image."""
        kind = "jpeg" if self.png.startswith(_JPEG) else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.png).decode('ascii')}"

    @property
    def breadth(self) -> str:
        """Whether it takes two places of a row (``broad``) or all of them (``broadest``)."""
        try:
            with Image.open(io.BytesIO(self.png)) as image:
                ratio = image.width / image.height
        except UnidentifiedImageError:
            return ""
        return "broadest" if ratio > _BROADEST else "broad" if ratio > _BROAD else ""


@dataclass(frozen=True)
class Pictures:
    """Pictures of slices beside each other."""

    title: str
    pictures: Sequence[Picture]
    kind: str = "pictures"


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


@dataclass(frozen=True)
class Folded:
    """Blocks that hide behind a line until it is opened."""

    text: str
    blocks: "Sequence[Block]"
    kind: str = "folded"


Block = Paragraph | Table | Gallery | Pictures | Facts | Heading | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page with its own anchor."""

    anchor: str
    title: str
    blocks: Sequence[Block]
    topic: str = ""
    """What it is listed under in the contents."""


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
    remarks: Sequence[str] = ()
    """Further lines at the foot."""

    @property
    def topics(self) -> list[tuple[str, list[Section]]]:
        """The sections by topic, in their order."""
        return [(topic, list(inside)) for topic, inside in groupby(self.sections, key=lambda s: s.topic)]


def fold_later(splits: Sequence[Sequence[Block]]) -> list[Block]:
    """The blocks of several splits, of which only the foremost is open.

    Args:
        splits: of each split its blocks, the foremost split first; the first block is its heading.
    """
    blocks = [block for split in splits[:1] for block in split]
    for heading, *rest in splits[1:]:
        if not isinstance(heading, Heading):
            raise TypeError(f"the blocks of a split begin with a heading, and not with {type(heading).__name__}")
        blocks.append(Folded(heading.text, rest))
    return blocks


def unfolded(blocks: Iterable[Block]) -> Iterator[Block]:
    """All blocks, with those that are folded."""
    for block in blocks:
        yield block
        if isinstance(block, Folded):
            yield from unfolded(block.blocks)


def drawings(page: Page) -> list[Drawing]:
    """All figures of the page, for saving each as a file."""
    return [drawing for block in all_blocks(page) if isinstance(block, Gallery) for drawing in block.drawings]


def tables(page: Page) -> dict[str, Data]:
    """All tables of the page by file name without ending, for saving each as a file."""
    found: dict[str, Data] = {}
    for section in page.sections:
        for block in unfolded(section.blocks):
            if isinstance(block, Table):
                name = block.name or f"{section.anchor}-{_slug(block.caption)}"
                n = sum(known == name or known.startswith(f"{name}-") for known in found)
                found[f"{name}-{n + 1}" if n else name] = block.data or Data(block.header, block.rows)
    return found


def _slug(text: str) -> str:
    """The first words of a caption as a file name.

    >>> _slug("Groups by the median score; Kaplan-Meier with bands")
    'groups-by-the-median-score'
    """
    words = re.findall(r"[a-z0-9]+", re.split(r"[;:(]", text)[0].lower())
    return "-".join(words)[:_LONGEST_NAME].strip("-")


def all_blocks(page: Page) -> list[Block]:
    """All blocks of the page, with those that are folded."""
    return [block for section in page.sections for block in unfolded(section.blocks)]


def estimate_card(label: str, estimate: Estimate, note: str) -> Card:
    """One number with its interval, drawn on the scale from 0 to 1 where it lies on it."""
    if not math.isfinite(estimate.value):
        return Card(label, "not estimable", estimate.reason, note)
    value = f"{estimate.value:z.2f}"
    if not math.isfinite(estimate.low):
        return Card(label, value, f"No interval: {estimate.reason}" if estimate.reason else "", note)
    bar = None
    if 0 <= estimate.low <= estimate.high <= 1:
        bar = (100 * estimate.low, 100 * (estimate.high - estimate.low), 100 * estimate.value)
    remark = f"; {estimate.reason}" if estimate.reason else ""
    return Card(label, value, f"95 % interval {interval(estimate)}{remark}", note, bar)
