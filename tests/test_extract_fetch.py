"""Harvesting public collections: license first, only what is asked for, resumable, and clear when offline."""

import inspect
import json
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest

from extract.adapters.registry import find_adapter
from extract.fetch import COLLECTIONS, CollectionClient, describe, fetch, read_choice
from extract.public import import_line
from extract.selection import INDEX_COLUMNS
from triher.codes import CODES
from triher.errors import StopRun
from triher.progress import Reporter

QUIET = Reporter(quiet=True)
FILE_BYTES = 20_000


def index_rows(collection_id, patients, license_name="CC BY 3.0", root="1.2"):
    """Two MR series of three files, one SEG, and two modalities that nobody asks for, for each patient."""
    kinds = [("MR", 3), ("MR", 3), ("SEG", 1), ("MG", 4), ("SR", 1)]
    return [
        {
            "collection_id": collection_id,
            "PatientID": patient_id,
            "StudyInstanceUID": f"{root}.{patient}",
            "SeriesInstanceUID": f"{root}.{patient}.{number}",
            "Modality": modality,
            "instanceCount": n_files,
            "series_size_MB": round(n_files * FILE_BYTES / 1e6, 2),
            "license_short_name": license_name,
        }
        for patient, patient_id in enumerate(patients)
        for number, (modality, n_files) in enumerate(kinds)
    ]


class Double:
    """A stand-in for the client of the Imaging Data Commons that writes small files; failures can be planted."""

    def __init__(self, patients=("ISPY1_1001", "ISPY1_1002", "ISPY1_1003"), collection_id="ispy1"):
        rows = index_rows("another", ["X-1"], "CC BY-NC 4.0", "1.3") + index_rows(collection_id, patients)
        self.index = pd.DataFrame(rows).sample(frac=1, random_state=0)
        self.asked = []
        self.unreachable = set()
        self.error = None

    @staticmethod
    def get_idc_version():
        return "v0"

    def download_from_selection(
        self,
        downloadDir,
        dry_run=False,
        collection_id=None,
        patientId=None,
        studyInstanceUID=None,
        seriesInstanceUID=None,
        sopInstanceUID=None,
        crdc_series_uuid=None,
        quiet=True,
        show_progress_bar=True,
        use_s5cmd_sync=False,
        dirTemplate="%collection_id/%PatientID/%StudyInstanceUID/%Modality_%SeriesInstanceUID",
        source_bucket_location="aws",
        analysis_result_id=None,
        analysis_results="include",
    ):
        assert use_s5cmd_sync
        assert not show_progress_bar
        rows = self.index[self.index["SeriesInstanceUID"].isin(seriesInstanceUID)]
        self.asked += sorted(rows["SeriesInstanceUID"])
        for row in rows.to_dict("records"):
            if row["SeriesInstanceUID"] not in self.unreachable:
                place = dirTemplate
                for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"):
                    place = place.replace(f"%{name}", row[name])
                folder = Path(downloadDir) / place
                folder.mkdir(parents=True, exist_ok=True)
                for number in range(row["instanceCount"]):
                    (folder / f"{number}.dcm").write_bytes(bytes(FILE_BYTES))
        if self.error:
            raise self.error


def harvest(out, client=None, name="ispy1", **options):
    """Fetch quietly, with the license accepted."""
    return fetch(name, out, accept_license=True, client=client or Double(), reporter=QUIET, **options)


def refusal(code, out, client=None, **options):
    """The error of a fetch that must stop."""
    with pytest.raises(StopRun) as caught:
        harvest(out, client, **options)
    assert caught.value.code == code
    return caught.value


def source(out):
    """What the folder says about its origin."""
    return json.loads((out / "SOURCE.json").read_text(encoding="utf-8"))


