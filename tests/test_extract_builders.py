"""Builders: checkpoints in the layouts of their authors, made on the spot, against the libraries' own loading."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from extract.build_transformers import FAMILIES, vision_settings
from extract.builders import BUILDERS, Network, build
from extract.checkpoints import build_hollow
from extract.encoders import ENCODERS, EncoderSpec, find_encoder
from extract.torchvision_cure import import_torchvision
from triher.errors import StopRun

import_torchvision()  # before timm and open_clip, which the tests import

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated.*")
EVERY_TOKEN = ("cls", "mean", "mask", "cls+mean+mask")


def save(module: torch.nn.Module, path: Path, prefix: str = "") -> Path:
    state = {prefix + name: tensor.contiguous().clone() for name, tensor in module.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def randomized(module: torch.nn.Module) -> torch.nn.Module:
    """Weights that no initialization gives, so that a tensor that was not loaded shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.1 + 0.02 * ("running_var" in name))
    return module.eval()


def fresh(make) -> torch.nn.Module:
    """A network with such weights, without the time that initializing it takes."""
    net = build_hollow(make)
    is_hollow = next(net.parameters()).is_meta
    return randomized(net.to_empty(device="cpu") if is_hollow else net)


def batch(side: int, n: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).normal(size=(n, channels, side, side)).astype(np.float32))


