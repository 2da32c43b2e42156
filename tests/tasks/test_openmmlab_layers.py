"""Focal loss, deformable convolution and deformable attention of the stand-in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tasks.openmmlab.ops import install

install()
from mmcv.ops import (  # noqa: E402  needs the stand-in
    deform_conv2d,
    modulated_deform_conv2d,
    sigmoid_focal_loss,
)
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction  # noqa: E402


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


class TestFocalLoss:
    TARGET = torch.tensor([0, 3, 1, 2, 3, 0])  # 3 is background

    @pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.6)])
    def test_it_equals_the_python_loss_of_mmdet_with_its_gradient(self, gamma, alpha):
        from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss

        logits = (4 * normal(6, 3)).requires_grad_()
        ours = sigmoid_focal_loss(logits, self.TARGET, gamma, alpha, None, "none")
        one_hot = F.one_hot(self.TARGET, 4)[:, :3]
        theirs = py_sigmoid_focal_loss(logits, one_hot, gamma=gamma, alpha=alpha, reduction="none")
        torch.testing.assert_close(ours, theirs)
        upstream = normal(6, 3, seed=1)
        grads = [torch.autograd.grad(loss, logits, upstream)[0] for loss in (ours, theirs)]
        torch.testing.assert_close(*grads)

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    def test_the_gradient_is_that_of_finite_differences(self, reduction):
        logits = normal(6, 3).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda x: sigmoid_focal_loss(x, self.TARGET, 2.0, 0.25, None, reduction), logits
        )

    def test_the_weight_is_that_of_the_target_class(self):
        logits, target = normal(4, 3).requires_grad_(), torch.tensor([2, 0, 1, 2])
        weight = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
        plain = sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "none")
        weighted = sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, "none")
        factors = torch.tensor([[100.0], [1.0], [10.0], [100.0]])
        torch.testing.assert_close(weighted, plain * factors)
        grads = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (weighted, plain)]
        torch.testing.assert_close(grads[0], grads[1] * factors)

    def test_extreme_logits_and_half_precision_stay_finite(self):
        logits = torch.tensor([[90.0, -90.0], [-90.0, 90.0]]).half().requires_grad_()
        loss = sigmoid_focal_loss(logits, torch.tensor([1, 2]), 2.0, 0.25, None, "none")
        loss.sum().backward()
        assert loss.dtype == logits.grad.dtype == torch.half
        # Rows: two errors, of a positive and of a negative; then one error of a negative.
        expected = torch.tensor([[0.75 * 90, 0.25 * 90], [0, 0.75 * 90]])
        torch.testing.assert_close(loss.float(), expected)
        assert torch.isfinite(logits.grad).all()

    def test_no_rows_give_a_sum_of_zero(self):
        logits = torch.zeros(0, 3, requires_grad=True)
        loss = sigmoid_focal_loss(logits, torch.zeros(0).long(), 2.0, 0.25, None, "sum")
        loss.backward()
        assert loss == 0
        assert logits.grad.shape == (0, 3)


GEOMETRY = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}


class TestDeformableConvolution:
    """4 channels in 4 groups, 2 deformable groups, a 3 x 2 kernel."""

    @staticmethod
    def tensors(height=7, width=6):
        image, weight, bias = normal(2, 4, height, width), normal(8, 1, 3, 2), normal(8)
        plain = F.conv2d(image, weight, None, **GEOMETRY, groups=4)
        offset = torch.zeros(2, 2 * 2 * 6, *plain.shape[2:], dtype=torch.float64)
        mask = torch.ones(2, 2 * 6, *plain.shape[2:], dtype=torch.float64)
        return image, weight, bias, offset, mask

    def test_without_offsets_it_is_a_convolution(self):
        image, weight, bias, offset, mask = self.tensors()
        mask[:, 6:] = 0.5  # the second deformable group: channels 2 and 3
        scaled = image * torch.tensor([1, 1, 0.5, 0.5])[:, None, None]
        output = modulated_deform_conv2d(
            image, offset, mask, weight, bias, *GEOMETRY.values(), 4, 2
        )
        torch.testing.assert_close(output, F.conv2d(scaled, weight, bias, **GEOMETRY, groups=4))
        output = deform_conv2d(image, offset, weight, *GEOMETRY.values(), 4, 2)
        torch.testing.assert_close(output, F.conv2d(image, weight, **GEOMETRY, groups=4))

    def test_offsets_move_the_image_of_their_group_down_before_right(self):
        image, weight, bias, _, _ = self.tensors()
        offset = torch.zeros(2, 24, 5, 5, dtype=torch.float64)
        offset[:, 0:12:2] = 1  # group 1: one pixel further down
        offset[:, 13:24:2] = 0.5  # group 2: half a pixel further right
        mask = torch.ones(2, 12, 5, 5, dtype=torch.float64)
        output = modulated_deform_conv2d(image, offset, mask, weight, bias, 1, 0, 1, 4, 2)
        padded = F.pad(image, (0, 1, 0, 1))
        here, below, right = padded[..., :-1, :-1], padded[..., 1:, :-1], padded[..., :-1, 1:]
        moved = torch.cat([below[:, :2], (here[:, 2:] + right[:, 2:]) / 2], 1)
        torch.testing.assert_close(output, F.conv2d(moved, weight, bias, groups=4))

    @pytest.mark.parametrize("with_bias", [True, False])
    def test_the_gradients_are_those_of_finite_differences(self, with_bias):
        image, weight, bias, offset, mask = self.tensors(4, 4)
        offset += 0.3 * normal(*offset.shape, seed=2).clamp(-1, 1) + 0.1
        mask += 0.2 * normal(*mask.shape, seed=3)
        inputs = [image, offset, mask, weight] + [bias] * with_bias
        for tensor in inputs:
            tensor.requires_grad_()

        def modulated(image, offset, mask, weight, bias=None):
            return modulated_deform_conv2d(
                image, offset, mask, weight, bias, *GEOMETRY.values(), 4, 2
            )

        assert torch.autograd.gradcheck(modulated, inputs)

    def test_the_gradients_without_mask_are_those_of_finite_differences(self):
        image, weight, _, offset, _ = self.tensors(4, 4)
        offset += 0.3 * normal(*offset.shape, seed=2).clamp(-1, 1) + 0.1
        inputs = [tensor.requires_grad_() for tensor in (image, offset, weight)]
        assert torch.autograd.gradcheck(
            lambda *tensors: deform_conv2d(*tensors, *GEOMETRY.values(), 4, 2), inputs
        )

    def test_half_precision_rounds_the_result_of_float32(self):
        tensors = [tensor.half() for tensor in self.tensors()]
        image, weight, bias, offset, mask = tensors
        output = modulated_deform_conv2d(
            image, offset, mask, weight, bias, *GEOMETRY.values(), 4, 2
        )
        image, weight, bias = (tensor.float() for tensor in tensors[:3])
        expected = F.conv2d(image, weight, bias, **GEOMETRY, groups=4)
        torch.testing.assert_close(output, expected.half())


class TestDeformableAttention:
    SHAPES = torch.tensor([[3, 4], [2, 2]])
    STARTS = torch.tensor([0, 12])

    def inputs(self):
        """One image, 16 keys, 2 heads of 3 channels, 5 queries, 2 levels, 2 points."""
        locations = torch.from_numpy(np.random.default_rng(5).uniform(0, 1, (1, 5, 2, 2, 2, 2)))
        return normal(1, 16, 2, 3), locations, normal(1, 5, 2, 2, 2, seed=6)

    def attend(self, value, locations, weights):
        return MultiScaleDeformableAttnFunction.apply(
            value, self.SHAPES, self.STARTS, locations, weights, 64
        )

    def test_it_sums_bilinear_samples_of_every_level(self):
        value, locations, weights = (tensor.numpy() for tensor in self.inputs())
        expected = np.zeros((1, 5, 6))
        for query, head, level, point in np.ndindex(5, 2, 2, 2):
            (height, width), start = self.SHAPES[level].tolist(), self.STARTS[level]
            grid = value[0, start : start + height * width, head].reshape(height, width, 3)
            x = locations[0, query, head, level, point, 0] * width - 0.5
            y = locations[0, query, head, level, point, 1] * height - 0.5
            for row in range(height):
                for column in range(width):
                    near = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
                    share = near * weights[0, query, head, level, point]
                    expected[0, query, 3 * head : 3 * head + 3] += share * grid[row, column]
        np.testing.assert_allclose(self.attend(*self.inputs()), expected)

    def test_the_gradients_are_those_of_finite_differences(self):
        inputs = [tensor.requires_grad_() for tensor in self.inputs()]
        assert torch.autograd.gradcheck(self.attend, inputs)

    def test_half_precision_comes_back_as_half(self):
        value, locations, weights = self.inputs()
        low = self.attend(value.half().requires_grad_(), locations, weights)
        low.sum().backward()
        exact = self.attend(value, locations, weights)
        torch.testing.assert_close(low, exact.half(), rtol=0.02, atol=0.02)
