"""What moved a patient's prediction, from the explaining stage's Shapley values, as the page shows it."""

from typing import Any

from triher.errors import StopRun
from triher.explanation_tables import SHAP_GROUPS, GroupShare, read_rows
from triher.runfolder import RunFolder

Shares = dict[str, tuple[GroupShare, ...]]


def read_shares(run: RunFolder) -> Shares:
    """Patient id -> her rows of ``shap_groups.csv``; empty where there is no such table, or it cannot be read."""
    try:
        rows = read_rows(run.explanations / SHAP_GROUPS, GroupShare)
    except StopRun:
        return {}
    found: dict[str, list[GroupShare]] = {}
    for row in rows:
        found.setdefault(row.patient_id, []).append(row)
    return {patient_id: tuple(own) for patient_id, own in found.items()}


def shown(rows: tuple[GroupShare, ...], classes: tuple[str, ...]) -> dict[str, Any] | None:
    """The groups with their share in each class, the one that moves most first; None where there is no row.

    >>> rows = (GroupShare("P", "low", "age", "covariate", 61.0, -0.5, 0.2),)
    >>> shown(rows, ("zero", "low"))["groups"]
    [{'name': 'age (61)', 'values': [None, -0.5]}]
    """
    if not rows:
        return None
    phi = {(row.group, row.label): row.phi for row in rows}
    names = {row.group: f"{row.group} ({row.value:g})" if row.value == row.value else row.group for row in rows}
    base = {row.label: row.base for row in rows}
    order = sorted(names, key=lambda group: -max(abs(phi.get((group, name), 0.0)) for name in classes))
    groups = [{"name": names[group], "values": [phi.get((group, name)) for name in classes]} for group in order]
    return {"groups": groups, "base": [base.get(name) for name in classes]}
