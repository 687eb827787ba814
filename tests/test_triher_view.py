"""What the patient browser knows of a run, and whom its server refuses."""

import asyncio
import json
import socket
import time
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from starlette.datastructures import Headers

from extract.cache import Slab, write_slab
from extract.histograms import count
from triher.cohort import Patient
from triher.config import dump_config
from triher.errors import StopRun
from triher.explanation_checks import NAME as CHECKS
from triher.explanation_checks import Check, write_checks
from triher.explanation_tables import SHAP_GROUPS, GroupShare, write_rows
from triher.explanations import PatientMaps, write_maps
from triher.predictions import one_row_a_patient, read_predictions, write_predictions
from triher.reading import Reading
from triher.view.answers import about, listing, pictures, thumbnail, times_s_of
from triher.view.app import make_app
from triher.view.cases import Case, read_cases
from triher.view.guard import Session, refusal
from triher.view.images import grays, read_images, uptake_of
from triher.view.neighbors import directions, nearest
from triher.view.server import listen, serve
from triher.view.viewed import open_run
from triher.window import window_of


def unpacked(data):
    """Facts and arrays of a packet."""
    start = 4 + int.from_bytes(data[:4], "little")
    facts = json.loads(data[4:start])
    arrays = {
        name: np.frombuffer(data, place["type"].lower(), int(np.prod(place["shape"])), start + place["at"]).reshape(
            place["shape"]
        )
        for name, place in facts["arrays"].items()
    }
    return facts, arrays


def make_slab(*, seed=0, shape=(5, 16, 12), gains=(0, 100, 80), first_slice=3):
    rng = np.random.default_rng(seed)
    voxels = np.stack([rng.normal(100, 5, shape) for _ in gains]).astype(np.int16)
    mask = np.zeros(shape, bool)
    mask[1:4, 4:12, 3:9] = True
    for phase, gain in zip(voxels, gains, strict=True):
        phase[mask] += gain
    volume = tuple(count(phase) for phase in voxels)
    slices = tuple(tuple(count(one) for one in phase) for phase in voxels)
    spacing = (2.5, 0.8, 0.9)
    return Slab(("pre", "early", "late"), voxels, mask, volume, slices, first_slice, spacing, "axial", (40, 256, 256))


@pytest.fixture
def images(tmp_path):
    write_slab(tmp_path / "slab.safetensors", make_slab())
    return read_images(tmp_path / "slab.safetensors")


@pytest.fixture
def viewed(make_study):
    """A run of 12 patients with predictions and a store; the first one alone has a slab and maps."""
    study = make_study(n=12)
    config, run, ids = study.config, study.run, study.ids
    store = run.features / "toy.h5"
    store.parent.mkdir()
    store.write_bytes(study.store.read_bytes())
    slab = make_slab()
    write_slab(run.slabs / f"{study.features.input_sha256[0]}.safetensors", slab)
    run.record_command("triher run", dump_config(config))
    run.record_stage("extract", "key", [], 1.0, store=store.name)
    p = np.full((12, 3), 0.1)
    p[np.arange(12), (study.y + (np.arange(12) < 3)) % 3] = 0.8
    frame = pd.DataFrame(p, columns=["p_zero", "p_low", "p_positive"]).assign(
        patient_id=ids, cohort="A", site="S", split="oof", repeat=0, fold=0, seed=0, y=study.y, set="zero|low"
    )
    write_predictions(run.predictions_file, frame, "triple")
    rng = np.random.default_rng(1)
    chosen = rng.normal(size=(3, 2, 16, 12)).astype(np.float32)
    maps = [PatientMaps(ids[0], chosen, np.array([5, 6], np.int32), np.zeros(3), in_training=False)]
    write_maps(run.explanations / "maps.h5", maps, classes=("zero", "low", "positive"), method="hirescam")
    return open_run(run.path)


# What is shown


