"""Methods that each break one promise, for the kit to find out."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from methods import METHODS, Method, Phase


class Plain(Method):
    """Plain training, the ground that the others spoil."""

    def prepare(self, model):
        return model


@METHODS.register("broken_idle")
class Idle(Plain):
    """Changes nothing and does not say so."""


@METHODS.register("broken_modest")
class Modest(Plain):
    """Says that it changes nothing and leaves a block out."""

    changes_nothing = True

    def prepare(self, model):
        model.backbone.layer1 = nn.Identity()
        return model


@METHODS.register("broken_stuck")
class Stuck(Plain):
    """Computes the loss and leaves the optimizer alone."""

    def train_step(self, model, data, optim_wrapper):
        return {"loss": model(**data, mode="loss")["loss"].detach()}


@METHODS.register("broken_silent")
class Silent(Plain):
    """Trains and returns no loss."""

    def train_step(self, model, data, optim_wrapper):
        super().train_step(model, data, optim_wrapper)
        return {}


@METHODS.register("broken_unseeded")
class Unseeded(Plain):
    """Draws noise from a generator that no seed reaches."""

    def train_step(self, model, data, optim_wrapper):
        noise = torch.from_numpy(np.random.default_rng().normal(size=data["inputs"].shape))
        noisy = data["inputs"] + 0.01 * noise.float()
        return super().train_step(model, {**data, "inputs": noisy}, optim_wrapper)


@METHODS.register("broken_counting")
class Counting(Plain):
    """Depends on a step number that no checkpoint holds."""

    def __init__(self):
        self.steps = 0

    def train_step(self, model, data, optim_wrapper):
        self.steps += 1
        louder = data["inputs"] * (1 + 0.01 * self.steps)
        return super().train_step(model, {**data, "inputs": louder}, optim_wrapper)


class Scaled(nn.Module):
    """Multiplies by numbers that are neither parameters nor buffers."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.scale = 0.5 + torch.rand(10)

    def forward(self, x):
        return self.inner(x) * self.scale


@METHODS.register("broken_forgetful")
class Forgetful(Plain):
    """Keeps a tensor out of the state."""

    def prepare(self, model):
        model.backbone = Scaled(model.backbone)
        return model


@METHODS.register("broken_unused")
class Unused(Plain):
    """Leaves a parameter without a gradient."""

    def prepare(self, model):
        model.spare = nn.Parameter(torch.ones(3))
        return model


@METHODS.register("broken_destroying")
class Destroying(Plain):
    """Makes its variant out of the training model itself."""

    def variants(self, model):
        with torch.no_grad():
            next(model.parameters()).mul_(0.5)
        return {"folded": model}


class Noise(nn.Module):
    """Noise, in evaluation too."""

    def forward(self, x):
        return x + torch.randn_like(x)


@METHODS.register("broken_noisy")
class Noisy(Plain):
    """Answers otherwise each time it is asked."""

    def prepare(self, model):
        model.backbone = nn.Sequential(model.backbone, Noise())
        return model


@METHODS.register("broken_twins")
class Twins(Plain):
    """Two names for one network."""

    def variants(self, model):
        return {"small": model, "large": model}


@METHODS.register("broken_hasty")
class Hasty(Plain):
    """Steps after every batch, whatever the recipe accumulates."""

    def train_step(self, model, data, optim_wrapper):
        loss = model(**data, mode="loss")["loss"]
        optim_wrapper.zero_grad()
        loss.backward()
        optim_wrapper.step()
        return {"loss": loss.detach()}


@METHODS.register("broken_wilful")
class Wilful(Plain):
    """Phases that depend on more than the recorded results: half the work after a resume."""

    runs = 0

    def phases(self, model):
        type(self).runs += 1
        yield Phase(share=1 / self.runs)


@METHODS.register("broken_crashing")
class Crashing(Plain):
    """Raises in the first step."""

    def train_step(self, model, data, optim_wrapper):
        raise KeyError("no such\nblock")


class Detour(nn.Module):
    """Goes by way of numpy, which knows no bfloat16."""

    def forward(self, x):
        return x + torch.from_numpy(x.detach().numpy()).mean()


@METHODS.register("broken_picky")
class Picky(Plain):
    """Cannot do with half precision."""

    def prepare(self, model):
        model.backbone = nn.Sequential(model.backbone, Detour())
        return model
