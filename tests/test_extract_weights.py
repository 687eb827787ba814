"""Where weights are looked for, in which order, and what is said before anything is downloaded."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from extract.encoders import ENCODERS, find_encoder
from extract.licenses import require_license
from extract.weights import locate_weights
from triher.errors import StopRun

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub and no network; `put` lays a file where an earlier download would have."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(repository: str, file: str, content: bytes | str, revision: str = "main") -> Path:
        folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        path = folder / "snapshots" / COMMIT / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / revision).write_text(COMMIT)
        return path

    def lacks(repository: str, *files: str) -> None:
        """The hub has said before that there are no such files."""
        for file in files:
            path = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / ".no_exist" / COMMIT / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return SimpleNamespace(put=put, lacks=lacks)


@pytest.fixture
def refusing_hub(monkeypatch, hub):
    """A hub that answers with a status, and a list of what it was asked for."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RemoteEntryNotFoundError

    asked: list[str] = []

    def answer(status: int, only: tuple[str, ...] = ()):
        def download(repository, file, revision=None):
            asked.append(f"{repository}/{file}")
            kind = {401: HfHubHTTPError, 403: GatedRepoError, 404: RemoteEntryNotFoundError}[status]
            error = kind.__new__(kind)
            error.response = SimpleNamespace(status_code=status)
            raise error

        monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
        return asked

    return answer


@pytest.mark.fault("G5")
def test_a_file_of_the_cache_is_taken_without_network_and_without_asking(hub):
    """Who has a file already has its license; the safetensors come before the older file."""
    older = hub.put("timm/vit_small_patch16_dinov3.lvd1689m", "pytorch_model.bin", b"older")
    assert locate_weights(ENCODERS["dinov3-small"], None)[0] == older
    newer = hub.put("timm/vit_small_patch16_dinov3.lvd1689m", "model.safetensors", b"newer")
    assert locate_weights(ENCODERS["dinov3-small"], None)[0] == newer


def test_a_pinned_commit_is_taken_and_no_other(hub):
    spec = replace(ENCODERS["dinov2-small"], revision=COMMIT)
    path = hub.put("timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors", b"weights")
    assert locate_weights(spec, None)[0] == path
    with pytest.raises(StopRun, match="cannot be fetched from the hub"):
        locate_weights(replace(spec, revision="f" * 40), None)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin", ".pth.tar"])
def test_a_file_placed_by_hand_comes_first(suffix, hub, tmp_path):
    hub.put("google/medsiglip-448", "model.safetensors", b"cached")
    path = tmp_path / f"medsiglip-448{suffix}"
    path.write_bytes(b"placed")
    assert locate_weights(ENCODERS["medsiglip-448"], tmp_path)[0] == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dinov3-base", "DINOv3 License; they are downloaded only once.*dinov3-license"),
        ("medsiglip-448", "Health AI Developer Foundations terms.*huggingface.co/google/medsiglip-448"),
        ("radimagenet-resnet50", "RadImageNet's own terms: research, not for commercial use"),
    ],
)
def test_terms_are_said_before_anything_is_downloaded(name, message, refusing_hub):
    asked = refusing_hub(404)
    with pytest.raises(StopRun, match=message) as caught:
        locate_weights(ENCODERS[name], None)
    assert caught.value.code == "license_unaccepted"
    assert f"extract.accept_license=[{name}]" in caught.value.remedy
    assert asked == []
    with pytest.raises(StopRun, match="has no") as caught:
        locate_weights(ENCODERS[name], None, accepted=[name])
    assert caught.value.code == "weights_missing"
    assert asked


@pytest.mark.parametrize(
    ("name", "needs_consent", "non_commercial"),
    [
        ("timm:resnet50.a1_in1k", False, False),
        ("timm:vit_small_patch16_dinov3.lvd1689m", True, False),
        ("timm:vit_large_patch16_224.mae", True, True),
        ("timm:vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m", True, True),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", True, False),
    ],
)
def test_only_what_is_known_to_be_open_is_downloaded_without_asking(name, needs_consent, non_commercial):
    spec = find_encoder(name)
    assert (spec.needs_consent, spec.non_commercial) == (needs_consent, non_commercial)
    assert spec.page.startswith("https://")


def test_acceptance_is_by_name():
    require_license(ENCODERS["dinov2-small"], [])
    require_license(ENCODERS["dinov3-small"], ["dinov3-small"])
    with pytest.raises(StopRun, match="dinov3-small"):
        require_license(ENCODERS["dinov3-small"], ["dinov3-base", "dinov3"])


@pytest.mark.fault("G15")
@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_says_where_to_ask_and_which_token(status, refusing_hub):
    refusing_hub(status)
    with pytest.raises(StopRun, match="gated") as caught:
        locate_weights(ENCODERS["medsiglip-448"], None, ["medsiglip-448"])
    assert caught.value.code == "weights_missing"
    assert "https://huggingface.co/google/medsiglip-448" in caught.value.remedy
    assert "HF_TOKEN" in caught.value.remedy


def test_a_repository_without_the_file_names_what_was_looked_for(refusing_hub):
    asked = refusing_hub(404)
    with pytest.raises(StopRun, match=r"has no model\.safetensors or pytorch_model\.bin"):
        locate_weights(ENCODERS["cvt-13"], None)
    assert asked == ["microsoft/cvt-13/model.safetensors", "microsoft/cvt-13/pytorch_model.bin"]


