"""What public clinical tables tell of HER2, by the whole chain of classification and analysis.

Usage: ``python -P benchmarks/trials.py DATA [--out FOLDER]``, with DATA holding ``ispy2/her2_triple_class.csv``
(I-SPY2: GSE194040 joined with MAMA-MIA) and ``tcga-brca/clinical_patient_brca.txt`` (TCGA). Prints the rows of
``docs/trials.md``. Nothing here was tuned: one setting a head, written before the first result was seen.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from triher.pipeline import run_stages
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.tables import read_own_table

ISPY2_FEATURES = ["hr", "mammaprint_high", "age", "log_volume"]
TCGA_FEATURES = ["age", "er", "pr", "postmenopausal", "lobular", "t", "n", "stage"]
ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4}


@dataclass(frozen=True)
class Trial:
    """A cohort, and how it is divided."""

    name: str
    cohort: pd.DataFrame
    features: pd.DataFrame
    split: str
    repeats: int


def ispy2(data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """HR, MammaPrint, age and tumor volume of the 826 labeled patients."""
    table = pd.read_csv(data / "ispy2" / "her2_triple_class.csv", dtype=str)
    table = table[table["her2_3class"].notna()]
    ids = "ISPY2_" + table["id"]
    cohort = pd.DataFrame(
        {
            "patient_id": ids,
            "site": table["site"],
            "vendor": table["manufacturer"],
            "ihc": table["her2_3class"],
            "age": table["age"],
            "hormone_receptor": table["hr"].map({"1": "positive", "0": "negative"}),
        }
    )
    volume = table["tum_vol"].astype(float)
    features = pd.DataFrame(
        {
            "patient_id": ids,
            "hr": table["hr"],
            "mammaprint_high": table["mammaprint_high"],
            "age": table["age"],
            "log_volume": np.log(volume.where(volume > 0)),
        }
    )
    return cohort, features


def tcga(data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Age, receptors, histology and stage; sites are the tissue source sites of the barcodes."""
    table = pd.read_csv(data / "tcga-brca" / "clinical_patient_brca.txt", sep="\t", dtype=str, skiprows=[1, 2])
    table = table.where(~table.apply(lambda column: column.str.startswith("[")))
    ids = table["bcr_patient_barcode"]
    cohort = pd.DataFrame(
        {
            "patient_id": ids,
            "site": ids.str.split("-").str[1],
            "ihc": table["her2_ihc_score"],
            "ish": table["her2_fish_status"],
            "time": table["death_days_to"].fillna(table["last_contact_days_to"]),
            "event": table["vital_status"].map({"Dead": "1", "Alive": "0"}),
            "age": table["age_at_diagnosis"],
            "stage": table["ajcc_pathologic_tumor_stage"].str.extract(r"Stage (IV|III|II|I)")[0],
            "er": table["er_status_by_ihc"],
        }
    )
    status = {"Positive": 1, "Negative": 0}
    features = pd.DataFrame(
        {
            "patient_id": ids,
            "age": table["age_at_diagnosis"],
            "er": table["er_status_by_ihc"].map(status),
            "pr": table["pr_status_by_ihc"].map(status),
            "postmenopausal": table["menopause_status"].str.startswith("Post").astype("Int64"),
            "lobular": table["histological_type"].str.contains("Lobular").astype("Int64"),
            "t": table["ajcc_tumor_pathologic_pt"].str.extract(r"T(\d)")[0],
            "n": table["ajcc_nodes_pathologic_pn"].str.extract(r"N(\d)")[0],
            "stage": table["ajcc_pathologic_tumor_stage"].str.extract(r"Stage (IV|III|II|I)")[0].map(ROMAN),
        }
    )
    labeled = cohort["ihc"].notna()
    return cohort[labeled], features[labeled]


SOURCES: dict[str, Callable[[Path], tuple[pd.DataFrame, pd.DataFrame]]] = {"I-SPY2": ispy2, "TCGA-BRCA": tcga}
RUNS = (
    ("I-SPY2", "leave-one-site-out", 1),
    ("I-SPY2", "none", 5),
    ("TCGA-BRCA", "none", 5),
)
QUANTITIES = ("auc_macro", "auc_within_site", "companion_auc_macro", "auc_macro_ahead", "shortcut_auc")
HEADS: tuple[dict[str, Any], ...] = (
    {"head": "logistic"},
    {"head": "xgboost"},
    {"head": "hierarchical-logistic"},
    {"head": "logistic", "harmonize": {"method": "sitewise", "unseen": "standardize"}},
)


def analysis_of(name: str, data: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of the cohort table is read, and what is stated about it."""
    if name == "I-SPY2":
        groups = {"hormone_receptor": (), "vendor": (), "age": (50,)}
        return {"covariates": ["age"], "groups": ["hormone_receptor"]}, {"subgroups": groups}
    genes = {
        "expression": data / "tcga-brca" / "rna_log2_6000x769.csv.gz",
        "kind": "log",
        "covariates": ["er"],
        "gene_sets": [data / "genesets" / "hallmark_v7.0.symbols.gmt"],
    }
    chosen = {"subgroups": {"er": (), "age": (50,)}, "covariates": ["age", "stage", "er"], "cutpoint": True}
    survival = {"time_unit": "days", "covariates": ["age"], "groups": ["stage", "er"]}
    return survival, {**chosen, "horizons_months": (36, 60), "transcriptomics": genes}


def run(name: str, split: str, repeats: int, head: dict[str, Any], data: Path, out: Path) -> RunFolder:
    """One run of classification and analysis."""
    out.mkdir(parents=True, exist_ok=True)
    cohort, features = SOURCES[name](data)
    cohort.to_csv(out / "cohort.csv", index=False)
    features.to_csv(out / "features.csv", index=False)
    columns, statements = analysis_of(name, data)
    config = Config.model_validate(
        {
            "cohort": {"table": out / "cohort.csv", "name": name, **columns},
            "analysis": statements,
            "classify": {
                "features": out / "features.csv",
                "missing": "impute",
                "split": {"kind": split},
                "repeats": repeats,
                **head,
            },
        }
    )
    folder = RunFolder(out / "run")
    run_stages(config, folder, Reporter(quiet=True), ("classify", "analysis"))
    return folder


def report(title: str, folder: RunFolder) -> None:
    """The numbers of one run."""
    table = read_own_table(folder.metrics_file)
    wanted = table[table["quantity"].isin(QUANTITIES)]
    whole = wanted[(wanted["site"] == "") & (wanted["cohort"] == "")]
    for _, row in whole.iterrows():
        value, low, high = (f"{float(row[name]):.3f}" if row[name] else "" for name in ("value", "low", "high"))
        cells = (title, row["split"], row["quantity"], row["class"], f"{value} ({low} to {high})", row["n"])
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = chosen.out or Path(folder)
        for name, split, repeats in RUNS:
            for i, head in enumerate(HEADS):
                title = f"{name}, {split}, {head['head']}{', sitewise' if 'harmonize' in head else ''}"
                report(title, run(name, split, repeats, head, chosen.data, out / f"{name}-{split}-{i}"))


if __name__ == "__main__":
    main()