def test_only_images_and_segmentations_of_the_collection_arrive(tmp_path):
    fetched = harvest(tmp_path / "ispy1")
    assert (fetched.n_patients, fetched.n_series) == (3, 9)
    assert fetched.size_mb == pytest.approx(3 * 7 * FILE_BYTES / 1e6)
    series = {path.relative_to(fetched.folder).parts for path in fetched.folder.glob("*/*/*")}
    assert len(series) == 9
    assert ("ISPY1_1001", "1.2.0", "MR_1.2.0.0") in series
    assert {parts[2].split("_")[0] for parts in series} == {"MR", "SEG"}
    assert fetched.next_command.startswith("triher cohort import ")
    assert str(fetched.folder) in fetched.next_command


def test_the_source_is_recorded(tmp_path):
    harvest(tmp_path / "out", patients=2)
    assert source(tmp_path / "out") == {
        "format": "triher-source",
        "version": 1,
        "collection": "ispy1",
        "collection_id": "ispy1",
        "doi": "10.7937/K9/TCIA.2016.HdHpgJLK",
        "license": "CC BY 3.0",
        "index_licenses": ["CC BY 3.0"],
        "index_version": "v0",
        "patients": ["ISPY1_1001", "ISPY1_1002"],
        "series": [f"1.2.{patient}.{number}" for patient in (0, 1) for number in (0, 1, 2)],
        "missing": [],
    }


def test_nothing_is_downloaded_before_the_license_is_accepted(tmp_path, capsys):
    client = Double()
    with pytest.raises(StopRun) as caught:
        fetch("ispy1", tmp_path / "out", accept_license=False, client=client, reporter=Reporter())
    assert caught.value.code == "license_not_accepted"
    assert client.asked == []
    assert not (tmp_path / "out").exists()
    shown = capsys.readouterr().err
    for text in ("I-SPY1", "CC BY 3.0", "Newitt", "3 patients", "9 series", "GB"):
        assert text in shown
    assert "CC BY 3.0" in caught.value.message


@pytest.mark.parametrize(
    ("patients", "expected"),
    [
        (None, ["ISPY1_1001", "ISPY1_1002", "ISPY1_1003"]),
        (1, ["ISPY1_1001"]),
        (9, ["ISPY1_1001", "ISPY1_1002", "ISPY1_1003"]),
        (("ISPY1_1003", "ispy1-1002"), ["ISPY1_1002", "ISPY1_1003"]),
    ],
)
def test_patients_can_be_chosen(tmp_path, patients, expected):
    harvest(tmp_path / "out", patients=patients)
    assert source(tmp_path / "out")["patients"] == expected