def test_wrongness_orders_from_the_surest_error_to_the_surest_right_one():
    def case(*p, truth):
        return Case("P", "", "", "oof", truth, p, None, "", 1)

    assert case(0.1, 0.9, 0.0, truth=0).wrongness == pytest.approx(0.8)
    assert case(0.45, 0.5, 0.05, truth=0).wrongness == pytest.approx(0.05)
    assert case(0.5, 0.45, 0.05, truth=0).wrongness == pytest.approx(-0.05)
    assert case(1.0, 0.0, 0.0, truth=0).wrongness == -1
    assert case(1.0, 0.0, 0.0, truth=-1).wrongness is None


def test_repeats_are_averaged_and_counted(tmp_path):
    rows = {"patient_id": ["A", "A"], "cohort": "c", "site": "s", "split": "oof", "repeat": [0, 1], "fold": 0}
    frame = pd.DataFrame(rows | {"seed": 0, "y": np.nan, "p_negative": [0.2, 0.4], "p_positive": [0.8, 0.6]})
    write_predictions(tmp_path / "p.csv", frame, "binary")
    (case,) = read_cases(tmp_path / "p.csv", "binary")
    assert case.probabilities == pytest.approx((0.3, 0.7))
    assert (case.n_repeats, case.truth, case.conformal_set, case.outside) == (2, -1, None, "")


def test_cases_are_the_rows_of_the_prediction_table(tmp_path):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 40)
    frame = pd.DataFrame(p, columns=["p_zero", "p_low", "p_positive"]).assign(
        patient_id=[f"={i % 20}" for i in range(40)], cohort="c", site="s", split="oof", repeat=np.arange(40) // 20
    )
    frame = frame.assign(fold=0, seed=0, y=[float(i % 20 % 4) if i % 20 % 4 < 3 else np.nan for i in range(40)])
    write_predictions(tmp_path / "p.csv", frame, "triple")
    wanted = one_row_a_patient(read_predictions(tmp_path / "p.csv", "triple"), "triple")
    found = read_cases(tmp_path / "p.csv", "triple")
    assert [case.patient_id for case in found] == wanted["patient_id"].tolist()
    assert [case.truth for case in found] == wanted["y"].fillna(-1).tolist()
    p = wanted[["p_zero", "p_low", "p_positive"]].to_numpy()
    assert np.array([case.probabilities for case in found]) == pytest.approx(p)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("P,c,s,oof,0,0.5,0.6", "number_format"),
        ("P,c,s,oof,0,1.5,-0.5", "number_format"),
        ("P,c,s,oof,2,0.5,0.5", "number_format"),
        ("P,c,s,oof,0,nan,0.5", "number_format"),
        ("P,c,s,oof,0,a,0.5", "number_format"),
        ("P,c,s,oof,0,0.5", "csv_row"),
    ],
)
def test_a_broken_prediction_table_stops(tmp_path, row, code):
    table = tmp_path / "p.csv"
    table.write_text(f"patient_id,cohort,site,split,y,p_negative,p_positive\nP,c,s,oof,,0.5,0.5\n{row}\n")
    with pytest.raises(StopRun, match="line 3") as stop:
        read_cases(table, "binary")
    assert stop.value.code == code
    table.write_text("patient_id,cohort\nP,c\n")
    with pytest.raises(StopRun, match="no column 'site'"):
        read_cases(table, "binary")


def test_images_come_from_the_cache_as_they_are(images):
    slab = make_slab()
    assert (images.voxels == slab.voxels).all()
    assert (images.mask == slab.mask).all()
    assert (images.first_slice, images.spacing_mm, images.plane) == (3, (2.5, 0.8, 0.9), "axial")


def test_the_window_is_that_of_the_report(images):
    shown = grays(images.voxels)
    low, high = shown.range
    back = [low + value / 65535 * (high - low) for value in shown.window]
    assert back == pytest.approx(window_of(images.voxels), rel=1e-5)
    assert shown.values.min() == 0
    assert shown.values.max() == 65535
    restored = low + shown.values / 65535 * (high - low)
    assert np.abs(restored - images.voxels).max() <= (high - low) / 65535


