from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError


def parameters(name: str, classes: int, channels: int = 3, size: int = 32, **options) -> int:
    with torch.device("meta"):
        network = build_backbone(name, classes, channels, size, options)
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("resnet50", 224, 25_557_032),
        ("vit_b_16", 224, 86_567_656),
        ("swin_t", 224, 28_288_354),
        ("mobilenet_v2", 224, 3_504_872),
        ("vit_tiny", 224, 5_717_416),
        ("vit_small", 224, 22_050_664),
    ],
)
def test_parameters_on_imagenet(name: str, size: int, count: int) -> None:
    assert parameters(name, 1000, size=size) == count


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cifar_resnet20", 269_722),
        ("cifar_resnet32", 464_154),
        ("cifar_resnet56", 853_018),
        ("cifar_resnet110", 1_727_962),
    ],
)
def test_parameters_of_cifar_resnets(name: str, count: int) -> None:
    assert parameters(name, 10) == count


def test_projection_shortcuts_add_two_convolutions_with_norms() -> None:
    added = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    assert parameters("cifar_resnet20", 10, shortcut="B") == 269_722 + added


@pytest.mark.parametrize(("depth", "millions"), [(18, 11.174), (34, 21.282), (50, 23.521)])
def test_parameters_of_the_cifar_stem(depth: int, millions: float) -> None:
    count = parameters(f"resnet{depth}_cifar_stem", 10)
    assert round(count / 1e6, 3) == millions
    assert count - parameters(f"resnet{depth}_cifar_stem", 10, channels=1) == 1152


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("wrn_28_10", 36.54),
        ("wrn_28_7", 17.93),
        ("wrn_28_4", 5.87),
        ("wrn_28_3", 3.31),
        ("wrn_28_5", 9.16),
        ("wrn_16_7", 8.44),
        ("wrn_16_4", 2.77),
        ("wrn_34_8", 29.60),
        ("wrn_28_12", 52.59),
        ("wrn_28_8", 23.40),
    ],
)
def test_parameters_of_wide_resnets(name: str, millions: float) -> None:
    assert round(parameters(name, 100) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cifar_resnet20", 8),
        ("wrn_16_2", 28),
        ("resnet18_cifar_stem", 28),
        ("resnet18", 64),
        ("vit_tiny", 28),
        ("mobilenet_v2", 64),
        ("swin_t", 64),
        ("vit_b_16", 64),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_number_of_input_channels(name: str, size: int, channels: int) -> None:
    with torch.device("meta"):
        network = build_backbone(name, 7, channels, size)
        assert network(torch.empty(2, channels, size, size)).shape == (2, 7)


def test_a_grey_network_responds_to_its_image() -> None:
    torch.manual_seed(0)
    network = build_backbone("resnet18", 5, 1, 32).eval()
    first, second = network(torch.randn(2, 1, 32, 32))
    assert not torch.allclose(first, second)
    assert network.conv1.weight.requires_grad


def test_shortcut_a_keeps_pixels_and_adds_zero_channels() -> None:
    network = build_backbone("cifar_resnet20", 10, 3, 32)
    shortcut = network.layer2[0].downsample
    x = torch.randn(2, 16, 8, 8)
    out = shortcut(x)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_wide_resnet_blocks_are_pre_activated() -> None:
    block = build_backbone("wrn_10_1", 10, 3, 8).eval().layer1[0]
    assert block.shortcut is None
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(block(x), x)


def test_where_the_shape_changes_the_shortcut_takes_the_activated_input() -> None:
    block = build_backbone("wrn_10_2", 10, 3, 8).eval().layer2[0]
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 32, 8, 8)
    expected = block.shortcut(block.bn1(x).relu())
    assert expected.shape == (2, 64, 4, 4)
    torch.testing.assert_close(block(x), expected)


def test_the_width_of_a_cifar_resnet_is_an_option() -> None:
    assert (
        build_backbone("cifar_resnet8", 10, 3, 32, {"width": 8}).layer3[0].conv2.out_channels == 32
    )


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("resnet5O", {}, "resnet50"),
        ("cifar_resnett20", {}, "cifar_resnet"),
        ("cifar_resnet21", {}, "6n\\+2"),
        ("wrn_27_10", {}, "6n\\+4"),
        ("resnet19_cifar_stem", {}, "depth must be 18"),
        ("cifar_resnet20", {"shortcut": "C"}, "A or B"),
        ("cifar_resnet20", {"shortcutt": "A"}, "did you mean 'shortcut'"),
        ("cifar_resnet20", {"num_classes": 3}, "follows from the data set"),
        ("vit_tiny", {"patch_size": 5}, "does not divide"),
        ("resnet50", {"widht": 3}, "widht"),
    ],
)
def test_mistakes_are_named(name: str, options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        build_backbone(name, 10, 3, 32, options)


def test_names_are_listed_without_torch() -> None:
    code = (
        "import sys; from tasks.classification.registry import DATASETS, MODELS\n"
        "print(*DATASETS.names(), *MODELS.names())\n"
        "assert all(e.summary for e in DATASETS.entries() + MODELS.entries())\n"
        "assert not {'torch', 'torchvision', 'mmengine'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = set(done.stdout.split())
    assert {"digits", "cifar10", "imagenet", "npy", "cifar_resnet{depth}", "vit_tiny"} <= listed