def test_patients_are_found_under_the_name_of_another_collection(tmp_path):
    client = Double(["ACRIN-6698-102212", "ACRIN-6698-103939"], "acrin_6698")
    harvest(tmp_path / "out", client, name="acrin-6698", patients=["ISPY2_102212"])
    assert source(tmp_path / "out")["patients"] == ["ACRIN-6698-102212"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"patients": ["ISPY1_9999"]}, "unknown_name"),
        ({"patients": 0}, "config_value"),
        ({"name": "ispy3"}, "unknown_name"),
        ({"name": "duke"}, "fetch_manual"),  # the double's index does not have it
    ],
)
def test_what_is_not_there_is_refused(tmp_path, options, code):
    refusal(code, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_missing_license_in_the_index_is_said(tmp_path):
    client = Double()
    client.index["license_short_name"] = None
    harvest(tmp_path / "out", client)
    assert source(tmp_path / "out")["index_licenses"] == ["not stated, see the collection's page"]


def test_a_second_call_downloads_nothing(tmp_path):
    harvest(tmp_path / "out")
    client = Double()
    harvest(tmp_path / "out", client)
    assert client.asked == []


def test_an_interrupted_download_is_continued_to_the_same_record(tmp_path):
    harvest(tmp_path / "straight")
    client = Double()
    client.unreachable = {"1.2.1.0", "1.2.1.1", "1.2.1.2"}
    refusal("fetch_offline", tmp_path / "broken", client)
    assert source(tmp_path / "broken")["series"] == ["1.2.0.0", "1.2.0.1", "1.2.0.2"]
    assert len(source(tmp_path / "broken")["missing"]) == 6
    again = Double()
    harvest(tmp_path / "broken", again)
    assert again.asked == ["1.2.1.0", "1.2.1.1", "1.2.1.2", "1.2.2.0", "1.2.2.1", "1.2.2.2"]
    assert (tmp_path / "broken/SOURCE.json").read_bytes() == (tmp_path / "straight/SOURCE.json").read_bytes()


def test_a_key_press_leaves_a_folder_that_can_be_continued(tmp_path):
    client = Double()
    client.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        harvest(tmp_path / "out", client)
    assert [path.name for path in sorted(tmp_path.glob("out/*"))] == ["ISPY1_1001", "SOURCE.json"]
    again = Double()
    harvest(tmp_path / "out", again)
    assert "1.2.0.0" not in again.asked


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_damaged_series_are_fetched_again(tmp_path, damage):
    harvest(tmp_path / "out")
    file = tmp_path / "out/ISPY1_1002/1.2.1/MR_1.2.1.1/2.dcm"
    file.write_bytes(b"") if damage == "truncate" else file.unlink()
    client = Double()
    harvest(tmp_path / "out", client)
    assert client.asked == ["1.2.1.1"]
    assert file.stat().st_size == FILE_BYTES


def test_a_download_can_be_extended(tmp_path):
    harvest(tmp_path / "out", patients=["ISPY1_1002"])
    harvest(tmp_path / "out", patients=["ISPY1_1001"])
    assert source(tmp_path / "out")["patients"] == ["ISPY1_1001", "ISPY1_1002"]
    assert len(source(tmp_path / "out")["series"]) == 6


def test_series_that_do_not_arrive_are_named_and_the_others_kept(tmp_path):
    client = Double()
    client.unreachable = {"1.2.0.1"}
    error = refusal("fetch_incomplete", tmp_path / "out", client)
    assert "ISPY1_1001" in error.message
    assert source(tmp_path / "out")["missing"] == ["1.2.0.1"]
    assert len(source(tmp_path / "out")["series"]) == 8


@pytest.mark.parametrize("error", [None, ConnectionError("Name or service not known")])
def test_without_network_the_message_says_what_to_do(tmp_path, error):
    client = Double()
    client.unreachable, client.error = set(client.index["SeriesInstanceUID"]), error
    text = str(refusal("fetch_offline", tmp_path / "out", client))
    assert "10.7937/K9/TCIA.2016.HdHpgJLK" in text
    assert "idc download ispy1" in text
    assert f"triher cohort import dicom {tmp_path / 'out'} --table LABELS.csv" in text
    assert client.asked == ["1.2.0.0", "1.2.0.1", "1.2.0.2"]  # not one try a patient


def test_without_the_client_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "idc_index", None)
    with pytest.raises(StopRun) as caught:
        fetch("duke", tmp_path / "my data", accept_license=True, reporter=QUIET)
    assert caught.value.code == "extra_missing"
    for text in ("triher[fetch]", "10.7937/TCIA.e3sv-re93", f"triher cohort import duke '{tmp_path / 'my data'}'"):
        assert text in str(caught.value)
    assert not (tmp_path / "my data").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("breastdcedl", ["18114231", "BreastDCEDL_ISPY2_min_crop.tar.gz", "BreastDCEDL_metadata_min_crop.csv"]),
        ("mama-mia", ["syn60868042", "clinical_and_imaging_info.xlsx"]),
    ],
)
def test_collections_that_are_downloaded_by_hand(tmp_path, name, expected):
    error = refusal("fetch_manual", tmp_path / "out", name=name)
    for text in (*expected, str(tmp_path / "out"), f"triher cohort import {name} "):
        assert text in error.remedy


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    client = Double()
    assert "notes.txt" in refusal("output_folder", tmp_path, client).message
    assert client.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_folder_of_another_collection_is_refused(tmp_path):
    harvest(tmp_path / "out")
    client = Double(["Breast_MRI_001"], "duke_breast_cancer_mri")
    assert "ispy1" in refusal("output_folder", tmp_path / "out", client, name="duke").message


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "triher-source", "version": 9, "collection": "ispy1"}'])
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "SOURCE.json").write_text(text)
    refusal("output_folder", tmp_path)
    assert (tmp_path / "SOURCE.json").read_text() == text


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("a file")
    refusal("output_folder", tmp_path / "out")


