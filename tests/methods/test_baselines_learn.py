"""Every control trains on real digits through the method contract, and what it saves loads."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from sklearn.datasets import load_digits

from methods import METHODS
from methods.base import Method
from tasks.classification.classifier import Classifier
from tasks.classification.models.zoo import build_backbone

CONTROLS = {
    "end_to_end": {},
    "depth_matched": {},
    "stochastic_depth": {"survival": 0.8},
    "checkpointing": {"every": 2},
}


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels)


def trained(method: Method, epochs: int = 3) -> Classifier:
    torch.manual_seed(0)
    model = method.prepare(Classifier(build_backbone("cifar_resnet26", 10, 1, 8, {"width": 8})))
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01))
    images, labels = digits()
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(1400).split(70):
            method.train_step(
                model, {"inputs": images[rows], "data_samples": labels[rows]}, wrapper
            )
    return model


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_learns_digits_and_its_variants_can_be_saved_and_loaded(name, tmp_path):
    method = METHODS.get(name)(**CONTROLS[name])
    model = trained(method)
    images, labels = digits()
    (variant,) = method.variants(copy.deepcopy(model).eval()).values()
    with torch.no_grad():
        logits = variant(images[1400:])
    assert (logits.argmax(1) == labels[1400:]).float().mean() > 0.8

    torch.save(variant.state_dict(), tmp_path / "weights.pth")
    fresh = method.prepare(Classifier(build_backbone("cifar_resnet26", 10, 1, 8, {"width": 8})))
    fresh.load_state_dict(torch.load(tmp_path / "weights.pth"))
    with torch.no_grad():
        assert torch.equal(fresh.eval()(images[1400:]), logits)
