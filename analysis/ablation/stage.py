"""The reading of a study: from the predictions of its cells to tables, figures and the report."""

import time
from pathlib import Path

from threadpoolctl import threadpool_limits

from analysis.ablation.findings import Findings, find_out
from analysis.ablation.reading import read_material
from analysis.ablation.report import build_study_page
from analysis.ablation.results import results_frame, write_results
from analysis.page import drawings, render, tables
from triher import __version__
from triher.config import dump_config
from triher.files import sha256_of_file, sha256_of_json, write_text
from triher.progress import Reporter
from triher.registration_record import check_file
from triher.settings import Config
from triher.study import StudyFolder
from triher.tables import write_table

STAGE = "ablation"
