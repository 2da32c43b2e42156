"""Parameter counts by unique elements; disk size as a real file has it."""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision.models as zoo
from torch import nn

from benchmarks.meters.parameters import disk_size, parameters


def test_resnet50_figure() -> None:
    assert parameters(zoo.resnet50()) == (25_557_032, 25_557_032)


def test_shared_and_frozen_parameters() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    assert parameters(model).stored == 4 * 4 + 4
    model[0].bias.requires_grad_(False)
    assert parameters(model).trainable == 4 * 4


def test_views_of_one_tensor_count_once() -> None:
    bank = torch.randn(6, 4)
    model = nn.Module()
    model.first = nn.Parameter(bank[:4])
    model.second = nn.Parameter(bank[2:])
    assert parameters(model).stored == 6 * 4


def test_meta_tensors_are_counted_by_shape() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    assert parameters(model).stored == 3 * 5 + 5 + 5 * 2 + 2


def test_disk_size_is_the_file_size(tmp_path: Path) -> None:
    model = zoo.resnet18(num_classes=10)
    file = tmp_path / "weights.pth"
    torch.save(model.state_dict(), file)
    assert (
        disk_size(model) == file.stat().st_size
        or abs(disk_size(model) - file.stat().st_size) < 1024
    )  # the archive's inner folder carries the file's name
    assert disk_size(model) > 4 * parameters(model).stored
