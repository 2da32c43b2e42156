"""Methods that break the rules, each in one way."""

from __future__ import annotations

import copy

import torch
from contract.registering import register
from mmengine.hooks import Hook
from sklearn.datasets import load_digits
from torch import nn

from methods import Method, block_view
from methods.step import backward, unscaled_update, update


def digits(count=256):
    data = load_digits()
    images = torch.tensor(data.images[:count] / 16, dtype=torch.float32)[:, None]
    return images, torch.tensor(data.target[:count])


def fit(model, steps=3):
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    images, labels = digits()
    for _ in range(steps):
        optimizer.zero_grad()
        model(images, labels, mode="loss")["loss"].backward()
        optimizer.step()
    return model


@register("wrong_test_images")
class TestImages(Method):
    """Trains on test images."""

    def setup(self, task):
        self._task = task

    def prepare(self, model):
        return model

    def train_step(self, model, data, optim_wrapper):
        data = next(iter(self._task._task.eval_batches("test", torch.device("cpu"))))
        return model.train_step(data, optim_wrapper)


@register("wrong_test_labels")
class TestLabels(Method):
    """Keeps test labels in a buffer."""

    def setup(self, task):
        self._task = task

    def prepare(self, model):
        batches = self._task._task.eval_batches("test", torch.device("cpu"))
        labels = torch.cat([batch["data_samples"] for batch in batches])
        model.register_buffer("answers", labels)
        return model


@register("wrong_variant")
class LacksBlock(Method):
    """Deploys a network that lacks a block."""

    def prepare(self, model):
        return model

    def variants(self, model):
        deployed = copy.deepcopy(model)
        block_view(deployed).block(1).drop()
        return {"full": deployed}


@register("wrong_prepare")
class TrainsInPrepare(Method):
    """Trains before training."""

    def prepare(self, model):
        return fit(model)


@register("wrong_variants")
class TrainsInVariants(Method):
    """Trains after training."""

    def prepare(self, model):
        return model

    def variants(self, model):
        return {"full": fit(copy.deepcopy(model))}


@register("wrong_updates")
class SeveralUpdates(Method):
    """Several updates on each batch."""

    def prepare(self, model):
        return model

    def train_step(self, model, data, optim_wrapper):
        batch = model.data_preprocessor(data, True)
        for last in (False, False, True):
            with optim_wrapper.optim_context(model):
                loss = model(**batch, mode="loss")["loss"]
            backward(optim_wrapper, loss)
            update(optim_wrapper) if last else unscaled_update(optim_wrapper)
        return {"loss": loss.detach()}


@register("wrong_hidden")
class Hidden(Method):
    """Keeps a network for itself."""

    def setup(self, task):
        self.teacher = task.build_model("cifar_resnet8")

    def prepare(self, model):
        return model

    def train_step(self, model, data, optim_wrapper):
        batch = model.data_preprocessor(data, True)
        with torch.no_grad():
            soft = self.teacher(batch["inputs"]).softmax(1)
        loss = nn.functional.cross_entropy(model(batch["inputs"]), soft)
        loss = loss + model(**batch, mode="loss")["loss"]
        optim_wrapper.update_params(loss)
        return {"loss": loss.detach()}


class PruneQuietly(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == 4:
            fc = runner.model.backbone.fc
            old = fc.weight
            runner.optim_wrapper.optimizer.state.pop(old, None)
            fc.weight = nn.Parameter(fc.weight.detach()[:, ::2].clone())
            runner.model.backbone.avgpool = nn.Sequential(runner.model.backbone.avgpool, Half())
            for group in runner.optim_wrapper.optimizer.param_groups:
                group["params"] = [fc.weight if p is old else p for p in group["params"]]


class Half(nn.Module):
    def forward(self, x):
        return x[:, ::2]


@register("wrong_pruning")
class PrunesInHook(Method):
    """Changes the network in a hook, and says nothing of it."""

    def prepare(self, model):
        return model

    def hooks(self):
        return [PruneQuietly()]
