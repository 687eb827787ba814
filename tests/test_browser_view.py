"""The patient browser in a real browser: the command, clicked through, with hostile ids, and asked by strangers."""

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from extract.cache import Slab, write_slab
from extract.histograms import count
from triher.config import dump_config
from triher.explanation_tables import SHAP_GROUPS, GroupShare, write_rows
from triher.explanations import PatientMaps, write_maps
from triher.predictions import write_predictions
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import Features, Header, write_store
from triher.tables import write_table

ROOT = Path(__file__).parents[1]
HOSTILE = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>"
IDS = ("P-1", HOSTILE, "P-3", "P-4", "=P-5", "P-6")
TRUTH = (0, 1, 2, 0, 1, 2)
PREDICTED = (0, 2, 2, 0, 1, 0)
SLICES = 7
MOVED = {"zero": -0.25, "low": 0.0, "positive": 1.5}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Six patients: two errors, the surest one with a hostile id; slabs of all, maps of her, no slab of the last."""
    run = RunFolder(tmp_path_factory.mktemp("view") / "run <b>")
    run.prepare()
    table = run.path / "cohort.csv"
    pathology = (("0", ""), ("2+", "negative"), ("3+", ""))
    rows = [(name, "A", "<i>site</i>", *pathology[y], 50 + y) for name, y in zip(IDS, TRUTH, strict=True)]
    write_table(table, ["patient_id", "cohort", "site", "ihc", "ish", "age"], rows)
    files = {"phases": {"pre": "{patient_id}_0.nii"}, "mask": "{patient_id}_1.nii"}
    config = Config.model_validate({"cohort": {"table": table, "root": run.path, "covariates": ["age"], **files}})
    run.record_command("triher run", dump_config(config))
    write_images(run)
    write_table_of_predictions(run)
    return run.path


def write_images(run):
    rng = np.random.default_rng(0)
    digests = tuple(f"{n:064x}" for n in range(len(IDS)))
    shape = (SLICES, 24, 30)
    row, col = np.ogrid[:24, :30]
    mask = np.stack([(row - 12) ** 2 + (col - 15) ** 2 < (3 + 2 * (3 - abs(n - 3))) ** 2 for n in range(SLICES)])
    for n, digest in enumerate(digests[:-1]):
        voxels = (
            300 + 20 * rng.standard_normal((3, *shape)) + mask * np.array([0, 300, 240])[:, None, None, None]
        ).astype(np.int16)
        volumes = tuple(count(phase) for phase in voxels)
        slices = tuple(tuple(count(one) for one in phase) for phase in voxels)
        slab = Slab(
            ("pre", "early", "late"), voxels, mask, volumes, slices, 10 + n, (2.0, 0.8, 0.8), "axial", (60, 256, 256)
        )
        write_slab(run.slabs / f"{digest}.safetensors", slab)
    embeddings = rng.normal(size=(len(IDS), 8)).astype(np.float32)
    indptr, index = np.arange(len(IDS) + 1, dtype=np.int64), np.arange(len(IDS), dtype=np.int32)
    features = Features(IDS, digests, indptr, index, np.ones(len(IDS), np.float32), {"rgb": embeddings})
    header = Header({"name": "toy"}, {}, {}, np.ones((2, 8), np.float32))
    write_store(run.features / "toy.h5", header, [features], n_slices=len(IDS))
    run.record_stage("extract", "key", [], 1.0, store="toy.h5")
    heat = np.where(mask[2:5], 1.0, -0.2)[None].repeat(3, axis=0).astype(np.float32)
    shares = [GroupShare(HOSTILE, label, "age <u>", "covariate", 51.0, phi, 0.1) for label, phi in MOVED.items()]
    write_rows(run.explanations / SHAP_GROUPS, GroupShare, shares)
    maps = [PatientMaps(HOSTILE, heat, np.array([13, 14, 15], np.int32), np.zeros(3), in_training=True)]
    write_maps(run.explanations / "maps.h5", maps, classes=("zero", "low", "positive"), method="hirescam")


def write_table_of_predictions(run):
    p = np.full((len(IDS), 3), 0.1)
    p[np.arange(len(IDS)), PREDICTED] = 0.8
    p[1] = [0.0, 0.02, 0.98]
    frame = pd.DataFrame(p, columns=["p_zero", "p_low", "p_positive"]).assign(
        patient_id=IDS, cohort="A", site="<i>site</i>", split="test", repeat=0, fold=0, seed=0, y=TRUTH
    )
    extra = {"set": "positive", "outside": ["", "spacing <b>9</b> above; n_slices below", "", "", "", ""]}
    write_predictions(run.predictions_file, frame.assign(**extra), "triple")


@pytest.fixture(scope="module")
def address(run_folder):
    """The address that the command prints; at the end, Ctrl-C ends it without a word."""
    command = [sys.executable, "-c", "from triher.cli import main; main()", "view", str(run_folder), "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.send_signal(signal.SIGINT)
            _, complaints = server.communicate(timeout=20)
    assert (server.returncode, complaints) == (0, "")


@pytest.fixture(scope="module")
def opened(chromium, address):
    """The page, opened once, with all that it complains of and asks for."""
    context = chromium.new_context(viewport={"width": 1366, "height": 850})
    page, seen = context.new_page(), []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (seen.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: seen.append(f"request: {request.url}"))
    page.goto(address)
    page.wait_for_selector("body[data-shown]")
    yield page, seen
    context.close()


@pytest.fixture
def page(opened, address):
    """The page; nothing complains, nobody but the server is asked, and no address names a patient."""
    page, seen = opened
    yield page
    page.wait_for_load_state("networkidle")
    own = f"request: http://{urlsplit(address).netloc}/"
    assert [line for line in seen if not line.startswith((own, "request: data:,"))] == []
    assert not [line for line in seen if "script" in line or "P-3" in line]


def picture(page):
    """What the first canvas shows."""
    return page.locator("#stage canvas").first.evaluate("canvas => canvas.toDataURL()")


def test_it_opens_on_the_surest_error_whatever_her_name_is(page):
    assert page.inner_text("#who") == HOSTILE
    assert page.inner_text("#verdict").startswith("Wrong: truly low, predicted positive at 98 %")
    assert page.locator("[role=option]").count() == len(IDS)
    assert page.locator("[role=option] .id").first.inner_text() == HOSTILE
    assert page.inner_text("#run") == "run <b>"
    assert page.locator("#remarks details li").first.text_content() == "spacing <b>9</b> above"
    assert page.url.endswith("/#1")
    assert page.evaluate("document.cookie") == ""
    assert page.locator("img, script:not([src])").count() == 0


def test_the_curve_and_the_bars_tell_the_numbers_in_words(page):
    page.wait_for_selector("#table dd:text('2+')")
    moved = page.locator("#shap tbody tr").first.locator("th, td").all_inner_texts()
    assert [text.strip() for text in moved] == ["age <u> (51)", "\N{MINUS SIGN}0.25", "+0.00", "+1.50"]
    label = page.get_attribute("#curve svg", "aria-label")
    assert label.startswith("Mean and middle half: pre 0 % (0 to 0), early 100 % (")
    assert page.locator(".class-row:has(.truth)").inner_text().startswith("low")
    assert page.inner_text("#remarks li >> nth=0").startswith("Conformal set: positive")


def test_people_with_other_senses_can_use_it(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.wait_for_selector("#near button")
    found = axe.run(page).response["violations"]
    page.emulate_media(color_scheme="dark")
    found += axe.run(page, options={"runOnly": ["color-contrast"]}).response["violations"]
    page.emulate_media(color_scheme="light")
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []


def test_slices_phases_outline_and_map_change_the_picture(page):
    stage, shown = page.locator("#stage"), [picture(page)]
    assert page.inner_text("#slice-text") == "4 of 7, no. 15 of the exam, lesion 159 mm²"
    assert "trained on this patient, and says zero at 50 %" in page.inner_text("#map-text")
    stage.focus()
    for key in ("m", "o", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
        assert picture(page) not in shown
        shown.append(picture(page))
    assert page.inner_text("#slice-text").startswith("5 of 7")
    assert page.get_attribute("#phases button:nth-child(3)", "aria-pressed") == "true"
    page.wait_for_selector("#said:text('Slice 5 of 7, no. 16 of the exam')", state="attached")
    stage.hover()
    page.mouse.wheel(0, 80)
    page.wait_for_selector("#slice-text:text('7 of 7')")
    page.keyboard.press("Home")
    assert page.input_value("#slice") == "0"
    page.click("#all")
    assert page.locator("#stage canvas").count() == 3
    page.click("#all")
    before = page.locator("#stage canvas").bounding_box()["width"]
    page.click("#in")
    assert page.locator("#stage canvas").bounding_box()["width"] == pytest.approx(1.5 * before, rel=0.02)


def test_the_window_and_the_class_of_the_map_can_be_chosen(page):
    page.locator("#slice").fill("3")
    page.click("#heat")
    first = picture(page)
    page.check("#against")
    assert picture(page) != first
    page.select_option("#heat-class", "0")
    page.click("#light summary")
    page.locator("#width").fill("900")
    wide = picture(page)
    page.click("#light-reset")
    assert picture(page) != wide
    page.click("#light summary")


def test_a_neighbor_can_be_looked_at_and_left_again(page):
    name = page.inner_text("#near button >> nth=0 >> .id")
    page.locator("#near button").first.click()
    page.wait_for_selector(f"#who:text-is('{name}')")
    page.go_back()
    page.wait_for_selector("body[data-shown='1']")
    assert page.inner_text("#who") == HOSTILE


def test_the_list_is_filtered_ordered_and_walked_by_keys(page):
    page.select_option("#show", "wrong ones")
    assert page.inner_text("#count") == "2 of 6, 2 wrong"
    page.select_option("#show", "everybody")
    page.fill("#find", "p-3")
    assert page.locator("[role=option]").count() == 1
    page.fill("#find", "")
    page.select_option("#order", "order of the table")
    page.locator("#list").focus()
    page.keyboard.press("End")
    page.wait_for_selector("#who:text-is('P-6')")
    page.wait_for_selector("#no-images:not([hidden])")
    assert "slab is not in the cache" in page.inner_text("#no-images")
    page.keyboard.press("ArrowUp")
    page.wait_for_selector("#who:text-is('=P-5')")
    page.wait_for_selector("body[data-shown='4']")
    assert page.get_attribute("#list", "aria-activedescendant") == "case-4"


def test_no_image_stands_under_the_name_of_another_patient(page):
    page.locator("#stage canvas").first.wait_for()
    page.route("**/cases/*/pictures", lambda route: None)
    page.locator(".case", has_text="P-4").click()
    page.wait_for_function("document.getElementById('who').textContent === 'P-4'")
    assert page.locator("#stage canvas").count() == 0
    assert page.locator("#curve-part").is_hidden()
    page.unroute("**/cases/*/pictures")
    page.locator(".case", has_text="P-3").click()
    page.wait_for_selector("body[data-shown='2']")
    assert page.locator("#stage canvas").count() == 1


def test_a_phone_shows_everything_in_one_column(page):
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not page.is_visible("#list")
    page.click("#fold")
    page.locator("[role=option]").nth(2).click()
    page.wait_for_selector("body[data-shown='2']")
    assert not page.is_visible("#list")
    assert page.locator("#stage canvas").bounding_box()["width"] > 250


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/?{token}", {}, 200),
        ("/cases", {"Cookie": "{cookie}"}, 200),
        ("/cases/0/pictures", {"Cookie": "{cookie}"}, 200),
        ("/cases/99", {"Cookie": "{cookie}"}, 404),
        ("/cases/-1", {"Cookie": "{cookie}"}, 404),
        (f"/cases/{'9' * 5000}", {"Cookie": "{cookie}"}, 404),
        ("/static/..%2fapp.py", {"Cookie": "{cookie}"}, 404),
        ("/docs", {"Cookie": "{cookie}"}, 404),
        ("/openapi.json", {"Cookie": "{cookie}"}, 404),
        ("/?{token}", {"Host": "evil.example"}, 421),
        ("/cases", {"Cookie": "{cookie}", "Origin": "https://evil.example"}, 403),
        ("/cases", {}, 403),
        ("/static/view.js", {}, 403),
        ("/?token=guess", {}, 403),
    ],
)
def test_strangers_are_refused(address, path, headers, status):
    place = urlsplit(address)
    cookie = f"triher_view_{place.port}={place.query.removeprefix('token=')}"
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=20)
    asked = {name: text.format(cookie=cookie) for name, text in headers.items()}
    connection.request("GET", path.format(token=place.query), headers=asked)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == status
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    if status in {403, 421}:
        assert b"P-1" not in body
        assert "Set-Cookie" not in answer.headers
    if path.startswith("/?") and status == 200:
        assert "HttpOnly; SameSite=Strict" in answer.headers["Set-Cookie"]
