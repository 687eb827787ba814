"""The report's words on how often the held-out patients were looked at."""

from collections.abc import Mapping
from typing import Any

from analysis.page import Block, Paragraph
from analysis.wording import count


def opened_blocks(record: Mapping[str, Any]) -> list[Block]:
    """How often the held-out patients were predicted, next to what was found on them."""
    times = _times_opened(record)
    if times == 1:
        return [Paragraph("The held-out patients were predicted with one setting only, in this run folder.")]
    return [Paragraph(text, tone="note") for text in opened_too_often(record)]


def opened_too_often(record: Mapping[str, Any]) -> list[str]:
    """A warning where several settings were tried on the held-out patients."""
    times = _times_opened(record)
    if times < 2:
        return []
    return [
        f"The held-out patients were predicted {count(times, 'time')} with different settings; the result is no "
        "longer that of a single test."
    ]


def _times_opened(record: Mapping[str, Any]) -> int:
    """From the record of the stage ``classify``; 0 where nobody was held out."""
    return int(record.get("stages", {}).get("classify", {}).get("test_opened", 0))
