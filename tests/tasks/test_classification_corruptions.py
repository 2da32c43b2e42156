"""Corruptions do what they are named for, more so at every severity, and always the same."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import nn

from tasks.classification import task as task_module
from tasks.classification.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from tasks.classification.task import ClassificationTask
from tasks.errors import UserError


def scenes(number=8, channels=3, seed=0):
    """Smooth coloured shapes, which blur and noise can both harm."""
    random = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(random.normal(size=(number, channels, 32, 32)), (0, 0, 2, 2))
    fields += 0.15 * (fields > 0)
    fields = (fields - fields.min()) / (fields.max() - fields.min())
    return torch.from_numpy(np.rint(40 + 175 * fields).astype(np.uint8))


def harm(images, name, severity):
    return (corrupt(images, name, severity).float() - images.float()).pow(2).mean().item()


def grey(level, number=16):
    return torch.full((number, 3, 32, 32), level, dtype=torch.uint8)


def test_there_are_nineteen_kinds_in_five_severities():
    assert len(CORRUPTIONS) == 19
    assert SEVERITIES == 5


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_change_and_stay_images(name):
    images = scenes(3)
    before = images.clone()
    for severity in range(1, 6):
        made = corrupt(images, name, severity)
        assert made.dtype == torch.uint8
        assert made.shape == images.shape
        assert not torch.equal(made, images)
    assert torch.equal(images, before)


# The paper's strengths of these trade one effect for another, such as glare for darkness.
TRADING = {"saturate", "elastic_transform", "spatter", "snow", "frost", "glass_blur"}


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - TRADING))
def test_harm_grows_with_severity(name):
    images = scenes(32)
    levels = [harm(images, name, severity) for severity in (1, 3, 5)]
    assert levels[0] < levels[1] < levels[2]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_same_arguments_give_the_same_images(name):
    images = scenes(3)
    assert torch.equal(corrupt(images, name, 3), corrupt(images, name, 3))


@pytest.mark.parametrize("name", ["gaussian_noise", "motion_blur", "snow", "elastic_transform"])
def test_another_seed_gives_other_images(name):
    images = scenes(3)
    assert not torch.equal(corrupt(images, name, 3, seed=0), corrupt(images, name, 3, seed=1))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_grey_images_of_any_size_can_be_corrupted(name):
    images = scenes(2, channels=1)[:, :, :28, :28]
    assert corrupt(images, name, 5).shape == images.shape


def test_noise_has_the_stated_strength():
    noisy = corrupt(grey(128), "gaussian_noise", 2).float() - 128
    assert noisy.std().item() == pytest.approx(0.06 * 255, rel=0.02)
    speckled = corrupt(grey(100), "speckle_noise", 3).float() - 100
    assert speckled.std().item() == pytest.approx(0.12 * 100, rel=0.02)
    counted = corrupt(grey(51), "shot_noise", 5).float() / 255
    assert counted.mean().item() == pytest.approx(0.2, rel=0.02)
    assert counted.var().item() == pytest.approx(0.2 / 50, rel=0.05)
    salted = corrupt(grey(128, 64), "impulse_noise", 5)
    assert (salted == 0).float().mean().item() == pytest.approx(0.035, rel=0.05)
    assert (salted == 255).float().mean().item() == pytest.approx(0.035, rel=0.05)


def test_gaussian_blur_equals_scipy():
    images = scenes(2)
    expected = ndimage.gaussian_filter(images.numpy() / 255, (0, 0, 1, 1), mode="nearest")
    difference = corrupt(images, "gaussian_blur", 5).numpy() - np.rint(expected * 255)
    assert abs(difference).max() <= 1


@pytest.mark.parametrize(
    "name", [name for name in CORRUPTIONS if "blur" in name or name == "elastic_transform"]
)
def test_blurs_and_shifts_leave_a_flat_image_flat(name):
    difference = corrupt(grey(90), name, 5).int() - 90
    assert difference.abs().max() <= 1


def test_motion_blur_runs_along_the_line_not_across():
    bars = torch.zeros(200, 3, 32, 32, dtype=torch.uint8)
    bars[:, :, ::4] = 255  # horizontal bars, and lines within 45 degrees of the horizontal
    across = bars.transpose(2, 3).contiguous()
    assert harm(bars, "motion_blur", 1) < harm(across, "motion_blur", 1)


def test_glass_blur_moves_pixels_by_a_few_places_only():
    dot = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    dot[:, :, 16, 16] = 255
    made = corrupt(dot, "glass_blur", 1)
    assert made.sum(dim=(2, 3)).float().mean().item() == pytest.approx(255, abs=3)


def test_light_and_colour():
    brighter = corrupt(grey(100), "brightness", 5).float()
    assert (brighter - (100 + 0.3 * 255)).abs().max() <= 0.5
    images = scenes()
    flat, before = corrupt(images, "contrast", 5).float(), images.float()
    ratio = flat.std((2, 3)).mean() / before.std((2, 3)).mean()
    assert ratio.item() == pytest.approx(0.15, rel=0.1)
    dull = corrupt(images, "saturate", 2).float()
    assert (dull.amax(1) - before.amax(1)).abs().max() <= 1
    spread = (dull.amax(1) - dull.amin(1)).mean() / (before.amax(1) - before.amin(1)).mean()
    assert spread.item() == pytest.approx(0.1, abs=0.03)


def test_jpeg_equals_a_round_trip_through_a_file():
    images = scenes(1)
    file = io.BytesIO()
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=40)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    assert torch.equal(corrupt(images, "jpeg_compression", 5)[0], expected)


def test_pixelate_leaves_fewer_distinct_columns():
    images = scenes(1)
    made = corrupt(images, "pixelate", 5)
    assert len(made[0, 0].unique(dim=1)[0]) == int(32 * 0.65)


def test_unknown_kind_and_severity():
    with pytest.raises(UserError, match="did you mean 'fog'"):
        corrupt(scenes(1), "fogg", 1)
    with pytest.raises(UserError, match="1 to 5"):
        corrupt(scenes(1), "fog", 6)


class Darkness(nn.Module):
    """Says 1 where an image is dark, else 0."""

    def forward(self, inputs, data_samples=None, mode="tensor"):
        dark = (inputs.mean((1, 2, 3)) < 0).long()
        return nn.functional.one_hot(dark, 10).float() * 5


def test_task_reports_means_over_all_corruptions_when_asked(monkeypatch):
    kinds = {name: CORRUPTIONS[name] for name in ("brightness", "contrast")}
    monkeypatch.setattr(task_module, "CORRUPTIONS", kinds)
    cpu = torch.device("cpu")
    plain = ClassificationTask(dataset="digits").evaluate(Darkness(), "test", cpu)
    task = ClassificationTask(dataset="digits", corruptions=True)
    found = task.evaluate(Darkness(), "test", cpu)
    assert {key: value for key, value in found.items() if "@" not in key} == plain
    assert {key for key in found if "@" in key} == {f"{key}@corrupted" for key in plain}
    assert "top1@corrupted" not in task.evaluate(Darkness(), "val", cpu)

    test = task._splits.test
    right = 0
    for name in kinds:
        for severity in range(1, 6):
            pixels = corrupt(torch.from_numpy(test.images), name, severity).double() / 255
            dark = pixels.mean((1, 2, 3)) < task._data.stats[0][0]
            right += (dark.long().numpy() == test.labels).sum()
    assert found["top1@corrupted"] == pytest.approx(100 * right / (10 * len(test.labels)))
