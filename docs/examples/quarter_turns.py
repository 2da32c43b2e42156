import hashlib

import numpy as np
import torch
from sklearn.datasets import load_digits

from tasks.base import TASKS, Recipe, Task
from tasks.classification.classifier import Classifier
from tasks.classification.evaluation import predict
from tasks.classification.metrics import classification_metrics
from tasks.classification.models.zoo import build_backbone
from tasks.errors import unknown_name

TURNS = 4
SPLITS = {"train": slice(0, 1200), "val": slice(1200, 1400), "test": slice(1400, None)}


@TASKS.register("quarter_turns")
class QuarterTurns(Task):
    """By how many quarter turns was the picture of a digit turned?

    Source: Gidaris et al. 2018 (arXiv 1803.07728), section 3.1, on scikit-learn's digits.
    """

    family = "classification"
    headline = "top1"
    packages = ("scikit-learn",)
    dataset = "turned_digits"

    def __init__(self, arch: str = "cifar_resnet8") -> None:
        self.arch = arch
        self.recipe = Recipe(
            batch_size=64,
            optimizer={"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
            schedule=({"type": "CosineAnnealingLR", "begin": 0, "end": 1, "T_max": 1},),
        )
        self._pixels = (load_digits().images / 16).astype(np.float32)[:, None]

    def check(self):
        self.build_model()

    def fingerprint(self):
        return {"dataset": self.dataset, "sha256": hashlib.sha256(self._pixels).hexdigest()}

    def build_model(self, arch=None):
        return Classifier(build_backbone(arch or self.arch, TURNS, in_channels=1, image_size=8))

    def batches(self, batch_size, seed, device):
        return TurnedBatches(self._split("train"), batch_size, seed, device)

    def evaluate(self, model, split, device):
        return classification_metrics(*predict(model, self.eval_batches(split, device)))

    def eval_batches(self, split, device):
        pixels = self._split(split)
        for turns in range(TURNS):
            yield batch(pixels, np.full(len(pixels), turns), device)

    def example_input(self, batch_size, device):
        return torch.zeros(batch_size, 1, 8, 8, device=device)

    def train_samples(self):
        return len(self._split("train"))

    def _split(self, name):
        if name not in SPLITS:
            raise unknown_name("split", name, SPLITS)
        return self._pixels[SPLITS[name]]


class TurnedBatches:
    """Every training picture once an epoch, turned anew: by the seed and the epoch alone."""

    dataset = None

    def __init__(self, pixels, batch_size, seed, device):
        self._pixels, self._batch_size = pixels, batch_size
        self._seed, self._device = seed, device

    def __len__(self):
        return max(1, len(self._pixels) // self._batch_size)

    def epoch(self, index, start=0):
        random = np.random.default_rng((self._seed, index))
        order = random.permutation(len(self._pixels))
        turns = random.integers(TURNS, size=len(order))
        for number in range(start, len(self)):
            chosen = slice(number * self._batch_size, (number + 1) * self._batch_size)
            yield batch(self._pixels[order[chosen]], turns[chosen], self._device)


def batch(pixels, turns, device):
    """Pictures (N, 1, 8, 8), each turned by its number of quarter turns, and these numbers."""
    turned = [np.rot90(picture, k, axes=(1, 2)) for picture, k in zip(pixels, turns, strict=True)]
    return {
        "inputs": torch.from_numpy(np.stack(turned)).to(device),
        "data_samples": torch.from_numpy(turns).to(device),
    }