@pytest.mark.fault("G15")
def test_without_network_it_says_where_to_place_the_file(hub, tmp_path):
    with pytest.raises(StopRun, match="cannot be fetched from the hub") as caught:
        locate_weights(ENCODERS["biomedclip"], tmp_path)
    assert caught.value.remedy == (
        f"connect to the hub, or place biomedclip.safetensors (or .pth, .pt, .bin, .pth.tar) in {tmp_path}"
    )


@pytest.mark.fault("G15")
def test_weights_that_no_program_can_fetch_name_their_page():
    with pytest.raises(StopRun, match=r"cannot be fetched by this program: breast_MR_checkpoint\.pth\.tar") as caught:
        locate_weights(ENCODERS["fm-bcmri"], None)
    assert "https://github.com/zhenweishi/FM-BCMRI" in caught.value.remedy
    assert "fm-bcmri.safetensors" in caught.value.remedy


def test_tags_of_open_clip_are_found_in_the_cache(hub):
    path = hub.put("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors", b"weights")
    assert locate_weights(ENCODERS["clip-vit-b32"], None)[0] == path
    assert locate_weights(find_encoder("open_clip:ViT-B-32/openai"), None)[0] == path
    with pytest.raises(StopRun, match="unknown weights of ViT-B-32 'opnai'; did you mean 'openai'"):
        locate_weights(find_encoder("open_clip:ViT-B-32/opnai"), None)


def test_a_repository_of_timm_describes_itself(hub):
    cfg = {"input_size": [3, 288, 288], "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "license": "cc-by-nc-4.0"}
    hub.lacks("someone/breast-resnet", "open_clip_config.json")
    hub.put(
        "someone/breast-resnet",
        "config.json",
        json.dumps({"architecture": "resnet18", "num_features": 512, "pretrained_cfg": cfg}),
    )
    spec = find_encoder("hf:someone/breast-resnet")
    assert (spec.builder, spec.model, spec.input_size, spec.features) == ("timm", "resnet18", 288, 512)
    assert (spec.mean, spec.std) == ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert spec.needs_consent
    assert spec.weights == "hub:someone/breast-resnet/model.safetensors"


def test_a_repository_of_transformers_is_embedded_from_end_to_end(hub, tmp_path):
    """Configuration, preprocessing and weights come from the cache alone, under a pinned commit."""
    import numpy as np
    import transformers

    from extract.builders import build

    transformers.utils.logging.disable_progress_bar()
    options = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    net = transformers.Dinov2Model(transformers.Dinov2Config(**options)).eval()
    net.save_pretrained(tmp_path / "saved")
    for file in ("config.json", "model.safetensors"):
        hub.put("someone/tiny-dino", file, (tmp_path / "saved" / file).read_bytes())
    pictures = {
        "do_center_crop": True,
        "crop_size": {"height": 56, "width": 56},
        "size": {"shortest_edge": 64},
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
    }
    hub.put("someone/tiny-dino", "preprocessor_config.json", json.dumps(pictures))
    spec = find_encoder(f"hf:someone/tiny-dino@{COMMIT}", tokens="mean")
    assert (spec.input_size, spec.mean, spec.revision) == (56, (0.1, 0.2, 0.3), COMMIT)
    network = build(spec, locate_weights(spec, None)[0])
    batch = torch.zeros(1, 3, 56, 56)
    with torch.inference_mode():
        expected = net(batch).last_hidden_state[:, 1:].mean(dim=1)
        np.testing.assert_allclose(network.forward(batch, None), expected, rtol=1e-4, atol=1e-5)


def test_a_repository_of_open_clip_is_read_before_a_plain_configuration(hub, tmp_path):
    config = {
        "model_cfg": {
            "embed_dim": 32,
            "quick_gelu": True,
            "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
            "text_cfg": {"context_length": 8},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    }
    hub.put("someone/tiny-clip", "open_clip_config.json", json.dumps(config))
    hub.put("someone/tiny-clip", "config.json", "{}")
    spec = find_encoder("hf:someone/tiny-clip")
    assert (spec.builder, spec.input_size, spec.features, spec.mean) == ("open_clip", 64, 32, (0.5, 0.5, 0.5))
    assert json.loads(spec.settings)["quick_gelu"] is True
    assert "text_cfg" not in spec.settings
    save_file({"visual.proj": torch.zeros(2)}, tmp_path / "hf-someone-tiny-clip.safetensors")
    assert locate_weights(spec, tmp_path)[0] == tmp_path / "hf-someone-tiny-clip.safetensors"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {"model_type": "bert"}, "unknown kind of transformers model 'bert'"),
        ("config.json", {"architecture": "resnet1"}, "unknown timm model 'resnet1'"),
        ("notes.txt", {}, "cannot be fetched from the hub"),
    ],
)
def test_other_repositories_are_refused(file, content, message, hub):
    hub.lacks("someone/else", "open_clip_config.json")
    hub.put("someone/else", file, json.dumps(content))
    with pytest.raises(StopRun, match=message):
        find_encoder("hf:someone/else")