def lesions(side: int, n: int = 2) -> torch.Tensor:
    masks = torch.zeros(n, side, side)
    masks[:, side // 3 : side // 2, side // 2 : side // 2 + side // 5] = 1
    return masks


def run(network: Network, pictures: torch.Tensor, masks: torch.Tensor | None = None) -> np.ndarray:
    network.module.eval()
    with torch.inference_mode():
        return network.forward(pictures, masks).numpy()


def of_timm(model: str, path: Path, side: int, tokens: str = "default") -> EncoderSpec:
    return replace(find_encoder(f"file:{model}@{path}"), input_size=side, tokens=tokens)


TIMM = [
    ("resnet18", 64, 64),
    ("convnext_atto", 64, 64),
    ("vit_tiny_patch16_224", 224, 224),
    ("vit_small_patch14_dinov2", 518, 224),
    ("vit_small_patch14_reg4_dinov2", 518, 224),
    ("vit_small_patch16_dinov3", 256, 256),
    ("swin_tiny_patch4_window7_224", 224, 224),
    ("tf_efficientnet_lite0", 64, 64),
]


@pytest.mark.parametrize(("model", "saved_at", "side"), TIMM)
def test_every_architecture_loads_as_timm_itself_loads_it(model, saved_at, side, tmp_path):
    """The position table of a larger picture is resampled; computed buffers are there; the classifier goes."""
    import timm

    stored_size = {"img_size": saved_at} if "vit" in model else {}
    stored = save(fresh(lambda: timm.create_model(model, **stored_size)), tmp_path / "own.safetensors")
    overlay = {"file": str(stored), "hf_hub_id": None, "url": ""}
    sizes = {"img_size": side} if "vit" in model else {}
    theirs = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, **sizes).eval()
    ours = build(of_timm(model, stored, side), stored)
    assert not any(tensor.is_meta for tensor in ours.module.state_dict().values())
    with torch.inference_mode():
        expected = theirs.forward_head(theirs.forward_features(batch(side)), pre_logits=True)
    np.testing.assert_allclose(run(ours, batch(side)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["dinov2-small", "dinov2-small-reg4"])
def test_files_of_the_authors_of_dinov2_load_as_well(name, tmp_path):
    """``dinov2_vits14_pretrain.pth``: a mask token, registers under another name, positions for the class token."""
    import timm

    net = fresh(lambda: timm.create_model(ENCODERS[name].model, img_size=518, num_classes=0))
    ours = run(build(ENCODERS[name], save(net, tmp_path / "timm.safetensors")), batch(224))
    state = dict(net.state_dict()) | {"mask_token": torch.zeros(1, 384)}
    if "reg4" in name:
        state["register_tokens"] = state.pop("reg_token")
        state["pos_embed"] = torch.cat([state["cls_token"] / 4, state["pos_embed"]], dim=1)
        state["cls_token"] = state["cls_token"] * 3 / 4
    torch.save(state, tmp_path / "theirs.pth")
    theirs = run(build(ENCODERS[name], tmp_path / "theirs.pth"), batch(224))
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test_a_hollow_network_is_as_good_as_a_full_one(tmp_path):
    import timm

    make = lambda: timm.create_model("vit_tiny_patch16_224", num_classes=0)  # noqa: E731
    hollow, full = build_hollow(make), randomized(make())
    assert all(parameter.is_meta for parameter in hollow.parameters())
    hollow.load_state_dict(full.state_dict(), assign=True)
    with torch.inference_mode():
        np.testing.assert_array_equal(hollow.eval()(batch(224)), full(batch(224)))


def test_a_network_with_computed_buffers_is_built_in_full():
    import timm

    net = build_hollow(lambda: timm.create_model("vit_small_patch16_dinov3", num_classes=0))
    assert not net.rope.periods.is_meta


@pytest.mark.parametrize(("model", "n_prefix"), [("vit_tiny_patch16_224", 1), ("vit_small_patch16_dinov3", 5)])
def test_tokens_of_timm_transformers(model, n_prefix, tmp_path):
    import timm

    net = fresh(lambda: timm.create_model(model, num_classes=0))
    side = net.patch_embed.img_size[0]
    stored = save(net, tmp_path / "own.safetensors")
    masks = lesions(side)
    with torch.inference_mode():
        tokens = net.forward_features(batch(side))
    patches = tokens[:, n_prefix:]
    shares = masks.reshape(2, side // 16, 16, side // 16, 16).mean(dim=(2, 4)).flatten(1)
    lesion = (patches * (shares / shares.sum(dim=1, keepdim=True))[:, :, None]).sum(dim=1)
    expected = {"cls": tokens[:, 0], "mean": patches.mean(dim=1), "mask": lesion}
    expected["cls+mean+mask"] = torch.cat(list(expected.values()), dim=1)
    for pooling in EVERY_TOKEN if n_prefix == 1 else EVERY_TOKEN[-1:]:
        network = build(of_timm(model, stored, side, pooling), stored)
        assert network.token_grid == (side // 16, side // 16)
        assert not network.is_convolutional
        np.testing.assert_allclose(run(network, batch(side), masks), expected[pooling], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "axes", "is_convolutional"),
    [("resnet18", (2, 3), True), ("swin_tiny_patch4_window7_224", (1, 2), False)],
)
def test_feature_maps_of_timm_networks(model, axes, is_convolutional, tmp_path):
    import timm

    net = fresh(lambda: timm.create_model(model, num_classes=0))
    stored = save(net, tmp_path / "own.safetensors")
    masks = torch.zeros(2, 224, 224)
    masks[:, 32:64, 96:160] = 1  # position 1 of the rows of the map of 7 x 7, 3 and 4 of its columns
    with torch.inference_mode():
        chart = net.forward_features(batch(224)).movedim(axes, (2, 3))
    network = build(of_timm(model, stored, 224, "mask"), stored)
    assert network.is_convolutional == is_convolutional
    assert network.token_grid is None
    expected = chart[:, :, 1, 3:5].mean(dim=2)
    np.testing.assert_allclose(run(network, batch(224), masks), expected, rtol=1e-4, atol=1e-5)
    everywhere = run(network, batch(224), torch.ones(2, 224, 224))
    np.testing.assert_allclose(everywhere, chart.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_radimagenet_is_a_sequence_of_the_children_of_a_resnet(prefix, tmp_path):
    """``ResNet50.pt`` of Lab-Rasool/RadImageNet holds 318 tensors named ``backbone.0.weight`` and so on."""
    from torchvision.models import resnet50

    net = fresh(lambda: resnet50(weights=None))
    body = torch.nn.Sequential(*list(net.children())[:-1])
    stored = save(body, tmp_path / "ResNet50.pt", prefix)
    assert len(torch.load(stored, weights_only=True)) == 318
    with torch.inference_mode():
        expected = body(batch(64)).flatten(1)
    network = build(replace(ENCODERS["radimagenet-resnet50"], input_size=64), stored)
    np.testing.assert_allclose(run(network, batch(64)), expected, rtol=1e-4, atol=1e-5)
    save(body[:7], stored, prefix)
    with pytest.raises(StopRun, match=r"53 tensors are missing|tensors are missing \(layer4"):
        build(ENCODERS["radimagenet-resnet50"], stored)


def test_sam_encoders_in_their_own_layout(tmp_path):
    """MRI-CORE and MedSAM are image encoders of this kind: ``image_encoder.`` beside prompt and mask parts."""
    import timm

    net = fresh(lambda: timm.create_model("samvit_base_patch16", num_classes=0, img_size=64))
    state = {f"image_encoder.{name.replace('mlp.fc', 'mlp.lin')}": value for name, value in net.state_dict().items()}
    torch.save(state | {"mask_decoder.iou_token.weight": torch.zeros(1, 256)}, tmp_path / "sam.pth")
    network = build(of_timm("samvit_base_patch16", tmp_path / "sam.pth", 64, "mask"), tmp_path / "sam.pth")
    assert run(network, batch(64), lesions(64)).shape == (2, 256)


CLIP_VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1},
}
CLIP_RESNET = CLIP_VIT | {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}}
CLIP_TIMM = {
    "embed_dim": 32,
    "vision_cfg": {
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 224,
    },
    "text_cfg": CLIP_VIT["text_cfg"],
}


