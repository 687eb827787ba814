"""What the outputs of a trained network mean: their probabilities, and the loss that they are trained by.

Outputs are log-odds. With ``task: classes`` there is one for each class of the scheme, as of a multinomial
logistic regression. With ``task: nested`` there is one for each boundary between the classes in their order: the
log-odds of the later classes against class k, among those not earlier than k. For zero, low and positive these are
the two tasks of the ViT of Fudan (PMC12412478), zero against the rest and low against positive among the rest, and
with their probabilities p1 and p2 the classes have 1 - p1, p1 (1 - p2) and p1 p2. Behind these come the outputs of
the further labels, one for each value.

The loss is the cross-entropy of the class. For nested outputs it is the sum of the binary cross-entropies of the
boundaries that the class is not before, which is minus the logarithm of the class's probability, too. To that comes
the cross-entropy of every further label that is known, each with the same weight as the class.
"""

import torch
from jaxtyping import Float, Int64
from torch.nn import functional

from extract.training.design import Design

Outputs = Float[torch.Tensor, "picture output"]
Classes = Int64[torch.Tensor, " picture"]
Labels = Int64[torch.Tensor, "picture task"]
Weights = Float[torch.Tensor, " class"]
_UNKNOWN = -1


def n_own(design: Design) -> int:
    """How many outputs the scheme has."""
    return design.n_classes - 1 if design.options.task == "nested" else design.n_classes


def sizes(design: Design) -> tuple[int, ...]:
    """How many outputs the scheme has, and each further label."""
    return (n_own(design), *design.tasks)


def probabilities(outputs: Outputs, design: Design) -> Float[torch.Tensor, "picture class"]:
    """The probabilities of the scheme's classes, in float32; they sum to 1.

    Args:
        outputs: of the network, log-odds.
        design: says what they are.
    """
    own = outputs[:, : n_own(design)].float()
    if design.options.task == "classes":
        return own.softmax(dim=1)
    everybody = torch.ones_like(own[:, :1])
    onward = functional.logsigmoid(own).cumsum(dim=1).exp()  # ONNX has no words for a cumulative product
    reached = torch.cat([everybody, onward], dim=1)
    stays = torch.cat([(-own).sigmoid(), everybody], dim=1)
    return reached * stays


def loss(
    outputs: Outputs, y: Classes, tasks: Labels, design: Design, *, class_weights: Weights | None
) -> Float[torch.Tensor, ""]:
    """The mean over the pictures of their `losses`; arguments as there."""
    return losses(outputs, y, tasks, design, class_weights=class_weights).mean()


def losses(
    outputs: Outputs, y: Classes, tasks: Labels, design: Design, *, class_weights: Weights | None
) -> Float[torch.Tensor, " picture"]:
    """The loss of each picture, in float32.

    Label smoothing e replaces a label by e of the even distribution over its values and 1 - e of the label itself
    (Szegedy et al., CVPR 2016), for the class or for each boundary alike.

    Args:
        outputs: of the network, log-odds.
        y: position in the scheme.
        tasks: further labels; what is not known is -1 and counts nothing.
        design: says what the outputs are, and the label smoothing.
        class_weights: of the classes, above 0; None for equal ones. The mean is over the pictures and not over their
            weights. A boundary's two sides are weighted by what the weights say of the classes on them, so that
            weights that balance the classes balance each boundary.
    """
    own, *others = torch.split(outputs.float(), [*sizes(design)], dim=1)
    smoothing = design.options.label_smoothing
    if design.options.task == "nested":
        total = _nested(own, y, smoothing, class_weights)
    else:
        weights = None if class_weights is None else class_weights.to(own)
        total = functional.cross_entropy(own, y, weights, label_smoothing=smoothing, reduction="none")
    for k, other in enumerate(others):
        total = total + functional.cross_entropy(
            other, tasks[:, k], ignore_index=_UNKNOWN, label_smoothing=smoothing, reduction="none"
        )
    return total


def _nested(own: Outputs, y: Classes, smoothing: float, class_weights: Weights | None) -> torch.Tensor:
    """The sum over the boundaries that each picture's class is not before."""
    boundaries = torch.arange(own.shape[1], device=own.device)
    later = (y[:, None] > boundaries).to(own)
    reaches = (y[:, None] >= boundaries).to(own)
    target = later * (1 - smoothing) + smoothing / 2
    each = functional.binary_cross_entropy_with_logits(own, target, reduction="none")
    if class_weights is not None:
        stay, go = boundary_weights(class_weights.to(own))
        each = each * torch.where(later > 0, go, stay)
    return (each * reaches).sum(dim=1)


def boundary_weights(
    class_weights: Weights,
) -> tuple[Float[torch.Tensor, " boundary"], Float[torch.Tensor, " boundary"]]:
    """Weights of class k and of the later ones at each boundary.

    Weights that balance n classes are inverse to the classes' sizes; the sizes that they imply on both sides of a
    boundary, as shares of those that reach it, give 1 / (2 x share).

    >>> [side.tolist() for side in boundary_weights(torch.tensor([2.0, 2.0, 1.0]))]  # of sizes 1, 1 and 2
    [[2.0, 1.5], [0.6666666865348816, 0.75]]
    """
    counts = 1 / class_weights
    reaching = counts.flip(0).cumsum(0).flip(0)
    return reaching[:-1] / (2 * counts[:-1]), reaching[:-1] / (2 * reaching[1:])
