"""Greedy, class-wise and soft NMS of the stand-in against plain NumPy loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.openmmlab.ops import install

install()
from mmcv.ops import batched_nms, nms, soft_nms  # noqa: E402  needs the stand-in

THRESHOLDS = st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.6, 0.7])


def iou(box, others, offset):
    """IoU of one box with others, (4,) and (M, 4), in their dtype."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + offset
    inter = np.clip(sides, 0, None).prod(1)
    area = (box[2:] - box[:2] + offset).prod()
    return inter / (area + (others[:, 2:] - others[:, :2] + offset).prod(1) - inter)


def greedy(boxes, scores, threshold, offset=0):
    kept, left = [], list(np.argsort(-scores))
    while left:
        best = left.pop(0)
        kept.append(best)
        if left:
            clear = iou(boxes[best], boxes[left], offset) <= np.float32(threshold)
            left = [index for index, keep in zip(left, clear, strict=True) if keep]
    return kept


def soft(boxes, scores, threshold, sigma, min_score, method, offset):
    left, scores, kept = list(range(len(scores))), scores.copy(), []
    while left:
        best = max(left, key=lambda index: scores[index])
        kept.append((best, scores[best]))
        left.remove(best)
        for index in list(left):
            overlap = iou(boxes[best], boxes[[index]], offset)[0]
            if method == "gaussian":
                scores[index] *= np.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                scores[index] *= 0 if method == "naive" else 1 - overlap
            if scores[index] < min_score:
                left.remove(index)
    return [index for index, _ in kept], [score for _, score in kept]


@st.composite
def scored_boxes(draw):
    """Boxes on a grid of quarters, so that areas are exact, with scores that never tie."""
    count = draw(st.integers(1, 12))
    quarter = st.integers(0, 24).map(lambda n: n / 4)
    corner = st.tuples(quarter, quarter)
    side = st.integers(1, 16).map(lambda n: n / 4)
    rows = [(*draw(corner), draw(side), draw(side)) for _ in range(count)]
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32)
    order = draw(st.permutations(range(count)))
    return boxes, (1 + np.array(order, np.float32)) / 16


def run_nms(boxes, scores, threshold, offset, dtype=torch.float32):
    dets, kept = nms(
        torch.tensor(boxes, dtype=dtype), torch.tensor(scores, dtype=dtype), threshold, offset
    )
    assert dets.dtype == dtype
    return kept.tolist()


@given(scored_boxes(), THRESHOLDS, st.sampled_from([0, 1]))
@settings(deadline=None)
def test_greedy_nms_keeps_what_a_plain_loop_keeps(case, threshold, offset):
    boxes, scores = case
    expected = greedy(boxes, scores, threshold, offset)
    assert run_nms(boxes, scores, threshold, offset) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_nms_takes_every_floating_dtype(dtype):
    boxes = np.array([[0, 0, 8, 8], [1, 0, 9, 8], [16, 16, 24, 24]], np.float32)
    assert run_nms(boxes, np.array([0.5, 0.75, 0.25]), 0.5, 0, dtype) == [1, 2]


def test_an_overlap_equal_to_the_threshold_is_kept():
    boxes = np.array([[0, 0, 4, 1], [1, 0, 5, 1]], np.float32)  # IoU 3 / 5
    assert run_nms(boxes, np.array([0.9, 0.8]), 0.6, 0) == [0, 1]


def test_the_offset_counts_the_last_pixel():
    boxes = np.array([[0, 0, 1, 1], [1, 0, 2, 1]], np.float32)  # apart, or 2 of 6 pixels shared
    scores = np.array([0.9, 0.8])
    assert run_nms(boxes, scores, 0.3, 0) == [0, 1]
    assert run_nms(boxes, scores, 0.3, 1) == [0]


def test_nms_of_no_boxes_is_empty():
    dets, kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.long
    dets, kept = soft_nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    cfg = {"type": "nms", "iou_threshold": 0.5}
    _, kept = batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), cfg, True)
    assert kept.shape == (0,)


@given(scored_boxes(), THRESHOLDS, st.integers(0, 2**12 - 1), st.sampled_from([1, 10000]))
@settings(deadline=None)
def test_batched_nms_suppresses_within_a_class_alone(case, threshold, bits, split_thr):
    boxes, scores = case
    classes = np.array([bits >> index & 1 for index in range(len(scores))])
    expected = []
    for name in (0, 1):
        members = np.flatnonzero(classes == name)
        expected += [members[k] for k in greedy(boxes[members], scores[members], threshold)]
    expected.sort(key=lambda index: -scores[index])
    cfg = {"type": "nms", "iou_threshold": threshold, "split_thr": split_thr}
    tensors = [torch.from_numpy(array) for array in (boxes, scores, classes)]
    dets, kept = batched_nms(*tensors, cfg)
    assert kept.tolist() == expected
    np.testing.assert_array_equal(dets[:, :4], boxes[expected])
    np.testing.assert_array_equal(dets[:, 4], scores[expected])
    _, agnostic = batched_nms(*tensors, {**cfg, "split_thr": 10000}, class_agnostic=True)
    assert agnostic.tolist() == greedy(boxes, scores, threshold)


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("offset", [0, 1])
@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_soft_nms_lowers_scores_as_a_plain_loop_does(method, offset, seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 30, (20, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(2, 20, (20, 2))], 1)
    scores = rng.uniform(0.05, 1, 20)
    settings_ = {"sigma": 0.4, "min_score": 0.1, "method": method, "offset": offset}
    expected, lowered = soft(boxes, scores, 0.3, **settings_)
    dets, kept = soft_nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.3, **settings_)
    assert kept.tolist() == expected
    np.testing.assert_allclose(dets[:, :4], boxes[expected])
    np.testing.assert_allclose(dets[:, 4], lowered, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_soft_nms_takes_lower_precision(dtype):
    boxes = torch.tensor([[0, 0, 8, 8], [0, 0, 8, 4], [16, 0, 24, 8]], dtype=dtype)
    scores = torch.tensor([0.75, 0.5, 0.625], dtype=dtype)
    dets, kept = soft_nms(boxes, scores, 0.5, method="linear")
    assert kept.tolist() == [0, 2, 1]
    assert dets.dtype == dtype
    assert dets[:, 4].tolist() == [0.75, 0.625, 0.25]


def test_nms_takes_boxes_that_require_a_gradient():
    boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 4]], requires_grad=True)
    scores = torch.tensor([0.5, 0.75], requires_grad=True)
    assert nms(boxes, scores, 0.3)[1].tolist() == [1]
    assert soft_nms(boxes, scores, 0.3, method="linear")[1].tolist() == [1, 0]


def test_boxes_without_area_leave_soft_nms_finite():
    boxes = torch.tensor([[3.0, 1, 3, 1]] * 3)
    dets, kept = soft_nms(boxes, torch.tensor([0.9, 0.5, 0.4]), 0.6, method="gaussian")
    assert kept.tolist() == [0, 1, 2]
    torch.testing.assert_close(dets[:, 4], torch.tensor([0.9, 0.5, 0.4]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("offset", [0, 1])
def test_nms_on_cuda_keeps_what_the_plain_loop_keeps(offset):
    rng = np.random.default_rng(3)
    corners = rng.integers(0, 200, (300, 2)) / 4
    sides = rng.integers(8, 80, (300, 2)) / 4
    boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
    scores = rng.permutation(300).astype(np.float32) / 512
    kept = nms(torch.tensor(boxes).cuda(), torch.tensor(scores).cuda(), 0.45, offset)[1]
    assert kept.is_cuda
    assert kept.tolist() == greedy(boxes, scores, 0.45, offset)
