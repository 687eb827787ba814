"""A report page as one self-contained HTML file, with its tables and figures beside it."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jinja2
from markupsafe import Markup

from analysis.figures.canvas import Drawing
from analysis.figures.dark import painted, with_variables
from analysis.figures.lighter import Lighter, lighter, size_in_page
from analysis.page import Block, Folded, Page, Paragraph, Pictures, all_blocks, drawings, tables
from analysis.wording import unbroken
from triher.files import write_text
from triher.runfolder import RunFolder
from triher.tables import write_table

LARGEST = 5_000_000
"""Bytes that a report may have, so that it can be sent by mail."""
_REMARK = 1000  # bytes kept for saying what was done about the size
_FOLDER = Path(__file__).parent / "templates"


def write_page(page: Page, run: RunFolder) -> list[Path]:
    """Write the page as ``report.html``, its tables below ``tables/`` and its figures below ``figures/``.

    Returns:
        The files.
    """
    outputs = []
    for name, data in tables(page).items():
        outputs.append(run.path / "tables" / f"{name}.csv")
        write_table(outputs[-1], data.columns, data.rows)
    for drawing in drawings(page):
        outputs.append(run.path / "figures" / f"{drawing.name}.svg")
        write_text(outputs[-1], drawing.svg)
    write_text(run.report_file, render_within(page, LARGEST))
    return [*outputs, run.report_file]


def render_within(page: Page, largest: int) -> str:
    """The page in at most some bytes, if its pictures can be made so light; what was done is said at its foot.

    Args:
        page: the report.
        largest: bytes of the file.
    """
    text = render(page)
    size = len(text.encode())
    if size <= largest:
        return text
    pictures = [
        picture.png for block in all_blocks(page) if isinstance(block, Pictures) for picture in block.pictures
    ]
    rest = size - sum(map(size_in_page, pictures))
    limit = f"{largest / 1e6:.1f} MB"
    if not pictures or rest + _REMARK > largest:
        remark = f"This page is larger than {limit}, for {rest / 1e6:.1f} MB of it are no pictures."
        return render(replace(page, remarks=[*page.remarks, remark]))
    light = lighter(pictures, largest - rest - _REMARK)
    remark = f"So that this page has no more than {limit}, its {len(pictures)} pictures are lighter: {light.remark}"
    sections = [replace(section, blocks=_relit(section.blocks, light)) for section in page.sections]
    return render(replace(page, sections=sections, remarks=[*page.remarks, remark]))


def _relit(blocks: Sequence[Block], light: Lighter) -> list[Block]:
    """The blocks with lighter pictures, and with a word where some are left out."""
    made: list[Block] = []
    for block in blocks:
        if isinstance(block, Folded):
            made.append(replace(block, blocks=_relit(block.blocks, light)))
        elif isinstance(block, Pictures):
            kept = [replace(one, png=light.pictures[one.png]) for one in block.pictures if one.png in light.pictures]
            made.append(replace(block, pictures=kept))
            n_out = len(block.pictures) - len(kept)
            made += [Paragraph(f"Left out, for the page would be too large: {n_out}.", "note")] if n_out else []
        else:
            made.append(block)
    return made


def render(page: Page) -> str:
    """Fill the template; every text is escaped, and only our own drawings go in as markup."""
    environment = templates()
    environment.filters["drawing"] = _markup
    environment.filters["unbroken"] = unbroken
    script = (_FOLDER / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        page=page,
        paint=painted(drawing.svg for drawing in drawings(page)),
        style=Markup((_FOLDER / "report.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def templates() -> jinja2.Environment:
    """The templates of all pages; every text that goes into one is escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _markup(drawing: Drawing) -> Markup:
    """A drawing's SVG in the page's colors; matplotlib and `analysis.figures.svg` escaped the text inside."""
    return Markup(with_variables(drawing.svg))  # noqa: S704
