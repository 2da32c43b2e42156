"""The depth-matched control: what it removes, counted by hand, and what it refuses."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torchvision
from torchvision.models.vision_transformer import VisionTransformer

from methods.depth_matched import DepthMatched
from methods.replacement import Replacement
from tasks.classification.classifier import Classifier
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_resnet34_loses_blocks_6_10_and_12():
    with torch.device("meta"):
        model = Classifier(torchvision.models.resnet34())
    before, names = parameters(model), set(model.state_dict())
    DepthMatched().prepare(model)
    # Two 3x3 convolutions and two batch norms each: block 6 of width 128, 10 and 12 of 256.
    removed = (2 * 128 * 128 * 9 + 4 * 128) + 2 * (2 * 256 * 256 * 9 + 4 * 256)
    assert before - parameters(model) == removed
    gone = {name.removeprefix("backbone.")[:8] for name in names - set(model.state_dict())}
    assert gone == {"layer2.2", "layer3.2", "layer3.4"}
    assert set(model.state_dict()) < names


@pytest.mark.parametrize(
    ("options", "removed"),
    [
        ({"boundary": "keep"}, 2),  # 12 and 16; 4 and 8 change width
        ({"every": 2}, 4),  # 2, 6, 10, 12; the others have no room
        ({"blocks": [2, 12]}, 2),
        ({"blocks": [4], "boundary": "shift"}, 1),
    ],
)
def test_options_choose_the_blocks(options, removed):
    with torch.device("meta"):
        model = Classifier(torchvision.models.resnet34())
    DepthMatched(**options).prepare(model)
    left = sum(len(list(block.parameters())) > 0 for block in residual_blocks(model.backbone))
    assert left == 16 - removed


def residual_blocks(network: torchvision.models.ResNet) -> list[torch.nn.Module]:
    return [block for i in range(1, 5) for block in network.get_submodule(f"layer{i}")]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet34", {}),
        ("resnet50", {}),
        ("cifar_resnet56", {"every": 3}),
        ("wrn_28_1", {}),
        ("mobilenet_v2", {}),
        ("vit_tiny", {}),
        ("vit_tiny", {"blocks": [5, 6]}),
        ("swin_t", {}),
    ],
)
def test_the_blocks_removed_are_those_that_replacement_replaces(name, options):
    removed, replaced = DepthMatched(**options), Replacement(**options)
    for method in (removed, replaced):
        with torch.device("meta"):
            method.prepare(Classifier(build_backbone(name, 5, 3, 32)))
    assert removed.removed_blocks == replaced.replaced_blocks != ()


def test_a_transformer_without_its_fourth_layer_skips_it():
    network = VisionTransformer(16, 4, 5, 2, 8, 16, num_classes=5).eval()
    torch.nn.init.normal_(network.heads.head.weight)
    shallow = copy.deepcopy(network)
    DepthMatched().prepare(Classifier(shallow))
    del network.encoder.layers[3]
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(shallow(images), network(images))


def test_the_prepared_model_can_be_copied_pickled_and_loaded():
    model = DepthMatched().prepare(Classifier(build_backbone("cifar_resnet26", 5, 3, 8))).eval()
    images = torch.rand(2, 3, 8, 8)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin.load_state_dict(model.state_dict())
        assert torch.equal(twin(images), model(images))


def test_a_network_too_shallow_to_lose_a_block_is_refused():
    with pytest.raises(UserError, match="would remove nothing: of the 8 blocks"):
        DepthMatched().prepare(Classifier(torchvision.models.resnet18()))
