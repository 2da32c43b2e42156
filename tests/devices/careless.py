"""Methods with mistakes that only a GPU shows."""

import time

import torch

from methods import METHODS, Method


class Careless(Method):
    changes_nothing = True

    def prepare(self, model):
        return model


@METHODS.register("mixing")
class Mixing(Careless):
    """Adds a tensor of the CPU to one of the GPU."""

    def train_step(self, model, data, optim_wrapper):
        losses = super().train_step(model, data, optim_wrapper)
        return {"loss": (losses["loss"] + torch.ones(2)).mean()}


@METHODS.register("waiting")
class Waiting(Careless):
    """Reads the loss in every step."""

    def train_step(self, model, data, optim_wrapper):
        losses = super().train_step(model, data, optim_wrapper)
        self.last = float(losses["loss"])
        return losses


@METHODS.register("slow_start")
class SlowStart(Careless):
    """Takes long in its first step, as a GPU does."""

    begun = False

    def train_step(self, model, data, optim_wrapper):
        if not SlowStart.begun:
            SlowStart.begun = True
            time.sleep(2)
        return super().train_step(model, data, optim_wrapper)
