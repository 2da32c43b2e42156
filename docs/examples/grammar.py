import hashlib
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import nn

from tasks.base import TASKS, Recipe, Task
from tasks.classification.metrics import classification_metrics
from tasks.errors import unknown_name
from tasks.modules import eval_mode

WORDS, LENGTH, CLASSES, PAD = 20, 12, 4, 0
SIZES = {"train": 1000, "val": 200, "test": 400}


def sentences(count, seed):
    """Sentences of 4 to 12 words; class k repeats its first word every k + 2 places."""
    draw = np.random.default_rng(seed)
    words = draw.integers(1, WORDS, (count, LENGTH))
    labels = draw.integers(0, CLASSES, count)
    for sentence, label in zip(words, labels, strict=True):
        sentence[:: label + 2] = sentence[0]
    lengths = draw.integers(8, LENGTH + 1, count)
    mask = np.arange(LENGTH) < lengths[:, None]
    words[~mask] = PAD
    return torch.from_numpy(words), torch.from_numpy(mask), torch.from_numpy(labels)


class Encoder(nn.Module):
    def __init__(self, width=32, depth=2):
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.place = nn.Parameter(torch.randn(LENGTH, width) / 10)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True)
            for _ in range(depth)
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, inputs):
        words, mask = inputs
        x = self.embed(words) + self.place
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~mask)
        kept = mask[..., None].to(x.dtype)
        return self.head((x * kept).sum(1) / kept.sum(1))


class Model(BaseModel):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs, data_samples=None, mode="tensor"):
        logits = self.backbone(inputs)
        return {"loss": F.cross_entropy(logits, data_samples)} if mode == "loss" else logits


class Batches:
    dataset = None

    def __init__(self, data, size, seed):
        self.data, self.size, self.seed = data, size, seed

    def __len__(self):
        return len(self.data[0]) // self.size

    def epoch(self, index, start=0):
        order = np.random.default_rng((self.seed, index)).permutation(len(self.data[0]))
        for number in range(start, len(self)):
            chosen = torch.from_numpy(order[number * self.size :][: self.size])
            words, mask, labels = (part[chosen] for part in self.data)
            yield {"inputs": (words, mask), "data_samples": labels}


@TASKS.register("grammar")
class Grammar(Task):
    """Which rule made the sentence? A masked text classifier on sentences that are made here."""

    family = "text-classification"
    headline = "top1"
    dataset = "grammar"
    classes = CLASSES
    seeds: ClassVar = {"train": 0, "val": 1, "test": 2}

    def __init__(self, arch: str = "encoder", depth: int = 2):
        if arch != "encoder":
            raise unknown_name("arch", arch, ["encoder"])
        self.arch, self.depth = arch, depth
        self.recipe = Recipe(50, {"type": "AdamW", "lr": 3e-3})
        self.splits = {name: sentences(n, self.seeds[name]) for name, n in SIZES.items()}

    def check(self):
        self.build_model()

    def fingerprint(self):
        content = b"".join(part.numpy().tobytes() for s in self.splits.values() for part in s)
        return {"sha256": hashlib.sha256(content).hexdigest()}

    def build_model(self, arch=None):
        return Model(Encoder(depth=self.depth))

    def data(self, split, device):
        return [part.to(device) for part in self.splits[split]]

    def batches(self, batch_size, seed, device):
        return Batches(self.data("train", device), batch_size, seed)

    def eval_batches(self, split, device):
        words, mask, labels = self.data(split, device)
        yield {"inputs": (words, mask), "data_samples": labels}

    def evaluate(self, model, split, device):
        (batch,) = self.eval_batches(split, device)
        with eval_mode(model), torch.no_grad():
            return classification_metrics(model(batch["inputs"]), batch["data_samples"])

    def example_input(self, batch_size, device):
        words = torch.ones(batch_size, LENGTH, dtype=torch.long, device=device)
        return words, torch.ones_like(words, dtype=torch.bool)

    def train_samples(self):
        return SIZES["train"]
