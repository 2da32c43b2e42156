"""The thin residual networks for 32x32 images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tasks.classification.registry import MODELS
from tasks.errors import UserError


class CropPad(nn.Module):
    """Shortcut "A": every ``stride``-th pixel, new channels zero, nothing to learn."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))


class CifarBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, named as in torchvision's ``BasicBlock``."""

    expansion = 1

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            if shortcut == "A":
                self.downsample = CropPad(in_channels, out_channels, stride)
            else:
                self.downsample = nn.Sequential(
                    nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                    nn.BatchNorm2d(out_channels),
                )

    def forward(self, x: Tensor) -> Tensor:
        """The block's output (N, out, H/stride, W/stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + identity)


class CifarResNet(nn.Module):
    """Three stages of ``blocks`` blocks at ``width``, twice and four times as many channels."""

    def __init__(
        self, blocks: int, num_classes: int, in_channels: int, width: int, shortcut: str
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(blocks, width, width, 1, shortcut)
        self.layer2 = _stage(blocks, width, 2 * width, 2, shortcut)
        self.layer3 = _stage(blocks, 2 * width, 4 * width, 2, shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(
    blocks: int, in_channels: int, out_channels: int, stride: int, shortcut: str
) -> nn.Sequential:
    first = CifarBlock(in_channels, out_channels, stride, shortcut)
    rest = (CifarBlock(out_channels, out_channels, 1, shortcut) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


@MODELS.register("cifar_resnet{depth}")
def cifar_resnet(
    depth: int,
    num_classes: int,
    in_channels: int,
    image_size: int,
    shortcut: str = "A",
    width: int = 16,
) -> nn.Module:
    """CIFAR ResNet of depth 6n+2 (20, 32, 56, 110); options ``shortcut`` A or B, ``width``.

    Source: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2.

    Raises:
        UserError: the depth is not 6n+2, or the shortcut is neither A nor B.
    """
    if depth < 8 or (depth - 2) % 6:
        raise UserError(f"cifar_resnet{depth}: the depth must be 6n+2, such as 20, 32, 56 or 110")
    if shortcut not in ("A", "B"):
        raise UserError(f"cifar_resnet{depth}: shortcut must be A or B, not '{shortcut}'")
    return CifarResNet((depth - 2) // 6, num_classes, in_channels, width, shortcut)