def clip_spec(config: dict, side: int, tokens: str = "default", *, quick_gelu: bool = False) -> EncoderSpec:
    settings = json.dumps(config | {"quick_gelu": quick_gelu})
    return replace(ENCODERS["biomedclip"], input_size=side, settings=settings, tokens=tokens, model="Tiny-Test")


@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize(("config", "side"), [(CLIP_VIT, 64), (CLIP_RESNET, 64), (CLIP_TIMM, 224)])
def test_open_clip_towers_load_as_open_clip_runs_them(config, side, quick_gelu, tmp_path):
    import open_clip

    whole = randomized(open_clip.CLIP(**config, quick_gelu=quick_gelu))
    stored = save(whole, tmp_path / "open_clip_model.safetensors")
    network = build(clip_spec(config, side, quick_gelu=quick_gelu), stored)
    with torch.inference_mode():
        expected = whole.encode_image(batch(side))
    np.testing.assert_allclose(run(network, batch(side)), expected, rtol=1e-4, atol=1e-5)


def test_tokens_of_open_clip_transformers(tmp_path):
    """They are those that the tower itself pools: the class token, projected, is its own vector."""
    import open_clip

    for config, side in ((CLIP_VIT, 64), (CLIP_TIMM, 224)):
        whole = randomized(open_clip.CLIP(**config))
        stored = save(whole, tmp_path / "open_clip_model.safetensors")
        network = build(clip_spec(config, side, "cls"), stored)
        assert network.token_grid == (side // 16, side // 16)
        cls = torch.from_numpy(run(network, batch(side)))
        projected = whole.visual.head(cls) if config is CLIP_TIMM else cls @ whole.visual.proj
        expected = run(build(clip_spec(config, side), stored), batch(side))
        np.testing.assert_allclose(projected.detach(), expected, rtol=1e-4, atol=1e-5)
        mixed = run(build(clip_spec(config, side, "cls+mean+mask"), stored), batch(side), lesions(side))
        width = cls.shape[1]
        np.testing.assert_allclose(mixed[:, :width], cls, rtol=1e-4, atol=1e-5)
        assert mixed.shape == (2, 3 * width)


def test_feature_map_of_an_open_clip_resnet(tmp_path):
    import open_clip

    stored = save(randomized(open_clip.CLIP(**CLIP_RESNET)), tmp_path / "open_clip_model.safetensors")
    network = build(clip_spec(CLIP_RESNET, 64, "mask"), stored)
    assert network.is_convolutional
    assert run(network, batch(64), lesions(64)).shape == (2, 512)
    with pytest.raises(StopRun, match="has no class token"):
        build(clip_spec(CLIP_RESNET, 64, "cls"), stored)


def test_a_biomedclip_checkpoint_needs_no_text_library(tmp_path):
    """Its text tower is a BERT, named ``text.transformer.``; nothing of it is built."""
    import open_clip

    settings = json.loads(ENCODERS["biomedclip"].settings)["vision_cfg"]
    visual = fresh(lambda: open_clip.model._build_vision_tower(512, settings))
    state = {f"visual.{name}": tensor for name, tensor in visual.state_dict().items()}
    state |= {"text.transformer.embeddings.word_embeddings.weight": torch.zeros(8, 4), "logit_scale": torch.zeros(())}
    torch.save(state, tmp_path / "open_clip_pytorch_model.bin")
    network = build(ENCODERS["biomedclip"], tmp_path / "open_clip_pytorch_model.bin")
    with torch.inference_mode():
        expected = visual(batch(224))
    np.testing.assert_allclose(run(network, batch(224)), expected, rtol=1e-4, atol=1e-5)


def test_the_activation_is_the_one_that_the_tag_was_trained_with():
    """OpenAI's weights want QuickGELU, also under the plain name of the architecture."""
    from extract.build_open_clip import _config_of

    spec = find_encoder("open_clip:ViT-B-32/openai")
    assert _config_of(spec)["quick_gelu"] is True
    assert _config_of(ENCODERS["clip-vit-b32"])["quick_gelu"] is True
    assert not _config_of(find_encoder("open_clip:ViT-B-32/laion2b_s34b_b79k")).get("quick_gelu", False)


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
WIDE = SMALL | {"intermediate_size": 64}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 50,
}
CVT = {"embed_dim": [16, 16, 32], "num_heads": [1, 1, 2], "depth": [1, 2, 3]}
TRANSFORMERS = {
    "dinov2": ("Dinov2Config", "Dinov2Model", SMALL),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", SMALL),
    "dinov3_vit": ("DINOv3ViTConfig", "DINOv3ViTModel", WIDE | {"num_register_tokens": 4}),
    "vit": ("ViTConfig", "ViTForImageClassification", WIDE),
    "clip": ("CLIPConfig", "CLIPModel", {"text_config": TEXT, "vision_config": WIDE, "projection_dim": 16}),
    "siglip": ("SiglipConfig", "SiglipModel", {"text_config": TEXT, "vision_config": WIDE}),
    "cvt": ("CvtConfig", "CvtForImageClassification", CVT),
}


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory):
    """Write a tiny model as its repository would hold it, and give it back."""

    def write(kind: str):
        import transformers

        transformers.utils.logging.disable_progress_bar()
        config, model, options = TRANSFORMERS[kind]
        torch.manual_seed(0)
        net = getattr(transformers, model)(getattr(transformers, config)(**options))
        folder = tmp_path_factory.mktemp(kind)
        randomized(net).save_pretrained(folder)
        return net, folder

    return write


