"""Wide residual networks with pre-activation blocks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tasks.classification.registry import MODELS
from tasks.errors import UserError


class PreActBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice; a 1x1 ``shortcut`` where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output (N, out, H/stride, W/stride)."""
        activated = F.relu(self.bn1(x))
        # Where the shape changes, both branches start from the activated input.
        identity = x if self.shortcut is None else self.shortcut(activated)
        out = self.dropout(F.relu(self.bn2(self.conv1(activated))))
        return self.conv2(out) + identity


class WideResNet(nn.Module):
    """Three stages of ``blocks`` blocks, ``width`` times 16, 32 and 64 channels wide."""

    def __init__(
        self, blocks: int, width: int, num_classes: int, in_channels: int, dropout: float
    ) -> None:
        super().__init__()
        channels = [16, 16 * width, 32 * width, 64 * width]
        self.conv1 = nn.Conv2d(in_channels, channels[0], 3, 1, 1, bias=False)
        self.layer1 = _stage(blocks, channels[0], channels[1], 1, dropout)
        self.layer2 = _stage(blocks, channels[1], channels[2], 2, dropout)
        self.layer3 = _stage(blocks, channels[2], channels[3], 2, dropout)
        self.bn = nn.BatchNorm2d(channels[3])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(self.avgpool(F.relu(self.bn(x))).flatten(1))


def _stage(
    blocks: int, in_channels: int, out_channels: int, stride: int, dropout: float
) -> nn.Sequential:
    first = PreActBlock(in_channels, out_channels, stride, dropout)
    rest = (PreActBlock(out_channels, out_channels, 1, dropout) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


@MODELS.register("wrn_{depth}_{width}")
def wide_resnet(
    depth: int,
    width: int,
    num_classes: int,
    in_channels: int,
    image_size: int,
    dropout: float = 0.0,
) -> nn.Module:
    """Wide ResNet of depth 6n+4 and a width factor, such as wrn_28_10; option ``dropout``.

    Source: Zagoruyko and Komodakis 2016, "Wide Residual Networks", table 1.

    Raises:
        UserError: the depth is not 6n+4, or the width is 0.
    """
    if depth < 10 or (depth - 4) % 6:
        raise UserError(f"wrn_{depth}_{width}: the depth must be 6n+4, such as 16, 28, 34 or 40")
    if width < 1:
        raise UserError(f"wrn_{depth}_{width}: the width factor must be at least 1")
    return WideResNet((depth - 4) // 6, width, num_classes, in_channels, dropout)
