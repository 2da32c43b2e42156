"""Methods of the kinds that the contract is made for, as an outside package would write them."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from contract.registering import register
from mmengine.hooks import Hook
from torch import nn

from methods import Method
from methods.base import Phase
from methods.step import backward, unscaled_update, update


@register("kind_distillation")
@dataclass
class Distillation(Method):
    """A wider teacher is trained first, in the same run."""

    share: float = 0.5
    teacher: str = "cifar_resnet8"

    def setup(self, task):
        self._teacher = task.build_model(self.teacher)
        self._teaching = True

    def prepare(self, model):
        return model

    def companions(self, model):
        return {"teacher": self._teacher}

    def phases(self, model):
        self._teaching = True
        yield Phase("teacher", self.share, network=lambda model: self._teacher)
        self._teaching = False
        yield Phase("student", 1 - self.share)

    def train_step(self, model, data, optim_wrapper):
        if self._teaching:
            return self._teach(data)
        with optim_wrapper.optim_context(model):
            batch = model.data_preprocessor(data, True)
            logits = model(batch["inputs"])
            with torch.no_grad():
                soft = self._teacher.eval()(batch["inputs"]).softmax(1)
            loss = F.cross_entropy(logits, soft) + F.cross_entropy(logits, batch["data_samples"])
        optim_wrapper.update_params(loss)
        return {"loss": loss.detach()}

    def _teach(self, data):
        batch = self._teacher.data_preprocessor(data, True)
        loss = self._teacher.train()(**batch, mode="loss")["loss"]
        parameters = list(self._teacher.parameters())
        for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            with torch.no_grad():
                parameter.sub_(slope, alpha=0.05)
        return {"loss": loss.detach()}


@register("kind_sam")
@dataclass
class SAM(Method):
    """Sharpness-aware minimisation: the gradient is taken at the worst point nearby."""

    rho: float = 0.05

    def prepare(self, model):
        return model

    def train_step(self, model, data, optim_wrapper):
        batch = model.data_preprocessor(data, True)
        parameters = [p for p in model.parameters() if p.requires_grad]
        before = [None if p.grad is None else p.grad.clone() for p in parameters]
        with optim_wrapper.optim_context(model):
            first = model(**batch, mode="loss")["loss"]
        slopes = torch.autograd.grad(first, parameters)
        norm = torch.stack([slope.norm() for slope in slopes]).norm()
        steps = [self.rho * slope / (norm + 1e-12) for slope in slopes]
        with torch.no_grad():
            torch._foreach_add_(parameters, steps)
        for parameter, kept in zip(parameters, before, strict=True):
            parameter.grad = kept
        with optim_wrapper.optim_context(model):
            second = model(**batch, mode="loss")["loss"]
        backward(optim_wrapper, second)
        with torch.no_grad():
            torch._foreach_sub_(parameters, steps)
        update(optim_wrapper)
        return {"loss": first.detach()}


@register("kind_gradients")
@dataclass
class ByHand(Method):
    """Gradients written by hand, as local rules of learning do; these are those of autograd."""

    changes_nothing = True

    def prepare(self, model):
        return model

    def train_step(self, model, data, optim_wrapper):
        with optim_wrapper.optim_context(model):
            batch = model.data_preprocessor(data, True)
            loss = model(**batch, mode="loss")["loss"]
        parameters = [p for p in model.parameters() if p.requires_grad]
        slopes = torch.autograd.grad(optim_wrapper.scale_loss(loss), parameters)
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope if parameter.grad is None else parameter.grad + slope
        update(optim_wrapper)
        return {"loss": loss.detach()}


@register("kind_two_updates")
@dataclass
class TwoUpdates(Method):
    """Two updates on each batch."""

    def prepare(self, model):
        return model

    def train_step(self, model, data, optim_wrapper):
        batch = model.data_preprocessor(data, True)
        for last in (False, True):
            with optim_wrapper.optim_context(model):
                loss = model(**batch, mode="loss")["loss"]
            backward(optim_wrapper, loss)
            update(optim_wrapper) if last else unscaled_update(optim_wrapper)
        return {"loss": loss.detach()}


@register("kind_pruning")
@dataclass
class Pruning(Method):
    """The classifier loses input channels while it trains, with the optimizer's state."""

    at: int = 5
    keep: int = 8

    def prepare(self, model):
        model.backbone.fc = nn.Sequential(
            nn.Linear(model.backbone.fc.in_features, 24), nn.ReLU(), nn.Linear(24, 10)
        )
        return model

    def structure(self, model):
        return {"hidden": model.backbone.fc[0].out_features}

    def restructure(self, model, structure, optimizer=None):
        first, _, last = model.backbone.fc
        kept = first.weight.abs().sum(1).topk(structure["hidden"]).indices.sort().values
        narrow(first, "weight", kept, 0, optimizer)
        narrow(first, "bias", kept, 0, optimizer)
        narrow(last, "weight", kept, 1, optimizer)
        first.out_features = last.in_features = structure["hidden"]

    def hooks(self):
        return [Prune(self)]


