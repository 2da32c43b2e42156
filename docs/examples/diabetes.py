import hashlib
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from sklearn.datasets import load_diabetes
from torch import nn

from tasks.base import TASKS, Recipe, Task
from tasks.errors import unknown_name
from tasks.metric import Metric

SPLITS = {"train": slice(0, 300), "val": slice(300, 360), "test": slice(360, None)}


class Regressor(BaseModel):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs, data_samples=None, mode="tensor"):
        found = self.backbone(inputs).squeeze(1)
        return {"loss": F.mse_loss(found, data_samples)} if mode == "loss" else found


class Batches:
    dataset = None

    def __init__(self, x, y, size, seed):
        self.x, self.y, self.size, self.seed = x, y, size, seed

    def __len__(self):
        return len(self.x) // self.size

    def epoch(self, index, start=0):
        order = np.random.default_rng((self.seed, index)).permutation(len(self.x))
        for number in range(start, len(self)):
            chosen = torch.from_numpy(order[number * self.size :][: self.size])
            yield {"inputs": self.x[chosen], "data_samples": self.y[chosen], "index": chosen}


@TASKS.register("diabetes")
class Diabetes(Task):
    """Progression of diabetes after a year, from ten measurements of a patient.

    Source: Efron et al. 2004, "Least Angle Regression", section 2; data of scikit-learn.
    """

    family = "regression"
    headline = "rmse"
    metrics: ClassVar = {
        "rmse": Metric("points", "lower", "RMSE"),
        "r2": Metric("", "higher", "R²"),
    }
    packages = ("scikit-learn",)
    dataset = "diabetes"

    def __init__(self, arch: str = "mlp", width: int = 32):
        if arch != "mlp":
            raise unknown_name("arch", arch, ["mlp"])
        self.arch, self.width = arch, width
        self.recipe = Recipe(32, {"type": "SGD", "lr": 0.02, "momentum": 0.9})
        x, y = load_diabetes(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(x))
        self.x = torch.tensor(x[order] / x.std(), dtype=torch.float32)
        self.points = torch.tensor(y[order], dtype=torch.float32)
        known = self.points[SPLITS["train"]]
        self.mean, self.std = known.mean(), known.std()

    def check(self):
        self.build_model()

    def fingerprint(self):
        content = self.x.numpy().tobytes() + self.points.numpy().tobytes()
        return {"sha256": hashlib.sha256(content).hexdigest()}

    def build_model(self, arch=None):
        width = self.width
        return Regressor(nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, 1)))

    def data(self, split, device):
        x, points = self.x[SPLITS[split]], self.points[SPLITS[split]]
        return x.to(device), ((points - self.mean) / self.std).to(device)

    def batches(self, batch_size, seed, device):
        return Batches(*self.data("train", device), batch_size, seed)

    def eval_batches(self, split, device):
        x, y = self.data(split, device)
        yield {"inputs": x, "data_samples": y}

    def evaluate(self, model, split, device):
        x, y = self.data(split, device)
        model.eval()
        with torch.no_grad():
            error = (model(x) - y).square().mean()
        return {"rmse": error.sqrt() * self.std.to(device), "r2": 1 - error / y.var()}

    def example_input(self, batch_size, device):
        return torch.zeros(batch_size, 10, device=device)

    def train_samples(self):
        return 300