def test_voxels_that_are_all_the_same_are_black():
    assert (grays(np.full((2, 3, 4, 5), 7, np.int16)).values == 0).all()


def test_uptake_is_the_relative_enhancement_of_the_mean(images):
    lesion = images.voxels[:, images.mask].mean(axis=1)
    uptake = uptake_of(images)
    assert uptake.mean == pytest.approx(100 * (lesion - lesion[0]) / lesion[0])
    assert uptake.mean[0] == uptake.lower[0] == uptake.upper[0] == 0
    assert (uptake.lower[1:] < uptake.mean[1:]).all()


def test_neighbors_are_those_of_scipy():
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    standard = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    vectors[:, 5] = 3
    distances = cdist(standard[[7], :5], standard[:, :5], "cosine")[0]
    found = nearest(directions(vectors), 7, range(40))
    assert [row for row, _ in found] == np.argsort(distances)[1:9].tolist()
    assert [1 - cosine for _, cosine in found] == pytest.approx(np.sort(distances)[1:9], abs=1e-5)


def test_a_gap_in_a_feature_is_no_obstacle():
    vectors = np.array([[0, 1], [np.nan, 1.1], [5, 9]], np.float32)
    assert np.isfinite(directions(vectors)).all()


def test_times_come_from_the_cohort_table():
    rules = {"pre": "pre", "early": "nearest 90 s", "late": "last"}
    reading = Reading(rules=rules, starts_s=(0.0, 110.0, 200.0, 400.0))
    patient = Patient("P", "c", "s", "", {}, None, reading)
    assert times_s_of(patient) == [-110.0, 90.0, 290.0]
    assert times_s_of(Patient("P", "c", "s", "", {}, None)) is None


def test_the_list_says_who_has_what(viewed):
    found = listing(viewed)
    assert [c["images"] for c in found["cases"]] == [True] + [False] * 11
    assert [c["maps"] for c in found["cases"]] == [True] + [False] * 11
    assert sum(c["predicted"] != c["truth"] for c in found["cases"]) == 3
    assert found["cases"][0]["set"] == ("zero", "low")
    json.dumps(found, allow_nan=False)


def test_explanations_of_earlier_predictions_are_not_shown(viewed):
    run, who = viewed.run, viewed.cases[0].patient_id
    run.record_stage("explain", "key", [], 1.0, predictions="0" * 64)
    later = open_run(run.path)
    assert later.maps_index is later.maps(who) is None
    assert later.shares == {}


def test_pictures_hold_what_the_slab_and_the_maps_hold(viewed):
    facts, arrays = unpacked(pictures(viewed, viewed.cases[0]))
    slab, maps = make_slab(), viewed.maps(viewed.cases[0].patient_id)
    low, high = facts["range"]
    assert np.rint(low + arrays["voxels"] / 65535 * (high - low)).astype(int).tolist() == slab.voxels.tolist()
    assert (arrays["mask"] == slab.mask).all()
    assert facts["maps"]["slices"] == [2, 3]
    assert arrays["maps"] * facts["maps"]["strongest"] / 127 == pytest.approx(
        maps.maps, abs=facts["maps"]["strongest"] / 254 * 1.01
    )
    assert facts["area_mm2"] == pytest.approx([0, 34.6, 34.6, 34.6, 0], abs=0.05)
    small, gray = unpacked(thumbnail(viewed, viewed.cases[0]))
    assert gray["voxels"].shape == (16, 12)
    assert small["window"][0] < small["window"][1]


def test_a_patient_without_slab_says_what_to_do(viewed):
    assert "triher extract" in pictures(viewed, viewed.cases[1])


