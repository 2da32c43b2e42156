import copy
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import nn

from methods import METHODS, Method, block_view
from methods.step import backward, update


@METHODS.register("local")
@dataclass
class Local(Method):
    """Each block learns from a classifier of its own; no gradient passes from block to block.

    Source: Nøkland and Eidnes 2019 (arXiv 1901.06656), with the prediction loss alone.
    """

    families: ClassVar = ("classification",)

    def setup(self, task):
        self.classes = task.classes

    def prepare(self, model):
        widths = [block.out_channels for block in block_view(model)]
        model.local = nn.ModuleList(nn.Linear(width, self.classes) for width in widths)
        return model

    def train_step(self, model, data, optim_wrapper):
        batch = model.data_preprocessor(data, True)
        losses = []

        def learn(number, features):
            logits = model.local[number](features.mean((2, 3)))
            losses.append(F.cross_entropy(logits, batch["data_samples"]))
            return features.detach()

        hooks = [
            block.module.register_forward_hook(lambda m, i, out, n=n: learn(n, out))
            for n, block in enumerate(block_view(model))
        ]
        with optim_wrapper.optim_context(model):
            loss = model(**batch, mode="loss")["loss"]
        for hook in hooks:
            hook.remove()
        backward(optim_wrapper, loss + sum(losses))
        update(optim_wrapper)
        return {"loss": loss.detach()}

    def variants(self, model):
        deployed = copy.deepcopy(model)
        del deployed.local
        return {"full": deployed}
