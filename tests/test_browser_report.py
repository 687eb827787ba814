"""The report in a real browser: wide and narrow, light and dark, printed, without scripts, with hostile names."""

import csv
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from analysis.figures.canvas import draw
from analysis.figures.overlay import png
from analysis.page import Card, Facts, Folded, Gallery, Heading, Page, Paragraph, Picture, Pictures, Section, Table
from analysis.rendering import render
from analysis.stage import analyze
from triher.errors import Note, Skipped
from triher.predictions import probability_columns, write_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import AnalysisConfig, CohortConfig, Config

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOOKS = [(size, scheme) for size in (WIDE, PHONE) for scheme in ("light", "dark")]
CELLS = ("0.86 (0.76 to 0.94)", "not estimable", "-0.10", "< 0.001", "0.001", "12 (30%)", "-", "1.2e-05")
HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "=cmd|'/C calc'!A0", "{{7*7}}",
    "</title><svg onload=alert(1)>", "'-alert(1)-'", "</script><script>alert(1)</script>", "javascript:alert(1)",
)  # fmt: skip


def curves():
    """Two curves with names on an axes from 0 to 10."""

    def paint(figure):
        axes = figure.add_subplot()
        axes.plot([0, 10], [0, 1], label="rising")
        axes.step([0, 5, 10], [1, 0.5, 0.25], where="post", label="falling")
        axes.set(xlim=(0, 10), ylim=(0, 1), xlabel="Months", ylabel="Survival")

    return draw("curves", "Two curves", "One rises, one falls.", (4.0, 3.0), paint)


def a_page():
    """A page with every kind of block."""
    numbers = Table("Numbers", ["", "Value"], [[f"row {i}", cell] for i, cell in enumerate(CELLS)])
    header = ["Patient", *(f"Measure {i}" for i in range(9))]
    rows = [[f"P{i:02d}", *(f"{i}.{j} (0.1 to 0.2)" for j in range(9))] for i in range(14)]
    long = Table("Patients", header, rows)
    words = Table("In words", ["What", "Why"], [["a", "b"]], folded="The words", text_cells=True)
    picture = Picture(png(np.arange(256, dtype=np.uint8).reshape(16, 16)), "A gray ramp", "A ramp")
    blocks = [
        Paragraph("Text."), Paragraph("A remark.", "note"), Heading("Numbers"), numbers, long, words,
        Gallery("Curves", [curves()]), Pictures("Slices", [picture] * 3), Facts("Facts", [("name", "value")]),
        Folded("Folded", [Table("Inside", ["a", "b"], [["deep", "inside"]])]),
    ]  # fmt: skip
    card = Card("AUC", "0.86", "95 % interval 0.76 to 0.94", "n = 40", (76.0, 18.0, 86.0))
    sections = [Section("first", "First", blocks, "One"), Section("second", "Second", [Paragraph("End.")], "Two")]
    return Page("A report", "Of few", ("In short.", "And more."), [card], sections, "no", "Made by hand.")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Address of a report with every kind of block."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(a_page()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def open_report(chromium, report, watched):
    """Open the report; nothing may be asked for but itself, and nothing complained of."""
    opened = []

    def open_it(size=WIDE, address=report, **options):
        context = chromium.new_context(viewport=size, **options)
        page = context.new_page()
        seen = watched(page)
        page.goto(address)
        opened.append((context, seen, address))
        return page

    yield open_it
    for context, seen, address in opened:
        context.close()
        assert {one for one in seen if not one.startswith("request: data:")} == {f"request: {address}"}