def test_a_damaged_slab_is_told_and_not_shown(viewed):
    path = viewed.slabs[viewed.cases[0].patient_id]
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    assert "cannot be read: its content differs" in pictures(viewed, viewed.cases[0])


def test_neighbors_carry_their_pathology(viewed):
    found = about(viewed, viewed.cases[0])
    assert len(found["neighbors"]) == 8
    assert 0 not in [one["case"] for one in found["neighbors"]]
    assert {one["her2"] for one in found["neighbors"]} <= {"IHC 0", "IHC 2+, ISH negative", "IHC 3+"}
    assert ("IHC", "0") in found["facts"]


def test_what_moved_the_prediction_comes_largest_first(viewed):
    name = viewed.cases[0].patient_id
    rows = [GroupShare(name, label, "rgb", "view", np.nan, 0.1, -0.5) for label in viewed.classes]
    rows += [GroupShare(name, label, "age", "covariate", 61.5, -0.7, -0.5) for label in viewed.classes]
    write_rows(viewed.run.explanations / SHAP_GROUPS, GroupShare, rows)
    found = about(viewed, viewed.cases[0])["shap"]
    assert [group["name"] for group in found["groups"]] == ["age (61.5)", "rgb"]
    assert found["groups"][0]["values"] == [-0.7, -0.7, -0.7]
    assert found["base"] == [-0.5, -0.5, -0.5]
    assert about(viewed, viewed.cases[1])["shap"] is None


def test_looking_writes_nothing(viewed):
    before = {path: path.stat().st_mtime_ns for path in viewed.run.path.rglob("*")}
    listing(viewed)
    about(viewed, viewed.cases[0])
    pictures(viewed, viewed.cases[0])
    assert {path: path.stat().st_mtime_ns for path in viewed.run.path.rglob("*")} == before


def test_a_run_without_store_or_table_is_shown_all_the_same(viewed):
    viewed.config.cohort.table.unlink()
    (viewed.run.features / "toy.h5").unlink()
    bare = open_run(viewed.run.path)
    found = about(bare, bare.cases[0])
    assert found["facts"] == []
    assert str(viewed.config.cohort.table) in found["why_no_facts"]
    assert found["why_no_neighbors"] == "this run holds no feature store"
    assert "no feature store" in pictures(bare, bare.cases[0])


def test_a_table_of_features_has_neighbors_and_no_images(make_study, tmp_path):
    table = tmp_path / "features.csv"
    study = make_study(n=6, features=table)
    table.write_text("patient_id,a,b\n" + "".join(f"{name},{i},{i % 2}\n" for i, name in enumerate(study.ids)))
    study.run.record_command("triher run", dump_config(study.config))
    p = pd.DataFrame({"p_zero": 0.2, "p_low": 0.3, "p_positive": 0.5, "patient_id": study.ids})
    rest = {"cohort": "A", "site": "S", "split": "new", "repeat": 0, "fold": 0, "seed": 0, "y": np.nan}
    write_predictions(study.run.predictions_file, p.assign(**rest), "triple")
    viewed = open_run(study.run.path)
    assert len(about(viewed, viewed.cases[0])["neighbors"]) == 5
    assert "features.csv" in pictures(viewed, viewed.cases[0])


@pytest.mark.parametrize("left", ["nothing", "record"])
def test_what_is_no_run_says_so(tmp_path, left):
    if left == "record":
        (tmp_path / "run.json").write_text('{"stages": {}}')
    with pytest.raises(StopRun, match=r"run folder.*name a run folder in which") as stop:
        open_run(tmp_path)
    assert stop.value.code == "view_run"


# Who is refused