def test_a_full_disk_is_seen_before_the_first_byte(tmp_path):
    client = Double()
    client.index["series_size_MB"] = 1e12
    refusal("disk_full", tmp_path / "out", client)
    assert client.asked == []


def test_options_of_the_command():
    assert read_choice("3") == 3
    assert read_choice(" A-1 ,A-2,") == ("A-1", "A-2")
    assert read_choice("") is None


# I-SPY1, I-SPY2, Duke, NACT and MAMA-MIA: MAMA-MIA's README. The others: as works that reuse the data quote them.
LICENSES = {
    "ispy1": "CC BY 3.0",
    "ispy2": "CC BY 4.0",
    "acrin-6698": "CC BY 4.0",
    "duke": "CC BY-NC 4.0",
    "tcga-brca": "CC BY 3.0",
    "advanced-mri-breast-lesions": "CC BY 4.0",
    "breast-mri-nact-pilot": "CC BY 3.0",
    "breastdcedl": "CC BY-NC 4.0",
    "mama-mia": "CC BY-NC 4.0",
}


def test_every_collection_is_listed_with_its_license():
    assert set(COLLECTIONS) == set(LICENSES)


@pytest.mark.parametrize("name", LICENSES)
def test_descriptions_name_license_and_citation(name):
    text = describe(name)
    collection = COLLECTIONS[name]
    assert collection.license[0].startswith(LICENSES[name])
    short = LICENSES[name].removeprefix("CC ").lower().replace(" ", "/")
    assert collection.license[1] == f"https://creativecommons.org/licenses/{short}/"
    assert collection.license[0] in text
    assert collection.citation in text
    assert f"https://doi.org/{collection.doi}" in text
    assert bool(collection.collection_id) != bool(collection.by_hand)


def test_unknown_collections_are_answered_with_the_known_ones():
    with pytest.raises(StopRun) as caught:
        describe("mamamia")
    assert caught.value.code == "unknown_name"
    assert "did you mean 'mama-mia'" in caught.value.message


def test_codes_are_documented():
    assert {"fetch_incomplete", "fetch_manual", "fetch_offline", "license_not_accepted"} <= set(CODES)


def signature(owner, name):
    """Names and defaults of a method's parameters."""
    return {key: value.default for key, value in inspect.signature(getattr(owner, name)).parameters.items()}


METHODS = ["download_from_selection", "get_idc_version"]


@pytest.mark.parametrize("name", METHODS)
def test_the_double_understands_the_protocol(name):
    assert set(signature(CollectionClient, name)) - {"self"} <= set(signature(Double, name))


@pytest.mark.parametrize("name", METHODS)
def test_the_double_is_like_the_real_client(name):
    real = pytest.importorskip("idc_index").IDCClient
    assert signature(real, name) == signature(Double, name)


def test_the_real_index_has_the_columns():
    data = pytest.importorskip("idc_index_data")
    columns = {column["name"] for column in data.INDEX_METADATA["idc_index"]["schema"]["columns"]}
    assert {"collection_id", *INDEX_COLUMNS} <= columns


@pytest.mark.parametrize("name", COLLECTIONS)
def test_the_line_that_imports_a_collection_names_options_that_exist(name):
    _, _, _, adapter, _, *rest = shlex.split(import_line(name, Path("images")))
    options = [text for text in rest if "=" in text]
    known = find_adapter(adapter).options()
    for option in options:
        key = option.partition("=")[0]
        assert key in known or f"{key.partition(':')[0]}:COLUMN" in known
    assert rest[-2:] == ["--out", f"{name}.csv"]
