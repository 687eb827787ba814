"""The report's section on limits: those of this run, and those of every report."""

from analysis.limits.facts import Facts
from analysis.limits.ranked import limits
from analysis.page import Block, Heading, Paragraph, Section
from analysis.wording import count

_ALWAYS = (
    "Research use only. This is no medical device; no patient's treatment may depend on it. Immunohistochemistry and "
    "in-situ hybridization remain the way to determine HER2.",
    "The numbers hold for patients like these, imaged like these. Other scanners, protocols, sites or class shares "
    "can change both ranking and calibration.",
    "P values are corrected for their number, intervals are not; name one comparison beforehand, under "
    "analysis.primary.",
)


def limits_section(facts: Facts) -> Section:
    """What may not be concluded."""
    found = limits(facts)
    blocks: list[Block] = [Heading("Of this run, the weightiest first")]
    if not found:
        blocks.append(Paragraph("None of the limits that this program looks for was found; others there are."))
    blocks += [Paragraph(f"{k}. {limit.title}. {limit.text}") for k, limit in enumerate(found, start=1)]
    if found:
        blocks[1:1] = [Paragraph(f"{count(len(found), 'limit')}, each with the number that it rests on.")]
    blocks += [Heading("Of every report by this program"), *map(Paragraph, _ALWAYS)]
    return Section("limits", "What may not be concluded", blocks)