SESSION = Session(8123, "secret")
ALLOWED = {"host": "127.0.0.1:8123", "cookie": "a=b; triher_view_8123=secret"}


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "status"),
    [
        ("GET", "/cases", "", ALLOWED, None),
        ("HEAD", "/", "", ALLOWED, None),
        ("GET", "/cases", "", ALLOWED | {"host": "localhost:8123"}, None),
        ("GET", "/cases", "", ALLOWED | {"host": "[::1]:8123"}, None),
        ("GET", "/cases", "", ALLOWED | {"origin": "http://127.0.0.1:8123", "sec-fetch-site": "same-origin"}, None),
        ("GET", "/", "token=secret", {"host": "127.0.0.1:8123"}, None),
        ("GET", "/", "token=secret", {"host": "127.0.0.1:8123", "sec-fetch-site": "cross-site"}, None),
        ("GET", "/cases", "", ALLOWED | {"host": "evil.example:8123"}, 421),
        ("GET", "/", "token=secret", {"host": "evil.example:8123"}, 421),
        ("GET", "/cases", "", ALLOWED | {"host": "127.0.0.1"}, 421),
        ("GET", "/cases", "", {"cookie": ALLOWED["cookie"]}, 421),
        ("GET", "/cases", "", ALLOWED | {"origin": "http://evil.example"}, 403),
        ("GET", "/cases", "", ALLOWED | {"origin": "null"}, 403),
        ("GET", "/cases", "", ALLOWED | {"origin": "http://127.0.0.1:9999"}, 403),
        ("GET", "/cases", "", ALLOWED | {"sec-fetch-site": "cross-site"}, 403),
        ("GET", "/cases", "", ALLOWED | {"sec-fetch-site": "same-site"}, 403),
        ("GET", "/cases", "", {"host": "127.0.0.1:8123"}, 403),
        ("GET", "/cases", "token=secret", {"host": "127.0.0.1:8123"}, 403),
        ("GET", "/", "token=guess", {"host": "127.0.0.1:8123"}, 403),
        ("GET", "/", "token=", {"host": "127.0.0.1:8123"}, 403),
        ("GET", "/cases", "", ALLOWED | {"cookie": "triher_view_8123=guess"}, 403),
        ("GET", "/cases", "", ALLOWED | {"cookie": "triher_view_9999=secret"}, 403),
        ("GET", "/cases", "", ALLOWED | {"cookie": "triher_view_8123=\xfc"}, 403),
        ("POST", "/cases", "", ALLOWED, 405),
        ("DELETE", "/", "token=secret", ALLOWED, 405),
    ],
)
def test_only_the_own_page_of_the_session_is_answered(method, path, query, headers, status):
    found = refusal(SESSION, method, path, query, Headers(headers))
    assert (found and found[0]) == status


def test_the_address_on_a_browsers_command_line_opens_the_page_a_single_time(viewed, monkeypatch):
    session, opened = Session(8123, "secret"), []
    one, other = socket.socketpair()
    monkeypatch.setattr("triher.view.server.listen", lambda _: one)
    monkeypatch.setattr("triher.view.server.new_session", lambda _: session)
    monkeypatch.setattr("triher.view.server.make_server", lambda *_: SimpleNamespace(run=lambda sockets: None))
    monkeypatch.setattr("triher.view.server.webbrowser.open", opened.append)
    said = []
    with other:
        serve(viewed, 0, open_browser=True, say=said.append)
    deadline = time.monotonic() + 5
    while not opened and time.monotonic() < deadline:
        time.sleep(0.01)
    assert said == ["http://127.0.0.1:8123/?token=secret"]
    query, host = urlsplit(opened[0]).query, Headers({"host": "127.0.0.1:8123"})
    assert "secret" not in query
    assert refusal(session, "GET", "/cases", query, host)[0] == 403
    assert refusal(session, "GET", "/", query, Headers({"host": "evil.example:8123"}))[0] == 421
    assert refusal(session, "GET", "/", query, host) is None
    assert refusal(session, "GET", "/", query, host)[0] == 403
    assert refusal(session, "GET", "/", "token=secret", host) is None


