"""Heads with attention over the channels and over the positions of a feature map, system C's.

The paper calls its network a triple-head dual-attention ResNet (Fridman and Goldstein, arXiv 2510.13897) and says
neither what its three heads are nor how attention is computed. Attention is that of CBAM here (Woo et al., ECCV 2018,
arXiv 1807.06521, equations 2 and 3), whose channels are judged by mean and maximum: the form that takes the mean
alone, squeeze-and-excitation, errs more in its table 1. Heads are read in four ways (``finetune.heads``). All come to
branches that attend to the map, each in its own way; what they attend to is put side by side into one map, of which
the mean over the positions goes to linear classifiers. So the last map is one from which log-odds follow linearly, as
HiResCAM wants it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn

from triher.settings import FinetuneConfig

Chart = Float[torch.Tensor, "picture feature row col"]
_REDUCTION = 16  # of the channels, between the two layers that judge these; the paper's ratio
_KERNEL = 7  # the paper's


class ChannelAttention(nn.Module):
    """Each channel times a number in 0..1 that two layers find from the means and maxima of all."""

    def __init__(self, n_features: int) -> None:
        """Make the layers."""
        super().__init__()
        n_hidden = max(1, n_features // _REDUCTION)
        self.layers = nn.Sequential(nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_features))

    def forward(self, chart: Chart) -> Chart:
        """The attended map."""
        scores = self.layers(chart.mean(dim=(2, 3))) + self.layers(chart.amax(dim=(2, 3)))
        attended: torch.Tensor = chart * scores.sigmoid()[:, :, None, None]
        return attended


class SpatialAttention(nn.Module):
    """Each position times a number in 0..1 that a convolution finds from the channels' means and maxima around it."""

    def __init__(self) -> None:
        """Make the convolution; beyond the map are zeros."""
        super().__init__()
        self.layer = nn.Conv2d(2, 1, _KERNEL, padding=_KERNEL // 2, bias=False)

    def forward(self, chart: Chart) -> Chart:
        """The attended map."""
        scores = self.layer(torch.cat([chart.mean(dim=1, keepdim=True), chart.amax(dim=1, keepdim=True)], dim=1))
        attended: torch.Tensor = chart * scores.sigmoid()
        return attended


class SideBySide(nn.Module):
    """What several branches attend to, as one map."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        """Hold the branches."""
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, charts: Sequence[Chart]) -> Float[torch.Tensor, "picture joined row col"]:
        """Attend to a map of its own with each branch, or with all to the only one."""
        given = charts if len(charts) > 1 else [*charts] * len(self.branches)
        return torch.cat([branch(chart) for branch, chart in zip(self.branches, given, strict=True)], dim=1)


def sequential(n_features: int) -> nn.Module:
    """Channel, then spatial attention."""
    return nn.Sequential(ChannelAttention(n_features), SpatialAttention())


def branches_of(n_features: int, options: FinetuneConfig, n_tasks: int) -> list[nn.Module]:
    """The branches of a reading of "triple head".

    Args:
        n_features: of the backbone's last map.
        options: says which reading.
        n_tasks: further labels.
    """
    if options.heads == "parallel":
        return [ChannelAttention(n_features), SpatialAttention(), nn.Identity()]
    n = {"sequential": 1, "phases": 3, "tasks": 1 + n_tasks}[options.heads]
    return [sequential(n_features) for _ in range(n)]


class Classifiers(nn.Module):
    """Dropout and linear classifiers on the features of several branches."""

    def __init__(self, n_features: int, n_branches: int, sizes: Sequence[int], options: FinetuneConfig) -> None:
        """Make the classifiers.

        Args:
            n_features: of one branch.
            n_branches: whose features come one behind the other.
            sizes: outputs of the scheme, and of each further label.
            options: which branch says what, and how several are combined.
        """
        super().__init__()
        self._n_features = n_features
        self._apart = options.network == "dual-attention" and options.heads == "tasks"
        if options.combine == "concatenate" and not self._apart:
            self._n_features, n_branches = n_features * n_branches, 1
        each = sizes if self._apart else [sum(sizes)] * n_branches
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Dropout(options.dropout), nn.Linear(self._n_features, size)) for size in each
        )

    def forward(self, features: Float[torch.Tensor, "picture feature"]) -> Float[torch.Tensor, "picture output"]:
        """Log-odds: their mean over the branches, or of each label from its own branch."""
        parts = torch.split(features, self._n_features, dim=1)
        found = [layer(part) for layer, part in zip(self.layers, parts, strict=True)]
        return torch.cat(found, dim=1) if self._apart else torch.stack(found).mean(dim=0)
