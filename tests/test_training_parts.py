"""Who trains which network."""

from dataclasses import replace

import numpy as np
import pytest

from extract.training.parts import make_roster
from triher.cohort import Patient
from triher.errors import StopRun
from triher.images import image_fingerprint
from triher.settings import Config
from triher.trained import FINAL

SITES = ("A", "B", "C")


def people(n=60):
    """Patients at three sites; every fifth is of the official validation part."""
    return [
        Patient(f"P{i:03d}", "X", SITES[i % 3], "test" if i % 3 == 2 else "train", {}, None, groups=_groups(i))
        for i in range(n)
    ]


def _groups(i):
    """Text columns of a patient; some cells are empty."""
    return {"official_split": "validation" if i % 5 == 0 else "train", "hr": ("", "neg", "pos")[i // 3 % 3]}


def roster_of(*, split=None, n=60, patients=None, known=None, inputs=None, **finetune):
    config = Config.model_validate(
        {
            "cohort": {"table": "none.csv"},
            "classify": {"split": split or {"kind": "column"}},
            "finetune": finetune,
            "scheme": "binary",
        }
    )
    patients = patients or people(n)
    known = known or {p.patient_id: (i // 3) % 2 for i, p in enumerate(patients)}
    inputs = inputs or {p.patient_id: f"{i:064d}"[::-1] for i, p in enumerate(patients)}
    return make_roster(config, patients, known, inputs)


def test_a_fold_network_learns_from_nobody_of_its_fold():
    roster = roster_of(folds=4)
    assert [lesson.name for lesson in roster.lessons] == ["fold-0", "fold-1", "fold-2", "fold-3", FINAL]
    assert sorted({*roster.fold.tolist()}) == [0, 1, 2, 3]
    for k, lesson in enumerate(roster.lessons[:-1]):
        touched = np.concatenate([lesson.train, lesson.validation])
        assert k not in roster.fold[touched]
        assert sorted(touched) == np.flatnonzero(roster.fold != k).tolist(), "everybody else is of use"
        assert np.intersect1d(lesson.train, lesson.validation).size == 0
    assert len({lesson.seed for lesson in roster.lessons}) == 5


def test_held_out_patients_train_nothing():
    roster = roster_of(folds=2)
    assert {p.site for p in roster.patients} == {"A", "B"}
    assert len(roster.parts()) == len(roster.patients) == 40


def test_one_network_alone_knows_everybody():
    roster = roster_of(folds=0, validation="official_split=validation")
    (final,) = roster.lessons
    assert {p.groups["official_split"] for p in np.array(roster.patients, object)[final.validation]} == {"validation"}
    parts = roster.parts()
    roles = [parts[image_fingerprint(digest)].role for digest in roster.inputs]
    assert roles.count("validation") == len(final.validation)
    assert roles.count("train") == len(final.train) == 40 - len(final.validation)
    assert {part.fold for part in parts.values()} == {-1}


@pytest.mark.parametrize(("kind", "n"), [("leave-one-site-out", 3)])
def test_a_network_for_each_site_that_is_left_out(kind, n):
    roster = roster_of(split={"kind": kind}, folds=5)
    assert len(roster.lessons) == n + 1
    for k, lesson in enumerate(roster.lessons[:-1]):
        left_out = {roster.patients[i].site for i in np.flatnonzero(roster.fold == k)}
        learned = {roster.patients[i].site for i in np.concatenate([lesson.train, lesson.validation])}
        assert len(left_out) == 1
        assert left_out.isdisjoint(learned)


@pytest.mark.parametrize(("kind", "place"), [("leave-one-site-out", "site A"), ("leave-one-cohort-out", "")])
def test_equal_images_at_two_places_stop_a_training_that_leaves_each_out(kind, place):
    patients = [replace(p, cohort=f"of {p.site}") for p in people()]
    inputs = {p.patient_id: f"{i:064d}"[::-1] for i, p in enumerate(patients)}
    inputs["P001"] = inputs["P000"][:32] + "f" * 32  # another site, another mask
    with pytest.raises(StopRun, match=f"'P000' .*{place}.* and 'P001'") as stopped:
        roster_of(split={"kind": kind}, patients=patients, inputs=inputs)
    assert stopped.value.code == "patient_leak"


def test_equal_images_stay_together():
    patients = people()
    inputs = {p.patient_id: f"{i // 6:032d}" + f"{i:032d}" for i, p in enumerate(patients)}
    roster = roster_of(patients=patients, inputs=inputs, folds=3)
    of_image = {}
    for digest, fold in zip(roster.inputs, roster.fold.tolist(), strict=True):
        assert of_image.setdefault(digest[:32], fold) == fold
    for lesson in roster.lessons:
        stopped = {roster.inputs[i][:32] for i in lesson.validation}
        assert stopped.isdisjoint({roster.inputs[i][:32] for i in lesson.train})


def test_the_order_of_the_table_does_not_matter():
    patients = people()
    known = {p.patient_id: (i // 3) % 2 for i, p in enumerate(patients)}
    inputs = {p.patient_id: f"{i:064d}"[::-1] for i, p in enumerate(patients)}
    first = roster_of(patients=patients, known=known, inputs=inputs, folds=3)
    second = roster_of(patients=patients[::-1], known=known, inputs=inputs, folds=3)
    assert first.parts() == second.parts()
    for a, b in zip(first.lessons, second.lessons, strict=True):
        assert a.seed == b.seed
        np.testing.assert_array_equal(a.train, b.train)


def test_of_two_ids_with_the_same_images_what_was_trained_on_counts():
    patients = people()
    inputs = {p.patient_id: f"{i // 6:032d}" + f"{i:032d}" for i, p in enumerate(patients)}
    roster = roster_of(patients=patients, inputs=inputs, folds=0, validation="official_split=validation")
    trained = {image_fingerprint(roster.inputs[i]) for i in roster.lessons[-1].train}
    assert {name for name, part in roster.parts().items() if part.role == "train"} == trained


def test_further_labels_are_numbered_and_gaps_kept():
    roster = roster_of(also_predict=["hr"], folds=0, network="dual-attention", heads="tasks")
    assert roster.task_values == {"hr": ("neg", "pos")}
    for patient, number in zip(roster.patients, roster.tasks[:, 0], strict=True):
        assert ("", "neg", "pos")[number + 1] == patient.groups["hr"]


@pytest.mark.parametrize(
    ("finetune", "code", "text"),
    [
        ({"folds": 1}, "config_value", "at least 2"),
        ({"validation": "official_split"}, "config_value", "COLUMN=VALUE"),
        ({"validation": "official_split=nobody"}, "config_value", "no development patient has that"),
        ({"validation": "oficial_split=validation"}, "unknown_name", "official_split"),
        ({"also_predict": ["site_of_cut"]}, "unknown_name", "column of cohort.groups"),
    ],
)
def test_mistakes_stop_before_any_training(finetune, code, text):
    with pytest.raises(StopRun, match=text) as stopped:
        roster_of(**finetune)
    assert stopped.value.code == code


def test_a_class_of_two_patients_is_too_small():
    patients = people(12)
    known = {p.patient_id: int(i == 3) for i, p in enumerate(patients)}
    with pytest.raises(StopRun) as stopped:
        roster_of(patients=patients, known=known, folds=2)
    assert stopped.value.code == "class_too_small"