def transformers_spec(folder: Path, tokens: str = "default", side: int = 56) -> EncoderSpec:
    settings = json.dumps(vision_settings(json.loads((folder / "config.json").read_text())))
    return replace(ENCODERS["rad-dino"], settings=settings, input_size=side, tokens=tokens)


def own_vector(net, kind: str, pictures: torch.Tensor) -> torch.Tensor:
    """What users of the library take as the image's feature."""
    if kind == "clip":
        return net.visual_projection(net.vision_model(pictures).pooler_output)
    if kind == "siglip":
        return net.vision_model(pictures).pooler_output
    if kind == "vit":
        return net.vit(pictures).last_hidden_state[:, 0]
    if kind == "cvt":
        return net.layernorm(net.cvt(pictures).cls_token_value)[:, 0]
    return net(pictures).pooler_output


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_transformers_checkpoints_in_the_layout_of_the_hub(kind, hub_folder):
    net, folder = hub_folder(kind)
    side = 64 if kind == "cvt" else 56
    stored = folder / "model.safetensors"
    network = build(transformers_spec(folder, side=side), stored)
    with torch.inference_mode():
        expected = own_vector(net, kind, batch(side))
    np.testing.assert_allclose(run(network, batch(side)), expected, rtol=1e-4, atol=1e-5)
    assert network.token_grid == (4, 4)


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_tokens_of_transformers(kind, hub_folder):
    net, folder = hub_folder(kind)
    side = 64 if kind == "cvt" else 56
    stored = folder / "model.safetensors"
    one_patch = torch.zeros(2, side, side)
    one_patch[:, : side // 4, side // 4 : side // 2] = 1  # the second patch
    mask = run(build(transformers_spec(folder, "mask", side), stored), batch(side), one_patch)
    mean = run(build(transformers_spec(folder, "mean", side), stored), batch(side))
    everywhere = run(build(transformers_spec(folder, "mask", side), stored), batch(side), torch.ones(2, side, side))
    np.testing.assert_allclose(mean, everywhere, rtol=1e-4, atol=1e-5)
    if kind in ("dinov2", "dinov2_with_registers", "dinov3_vit"):
        n_prefix = {"dinov2": 1}.get(kind, 5)
        with torch.inference_mode():
            tokens = net(batch(side)).last_hidden_state
        assert tokens.shape[1] == n_prefix + 16
        np.testing.assert_allclose(mask, tokens[:, n_prefix + 1], rtol=1e-4, atol=1e-5)
    if kind == "siglip":
        with pytest.raises(StopRun, match="has no class token"):
            build(transformers_spec(folder, "cls", side), stored)
    elif kind != "clip":
        cls = run(build(transformers_spec(folder, "cls", side), stored), batch(side))
        np.testing.assert_allclose(
            cls, run(build(transformers_spec(folder, side=side), stored), batch(side)), atol=1e-6
        )


def test_larger_pictures_than_in_training_are_taken_by_dinov2(hub_folder):
    """``facebook/dinov2-base`` was saved at 518 pixels and is used at 224."""
    net, folder = hub_folder("dinov2")
    network = build(transformers_spec(folder, side=84), folder / "model.safetensors")
    assert network.token_grid == (6, 6)
    with torch.inference_mode():
        expected = net(batch(84)).pooler_output
    np.testing.assert_allclose(run(network, batch(84)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_partial_transformers_checkpoints_are_refused(kind, hub_folder):
    from safetensors.torch import load_file

    _, folder = hub_folder(kind)
    stored = folder / "model.safetensors"
    state = load_file(stored)
    spec = transformers_spec(folder, side=64 if kind == "cvt" else 56)
    lost = next(name for name in state if "norm" in name and "text" not in name and name.endswith("weight"))
    save_file({name: tensor for name, tensor in state.items() if name != lost}, stored)
    with pytest.raises(StopRun, match="1 tensors are missing"):
        build(spec, stored)
    save_file(state | {"adapter.weight": torch.zeros(2)}, stored)
    with pytest.raises(StopRun, match=r"1 tensors are unknown \(adapter\.weight\)") as caught:
        build(spec, stored)
    assert caught.value.code == "weights_hash"


def test_settings_of_the_table_build_the_published_sizes():
    """rad-dino is a ViT-B/14, medsiglip the 400 M tower of SigLIP; nothing is allocated here."""
    import transformers

    counts = {"rad-dino": 86_580_480, "medsiglip-448": 428_225_600 + 1152 * (32**2 - 27**2), "cvt-13": 19_997_480}
    for name, expected in counts.items():
        settings = json.loads(ENCODERS[name].settings)
        family = FAMILIES[settings["model_type"]]
        config = getattr(transformers, family.config).from_dict(settings)
        if name == "cvt-13":
            net = getattr(transformers, family.model)(config)
        else:
            with torch.device("meta"):
                net = getattr(transformers, family.model)(config)
        assert sum(parameter.numel() for parameter in net.parameters()) == expected, name


def test_without_the_library_it_says_what_to_install(hub_folder, monkeypatch):
    import sys

    _, folder = hub_folder("dinov2")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(StopRun, match=r"pip install 'triher\[extract,hf\]'") as caught:
        build(transformers_spec(folder), folder / "model.safetensors")
    assert caught.value.code == "extra_missing"


def test_a_kind_of_network_that_is_not_read_is_refused_with_the_known_ones():
    with pytest.raises(StopRun, match=r"unknown kind of transformers model 'bert'.*known: .*dinov2"):
        vision_settings({"model_type": "bert"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: {k: v for k, v in state.items() if k != "conv1.weight"}, r"missing \(conv1\.weight\)"),
        (lambda state: state | {"layer5.weight": torch.zeros(1)}, r"unknown \(layer5\.weight\)"),
        (lambda state: state | {"bn1.bias": torch.zeros(3)}, r"another shape \(bn1\.bias \(3,\) where \(64,\)"),
    ],
)
def test_every_tensor_is_accounted_for(spoil, message, tmp_path):
    import timm

    torch.save({"state_dict": spoil(timm.create_model("resnet18").state_dict())}, tmp_path / "own.pth")
    with pytest.raises(StopRun, match=message):
        build(of_timm("resnet18", tmp_path / "own.pth", 64), tmp_path / "own.pth")


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "state_dict_ema", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrapping_of_training_scripts_is_taken_off(wrapper, prefix, tmp_path):
    import timm

    net = randomized(timm.create_model("resnet18"))
    state = {prefix + name: tensor for name, tensor in net.state_dict().items() if "num_batches" not in name}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "own.pth")
    network = build(of_timm("resnet18", tmp_path / "own.pth", 64), tmp_path / "own.pth")
    np.testing.assert_array_equal(network.module.conv1.weight.detach(), net.conv1.weight.detach())


@pytest.mark.fault("G4")
def test_files_that_hold_code_or_nothing_are_refused(tmp_path):
    import timm

    torch.save(timm.create_model("resnet18"), tmp_path / "whole.pth")
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    torch.save({"epoch": 3}, tmp_path / "number.pth")
    for name in ("whole.pth", "text.pth", "empty.safetensors", "number.pth"):
        with pytest.raises(StopRun, match="no weights file that can be read") as caught:
            build(of_timm("resnet18", tmp_path / name, 64), tmp_path / name)
        assert caught.value.code == "weights_hash"


def test_half_precision_files_run_in_single_precision(tmp_path):
    import timm

    net = timm.create_model("resnet18")
    torch.save(
        {name: t.half() if t.is_floating_point() else t for name, t in net.state_dict().items()}, tmp_path / "h.pth"
    )
    network = build(of_timm("resnet18", tmp_path / "h.pth", 64), tmp_path / "h.pth")
    assert {parameter.dtype for parameter in network.module.parameters()} == {torch.float32}


def test_every_builder_is_there():
    from importlib import import_module

    for target in BUILDERS.values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))
    with pytest.raises(StopRun, match="unknown encoder builder 'tim'; did you mean 'timm'"):
        build(replace(ENCODERS["resnet50"], builder="tim"), Path("none"))
