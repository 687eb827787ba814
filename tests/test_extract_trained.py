"""Trained encoders: each patient is embedded by the network that was not trained on her, wherever the file lies."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from extract.cache import Slab, read_slab, write_slab
from extract.drift import measure_drift
from extract.embedding import Plan, embed_cohort, embed_shards
from extract.encoder_spec import TRAINED, EncoderSpec
from extract.encoders import find_encoder
from extract.fusion import find_fusion
from extract.histograms import count
from extract.lanes import choose
from extract.models import Encoder
from extract.normalization import find_normalization
from extract.pictures import Drawing, PictureRecipe
from extract.saliency.cam import gradcam, hirescam
from extract.saliency.maps import explain
from extract.saliency.methods import best_method
from extract.saliency.occlusion import occlude
from extract.saliency.rollout import gradient_rollout, plain_rollout
from extract.saliency.shuffling import shuffled
from extract.shards import Job, Lane, cut_shards
from extract.task import decide
from extract.trained import TrainedEncoder, build_trained, write_trained
from extract.trained_spec import check_use
from extract.training.design import design_from
from extract.training.networks import from_tensors, tensors_of, untrained
from triher.config import Config
from triher.errors import StopRun
from triher.images import image_fingerprint
from triher.progress import Reporter
from triher.runfolder import library_versions
from triher.settings import FinetuneConfig
from triher.store import Features, Header, read_store
from triher.trained import DEVELOPED, SAW, Card, Part, read_card, require_whole

PHASES = ("pre", "early", "late")
PICTURES = PictureRecipe(find_normalization("clip98-volume"), (find_fusion("rgb", PHASES),), "all", 8)
HALF = (0.5, 0.5, 0.5)
START = EncoderSpec("tiny", "timm", "test_resnet", "hub:none/none", 64, HALF, HALF, "MIT", "Somebody 2024")
CPU = torch.device("cpu")
FOLDS = ("fold-0", "fold-1", "fold-2")


def card_of(patients: dict[str, Part], *, folds=FOLDS, start=START, **settings) -> Card:
    options = FinetuneConfig.model_validate({"network": "dual-attention", **settings})
    recipe = decide(configured()).recipe()
    return Card(
        "tiny-0123456789", asdict(start), "", options.model_dump(mode="json"), "triple", ("zero", "low", "positive"),
        {}, start.input_size, recipe, 0, (*folds, "final"), {}, {"zero": 2, "low": 3, "positive": 1}, False, {},
        {image_fingerprint(images): part for images, part in patients.items()},
    )  # fmt: skip


def configured(**extract) -> Config:
    own = {"normalization": "clip98-volume", "runtime": "torch", "device": "cpu", **extract}
    return Config.model_validate({"cohort": {"table": "cohort.csv"}, "extract": own})


_MADE: dict[tuple[object, ...], dict[str, torch.Tensor]] = {}


def networks_of(card: Card) -> dict[str, dict[str, torch.Tensor]]:
    """Random networks, each made once."""
    design = design_from(card)
    for name in card.networks:
        if (design, name) not in _MADE:
            _MADE[design, name] = tensors_of(untrained(design, None, len(_MADE)))
    return {name: _MADE[design, name] for name in card.networks}


def write(path: Path, card: Card) -> Path:
    write_trained(path, card, networks_of(card))
    return path


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> list[Job]:
    """Eight patients of one to four slices."""
    rng = np.random.default_rng(0)
    folder, made = tmp_path_factory.mktemp("slabs"), []
    for i in range(8):
        n = 1 + i % 4
        voxels = rng.integers(0, 1000, (3, n, 11, 8)).astype(np.int16)
        mask = np.zeros((n, 11, 8), bool)
        mask[:, 3:7, 2:5] = True
        digest = hashlib.sha256(voxels.tobytes()).hexdigest()
        volumes, slices = (
            tuple(count(p) for p in voxels),
            tuple([count(part) for part in phase] for phase in voxels),
        )
        slab = Slab(PHASES, voxels, mask, volumes, slices, n, (2.0, 0.9, 1.1), "axial", (20, 40, 40))
        write_slab(folder / f"{digest}.safetensors", slab)
        made.append(Job(f"P{i}", "A", folder / f"{digest}.safetensors", digest))
    return made


def who(jobs: list[Job]) -> dict[str, Part]:
    """Six patients in three folds; the last two are unknown to the encoder."""
    return {job.input_sha256[:32]: Part(i % 3, "train") for i, job in enumerate(jobs[:6])}


@pytest.fixture(scope="module")
def file(jobs, tmp_path_factory) -> Path:
    """An encoder of three folds."""
    return write(tmp_path_factory.mktemp("encoders") / "tiny-0123456789.safetensors", card_of(who(jobs)))


def encoder_of(file: Path, tokens: str = "default") -> TrainedEncoder:
    options = configured(encoder=f"file:{file}", tokens=tokens).extract
    loaded = choose(find_encoder(options.encoder, tokens), options).load(CPU)
    assert isinstance(loaded, TrainedEncoder)
    return loaded


def embed(file: Path, jobs: list[Job], target: Path, plan: Plan | None = None) -> Features:
    encoder, plan = encoder_of(file), plan or Plan(4, 3, 2)
    lane = Lane(target, Header(encoder.spec.identity("0"), {}, {}, encoder.probe()))
    assert embed_cohort(jobs, [lane], [[encoder]], PICTURES, plan, Reporter(quiet=True), len(jobs)) == []
    return read_store(target)[1]


def by_hand(card: Card, tensors: dict[str, torch.Tensor], job: Job) -> np.ndarray:
    """The probabilities of one network, without batches, routes or stores."""
    pictures = Drawing(read_slab(job.slab), PICTURES).pictures(card.input_size).views["rgb"].numpy()
    scaled = (pictures / 255 - 0.5) / 0.5
    with torch.no_grad():
        outputs = from_tensors(design_from(card), tensors)(torch.from_numpy(scaled.astype(np.float32))).numpy()
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_each_patient_is_embedded_by_exactly_the_network_that_was_kept_from_her(file, jobs, tmp_path):
    card = read_card(file)
    networks, found = networks_of(card), embed(file, jobs, tmp_path / "store.h5")
    for i, job in enumerate(jobs):
        rows = found.views["rgb"][found.rows(i)]
        own = f"fold-{i % 3}" if i < 6 else "final"
        apart = {name: np.abs(by_hand(card, networks[name], job) - rows).max() for name in card.networks}
        assert apart.pop(own) < 1e-5
        assert min(apart.values()) > 1e-3  # so that another network would have been noticed
    np.testing.assert_array_equal(found.acquisition[SAW], [DEVELOPED] * 6 + [0] * (len(jobs) - 6))
    np.testing.assert_allclose(found.views["rgb"].sum(axis=1), 1, atol=1e-6)


def test_a_store_has_the_same_bytes_with_other_threads_and_after_a_kill(file, jobs, tmp_path):
    whole = tmp_path / "whole.h5"
    embed(file, jobs, whole)
    embed(file, jobs, tmp_path / "threads.h5", Plan(4, 3, 1))
    encoder, plan = encoder_of(file), Plan(4, 3, 2)
    lane = Lane(tmp_path / "killed.h5", Header(encoder.spec.identity("0"), {}, {}, encoder.probe()))
    first, *_ = cut_shards(jobs, [lane], 3)
    quiet = {"advance": lambda *_: None, "stop": lambda: None}
    embed_shards([first], [lane], [encoder], recipe=PICTURES, plan=plan, **quiet)
    embed(file, jobs, lane.target)
    assert whole.read_bytes() == (tmp_path / "threads.h5").read_bytes() == lane.target.read_bytes()


def test_one_network_alone_says_whom_it_was_trained_on_and_stopped_by(jobs, tmp_path):
    roles = ["train", "validation", ""]
    people = {job.input_sha256[:32]: Part(-1, roles[i % 3]) for i, job in enumerate(jobs[:6])}
    file = write(tmp_path / "alone.safetensors", card_of(people, folds=()))
    found = embed(file, jobs, tmp_path / "store.h5")
    assert found.acquisition[SAW].tolist() == [1, 0.5, 0, 1, 0.5, 0, 0, 0]


def test_a_renamed_patient_with_another_mask_is_recognized(file, jobs, tmp_path):
    twin = replace(jobs[1], patient_id="SOMEBODY ELSE", input_sha256=jobs[1].input_sha256[:32] + "0" * 32)
    found = embed(file, [jobs[0], jobs[1], twin], tmp_path / "store.h5")
    np.testing.assert_array_equal(found.views["rgb"][found.rows(1)], found.views["rgb"][found.rows(2)])


def test_networks_are_loaded_only_when_somebody_needs_them(file, jobs):
    encoder = encoder_of(file)
    assert encoder.prepare(Drawing(read_slab(jobs[1].slab), PICTURES)).network == "fold-1"
    assert set(encoder._networks) == {"final"}
    assert encoder.network("fold-1") is encoder.network("fold-1")
    assert set(encoder._networks) == {"final", "fold-1"}
    alone = encoder.network("final").memory_bytes(8)
    weights = sum(p.nbytes for p in encoder.network("final").module.parameters())
    assert encoder.memory_bytes(8) == alone + 3 * weights
    assert encoder.remarks == []
    np.testing.assert_array_equal(encoder.probe(), encoder.network("final").probe())


def test_the_entry_says_where_it_is_from_and_not_where_it_lies(file, tmp_path):
    spec = find_encoder(f"file:{file}")
    assert (spec.name, spec.builder, spec.model, spec.features) == (f"file:{file.name}", TRAINED, "test_resnet", 3)
    assert (spec.license, spec.citation) == ("MIT", "Somebody 2024; trained further on 6 patients")
    moved = tmp_path / "elsewhere" / file.name
    moved.parent.mkdir()
    moved.write_bytes(file.read_bytes())
    assert find_encoder(f"file:{moved}").identity("a") == spec.identity("a")
    assert str(file.parent) not in json.dumps(spec.identity("a"))
    assert find_encoder(f"file:/nowhere/{file.name}", folder=moved.parent).weights == f"file:{moved}"
    with pytest.raises(StopRun, match="no trained encoder at /nowhere/"):
        find_encoder(f"file:/nowhere/{file.name}")


def test_moved_files_and_reordered_headers_give_stores_of_the_same_name_and_bytes(file, jobs, tmp_path):
    moved = tmp_path / file.name
    moved.write_bytes(file.read_bytes())
    stores = []
    for one in (file, moved):
        task = decide(configured(encoder=f"file:{one}"))
        stores += task.stores(tmp_path)
        encoder = task.encoders[0].load(CPU)
        lane = Lane(
            tmp_path / f"{one.parent.name}.h5", Header(task.encoders[0].facts(), task.recipe(), {}, encoder.probe())
        )
        embed_cohort(jobs[:2], [lane], [[encoder]], PICTURES, Plan(4, 3, 1), Reporter(quiet=True), 2)
    assert stores[0] == stores[1]
    assert (tmp_path / f"{file.parent.name}.h5").read_bytes() == (tmp_path / f"{tmp_path.name}.h5").read_bytes()


def test_the_same_networks_give_the_same_bytes_and_others_are_refused(jobs, tmp_path):
    card = card_of(who(jobs))
    digests = {write(tmp_path / f"{i}.safetensors", card).read_bytes() for i in range(4)}
    assert len(digests) == 1
    assert read_card(tmp_path / "0.safetensors").to_metadata() == card.to_metadata()
    with pytest.raises(ValueError, match="the card names the networks"):
        write_trained(tmp_path / "short.safetensors", card, {"final": {}})
    assert not (tmp_path / "short.safetensors").exists()


def load_all(file: Path) -> None:
    """Load every network that the card names."""
    encoder = encoder_of(file)
    for name in encoder.card.networks:
        encoder.network(name)


def changed_card(**facts) -> Callable[[bytes], bytes]:
    """A file with other facts on its card."""

    def change(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        head = json.loads(data[8 : 8 + length])
        head["__metadata__"]["card"] = json.dumps(json.loads(head["__metadata__"]["card"]) | facts)
        text = json.dumps(head).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + length :]

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-40],
        lambda data: data[: len(data) // 2],
        lambda data: data[:5],
        lambda data: b"",
        lambda data: b"\xff" * 64,
        lambda data: data.replace(b"triher-network", b"triher-bundle!", 1),
        lambda data: (2).to_bytes(8, "little") + b"[]",
        lambda data: (200_000).to_bytes(8, "little") + b"[" * 200_000,
        lambda data: (24).to_bytes(8, "little") + b'{"__metadata__": "text"}',
        changed_card(patients={"a": [7, "train"]}),
        changed_card(patients={"a": [0, "nobody"]}),
        changed_card(patients={"a": 3}),
        changed_card(patients=[]),
        changed_card(networks=["fold-0"]),
        changed_card(networks=["fold-0", "fold-1", "fold-2", "final", "fold-9"], patients={"a": [9, "train"]}),
        changed_card(input_size="large"),
        changed_card(start={}),
        changed_card(start={**asdict(START), "mean": 1}),
        changed_card(start={**asdict(START), "model": "test_vit"}),
        changed_card(settings={"network": "other"}),
        changed_card(classes=["zero", "rest"]),
    ],
)
def test_damaged_foreign_and_hostile_files_stop_the_run(file, tmp_path, damage):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(damage(file.read_bytes()))
    with pytest.raises(StopRun) as stopped:
        load_all(bad)
    assert stopped.value.code in ("weights_hash", "unknown_name")
    assert "\n" not in stopped.value.message


def test_features_of_several_networks_are_refused_and_of_one_are_pooled(file, jobs, tmp_path):
    with pytest.raises(StopRun, match="holds 4 networks, whose features have nothing in common") as stopped:
        decide(configured(encoder=f"file:{file}", tokens="mean"))
    assert stopped.value.code == "config_value"
    alone = write(tmp_path / "alone.safetensors", card_of({}, folds=()))
    decide(configured(encoder=f"file:{alone}", tokens="mean"))
    encoder = encoder_of(alone, "mean")
    module = encoder.network("final").module
    batch = torch.rand(2, 3, 64, 64)
    rows = build_trained(replace(encoder.spec, tokens="mean"), alone).forward(batch, None)
    torch.testing.assert_close(rows, module.last(batch).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"normalization": "zscore-volume"}, "normalization: clip98-volume -> zscore-volume"),
        ({"n4": "shared"}, "n4: none -> shared"),
        ({"region": {"kind": "mask"}}, "region.kind: box -> mask"),
        ({"fusions": ["early"]}, "fusions: "),
        ({"slices": {"n": 2}}, ""),
        ({"region": {"kind": "control"}}, ""),
        ({"region": {"margin_mm": 9.0}, "perturb": {"noise": 0.1}}, ""),
    ],
)
def test_pictures_of_another_kind_are_refused_by_name(file, choices, words):
    config = configured(encoder=f"file:{file}", **choices)
    if not words:
        assert decide(config).encoders[0].spec.builder == TRAINED
        return
    with pytest.raises(StopRun) as stopped:
        decide(config)
    assert stopped.value.code == "encoder_recipe"
    assert words in stopped.value.message
    assert stopped.value.message.count(" -> ") == 1


def test_other_phases_are_refused_as_patients_would_not_be_recognized(file):
    card, recipe = read_card(file), decide(configured()).recipe()
    with pytest.raises(StopRun, match=r"phases: .*-> .*'early'\]") as stopped:
        check_use(card, "default", recipe | {"phases": ["pre", "early"]})
    assert stopped.value.code == "encoder_recipe"


def test_nyuls_scale_is_that_of_the_training(jobs, tmp_path):
    card = card_of(who(jobs))
    scale = [float(10 * i) for i in range(1, 12)]
    own = decide(configured(normalization="nyul-volume", standard_scale=scale)).recipe()
    file = write(tmp_path / "nyul.safetensors", replace(card, recipe=own))
    task = decide(configured(encoder=f"file:{file}", normalization="nyul-volume"))
    assert not task.needs_fit
    assert task.recipe()["standard_scale"] == scale
    with pytest.raises(StopRun, match="standard_scale: "):
        decide(configured(encoder=f"file:{file}", normalization="nyul-volume", standard_scale=[*scale[:-1], 200.0]))


def test_drift_is_measured_wherever_the_file_is(file, tmp_path):
    choice = choose(find_encoder(f"file:{file}"), configured().extract)
    header = Header(choice.facts(), {}, library_versions(), choice.load(CPU).probe())
    for places in ({"weights_dir": file.parent}, {"beside": file.parent}):
        found = measure_drift(header, device="cpu", **places)
        assert (found.weights, found.transform, found.cosmetic, found.probe.largest) == ((), (), (), 0)
    with pytest.raises(StopRun, match=f"trained encoder {file.name}, which was looked for in {tmp_path}"):
        measure_drift(header, device="cpu", weights_dir=tmp_path)


def slopes_of(n: int) -> torch.Tensor:
    """The slope of a class's log-odds at a row of probabilities, of three classes."""
    return torch.randn((3, n, 3), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("heads", ["parallel", "phases", "sequential"])
def test_class_activation_maps_sum_to_what_the_probabilities_gain(heads, jobs, tmp_path):
    """Log-odds follow linearly from the last map, so that the sum is the slope times that of the softmax, exactly."""
    encoder = encoder_of(write(tmp_path / "dual.safetensors", card_of(who(jobs), heads=heads))).network("fold-1")
    assert best_method(encoder, is_smooth=True) == "hirescam"
    inputs, _ = encoder.probe_inputs()
    slopes = slopes_of(len(inputs))
    charts = hirescam(encoder, inputs, None, slopes)
    with torch.no_grad():
        outputs = encoder.module((inputs / 255 - 0.5) / 0.5)
        blank = encoder.module.classifiers(torch.zeros_like(encoder.module.last(inputs / 255).mean(dim=(2, 3))))
    p = outputs.softmax(dim=1)
    jacobian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    expected = torch.einsum("yif,ifk,ik->yi", slopes, jacobian, outputs - blank)
    torch.testing.assert_close(charts.sum(dim=(2, 3)), expected, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(gradcam(encoder, inputs, None, slopes).sum(dim=(2, 3)), expected, atol=1e-5, rtol=1e-3)


def test_rollout_and_occlusion_reach_the_probabilities_of_a_transformer(jobs, tmp_path):
    start = replace(START, model="test_vit", input_size=160)
    file = write(
        tmp_path / "vit.safetensors",
        card_of(who(jobs), start=start, network="plain", folds=("fold-0", "fold-1", "fold-2")),
    )
    encoder = encoder_of(file).network("fold-0")
    assert best_method(encoder, is_smooth=True) == "gradient-rollout"
    drawing = Drawing(read_slab(jobs[3].slab), PICTURES)
    prepared = encoder.prepare(drawing)
    inputs = prepared.views["rgb"]
    slopes = slopes_of(len(inputs))
    even = gradient_rollout(encoder, inputs, None, torch.ones_like(slopes))
    found = gradient_rollout(encoder, inputs, None, slopes)
    assert found.min() >= 0 < found.max()
    assert even.max() < 1e-3 * found.max()  # probabilities sum to 1, so that an even slope asks for nothing
    torch.testing.assert_close(
        plain_rollout(encoder, inputs, None, slopes).sum(dim=(2, 3))[0] < 1, torch.ones(len(inputs), dtype=bool)
    )
    maps = explain(encoder, drawing, {"rgb": slopes.numpy()}, "gradient-rollout")
    assert maps.shape == (3, 4, 11, 8)

    def log_odds(views):
        return np.log(views["rgb"].mean(axis=1).astype(np.float64))

    hidden = occlude(encoder, drawing, log_odds, 6.0, 6.0)
    assert hidden.shape == maps.shape
    assert np.abs(hidden).max() > 0


def test_shuffled_weights_are_those_of_the_same_network(file):
    encoder = encoder_of(file).network("fold-2")
    other = shuffled(encoder, 0)
    assert isinstance(other, Encoder)
    for one, two in zip(encoder.module.parameters(), other.module.parameters(), strict=True):
        torch.testing.assert_close(one.flatten().sort().values, two.flatten().sort().values)


@pytest.mark.parametrize("place", ["card", "tensors"])
def test_one_flipped_bit_of_a_trained_encoder_is_noticed(file, tmp_path, place):
    data = bytearray(file.read_bytes())
    at = data.index(b"patients") + 20 if place == "card" else -9
    data[at] ^= 1
    damaged = tmp_path / file.name
    damaged.write_bytes(data)
    with pytest.raises(StopRun, match=file.name) as caught:
        require_whole(damaged)
    assert caught.value.code == "weights_hash"
    require_whole(file)