def column(page, table, cell):
    """Texts of the visible cells of a column, counted from 1."""
    cells = page.locator(f"table:has(caption span:text-is('{table}')) tbody tr:not([hidden]) > :nth-child({cell})")
    return [text.replace("\xa0", " ") for text in cells.all_inner_texts()]


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_nothing_sticks_out_and_nobody_is_shut_out(open_report, size, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = open_report(size, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    if (size is WIDE) == (scheme == "light"):
        return  # one look at each width and at each theme is enough, for each takes a second
    violations = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in {"serious", "critical"}] == []
    levels = [int(h[1]) for h in page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => h.tagName)")]
    assert all(deeper <= level + 1 for level, deeper in pairwise(levels))


def test_figures_follow_the_theme_and_the_choice_beats_the_system(open_report):
    page = open_report(color_scheme="dark")
    ink = "getComputedStyle(document.querySelector('figure svg text')).fill"
    paper = "getComputedStyle(document.querySelector('figure')).backgroundColor"
    assert light(page.evaluate(ink)) > 0.7 > 0.3 > light(page.evaluate(paper))
    page.get_by_label("Light or dark").select_option("light")
    assert light(page.evaluate(ink)) < 0.3 < 0.7 < light(page.evaluate(paper))
    page.reload()
    assert light(page.evaluate(ink)) < 0.3
    page.get_by_label("Light or dark").select_option("auto")
    assert light(page.evaluate(ink)) > 0.7
    page.emulate_media(media="print", color_scheme="dark")
    assert light(page.evaluate(ink)) < 0.3
    page.goto("about:blank")


def light(color):
    """Mean of the channels of ``rgb(r, g, b)``, 0 to 1."""
    return float(np.mean([float(part) for part in color.strip("rgba()").split(",")[:3]])) / 255


def test_numbers_are_sorted_as_numbers_and_the_unknown_come_last(open_report):
    page = open_report()
    button = page.get_by_role("button", name="Value")
    head = page.locator("th:has(button:text-is('Value'))")
    button.focus()
    page.keyboard.press("Enter")
    rising = ["-0.10", "1.2e-05", "< 0.001", "0.001", "0.86 (0.76 to 0.94)", "12 (30%)"]
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, "Numbers", 2) == [*rising, "not estimable", "-"]
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, "Numbers", 2) == [*rising[::-1], "not estimable", "-"]
    button.click()
    assert head.get_attribute("aria-sort") is None
    assert column(page, "Numbers", 1) == [f"row {i}" for i in range(len(CELLS))]


def test_long_tables_are_filtered_with_a_count(open_report):
    page = open_report()
    field = page.get_by_label("Filter the rows of: Patients")
    field.fill("p1 (0.1")
    assert page.locator("output").all_inner_texts() == ["4 of 14 rows"]
    assert column(page, "Patients", 1) == [f"P{i}" for i in range(10, 14)]
    field.fill("")
    assert page.locator("output").inner_text() == "14 rows"


def test_curves_are_read_off_with_pointer_and_keys(open_report):
    page = open_report()
    svg = page.locator("figure svg[data-axes]")
    left, right, top, bottom = svg.evaluate("svg => JSON.parse(svg.dataset.axes)[0].box")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    scale = box["width"] / svg.evaluate("svg => svg.viewBox.baseVal.width")
    page.mouse.move(box["x"] + scale * (left + 0.3 * (right - left)), box["y"] + scale * (top + bottom) / 2)
    reading = page.locator(".reading")
    assert reading.inner_text().split("\n") == ["Months 3.0", "rising: 0.30", "falling: 1.00"]
    page.mouse.move(0, 0)
    assert not reading.is_visible()
    svg.focus()
    page.keyboard.press("ArrowRight")
    assert reading.inner_text().split("\n") == ["Months 5.0", "rising: 0.50", "falling: 0.50 to 1.00"]
    page.keyboard.press("ArrowRight")
    assert reading.inner_text().split("\n") == ["Months 5.2", "rising: 0.52", "falling: 0.50"]
    page.keyboard.press("Escape")
    assert not reading.is_visible()


def test_one_gets_about(open_report):
    from playwright.sync_api import expect

    page = open_report(permissions=["clipboard-read", "clipboard-write"])
    folds = page.locator("details")
    page.get_by_role("button", name="Open all").click()
    assert folds.evaluate_all("all => all.every(fold => fold.open)")
    page.get_by_role("button", name="Close all").click()
    assert not folds.evaluate_all("all => all.some(fold => fold.open)")
    jump = page.get_by_label("Jump to a section")
    jump.select_option("Second")
    expect(jump).to_have_value("second")
    assert page.url.endswith("#second")
    page.get_by_label("Link to the section: First").click()
    expect(page.locator(".said")).to_have_text("Link copied")
    assert page.evaluate("navigator.clipboard.readText()").endswith("report.html#first")


def test_without_scripts_everything_is_there(open_report):
    page = open_report(java_script_enabled=False)
    assert page.locator("button, input, select").count() == 0
    assert page.locator("section").count() == 2
    assert len(column(page, "Patients", 1)) == 14
    page.locator("summary", has_text="Folded").click()
    assert page.get_by_text("deep").is_visible()
    assert page.locator("figure svg").get_attribute("aria-label") == "Two curves. One rises, one falls."


