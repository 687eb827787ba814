"""The report in a real browser: wide and narrow, light and dark, printed, without scripts, with hostile names."""

import pytest

from analysis.page import Page, Paragraph, Section, render


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(Page("t", "l", ("one",), (), (Section("x", "X", [Paragraph("p")]),), "no", "f")))
    return path


def test_the_page_asks_for_nothing_but_itself(chromium, watched, report):
    page = chromium.new_page()
    seen = watched(page)
    page.goto(report.as_uri())
    assert seen == [f"request: {report.as_uri()}"]
    page.close()
