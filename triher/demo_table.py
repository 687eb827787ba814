"""What the demonstration found, as a table for newcomers: question, answer, how to read it."""

from typing import Any, TypeAlias

from rich.table import Table

from triher.runfolder import RunFolder
from triher.systems import PROBE
from triher.tables import read_own_table

Row: TypeAlias = tuple[str, str, str]
Found: TypeAlias = dict[tuple[str, str, str], dict[str, str]]
"""Split, quantity and class -> line of ``metrics.csv``."""


def closing_table(run: RunFolder) -> Table:
    """What came out, in words for a newcomer."""
    stages = run.read_record()["stages"]
    rows = [{str(k): str(v) for k, v in row.items()} for row in read_own_table(run.metrics_file).to_dict("records")]
    found = {(r["split"], r["quantity"], r["class"]): r for r in rows if not r["site"] and not r["cohort"]}
    control = " (negative control: labels shuffled within sites)" if stages["classify"]["labels_shuffled"] else ""
    table = Table(title=f"What the demo found{control}", title_justify="left", show_lines=True)
    for name in ("question", "answer", "how to read it"):
        table.add_column(name, overflow="fold")
    for row in (*_who(stages), *_how_well(found), *_compared(found), *_prognosis(found), *_cost(stages), _next(run)):
        table.add_row(*row)
    return table


def _next(run: RunFolder) -> Row:
    """Where a newcomer goes on."""
    reading = "Then the tutorials in docs/tutorials. Run this command again, and nothing is computed twice."
    return ("What next?", f"Open {run.report_file} in a browser.", reading)


def _who(stages: dict[str, Any]) -> list[Row]:
    """Who was embedded."""
    done = stages["extract"]
    answer = f"{done['n_patients']} patients, {done['n_done']} embedded, {done['n_skipped']} left out"
    return [("Who was in?", answer, "Nobody is lost silently: skipped.csv names everyone who was left out, and why.")]


def _how_well(found: Found) -> list[Row]:
    """Discrimination and calibration at the unseen site."""
    return [
        (
            "Can it tell the classes apart at a site it has not seen?",
            f"macro AUC {_estimate(found, 'test', 'auc_macro')} on {_n(found, 'auc_macro')} patients of site C",
            "0.5 is guessing, 1 is perfect. In brackets the 95 % interval.",
        ),
        (
            "How well could anybody do?",
            f"macro AUC {_estimate(found, 'test', 'reference_auc_macro')}",
            "The best possible classifier, which knows the true tissue parameters of the same patients.",
        ),
        (
            "Do the probabilities mean what they say?",
            f"calibration error {_estimate(found, 'test', 'ece_top_label')}",
            f"0 is best; a perfectly calibrated model of this size would show "
            f"{_estimate(found, 'test', 'ece_top_label_if_calibrated')}.",
        ),
    ]


def _compared(found: Found) -> list[Row]:
    """The trained encoder against the frozen one, where both were run."""
    questions = {
        "auc": "positive against negative",
        "auc_zero_vs_rest": "zero against the rest",
        "auc_low_vs_positive": "low against positive",
    }
    told = [
        f"{words}: {_estimate(found, 'test', f'{name}_ahead', PROBE)}, "
        f"p = {_p(found, 'test', f'{name}_ahead_p', PROBE)}"
        for name, words in questions.items()
        if ("test", f"{name}_ahead", PROBE) in found
    ]
    if not told:
        return []
    reading = (
        "Difference in AUC to a classifier on the encoder as it came, same patients, DeLong; above 0 training won."
    )
    return [("Was the training worth it?", "; ".join(told), reading)]


def _prognosis(found: Found) -> list[Row]:
    """Survival, where a covariate is adjusted for."""
    if not any(quantity == "hazard_ratio_adjusted" for _, quantity, _ in found):
        return []
    answer = (
        f"hazard ratio {_estimate(found, 'test', 'hazard_ratio_adjusted', 'score, per SD')} per SD at site C, "
        f"{_estimate(found, 'oof', 'hazard_ratio_adjusted', 'score, per SD')} at the training sites"
    )
    reading = (
        "Above 1: a higher probability of HER2-positive goes with earlier events, at equal age. "
        "Scores are of models that did not see the patient."
    )
    return [("Does the score say something about survival?", answer, reading)]


def _cost(stages: dict[str, Any]) -> list[Row]:
    """Seconds of every stage."""
    seconds = ", ".join(f"{name} {entry['seconds']:.0f} s" for name, entry in stages.items())
    parts = f"encoder {stages['extract']['encoder']['name']}, head {stages['classify']['head']}"
    return [("What did it cost?", seconds, parts)]


def _estimate(found: Found, split: str, quantity: str, name: str = "") -> str:
    """A number with its interval, or why there is none."""
    row = found.get((split, quantity, name))
    if row is None:
        return "not estimated"
    if not row["value"]:
        return f"not estimable ({row['reason']})"
    interval = f" ({float(row['low']):.2f} to {float(row['high']):.2f})" if row["low"] else ""
    return f"{float(row['value']):.2f}{interval}"


def _p(found: Found, split: str, quantity: str, name: str) -> str:
    """A p value, or that there is none."""
    value = found.get((split, quantity, name), {}).get("value")
    return f"{float(value):.2g}" if value else "not estimable"


def _n(found: Found, quantity: str) -> str:
    """How many patients a number of the test part rests on."""
    row = found.get(("test", quantity, ""))
    return row["n"] if row else "0"