@pytest.mark.parametrize("scripts", [True, False])
def test_what_is_folded_is_printed_and_no_table_is_cut(open_report, scripts):
    page = open_report({"width": 688, "height": 1000}, java_script_enabled=scripts, color_scheme="dark")
    deep = page.get_by_text("deep")
    assert not deep.is_visible()
    page.emulate_media(media="print")
    assert deep.bounding_box()["height"] > 5
    assert page.get_by_text("In words").bounding_box()["height"] > 5
    widths = "all => all.map(table => [table.scrollWidth, table.closest('.board').clientWidth])"
    assert all(table <= board for table, board in page.locator("table").evaluate_all(widths))
    printed = page.pdf(prefer_css_page_size=True)
    assert 2 <= printed.count(b"/Type /Page\n") <= 6
    if scripts:
        assert not page.locator(".tools").is_visible()


def hostile_run(place):
    """A run folder and its configuration, in which whatever a hospital names is hostile."""
    rng = np.random.default_rng(0)
    n = 48
    y = np.arange(n) % 3
    frame = pd.DataFrame({"patient_id": [f"{HOSTILE[i % len(HOSTILE)]}{i}" for i in range(n)]})
    frame["cohort"] = np.where(np.arange(n) % 2, HOSTILE[0], HOSTILE[1])
    frame["site"] = [HOSTILE[i // 3 % 4] for i in range(n)]
    frame = frame.assign(split="test", repeat=0, fold=0, seed=0, y=y.astype(float))
    logits = 1.5 * np.eye(3)[y] + rng.normal(size=(n, 3))
    frame[probability_columns("triple")] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    run = RunFolder(place / "run")
    run.prepare()
    write_predictions(run.predictions_file, frame, "triple")
    table = frame[["patient_id", "cohort", "site"]].assign(pre="a", early="b", late="c", mask="m", ihc="0")
    covariate, group = f"age{HOSTILE[1]}", f"grade{HOSTILE[0]}"
    table[covariate] = rng.normal(55, 9, n).round()
    table[group] = np.where(rng.random(n) < 0.5, HOSTILE[1], HOSTILE[3])
    table.to_csv(place / "cohort.csv", index=False)
    run.write_skipped("extract", [Skipped(h, h, "extract", "mask_empty", h, h) for h in HOSTILE])
    run.write_notes(
        "extract", [Note(frame["patient_id"][i], "phase_order_suspect", h) for i, h in enumerate(HOSTILE)]
    )
    cohort = CohortConfig(table=place / "cohort.csv", covariates=(covariate,), groups=(group,))
    return Config(cohort=cohort, analysis=AnalysisConfig(resamples=100, covariates=(covariate,))), run


class Names(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.fault("C25", "C26", "G23")
def test_hostile_names_stay_text_everywhere(tmp_path, open_report):
    config, run = hostile_run(tmp_path)
    assert analyze(config, run, Reporter(quiet=True))
    names = Names()
    names.feed(run.report_file.read_text(encoding="utf-8"))
    assert names.tags.count("script") == 1
    assert not {"iframe", "object", "embed", "link", "base", "form", "img"} & set(names.tags)
    assert not [name for name, _ in names.attributes if name.startswith("on")]
    addresses = [value for name, value in names.attributes if name in {"href", "src", "xlink:href", "action"}]
    assert all(value.startswith("#") for value in addresses)
    text = "".join(names.text)
    assert all(hostile in text for hostile in HOSTILE)
    for path in (run.path / "figures").glob("*.svg"):
        root = ET.parse(path).getroot()  # noqa: S314 - our own output
        assert not [e.tag for e in root.iter() if e.tag.rpartition("}")[2] in {"script", "img", "foreignObject"}]
        assert not [name for e in root.iter() for name in e.attrib if name.startswith("on")]
    for path in [*run.path.glob("*.csv"), *(run.path / "tables").glob("*.csv")]:
        with path.open(encoding="utf-8", newline="") as handle:
            cells = [cell for row in csv.reader(handle) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+", "\t"))], path.name
    page = open_report(PHONE, address=run.report_file.as_uri())
    page.get_by_role("button", name="Open all").click()
    for button in page.locator("button.sort").all():
        button.evaluate("button => button.click()")
    for field in page.locator(".filter input").all():
        field.fill("<img src=x onerror=alert(1)>")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
