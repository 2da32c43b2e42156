"""The base-net trained by itself: it is the one that adaptive depth exports, to the last weight."""

from __future__ import annotations

import pytest
import torch

from methods.adaptive_depth import AdaptiveDepth
from methods.base_net import BaseNet
from tasks.classification.classifier import Classifier
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError


def network(arch: str, size: int = 224) -> Classifier:
    return Classifier(build_backbone(arch, 1000, 3, size), 0.0)


@pytest.mark.parametrize(
    ("arch", "options", "millions"),
    [
        ("resnet50", {}, 17.112),  # the paper's 17.11
        ("mobilenet_v2", {}, 2.934),
        ("swin_t", {}, 15.31),
        ("swin_t", {"swin_last_mandatory": True}, 22.40),
        ("vit_b_16", {}, 58.22),
    ],
)
def test_it_has_the_parameters_of_the_base_net(arch: str, options: dict, millions: float) -> None:
    with torch.device("meta"):
        model = BaseNet(**options).prepare(network(arch))
    count = sum(p.numel() for p in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=6e-3)


@pytest.mark.parametrize("skip", ["base", "TFFF", "FTTF", "super"])
def test_it_computes_what_the_exported_subnetwork_computes(skip: str) -> None:
    torch.manual_seed(0)
    adaptive = AdaptiveDepth(skip_aware_norms=False, subnets=[skip])
    model = adaptive.prepare(network("resnet18", 64)).eval()
    (exported,) = adaptive.variants(model).values()
    torch.manual_seed(0)
    own = BaseNet(skip=skip).prepare(network("resnet18", 64)).eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(own(image, mode="tensor"), exported(image, mode="tensor"))


def test_a_subnetwork_that_the_network_does_not_have_is_refused() -> None:
    with pytest.raises(UserError, match="no sub-network 'TTT': write super, base or 4 letters"):
        BaseNet(skip="TTT").prepare(network("resnet18", 64))


def test_a_network_without_anything_to_skip_is_refused() -> None:
    model = Classifier(build_backbone("cifar_resnet8", 10, 1, 8), 0.0)
    with pytest.raises(UserError, match="choose a deeper backbone"):
        BaseNet().prepare(model)
