"""Detectors whose heads give NaN: thresholds would make of it that nothing was detected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

_BEFORE_HEADS = ("backbone", "neck")


class NotFiniteError(Exception):
    """A layer of a head gave NaN or infinite values."""


@contextmanager
def heads_watched(model: nn.Module) -> Iterator[None]:
    """Raise :class:`NotFiniteError` inside as soon as a layer of a head gives no finite output.

    Scores that are NaN are above no threshold, so that what is left of them afterwards is an image
    without objects, or boxes that match any.
    """

    def check(module: nn.Module, args: Any, out: Any) -> None:
        if isinstance(out, torch.Tensor) and not bool(out.isfinite().all()):
            raise NotFiniteError

    with ExitStack() as scope:
        for name, module in model.named_modules():
            in_head = name.split(".")[0] not in _BEFORE_HEADS
            is_layer = not module._modules and bool(module._parameters)
            if in_head and is_layer:
                scope.callback(module.register_forward_hook(check).remove)
        yield


def is_finite(sample: Any) -> bool:
    """Whether all boxes and scores of a detection result are finite."""
    found = sample.pred_instances
    values = (found.get(name) for name in ("bboxes", "scores", "mask_scores"))
    return all(bool(torch.as_tensor(v).isfinite().all()) for v in values if v is not None)
