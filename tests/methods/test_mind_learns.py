"""MIND trained for real on small pictures."""

from __future__ import annotations

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from methods.mind import Mind
from tasks.classification.task import ClassificationTask


def trained(method: Mind, epochs: int, arch: str = "cifar_resnet8"):
    task = ClassificationTask(dataset="digits", arch=arch)
    torch.manual_seed(0)
    model = task.build_model()
    method.setup(task)
    model = method.prepare(model)
    cpu = torch.device("cpu")
    wrapper = build_optim_wrapper(
        model, {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9}}
    )
    source = task.batches(64, 0, cpu)
    for epoch in range(epochs):
        for batch in source.epoch(epoch):
            model.train()
            method.train_step(model, batch, wrapper)
    return task, model.eval()


@pytest.mark.parametrize("options", [{"lam": 0.0}, {"mode": "random", "rate": 0.5, "k_max": 4}])
def test_a_network_that_iterates_learns_digits(options):
    method = Mind(**options)
    task, model = trained(method, epochs=3)
    assert task.evaluate(model, "test", torch.device("cpu"))["top1"] > 80
    found = method.analyse("full", model, task.eval_batches("test", torch.device("cpu")))
    assert (found["selection_rate"] > 0) == ("iterations" in found)
    assert found["top1@easy"] > found["top1@hard"]


def test_the_price_on_layers_decides_their_selection():
    rates = []
    for delta in (-3.0, 3.0):
        method = Mind(delta=delta, beta=0.0, gamma=0.0, k_max=2)
        task, model = trained(method, epochs=1)
        test = task.eval_batches("test", torch.device("cpu"))
        rates.append(method.analyse("full", model, test)["selection_rate"])
    assert rates == [100, 0]


def test_training_is_repeatable():
    method = Mind(lam=0.0)
    _, once = trained(method, epochs=1)
    _, again = trained(method, epochs=1)
    for a, b in zip(once.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
