"""Models whose backbone is a part: mmdet's detectors and mmsegmentation's segmentors."""

from __future__ import annotations

from torch import nn


def is_dense(model: nn.Module) -> bool:
    """Whether the backbone's output goes on to a neck or heads instead of being logits.

    Known by ``extract_feat``, which the detectors and segmentors of OpenMMLab have: images to what
    their heads see.
    """
    return callable(getattr(model, "extract_feat", None))
