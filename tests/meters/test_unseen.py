"""Work that a count could miss: it is counted where it runs, or the count is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.meters.operations import (
    OperationCounter,
    UnknownOperation,
    count_macs,
    count_pass,
    count_train_flops,
)

X = torch.randn(1, 4)


class Half(nn.Module):
    """Two layers of 4 x 4, the second of which is run by ``second``."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))

    def second(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class InThread(Half):
    def second(self, x: torch.Tensor) -> torch.Tensor:
        found: list[torch.Tensor] = []
        thread = threading.Thread(target=lambda: found.append(self.last(x)))
        thread.start()
        thread.join()
        return found[0]


class InPool(Half):
    """Its pool has a worker before anything is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = ThreadPoolExecutor(1)
        self.pool.submit(lambda: None).result()

    def second(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool.submit(self.last, x).result()


class InOldThread(Half):
    """A worker with a queue of its own, from before the count."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: SimpleQueue = SimpleQueue()
        self.answered: SimpleQueue = SimpleQueue()
        threading.Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        while True:
            self.answered.put(self.last(self.asked.get()).detach())

    def second(self, x: torch.Tensor) -> torch.Tensor:
        self.asked.put(x)
        return self.answered.get()


class InNumpy(Half):
    def second(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(x.numpy() @ self.last.weight.detach().numpy().T)


class KeptInNumpy(Half):
    """Its weights left before the count."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = self.last.weight.detach().numpy()

    def second(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor(np.asarray(x) @ self.kept.T)


class OutOfPlace(nn.Module):
    """All of it is NumPy, the weights and the call."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.kept = self.weight.detach().numpy()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.empty(len(x), 4)
        np.matmul(x.numpy(), self.kept, out=out.numpy())
        return out


@pytest.mark.parametrize("kind", [InThread, InPool])
@pytest.mark.parametrize("counting", ["plain", "fvcore"])
def test_threads_are_counted_where_they_run(kind: type[Half], counting: str) -> None:
    model = kind()
    model.last = nn.Sequential(model.last, nn.LayerNorm(4))
    norm = 5 * 4 if counting == "fvcore" else 0
    for _ in range(2):  # the pool's worker outlives the first count
        assert count_macs(model, X, counting) == 2 * 16 + norm


@pytest.mark.parametrize("kind", [InThread, InPool])
def test_a_training_step_in_a_thread_is_counted_too(kind: type[Half]) -> None:
    model = kind()
    once = 2 * 16
    flops = count_train_flops(lambda: model(X).sum().backward(), 1)
    assert flops == 2 * (once + once + 16)  # forward, weights, the one input that takes a gradient


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (InOldThread, "thread that was started before the count"),
        (InNumpy, "weights left torch"),
        (KeptInNumpy, "activations left torch"),
        (OutOfPlace, r"0 multiply-adds were counted although .* \(weight\)"),
    ],
)
def test_what_cannot_be_counted_is_refused(kind: type[nn.Module], reason: str) -> None:
    with pytest.raises(UnknownOperation, match=reason):
        count_macs(kind(), X)


def test_an_unknown_operation_in_a_thread_is_told() -> None:
    class Fourier(Half):
        def second(self, x: torch.Tensor) -> torch.Tensor:
            found: list[torch.Tensor] = []
            thread = threading.Thread(target=lambda: found.append(torch.fft.fft(x)))
            thread.start()
            thread.join()
            return found[0].real

    with pytest.raises(UnknownOperation, match="_fft_"):
        count_macs(Fourier(), X)


def test_weights_that_leave_in_a_training_step_leave_no_count() -> None:
    weight = nn.Parameter(torch.randn(4, 4))

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(w)
            return torch.from_numpy(x.numpy() @ w.numpy())

        @staticmethod
        def backward(ctx, grad):
            return None, torch.from_numpy(X.numpy().T @ grad.numpy())

    def step() -> None:
        Product.apply(X, weight).sum().backward()

    with pytest.raises(UnknownOperation, match="weights left torch"):
        count_train_flops(step, 1)
    with OperationCounter(strict=False) as counter:
        step()
    assert "weights left torch" in counter.unknown


def test_targets_made_in_numpy_do_not_stop_a_count() -> None:
    """As mmdet's mask heads make theirs: boxes leave, masks come back."""
    layer = nn.Linear(4, 4)

    def step() -> None:
        out = layer(X)
        target = torch.from_numpy(np.floor(out.detach().numpy()))
        (out - target).square().sum().backward()

    assert count_train_flops(step, 1) == 2 * 2 * 16


def test_constants_and_logged_values_do_not_stop_a_count() -> None:
    class Anchors(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            anchors = torch.tensor([[0.5, 0.5, 1.0, 1.0]])
            out = super().forward(x) + anchors + torch.from_numpy(np.ones((1, 4), np.float32))
            self.logged = out.mean().item()
            return out

    assert count_macs(Anchors(4, 4), X) == 16


@pytest.mark.parametrize(
    ("function", "reads"),
    [
        (lambda x: x[[0, 0]] + x.argmax(1, keepdim=True), False),
        (lambda x: torch.where(x > 0, x, 0), False),
        (lambda x: x if x.sum() > 0 else -x, True),
        (lambda x: x[x > 0], True),
        (lambda x: x.nonzero(), True),
        (lambda x: x.expand(int(x.argmax()) + 1, 4), True),
        (lambda x: torch.zeros(len(x.tolist())), True),
        (lambda x: x.numpy() is None, True),
    ],
)
def test_reading_values_is_noticed(function, reads: bool) -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            return function(x)

    assert count_pass(Model(), X).reads is reads


def test_zero_is_no_count_of_a_network_with_weights() -> None:
    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    for counting in ("plain", "fvcore", "mmcv"):
        with pytest.raises(UnknownOperation, match=r"\(inner.weight\)"):
            count_macs(Silent(), X, counting)

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("q", torch.zeros(4, 4, dtype=torch.int8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(UnknownOperation, match=r"\(q\)"):
        count_macs(Packed(), X)
    for free in (nn.LayerNorm([1, 4]), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten()):
        assert count_macs(free, X) == 0
    assert count_macs(nn.Embedding(9, 4), torch.zeros(1, 2, dtype=torch.long)) == 0


def test_a_count_leaves_threads_and_hooks_as_they_were() -> None:
    before = threading.Thread.start, ThreadPoolExecutor.submit
    hooks = len(torch.nn.modules.module._global_forward_pre_hooks)
    count_macs(InThread(), X)
    with pytest.raises(UnknownOperation):
        count_macs(InNumpy(), X)
    assert before == (threading.Thread.start, ThreadPoolExecutor.submit)
    assert hooks == len(torch.nn.modules.module._global_forward_pre_hooks)
