"""RoIAlign of the stand-in against a plain NumPy bilinear average, and its gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tasks.openmmlab.ops import install

install()
from mmcv.ops import RoIAlign, roi_align  # noqa: E402  needs the stand-in

CPU_AND_CUDA = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]

# Index of the image, then x1, y1, x2, y2: inside, over the upper left and the lower right
# corner, thinner than a pixel, and wholly outside.
ROIS = np.array(
    [
        [0, 3.3, 2.1, 17.7, 20.9],
        [1, -9.4, -6.2, 8.3, 7.1],
        [1, 14.2, 11.6, 40.3, 33.8],
        [0, 5.1, 6.7, 5.4, 6.9],
        [0, 60.3, 70.1, 75.2, 80.7],
    ]
)


def bilinear(image, y, x):
    """The value at a point of (H, W), zero more than a pixel outside, clamped to the border."""
    height, width = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = image[top, left] * (left + 1 - x) + image[top, right] * (x - left)
    lower = image[bottom, left] * (left + 1 - x) + image[bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def reference(images, rois, size, scale, ratio, aligned):
    out = np.zeros((len(rois), images.shape[1], *size))
    for k, (index, *corners) in enumerate(rois):
        x1, y1, x2, y2 = (corner * scale - (0.5 if aligned else 0.0) for corner in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_h, bin_w = height / size[0], width / size[1]
        rows, columns = ratio or math.ceil(bin_h), ratio or math.ceil(bin_w)
        for c, i, j in np.ndindex(out.shape[1:]):
            samples = [
                bilinear(
                    images[int(index), c],
                    y1 + bin_h * (i + (row + 0.5) / rows),
                    x1 + bin_w * (j + (column + 0.5) / columns),
                )
                for row in range(rows)
                for column in range(columns)
            ]
            out[k, c, i, j] = np.mean(samples)
    return out


@pytest.fixture
def images():
    return np.random.default_rng(7).normal(size=(2, 2, 12, 10))


@pytest.mark.parametrize("device", CPU_AND_CUDA)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 1, 2])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_roi_align_averages_bilinear_samples(images, aligned, ratio, scale, device):
    layer = RoIAlign((3, 2), scale, ratio, aligned=aligned)
    output = layer(torch.from_numpy(images).to(device), torch.from_numpy(ROIS).to(device))
    expected = reference(images, ROIS, (3, 2), scale, ratio, aligned)
    np.testing.assert_allclose(output.cpu(), expected, atol=1e-12)


@pytest.mark.parametrize("device", CPU_AND_CUDA)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_the_gradient_is_that_of_finite_differences(images, aligned, ratio, device):
    features = torch.tensor(images[:, :1, :6, :6], device=device, requires_grad=True)
    rois = torch.tensor(ROIS * [1, 0.5, 0.5, 0.5, 0.5], device=device)
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, rois, (2, 2), 0.8, ratio, "avg", aligned), features, nondet_tol=1e-12
    )


@pytest.mark.parametrize("device", CPU_AND_CUDA)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lower_precision_rounds_the_result_of_float32(images, dtype, device):
    def run(features, rois):
        output = roi_align(features, rois, (3, 3), 0.5, 2, "avg", True)
        output.square().sum().backward()
        return output, features.grad

    features = torch.from_numpy(images).to(device, dtype).requires_grad_()
    rois = torch.from_numpy(ROIS).to(device, dtype)
    low = run(features, rois)
    exact = run(features.detach().float().requires_grad_(), rois.float())
    for tensor, expected in zip(low, exact, strict=True):
        assert tensor.dtype == dtype
        step = torch.finfo(dtype).eps
        torch.testing.assert_close(tensor.float(), expected, rtol=4 * step, atol=8 * step)


def test_coordinates_of_float32_serve_features_of_another_dtype(images):
    features = torch.from_numpy(images)
    output = roi_align(features, torch.from_numpy(ROIS).float(), (2, 2), 1.0, 1, "avg", True)
    expected = reference(images, ROIS, (2, 2), 1.0, 1, True)
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_no_rois_give_no_rows_and_a_gradient_of_zero():
    features = torch.randn(2, 3, 8, 8, requires_grad=True)
    output = roi_align(features, torch.zeros(0, 5), (7, 7), 0.25, 0, "avg", True)
    assert output.shape == (0, 3, 7, 7)
    output.sum().backward()
    assert features.grad.shape == features.shape
    assert not features.grad.any()


def test_max_pooling_is_refused_by_name(images):
    with pytest.raises(NotImplementedError, match="pool_mode='max'"):
        roi_align(torch.from_numpy(images), torch.from_numpy(ROIS), (2, 2), 1.0, 1, "max", True)
