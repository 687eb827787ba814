"""The model card: all that it should say, nothing of a patient, and no text that acts as markup."""

import re
import shutil
from pathlib import Path

import pytest

from classify.card import card
from classify.manifest import Manifest, parse_manifest
from classify.pooling import pool
from classify.stage import classify

HEADINGS = [
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
    "Quantitative analyses", "Ethical considerations", "Caveats and recommendations", "Files",
]  # fmt: skip
HOSTILE = "[a](x) <script>alert(1)</script> | `b` *c* _d_ \n# e &lt;"
SHA = "ab" * 32


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where the one trained bundle of these tests lies."""
    return tmp_path_factory.mktemp("kept") / "bundle"


@pytest.fixture
def study(make_study, kept):
    """The run that the bundle is of; it is trained once."""
    made = make_study(n=24)
    if not kept.exists():
        assert classify(*made)
        shutil.copytree(made.run.bundle, kept)
    return made


@pytest.fixture
def manifest(study, kept) -> Manifest:
    return parse_manifest((kept / "manifest.json").read_bytes(), "here")


def changed(manifest: Manifest, **parts) -> Manifest:
    return Manifest.model_validate(manifest.model_dump(mode="json") | parts)


def row(text: str, name: str) -> list[str]:
    """The cells behind a name."""
    [line] = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def test_headings_are_those_of_mitchell_in_their_order(manifest):
    text = card(manifest, sha256=SHA)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert re.findall(r"^# (.+)$", text, re.MULTILINE) == [
        "Model card: zero, low, positive (HER2) from breast DCE-MRI"
    ]


def test_it_says_use_numbers_and_hashes(manifest):
    text = card(manifest, sha256=SHA)
    assert "Research use only. This is no medical device" in text
    assert f"`{SHA}`" in text
    assert row(text, "encoder: name") == ["toy"]
    assert row(text, "head") == ["logistic"]
    assert row(text, "training: n") == ["24"]
    assert row(text, "training: class counts: low") == ["8"]
    assert row(text, "positive") == ["8", f"{manifest.conformal.quantiles[2]:.4g}"]
    assert row(text, "training: images") == ["24 values"]
    point = manifest.thresholds[0]
    numbers = [f"{v:.4g}" for v in (point.threshold, point.sensitivity, point.specificity)]
    assert row(text, point.task) == [*numbers, str(point.n)]
    low, high = manifest.acquisition["spacing_row_mm"]
    assert row(text, "spacing_row_mm") == [f"{low:.4g}", f"{high:.4g}"]
    assert row(text, "normalization") == ["clip98-volume"]
    assert row(text, "head.safetensors") == [
        str(manifest.parts["head.safetensors"].size),
        manifest.parts["head.safetensors"].sha256,
    ]
    assert row(text, "numpy")[0] == manifest.versions["numpy"]
    assert "class shares of the training gives 1.099" in text  # ln 3 for three classes of 8
    assert "Few patients: 8 zero, 8 low, 8 positive" in text
    assert "license (not stated)" in text


def test_it_holds_no_id_no_fingerprint_and_no_vector(study, manifest):
    text = card(manifest, sha256=SHA)
    assert "SUBJECT" not in text
    assert str(study.run.path) not in text
    for patient_id, digest in zip(study.ids, study.features.input_sha256, strict=True):
        assert patient_id not in text
        assert digest[:12] not in text
    assert all(image not in text for image in manifest.training.images)
    numbers = {f"{value:.4g}" for value in pool(study.features, ("rgb",), ("mean",)).vectors[:, 0]}
    assert not numbers & set(re.findall(r"-?\d\.\d{3}\b", text.partition("## Files")[0]))


def test_text_of_users_is_no_markup(manifest):
    odd = changed(
        manifest,
        encoder={
            "name": HOSTILE,
            "citation": HOSTILE,
            "license": HOSTILE,
            "weights": "file:/home/ann/secret/net.pth",
        },
        recipe={HOSTILE: HOSTILE},
        acquisition={HOSTILE: [0, 1]},
        versions={HOSTILE: HOSTILE},
    )
    text = card(odd, sha256=SHA)
    assert "<script" not in re.sub(r"\\.", "", text)
    assert r"\[a\]\(x\) \<script\>alert\(1\)\</script\> \| \`b\` \*c\* \_d\_ \# e \&lt;" in text
    assert re.findall(r"^#+ .+$", text, re.MULTILINE)[1:] == [f"## {heading}" for heading in HEADINGS]
    assert row(text, "encoder: weights") == ["file:…/net.pth"]
    for line in text.splitlines():  # every row of a table has as many cells as its head
        if line.startswith("|---"):
            width = line.count("|")
        elif line.startswith("|") and "---" not in line:
            assert len(re.findall(r"(?<!\\)\|", line)) in {3, 4, 5, 6}, line
    assert width == 4


def test_a_negative_control_says_so_first(manifest):
    facts = manifest.training.model_dump() | {"labels_shuffled": True}
    text = card(changed(manifest, training=facts), sha256=SHA)
    assert "Negative control" in text.split("## ")[0]
    assert "Negative control" not in card(manifest, sha256=SHA)


def test_sites_that_features_were_harmonized_for_are_told_and_escaped(manifest):
    before = manifest.preparation.model_dump() | {"harmonizer": {"method": "combat", "sites": ["A|B", "Zürich"]}}
    text = card(changed(manifest, preparation=before), sha256=SHA)
    assert "It holds the names of the training sites" in text
    assert "| preparation: harmonizer: sites | A\\|B, Zürich |" in text
    assert "names of the training sites" not in card(manifest, sha256=SHA)


def test_a_class_that_is_always_in_the_set_is_named(manifest):
    wide = {"alpha": 0.1, "quantiles": [1.0, 0.5, 0.5], "counts": [3, 9, 9]}
    text = card(changed(manifest, conformal=wide), sha256=SHA)
    assert "- zero: in every prediction set" in text


def test_facts_that_are_new_to_the_card_are_shown_and_new_fingerprints_are_not(manifest):
    class Wider(Manifest):
        """A manifest with more in it."""

        stacking: dict[str, float]
        exams: list[str]

    more = {"stacking": {"logistic": 0.25}, "exams": ["0123456789abcdef" * 2]}
    text = card(Wider.model_validate(manifest.model_dump(mode="json") | more), sha256=SHA)
    assert row(text, "stacking: logistic") == ["0.25"]
    assert row(text, "exams") == ["1 values"]
