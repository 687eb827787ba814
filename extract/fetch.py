"""Download a public collection from the Imaging Data Commons: license first, then what is not here yet.

The folder's ``SOURCE.json`` (format ``triher-source`` v1) says where the images come from: ``collection``,
``collection_id``, ``doi``, ``license`` (as the collection's page has it), ``index_licenses`` (as the index has them),
``index_version``, and sorted lists: ``patients`` that were asked for, ``series`` (SeriesInstanceUIDs that are here
in full) and ``missing`` (those that were asked for and are not). It holds no date, so equal downloads have equal
files. It is written before the first image, so that an interrupted download is recognized and continued.
"""

import importlib
import json
import logging
import math
import shutil
import subprocess  # nosec B404  # for the name of an error
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from extract.public import COLLECTIONS, LAYOUT, describe, find_collection, import_line, steps_by_hand
from extract.selection import (
    MODALITIES,
    Series,
    choose,
    licenses_of,
    list_series,
    patients_of,
    read_choice,
    summarize,
)
from triher.errors import StopRun
from triher.files import locked, make_writable, write_json
from triher.progress import Reporter

__all__ = ["COLLECTIONS", "CollectionClient", "Fetched", "describe", "fetch", "read_choice"]

SOURCE_FILE = "SOURCE.json"
_FORMAT, _VERSION = "triher-source", 1
_LISTS = ("patients", "series", "missing", "index_licenses")
_LOCK = ".fetch.lock"


@runtime_checkable
class CollectionClient(Protocol):
    """What is used of `idc_index.IDCClient`, under its names."""

    index: pd.DataFrame
    """One row a series of the Imaging Data Commons."""

    def get_idc_version(self) -> str:
        """Version of the data that the index describes, such as ``v25``."""

    def download_from_selection(
        self,
        downloadDir: str,
        *,
        seriesInstanceUID: list[str],
        quiet: bool,
        show_progress_bar: bool,
        use_s5cmd_sync: bool,
        dirTemplate: str,
    ) -> None:
        """Download series; `use_s5cmd_sync` skips files that are there; failures are logged, not raised."""


@dataclass(frozen=True)
class Fetched:
    """A finished download."""

    name: str
    folder: Path
    source: Path
    n_patients: int
    n_series: int
    size_mb: float
    """Of what was chosen, including what was here before."""
    next_command: str


def fetch(
    name: str,
    out: Path,
    *,
    accept_license: bool,
    patients: int | Sequence[str] | None = None,
    client: CollectionClient | None = None,
    reporter: Reporter,
) -> Fetched:
    """Download the MR and SEG series of a public collection; what is here already is not downloaded again.

    Args:
        name: one of `COLLECTIONS`.
        out: a new or empty folder, or one that an earlier call has begun with the same collection.
        accept_license: the user's word that the license, which is shown first, is accepted.
        patients: as `extract.selection.choose`.
        client: the index and the way to the images; the installed ``idc-index`` when None.
        reporter: where title, license, citation and size are shown.

    Raises:
        StopRun: ``unknown_name`` (collection or patient), ``fetch_manual`` (not on the Imaging Data Commons),
            ``extra_missing`` (no client), ``license_not_accepted``, ``output_folder``, ``disk_full``,
            ``store_locked``, ``fetch_offline`` (nothing arrives) or ``fetch_incomplete`` (some series did not).
    """
    collection = find_collection(name)
    reporter.say(describe(name))
    if not collection.collection_id:
        message = f"the keepers of '{name}' ask for a download by hand"
        raise StopRun("fetch_manual", message, remedy=steps_by_hand(name, out))
    client = client or _open_client(name, out)
    chosen = choose(_list_series(client, name, out), patients)
    reporter.say(f"chosen:   {summarize(chosen)}")
    if not accept_license:
        short, address = collection.license
        where = f"{short} ({address}; the collection's page is https://doi.org/{collection.doi})"
        raise StopRun("license_not_accepted", f"'{name}' is under {where}. Chosen: {summarize(chosen)}")
    _refuse_foreign(out, name)
    make_writable(out)
    with locked(out / _LOCK):
        _download(client, chosen, name, out, reporter)
    size_mb = math.fsum(series.size_mb for series in chosen)
    n_patients = len(patients_of(chosen))
    return Fetched(name, out, out / SOURCE_FILE, n_patients, len(chosen), size_mb, import_line(name, out))


def _open_client(name: str, out: Path) -> CollectionClient:
    """The client of the Imaging Data Commons; it carries its index, so opening it needs no network."""
    remedy = f"pip install 'triher[fetch]', or by hand: {steps_by_hand(name, out)}"
    try:
        client: CollectionClient = importlib.import_module("idc_index").IDCClient.client()
    except ImportError as error:
        raise StopRun("extra_missing", f"'{name}' needs idc-index, which is not installed", remedy=remedy) from error
    except (OSError, subprocess.SubprocessError) as error:
        message = f"idc-index does not start: {error}"
        raise StopRun("extra_missing", message, remedy=remedy) from error
    logging.getLogger("idc_index").setLevel(logging.ERROR)  # it reports every step; the reporter says what matters
    return client