def asked(app, path, method="GET", query="", **headers):
    """Status, headers and body of the page's program, asked as a server asks it, without a socket."""
    found = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        found.append(message)

    own = {"host": "127.0.0.1:8123", "cookie": "triher_view_8123=secret"} | headers
    scope = {
        "type": "http", "method": method, "path": unquote(path), "raw_path": path.encode(), "root_path": "",
        "query_string": query.encode(), "headers": [(k.encode(), v.encode()) for k, v in own.items()],
        "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 8123), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in found[1:])
    return found[0]["status"], Headers(raw=found[0]["headers"]), body


OUTSIDE = (
    "/static/../viewed.py",
    "/static/..%2fviewed.py",
    "/static/%2e%2e/viewed.py",
    "/static/%252e%252e%252fviewed.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/view.js%00.html",
    "/static/..%5cviewed.py",
    "/../run.json",
    "/run.json",
    "/cases/../run.json",
    "/cases/-1",
    "/cases/999",
    "/cases/%D9%A1",
    "/cases/1%00",
    "/cases/" + "9" * 5000,
    "/cases/0/pictures/../../../run.json",
)


def test_no_path_leads_out_of_the_page(viewed):
    app = make_app(viewed, SESSION)
    for path in OUTSIDE:
        assert asked(app, path)[0] == 404, path
    assert asked(app, "/static/view.js")[0] == asked(app, "/cases/0")[0] == 200


def test_every_answer_tells_the_browser_to_be_careful(viewed):
    app = make_app(viewed, SESSION)
    answers = [asked(app, path) for path in ("/", "/cases", "/static/view.js", "/nothing")]
    answers += [asked(app, "/", method="POST"), asked(app, "/", host="evil.example"), asked(app, "/", cookie="")]
    assert [status for status, _, _ in answers] == [200, 200, 200, 404, 405, 421, 403]
    for _, headers, body in answers:
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert b"secret" not in body
    opened = asked(app, "/", query="token=secret", cookie="")[1]["set-cookie"]
    assert opened == "triher_view_8123=secret; HttpOnly; SameSite=Strict; Path=/"
    assert [("set-cookie" in headers) for _, headers, _ in answers[1:]] == [False] * 6


def test_the_server_takes_a_port_of_the_loopback_interface_alone(monkeypatch):
    taken, (one, other) = [], socket.socketpair()
    monkeypatch.setattr("triher.view.server.socket.create_server", lambda place: taken.append(place) or one)
    with other, listen(0):
        pass
    assert taken == [("127.0.0.1", 0)]


def test_maps_that_failed_a_sanity_test_come_with_a_caution(viewed):
    assert listing(viewed)["caution"] == ""
    rows = [
        Check("deletion", "mean log-odds", -1.9, -2.3, -1.4, 12, -1.8, passed=False, p=0.52),
        Check("insertion", "mean log-odds", 0.9, -0.4, 2.2, 12, -1.8, passed=True, p=0.01),
    ]
    write_checks(viewed.run.explanations / CHECKS, rows)
    told = listing(open_run(viewed.run.path))
    assert "failed sanity tests (deletion)" in told["caution"]
    assert told["maps"]["method"] == "hirescam"


def test_explanations_of_an_earlier_model_are_not_shown(viewed):
    viewed.run.record_stage("explain", "key", [], 1.0, predictions="of another table")
    again = open_run(viewed.run.path)
    told = listing(again)
    assert told["maps"] is None
    assert not any(case["maps"] for case in told["cases"])
    assert "earlier model" in told["caution"]
    assert about(again, again.cases[0])["shap"] is None
    assert unpacked(pictures(again, again.cases[0]))[0]["maps"] is None


def test_maps_that_were_taken_away_meanwhile_leave_the_images(viewed):
    assert listing(viewed)["maps"]
    viewed.maps_file.unlink()
    assert unpacked(pictures(viewed, viewed.cases[0]))[0]["maps"] is None
