"""The small convolutional network that MIND was tried on."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.classification.registry import MODELS
from tasks.errors import UserError


class Entry(nn.Sequential):
    """3x3 convolution, ReLU, norm: to another width and resolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(out_channels),
        )


class MindBlock(nn.Module):
    """Two 3x3 convolutions, each followed by ReLU and then norm, and a shortcut round both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same shape."""
        out = self.bn1(self.relu(self.conv1(x)))
        return x + self.bn2(self.relu(self.conv2(out)))


class MindCNN(nn.Module):
    """Three stages of 64, 128 and 256 channels, each an entry and ``blocks`` blocks."""

    def __init__(self, blocks: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.entry1, self.layer1 = Entry(in_channels, 64, 1), _stage(64, blocks)
        self.entry2, self.layer2 = Entry(64, 128, 2), _stage(128, blocks)
        self.entry3, self.layer3 = Entry(128, 256, 2), _stage(256, blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(256, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        x = self.layer1(self.entry1(x))
        x = self.layer2(self.entry2(x))
        x = self.layer3(self.entry3(x))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(MindBlock(channels) for _ in range(blocks)))


@MODELS.register("mind_cnn")
def mind_cnn(num_classes: int, in_channels: int, image_size: int, blocks: int = 1) -> nn.Module:
    """MIND's CNN: 3x3 convolutions of 64, 128, 256 channels, each convolution, ReLU, norm.

    Source: Mathur et al. 2025 (ICLR), "MIND over Body". The paper gives the widths and the order
    of layers; where the shortcuts lie and how often a width is repeated are this project's
    choice: an entry to each width, then ``blocks`` blocks of two convolutions that keep the shape.

    Raises:
        UserError: ``blocks`` is below 1.
    """
    if blocks < 1:
        raise UserError(f"mind_cnn: blocks must be at least 1 (in each stage), not {blocks}")
    return MindCNN(blocks, num_classes, in_channels)