def _list_series(client: CollectionClient, name: str, out: Path) -> tuple[Series, ...]:
    """What the index knows of the collection."""
    collection_id = COLLECTIONS[name].collection_id
    series = list_series(client.index, collection_id)
    if not series:
        message = f"index {client.get_idc_version()} has no {' or '.join(MODALITIES)} series of '{collection_id}'"
        raise StopRun("fetch_manual", message, remedy=f"update idc-index, or by hand: {steps_by_hand(name, out)}")
    return series


def _refuse_foreign(out: Path, name: str) -> None:
    """Go on only in a new or empty folder, or where the same collection was begun."""
    strangers = sorted(path.name for path in out.iterdir() if path.name != _LOCK) if out.is_dir() else []
    if not strangers:
        return
    if SOURCE_FILE not in strangers:
        raise StopRun("output_folder", f"{out} holds other files ({', '.join(strangers[:3])})")
    found = _read_source(out / SOURCE_FILE)["collection"]
    if found != name:
        raise StopRun("output_folder", f"{out} holds the collection '{found}', not '{name}'")


def _read_source(path: Path) -> dict[str, Any]:
    """The record of an earlier download."""
    try:
        source: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fits = source["format"] == _FORMAT and source["version"] == _VERSION
        fits &= all(isinstance(source[key], list) for key in _LISTS) and isinstance(source["collection"], str)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StopRun("output_folder", f"{path} cannot be read as the record of a download") from error
    if not fits:
        raise StopRun("output_folder", f"{path} is not a {_FORMAT} record of version {_VERSION}")
    return source


def _download(client: CollectionClient, chosen: Sequence[Series], name: str, out: Path, reporter: Reporter) -> None:
    """Fetch patient by patient what is not here yet, and record what is, whatever happens."""
    here = {series.uid for series in chosen if series.has_arrived(out)}
    waiting: dict[str, list[Series]] = {}
    for series in chosen:
        if series.uid not in here:
            waiting.setdefault(series.patient_id, []).append(series)
    _require_space(out, math.fsum(one.size_mb for series in waiting.values() for one in series))
    version = client.get_idc_version()
    _write_source(out, name, version, chosen, here)
    try:
        for series_of_patient in reporter.track(waiting.values(), f"downloading '{name}'", len(waiting)):
            here |= _fetch_patient(client, series_of_patient, name, out)
    finally:
        _write_source(out, name, version, chosen, here)
    lost = [series for series in chosen if series.uid not in here]
    if lost:
        some = ", ".join(patients_of(lost)[:5])
        found = f"{len(lost)} of {len(chosen)} series did not arrive in full"
        raise StopRun("fetch_incomplete", f"{found} (patients {some}, all in {out / SOURCE_FILE} under 'missing')")


def _fetch_patient(client: CollectionClient, series: Sequence[Series], name: str, out: Path) -> set[str]:
    """Download one patient's series, and say which arrived in full; stop when none did."""
    cause = "nothing arrived"
    try:
        client.download_from_selection(
            str(out),
            seriesInstanceUID=[one.uid for one in series],
            quiet=True,
            show_progress_bar=False,
            use_s5cmd_sync=True,
            dirTemplate=LAYOUT,
        )
    except (OSError, subprocess.SubprocessError) as error:
        cause = str(error).partition("\n")[0]
    here = {one.uid for one in series if one.has_arrived(out)}
    if not here:
        message = f"cannot download patient {series[0].patient_id} from the Imaging Data Commons: {cause}"
        remedy = f"connect to the network and give the same command again, or by hand: {steps_by_hand(name, out)}"
        raise StopRun("fetch_offline", message, remedy=remedy)
    return here


def _require_space(out: Path, size_mb: float) -> None:
    """Refuse before the first byte what the disk cannot hold."""
    free_mb = shutil.disk_usage(out).free / 1e6
    if free_mb < size_mb:
        found = f"{free_mb / 1000:.1f} GB are free"
        raise StopRun("disk_full", f"the download needs {size_mb / 1000:.1f} GB; {found} at {out}")


def _write_source(out: Path, name: str, version: str, chosen: Sequence[Series], here: set[str]) -> None:
    """Record where the images come from and which of the chosen are here, together with those of earlier calls."""
    path, collection = out / SOURCE_FILE, COLLECTIONS[name]
    before = _read_source(path) if path.exists() else {key: [] for key in _LISTS}
    asked = {series.uid for series in chosen}
    record = {
        "format": _FORMAT,
        "version": _VERSION,
        "collection": name,
        "collection_id": collection.collection_id,
        "doi": collection.doi,
        "license": collection.license[0],
        "index_licenses": sorted({*before["index_licenses"], *licenses_of(chosen)}),
        "index_version": version,
        "patients": sorted({*before["patients"], *patients_of(chosen)}),
        "series": sorted({*before["series"], *here} - (asked - here)),
        "missing": sorted({*before["missing"], *asked} - here),
    }
    write_json(path, record)