def narrow(layer, name, kept, dim, optimizer):
    old = getattr(layer, name)
    new = nn.Parameter(old.detach().index_select(dim, kept))
    setattr(layer, name, new)
    if optimizer is None:
        return
    for group in optimizer.param_groups:
        group["params"] = [new if p is old else p for p in group["params"]]
    state = optimizer.state.pop(old, None)
    if state:
        optimizer.state[new] = {
            k: v.index_select(dim, kept) if torch.is_tensor(v) and v.dim() else v
            for k, v in state.items()
        }


class Prune(Hook):
    def __init__(self, method):
        self.method = method

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.method.at:
            wanted = {"hidden": self.method.keep}
            self.method.restructure(runner.model, wanted, runner.optim_wrapper.optimizer)


@register("kind_selective")
@dataclass
class Selective(Method):
    """Each epoch trains on the half of the images whose last known loss is the largest."""

    share: float = 0.5

    def prepare(self, model):
        self._losses = {}
        return model

    def state_dict(self):
        return {"losses": dict(self._losses)}

    def load_state_dict(self, state):
        self._losses.clear()
        self._losses.update(state.get("losses", {}))

    def train_step(self, model, data, optim_wrapper):
        with optim_wrapper.optim_context(model):
            batch = model.data_preprocessor(data, True)
            each = F.cross_entropy(model(batch["inputs"]), batch["data_samples"], reduction="none")
            known = torch.tensor([self._losses.get(int(i), 9e9) for i in data["index"]])
            chosen = known.topk(max(1, round(self.share * len(known)))).indices
            loss = each[chosen].mean()
        optim_wrapper.update_params(loss)
        for image, value in zip(data["index"].tolist(), each.tolist(), strict=True):
            self._losses[image] = value
        return {"loss": loss.detach()}


class Smaller:
    """Batches of fewer and smaller images in the first epochs."""

    dataset = None

    def __init__(self, source):
        self._source = source

    def __len__(self):
        return len(self._source)

    def epoch(self, index, start=0):
        for batch in self._source.epoch(index, start):
            if index == 0:
                batch = {k: v[: len(v) // 2] for k, v in batch.items()}
                batch["inputs"] = F.avg_pool2d(batch["inputs"], 2)
            yield batch


@register("kind_progressive")
@dataclass
class Progressive(Method):
    """Images and batches grow after the first epoch."""

    def prepare(self, model):
        return model

    def batches(self, source):
        return Smaller(source)


class Easy:
    """Only images of some classes."""

    dataset = None

    def __init__(self, source, classes):
        self._source, self._classes = source, classes

    def __len__(self):
        return len(self._source)

    def epoch(self, index, start=0):
        for batch in self._source.epoch(index, start):
            chosen = batch["data_samples"] < self._classes
            yield {k: v[chosen] for k, v in batch.items()}


@register("kind_pruned_data")
@dataclass
class PrunedData(Method):
    """Trains on the first classes alone."""

    classes: int = 5

    def prepare(self, model):
        return model

    def batches(self, source):
        return Easy(source, self.classes)


@register("kind_swa")
@dataclass
class SWA(Method):
    """The mean of the weights at the ends of epochs; its norm statistics are recomputed."""

    def prepare(self, model):
        self._mean = copy.deepcopy(model.backbone).requires_grad_(False)
        self._count = 0
        return model

    def companions(self, model):
        return {"mean": self._mean}

    def state_dict(self):
        return {"count": self._count}

    def load_state_dict(self, state):
        self._count = state.get("count", 0)

    def hooks(self):
        return [EpochMean(self)]

    def add(self, model):
        self._count += 1
        with torch.no_grad():
            pairs = zip(self._mean.parameters(), model.backbone.parameters(), strict=True)
            for mean, new in pairs:
                mean.lerp_(new, 1 / self._count)

    def finish(self, model, batches):
        for module in self._mean.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        self._mean.train()
        with torch.no_grad():
            for batch in batches:
                self._mean(model.data_preprocessor(batch, False)["inputs"])
        self._mean.eval()

    def variants(self, model):
        averaged = copy.deepcopy(model)
        averaged.backbone = copy.deepcopy(self._mean).requires_grad_(True)
        return {"swa": averaged, "last": model}


class EpochMean(Hook):
    priority = "VERY_HIGH"

    def __init__(self, method):
        self.method = method

    def after_train_epoch(self, runner):
        self.method.add(runner.model)


@register("kind_two_phases")
@dataclass
class TwoPhases(Method):
    """Two phases; the second goes on with the first one's optimizer."""

    carry: bool = True

    def prepare(self, model):
        return model

    def phases(self, model):
        yield Phase("first", 0.5, changes={"schedule": []})
        yield Phase("second", 0.5, changes={"schedule": []}, carry_optimizer=self.carry)
