"""An ensemble whose members' convolutions all draw their weights from shared banks."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from methods.dense import is_dense
from methods.superweight.banks import Bank, BlockBank, Composition, Shape, make_bank
from methods.synthesis import SynthesisedLayer, fold, synthesise
from tasks.errors import UserError


class Shared(nn.Module):
    """Networks and the banks that their convolutions draw from.

    Args:
        members: networks; norms, classifiers and biases are their own.
        banks: what their convolutions draw from.
    """

    def __init__(self, members: Sequence[nn.Module], banks: Sequence[BlockBank]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.banks = nn.ModuleList(banks)


class Members(Shared):
    """Whole models and their banks; the backbone of an :class:`Ensemble`."""

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Log of the members' mean probabilities (N, classes); a single member's own output.

        The log of probabilities is a logit: a softmax gives the ensemble's probabilities back.
        """
        outputs = [member(inputs, data_samples, mode=mode) for member in self.members]
        if len(outputs) == 1:
            return outputs[0]
        return mean_of_softmaxes(outputs)


class SharedBackbone(Shared):
    """One backbone and its banks, in the place of a detector's or segmentor's own backbone."""

    def forward(self, inputs: Tensor) -> Any:
        """What the backbone gives for images (N, C, H, W)."""
        return self.members[0](inputs)


class Ensemble(BaseModel):
    """Members that share banks, trained on the sum of their losses.

    Args:
        backbone: the members.
    """

    def __init__(self, backbone: Members) -> None:
        super().__init__(data_preprocessor=backbone.members[0].data_preprocessor)
        self.backbone = backbone

    def forward(
        self, inputs: Any, data_samples: Any = None, mode: str = "tensor", index: Any = None
    ) -> Any:
        """Each member's losses as ``member1.loss``, or the prediction of :class:`Members`."""
        if mode != "loss":
            return self.backbone(inputs, data_samples, mode)
        return {
            f"member{number}.{name}": loss
            for number, member in enumerate(self.backbone.members, 1)
            for name, loss in member(inputs, data_samples, mode="loss").items()
        }


def mean_of_softmaxes(logits: Sequence[Tensor]) -> Tensor:
    """Log of the mean of the softmaxes of several logits (N, classes), in float32."""
    logs = torch.stack([each.float().log_softmax(-1) for each in logits])
    return logs.logsumexp(0) - math.log(len(logits))


def networks(models: Sequence[BaseModel]) -> list[nn.Module]:
    """The networks whose convolutions share banks: the models, or a detector's backbone.

    Raises:
        UserError: a backbone holds on to weights or statistics, and all are drawn anew.
    """
    for model in models:
        frozen = getattr(model.backbone, "frozen_stages", -1) >= 0
        if is_dense(model) and (frozen or getattr(model.backbone, "norm_eval", False)):
            raise UserError(
                "superweight draws all weights of the backbone anew, so nothing of it can stay as "
                "pretrained; set the backbone's frozen_stages=-1 and norm_eval=false"
            )
    return [model.backbone if is_dense(model) else model for model in models]


def convolutions(member: nn.Module) -> list[nn.Conv2d]:
    """A member's 2-d convolutions, in the order of its modules."""
    return [module for module in member.modules() if isinstance(module, nn.Conv2d)]


def weight_shapes(members: Sequence[nn.Module]) -> list[list[Shape]]:
    """Weight shapes of each member's convolutions, in order."""
    return [[tuple(conv.weight.shape) for conv in convolutions(member)] for member in members]


def share_banks(
    members: Sequence[nn.Module],
    plan: Sequence[Bank],
    shared_coefficients: bool,
    init: str,
    kind: type[Shared] = Members,
) -> Shared:
    """Draw banks after a plan, and make the members' convolutions use them instead of weights.

    Args:
        members: plain models, or the backbone of one; changed in place.
        plan: the banks, see :func:`~methods.superweight.banks.plan_banks`.
        shared_coefficients: whether all layers of a block start with one coefficient vector.
        init: see :func:`~methods.superweight.banks.make_bank`.
        kind: what holds them.
    """
    layers = {
        (number, place): conv
        for number, member in enumerate(members)
        for place, conv in enumerate(convolutions(member))
    }
    shapes = {user: tuple(conv.weight.shape) for user, conv in layers.items()}
    parts: dict[tuple[int, int], list[Any]] = {user: [] for user in layers}
    banks = []
    for blocks in plan:
        for block in blocks:
            bank = make_bank(block, shapes, shared_coefficients, init)
            banks.append(bank)
            for use, user in enumerate(block.users):
                parts[user].append((block, bank, use))
    for user, conv in layers.items():
        synthesise(conv, {"weight": Composition(parts[user])})
    return kind(members, banks)


