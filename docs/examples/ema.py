import copy
from dataclasses import dataclass

import torch

from methods import METHODS, Method


@METHODS.register("ema")
@dataclass
class EMA(Method):
    """Plain training, and a running average of its weights."""

    decay: float = 0.9

    def prepare(self, model):
        self.average = copy.deepcopy(model.backbone).requires_grad_(False)
        return model

    def companions(self, model):
        return {"average": self.average}

    def train_step(self, model, data, optim_wrapper):
        losses = super().train_step(model, data, optim_wrapper)
        new = model.backbone.state_dict()
        with torch.no_grad():
            for name, kept in self.average.state_dict().items():
                if kept.is_floating_point():
                    kept.lerp_(new[name], 1 - self.decay)
                else:
                    kept.copy_(new[name])
        return losses

    def variants(self, model):
        averaged = copy.deepcopy(model)
        averaged.backbone = copy.deepcopy(self.average).requires_grad_(True)
        return {"average": averaged, "last": model}
