import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from methods import METHODS, Method, block_view
from tasks.metric import Metric


class AllOut(Exception):  # noqa: N818 - no error: every image of the batch has left
    pass


class Exits(nn.Module):
    """A network with a classifier behind each stage; images leave where they are certain."""

    def __init__(self, network, classes):
        super().__init__()
        stages = block_view(network).stages[:-1]
        names = {module: name for name, module in network.named_modules()}
        self.network = network
        self.ends = [names[stage[-1].module] for stage in stages]
        self.heads = nn.ModuleList(nn.Linear(stage[-1].out_channels, classes) for stage in stages)
        self.threshold = None

    def all_logits(self, x):
        """Logits of every exit, the network's own last."""
        found = []

        def look(number, features):
            found.append(self.heads[number](features.mean((2, 3))))

        last = self.run(x, look)
        return [*found, last]

    def forward(self, x):
        if self.threshold is None:
            return self.run(x, lambda number, features: None)
        rows = torch.arange(len(x), device=x.device)
        answers, self.left_at = {}, torch.full((len(x),), len(self.heads))

        def leave(number, features):
            nonlocal rows
            logits = self.heads[number](features.mean((2, 3)))
            certain = logits.softmax(1).amax(1) >= self.threshold
            for row, answer in zip(rows[certain].tolist(), logits[certain], strict=True):
                answers[row], self.left_at[row] = answer, number
            rows = rows[~certain]
            if not len(rows):
                raise AllOut
            return features[~certain]  # the rest of the network sees these images alone

        try:
            last = self.run(x, leave)
            answers.update(zip(rows.tolist(), last, strict=True))
        except AllOut:
            pass
        return torch.stack([answers[row] for row in range(len(x))])

    def run(self, x, look):
        modules = [self.network.get_submodule(end) for end in self.ends]
        hooks = [
            module.register_forward_hook(lambda m, i, out, n=n: look(n, out))
            for n, module in enumerate(modules)
        ]
        try:
            return self.network(x)
        finally:
            for hook in hooks:
                hook.remove()


@METHODS.register("exits")
@dataclass
class EarlyExits(Method):
    """A classifier behind each stage, where an image can leave the network.

    Source: Teerapittayanon et al. 2016, BranchyNet (arXiv 1709.01686), with the classifier's
    confidence in place of the entropy.
    """

    threshold: float = 0.9
    families: ClassVar = ("classification",)
    metrics: ClassVar = {"exit": Metric("", "lower", "exit, mean")}

    def setup(self, task):
        self.classes = task.classes

    def prepare(self, model):
        model.backbone = Exits(model.backbone, self.classes)
        return model

    def train_step(self, model, data, optim_wrapper):
        with optim_wrapper.optim_context(model):
            batch = model.data_preprocessor(data, True)
            logits = model.backbone.all_logits(batch["inputs"])
            losses = [F.cross_entropy(each, batch["data_samples"]) for each in logits]
            loss = sum(losses) / len(losses)
        optim_wrapper.update_params(loss)
        return {"loss": loss.detach()}

    def variants(self, model):
        leaving = copy.deepcopy(model)
        leaving.backbone.threshold = self.threshold
        return {"full": model, "exits": leaving}

    def analyse(self, variant, model, batches):
        if variant == "full":
            return {}
        left = []
        for batch in batches:
            model.test_step(batch)
            left.append(model.backbone.left_at)
        return {"exit": float(torch.cat(left).double().mean())}
