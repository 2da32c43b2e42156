"""Checkpointing: the same numbers to the bit, fewer bytes kept for the backward pass."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from benchmarks.engine.building import structure
from methods.checkpointing import Checkpointing, apply_checkpointing
from methods.stochastic_depth import StochasticDepth
from tasks.classification.classifier import Classifier
from tasks.classification.models.zoo import build_backbone
from tasks.errors import UserError

NETWORKS = {
    "cifar": lambda: build_backbone("cifar_resnet26", 5, 3, 16),
    "mobilenet": lambda: MobileNetV2(
        5, inverted_residual_setting=[[1, 16, 1, 1], [2, 24, 3, 2]], dropout=0.5
    ),
    "vit": lambda: VisionTransformer(16, 4, 3, 2, 8, 16, dropout=0.3, num_classes=5),
    "swin": lambda: SwinTransformer(
        [4, 4], 8, [3, 2], [2, 4], [2, 2], stochastic_depth_prob=0.5, num_classes=5
    ),
}


def build(name: str) -> Classifier:
    torch.manual_seed(0)
    return Classifier(NETWORKS[name]())


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(6, 3, 16, 16, generator=generator), torch.tensor([0, 1, 2, 3, 4, 0])


def train(model: nn.Module, steps: int = 4) -> list[torch.Tensor]:
    """The loss and every gradient of every step."""
    torch.manual_seed(7)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    seen = []
    for _ in range(steps):
        loss = model(*batch(), mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += [loss.detach(), *(p.grad.clone() for p in model.parameters())]
    return seen


@pytest.mark.parametrize("every", [1, 2, 100])
@pytest.mark.parametrize("name", NETWORKS)
def test_losses_gradients_and_statistics_of_several_steps_are_those_of_plain_training(name, every):
    plain = build(name)
    model = Checkpointing(every=every).prepare(copy.deepcopy(plain))
    for ours, theirs in zip(train(model), train(plain), strict=True):
        assert torch.equal(ours, theirs)
    for key, theirs in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], theirs), key


def test_the_draws_of_stochastic_depth_are_repeated():
    plain = StochasticDepth(survival=0.5).prepare(build("cifar"))
    model = Checkpointing().prepare(copy.deepcopy(plain))
    for ours, theirs in zip(train(model), train(plain), strict=True):
        assert torch.equal(ours, theirs)


def test_a_second_backward_pass_leaves_the_statistics_alone():
    plain = build("cifar").train()
    model = Checkpointing(every=2).prepare(copy.deepcopy(plain))
    for network in (model, plain):
        loss = network(*batch(), mode="loss")["loss"]
        loss.backward(retain_graph=True)
        loss.backward()
    for key, theirs in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], theirs), key


def bytes_kept(model: nn.Module) -> int:
    """Bytes of the distinct storages that the graph of one forward pass holds on to."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(*batch(), mode="loss")["loss"]
    del loss
    return sum(size for pointer, size in kept.items() if pointer not in weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_fewer_bytes_are_kept_and_fewer_still_by_longer_segments(name):
    plain = bytes_kept(build(name).train())
    single = bytes_kept(Checkpointing().prepare(build(name)).train())
    paired = bytes_kept(Checkpointing(every=2).prepare(build(name)).train())
    assert paired < single < 0.7 * plain


def test_evaluation_and_names_are_those_of_the_plain_network():
    plain = build("cifar").eval()
    model = Checkpointing().prepare(copy.deepcopy(plain)).eval()
    assert torch.equal(model(batch()[0]), plain(batch()[0]))
    assert list(model.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_runs_on_its_own_weights(twin):
    model = Checkpointing(every=2).prepare(build("cifar"))
    other = twin(model)
    expected = train(twin(model), steps=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for ours, theirs in zip(train(other, steps=1), expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("every", [0, 1.5])
def test_a_segment_of_no_whole_number_of_blocks_is_refused(every):
    with pytest.raises(UserError, match="a whole number"):
        apply_checkpointing(resnet18(), every=every)


class Listed(nn.Module):
    """The first stage of a network, called block by block."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.layer1 = nn.ModuleList(network.layer1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.layer1:
            x = block(x)
        return x


def test_blocks_in_a_plain_list_are_checkpointed_one_by_one():
    plain = Listed(build("cifar").backbone).train()
    model = Checkpointing().prepare(copy.deepcopy(plain))
    calls = []
    for block in model.layer1:
        block.conv1.register_forward_hook(lambda *_: calls.append(1))
    images = torch.rand(2, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    for network in (model, plain):
        network(images).square().sum().backward()
    assert len(calls) == 2 * len(model.layer1)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    for key, theirs in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], theirs), key


def test_longer_segments_of_a_plain_list_are_refused():
    with pytest.raises(UserError, match=r"every=2 .*hang in a ModuleList; use every=1"):
        Checkpointing(every=2).prepare(Listed(build("cifar").backbone))


@pytest.mark.parametrize("name", NETWORKS)
def test_it_counts_as_a_change_of_the_model(name: str) -> None:
    model = build(name)
    before = structure(model)
    assert structure(Checkpointing().prepare(model)) != before
