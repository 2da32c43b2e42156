"""Whole and sliding inference: what a suite says of it, and the windows that come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import ConfigDict
from torch import nn

from tasks.errors import UserError, unknown_name
from tasks.openmmlab.forward import empty_samples
from tasks.options import check_options, named, size_of

MODES = ("whole", "slide")
OVERLAP = 1 / 3
"""Share of a window's side that the next one sees again, as mmsegmentation's configs have it."""


@dataclass(frozen=True)
class Inference:
    """What a suite says of inference; None is left to the config. Sizes are (width, height)."""

    mode: str | None = None
    crop_size: tuple[int, int] | None = None
    """Of the windows."""
    stride: tuple[int, int] | None = None


def inference_option(value: str | Mapping[str, Any] | None) -> Inference:
    """Read the task's option ``inference``.

    Raises:
        UserError: an unknown mode or option, windows for whole inference, or a stride that leaves
            gaps.
    """
    if value is None:
        return Inference()
    mode, options = named("inference", value)
    if mode not in MODES:
        raise unknown_name("inference", mode, MODES)
    known = ("crop_size", "stride") if mode == "slide" else ()
    check_options(f"option of {mode} inference", options, known)
    sizes = {key: size_of(key, size) for key, size in options.items()}
    found = Inference(mode, **sizes)
    if found.crop_size and found.stride:
        check_stride(found.crop_size, found.stride)
    return found


def check_stride(crop: tuple[int, int], stride: tuple[int, int]) -> None:
    """Raise ``UserError`` where windows at that stride leave pixels out."""
    if stride[0] > crop[0] or stride[1] > crop[1]:
        raise UserError(
            f"the stride {list(stride)} of sliding inference leaves gaps between windows of "
            f"{list(crop)}: make it no larger"
        )


def slide(crop: tuple[int, int], stride: tuple[int, int] | None) -> ConfigDict:
    """``test_cfg`` of sliding inference from (width, height); strides default to the overlap."""
    if stride is None:
        stride = round(crop[0] * (1 - OVERLAP)), round(crop[1] * (1 - OVERLAP))
    check_stride(crop, stride)
    return ConfigDict(mode="slide", crop_size=crop[::-1], stride=stride[::-1])


def network_forward(model: nn.Module, inputs: torch.Tensor) -> object:
    """The network on a whole picture or on every window of it: what operations are counted of.

    Args:
        model: a segmentor in evaluation mode.
        inputs: normalised images, shape (N, 3, H, W); on the meta device with the model, shapes
            alone are computed.
    """
    return [_scores(model, window) for window in windows(model, inputs)]


def windows(model: nn.Module, inputs: torch.Tensor) -> Iterator[torch.Tensor]:
    """The parts of images (N, 3, H, W) that the segmentor looks at, one after the other.

    The windows are those of mmsegmentation's ``slide_inference``: the last of a row or column is
    moved back to end with the image.
    """
    settings: Any = getattr(model, "test_cfg", None) or {}
    if settings.get("mode") != "slide":
        yield inputs
        return
    places = [
        _places(side, crop, stride)
        for side, crop, stride in zip(
            inputs.shape[-2:], settings["crop_size"], settings["stride"], strict=True
        )
    ]
    for rows in places[0]:
        for columns in places[1]:
            yield inputs[..., rows, columns]


def _places(side: int, crop: int, stride: int) -> list[slice]:
    count = -(-max(side - crop, 0) // stride) + 1
    ends = (min(number * stride + crop, side) for number in range(count))
    return [slice(max(end - crop, 0), end) for end in ends]


def _scores(model: nn.Module, inputs: torch.Tensor) -> object:
    samples = empty_samples(inputs)
    encode_decode: Any = getattr(model, "encode_decode", None)
    if encode_decode is None:
        return model(inputs, samples, mode="tensor")
    # In mode "tensor" mmsegmentation runs neither a cascade's last head nor Mask2Former's.
    return encode_decode(inputs, [sample.metainfo for sample in samples])
