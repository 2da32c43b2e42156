from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.base import Score, as_score
from tasks.classification.metrics import classification_metrics, ece, mean_metrics, nll, top_k
from tasks.errors import UserError


def numpy_ece(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Bin by bin from the definition: sum of |accuracy - confidence| weighted by bin share."""
    logits = logits.astype(np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    confidence, correct = p.max(1), p.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    return 100 * total


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    images=st.integers(1, 200),
    classes=st.integers(2, 12),
    spread=st.sampled_from([0.1, 1.0, 5.0, 1000.0]),
)
def test_ece_equals_its_definition(seed: int, images: int, classes: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    logits = (spread * random.standard_normal((images, classes))).astype(np.float32)
    labels = random.integers(0, classes, images)
    got = ece(torch.from_numpy(logits), torch.from_numpy(labels))
    assert got == pytest.approx(numpy_ece(logits, labels), abs=1e-9)


def test_confidence_of_exactly_one_is_counted() -> None:
    logits = torch.tensor([[1000.0, 0.0], [1000.0, 0.0], [1000.0, 0.0], [1000.0, 0.0]])
    assert logits.softmax(1).max() == 1.0
    assert ece(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(25.0)
    assert ece(logits, torch.tensor([0, 0, 0, 0])) == 0.0


def test_top_k_counts_labels_among_the_largest_logits() -> None:
    logits = torch.tensor([[6.0, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6]])
    labels = torch.tensor([0, 5, 1])
    assert top_k(logits, labels, 1) == pytest.approx(100 / 3)
    assert top_k(logits, labels, 5) == pytest.approx(200 / 3)


def test_nll_is_in_nats() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    assert nll(logits, torch.tensor([0, 1])) == pytest.approx((np.log(4) + np.log(2)) / 2)


@pytest.mark.parametrize(("classes", "present"), [(5, False), (6, True)])
def test_top5_is_reported_only_above_five_classes(classes: int, present: bool) -> None:
    metrics = classification_metrics(torch.randn(8, classes), torch.arange(8) % classes)
    assert ("top5" in metrics) is present
    assert {"top1", "nll", "ece"} <= metrics.keys()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_outputs_that_are_no_numbers_have_no_quality(value: float) -> None:
    logits, labels = torch.randn(8, 7), torch.arange(8) % 7
    logits[3, 2] = logits[5, 0] = value
    found = classification_metrics(logits, labels)
    reason = "the outputs for 2 of 8 images are NaN or infinite"
    assert found == dict.fromkeys(("top1", "top5", "nll", "ece"), Score(None, reason))
    assert not any(score.diverged for score in found.values())
    every = classification_metrics(torch.full((8, 7), value), labels)
    assert all(score.diverged for score in every.values())


def test_a_mean_over_corruptions_has_no_value_where_one_of_them_has_none() -> None:
    rows = [{"top1": 50.0, "nll": 1.0}, {"top1": 100.0, "nll": Score(None, "no number")}]
    assert mean_metrics(rows) == {
        "top1": 75.0,
        "nll": Score(None, "1 of 2 evaluations have no value: no number"),
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(float("nan"))])
def test_a_value_that_is_no_number_is_none(value):
    """Else a NaN is the best epoch, as no later value is above it."""
    assert as_score(value) == Score(None, f"measured as {float(value)}")


@pytest.mark.parametrize("value", [0.5, torch.tensor(0.5), np.float32(0.5), Score(0.5)])
def test_a_score_is_a_plain_float(value):
    """What goes to the parent process and into curves must not be a tensor."""
    assert type(as_score(value).value) is float
    assert as_score(value) == Score(0.5)


@pytest.mark.parametrize("value", ["0.5", [0.5, 0.6], torch.zeros(2)])
def test_a_score_of_something_else_is_refused(value):
    with pytest.raises(UserError, match="as the value of a metric: give a number"):
        as_score(value)
