"""Make torchvision importable beside a CPU build of torch.

The torchvision wheel is linked to CUDA; beside a CPU-only torch its import fails with ``operator
torchvision::nms does not exist`` (pytorch/vision #9077, #9085). Declaring the schemas of the two missing
operators lets the import pass; transforms and all that timm and open_clip need then work.
"""

import sys

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")


def import_torchvision() -> None:
    """Import torchvision, cured if need be; call it before timm or open_clip is imported."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error) or torch.version.cuda is not None:
            raise
    else:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in _OPERATORS:
        library.define(operator + _SCHEMA)  # type: ignore[no-untyped-call]
    import torchvision

    torchvision._triher_schemas = library