def compositions(member: nn.Module) -> list[Composition]:
    """How each of a member's convolutions is made, in the order of its modules."""
    return list(_compositions([member]))


def select(ensemble: Ensemble, chosen: Sequence[int]) -> Ensemble:
    """The ensemble of some members, with the blocks and coefficients that they use.

    Templates are the ensemble's own tensors; everything else, which is small, is copied.

    Args:
        ensemble: stays as it is.
        chosen: numbers of the members, from 0.
    """
    memo = _templates(ensemble)
    members = copy.deepcopy([ensemble.backbone.members[number] for number in chosen], memo)
    used: dict[int, tuple[BlockBank, list[tuple[Composition, int]]]] = {}
    for composition in _compositions(members):
        for place, bank in enumerate(composition.banks):
            used.setdefault(id(bank), (bank, []))[1].append((composition, place))
    for bank, places in used.values():
        _keep_only(bank, places)
    return Ensemble(Members(members, [bank for bank, _ in used.values()]))


def copied(model: BaseModel) -> BaseModel:
    """A copy of a detector or segmentor on a :class:`SharedBackbone`, with the same templates."""
    return copy.deepcopy(model, _templates(model))


def _templates(model: BaseModel) -> dict[int, Any]:
    """A memo that keeps ``deepcopy`` from copying the templates."""
    return {id(bank.templates): bank.templates for bank in model.backbone.banks}


def export(model: BaseModel) -> BaseModel:
    """A copy whose members are plain networks that own their present weights; equal outputs."""
    if isinstance(model, Ensemble):
        exported = select(model, range(len(model.backbone.members)))
    else:
        exported = copied(model)
    for layer in exported.modules():
        if isinstance(layer, SynthesisedLayer):
            fold(layer)
    exported.backbone.banks = nn.ModuleList()
    return exported


def _compositions(members: Sequence[nn.Module]) -> Iterator[Composition]:
    for member in members:
        for conv in convolutions(member):
            assert isinstance(conv, SynthesisedLayer)
            composition = conv.recipes["weight"]
            assert isinstance(composition, Composition)
            yield composition


def _keep_only(bank: BlockBank, places: Sequence[tuple[Composition, int]]) -> None:
    """Drop the coefficients that no layer in ``places`` uses, and number the uses anew."""
    uses = [composition.uses[place] for composition, place in places]
    kept, rows = bank.rows[uses].unique(return_inverse=True)
    bank.coefficients = nn.Parameter(bank.coefficients.detach()[kept])
    bank.rows = rows
    for use, (composition, place) in enumerate(places):
        composition.uses[place] = use


def member_macs(ensemble: Ensemble, example: Tensor) -> list[int]:
    """Multiply-adds of each member for one image, those that make its weights included.

    Args:
        ensemble: may lie on any device; nothing is computed there.
        example: (1, C, H, W) on the meta device.
    """
    counts = []
    for number in range(len(ensemble.backbone.members)):
        member = copy.deepcopy(select(ensemble, [number])).to("meta").eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            member(example)
        counts.append(counter.get_total_flops() // 2)
    return counts


def diversity(predictions: Tensor, labels: Tensor) -> float:
    """Mean over pairs of the share of images that two members class differently, over mean error.

    1 means that errors are as good as independent where there are many classes. NaN where no
    member errs, or where one predicts no class.

    Source: Fort et al. 2019, arXiv 1912.02757, section 4.1.

    Args:
        predictions: (members, N) classes, below 0 for none; at least two members.
        labels: (N,).
    """
    if int(predictions.min()) < 0:
        return float("nan")
    pairs = list(combinations(predictions, 2))
    disagreement = sum((a != b).double().mean().item() for a, b in pairs) / len(pairs)
    error = (predictions != labels).double().mean().item()
    return disagreement / error if error else float("nan")


def predictions_of_members(
    ensemble: Ensemble, batches: Iterable[dict[str, Any]]
) -> tuple[Tensor, Tensor]:
    """Classes (members, N) that each member predicts, and the labels (N,).

    An image with a logit that is NaN or infinite has the class -1.
    """
    predicted, labels = [], []
    with torch.inference_mode():
        for batch in batches:
            members = ensemble.backbone.members
            logits = [member(batch["inputs"], mode="tensor") for member in members]
            predicted.append(torch.stack([_classes(each) for each in logits]))
            labels.append(batch["data_samples"])
    return torch.cat(predicted, 1), torch.cat(labels)


def _classes(logits: Tensor) -> Tensor:
    return torch.where(logits.isfinite().all(1), logits.argmax(1), -1)
