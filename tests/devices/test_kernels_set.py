"""TF32 and cuDNN's search are what the recipe and the task say, whatever torch's defaults are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks.engine.kernels import set_kernels
from tasks.base import TASKS, Recipe

FLAGS = (
    (torch.backends.cuda.matmul, "allow_tf32"),
    (torch.backends.cudnn, "allow_tf32"),
    (torch.backends.cudnn, "benchmark"),
)
RECIPE = {"batch_size": 1, "optimizer": {"type": "SGD", "lr": 0.1}}


@pytest.fixture(autouse=True)
def flags_given_back() -> Iterator[None]:
    before = [getattr(*flag) for flag in FLAGS]
    yield
    for flag, value in zip(FLAGS, before, strict=True):
        setattr(*flag, value)


def flags() -> list[bool]:
    return [getattr(*flag) for flag in FLAGS]


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("fixed_shapes", [False, True])
def test_a_gpu_is_set_and_a_cpu_is_left_alone(tf32: bool, fixed_shapes: bool) -> None:
    for flag in FLAGS:
        setattr(*flag, not tf32)
    before = flags()
    recipe = Recipe(**RECIPE, tf32=tf32)
    set_kernels(torch.device("cpu"), recipe.tf32, fixed_shapes)
    assert flags() == before
    set_kernels(torch.device("cuda"), recipe.tf32, fixed_shapes)
    assert flags() == [tf32, tf32, fixed_shapes]


def test_float32_is_float32_unless_asked_otherwise() -> None:
    set_kernels(torch.device("cuda"), Recipe(**RECIPE).tf32, True)
    assert flags()[:2] == [False, False]


def test_only_detectors_train_on_images_of_many_shapes() -> None:
    families = {"classification": True, "detection": False, "segmentation": True}
    assert {name: TASKS.get(name).fixed_shapes for name in families} == families
