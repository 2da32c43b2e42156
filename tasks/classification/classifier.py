"""The model that methods and the harness see: a network with a classification loss."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor, nn


class Inputs(BaseDataPreprocessor):
    """Moves a batch to the device, without the numbers of its images, which no network takes."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """``inputs`` and ``data_samples``."""
        return super().forward({k: v for k, v in data.items() if k != "index"}, training)


class Classifier(BaseModel):
    """A backbone, classifier layer included, behind mmengine's three modes.

    Args:
        backbone: images (N, C, H, W) to logits (N, classes).
        label_smoothing: share of the target spread evenly over all classes.
    """

    def __init__(self, backbone: nn.Module, label_smoothing: float = 0.0) -> None:
        super().__init__(data_preprocessor=Inputs())
        self.backbone = backbone
        self.label_smoothing = label_smoothing

    def forward(
        self,
        inputs: Tensor,
        data_samples: Tensor | None = None,
        mode: str = "tensor",
        index: Tensor | None = None,
    ) -> Tensor | dict[str, Tensor]:
        """Logits (N, classes); with ``mode="loss"`` and labels (N,) the cross-entropy instead.

        The numbers of images, which training batches have as ``index``, change nothing.
        """
        logits = self.backbone(inputs)
        if mode == "loss":
            loss = F.cross_entropy(logits, data_samples, label_smoothing=self.label_smoothing)
            return {"loss": loss}
        return logits
