"""Make a config read train ids as they are, and fit it to other sizes of pictures and crops."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config, ConfigDict

from tasks.errors import UserError
from tasks.openmmlab.config import transforms
from tasks.segmentation.sliding import Inference, slide

Size = tuple[int, int]
"""Width and height; mmsegmentation's own are (height, width) for crops, paddings and windows."""


def fit_pipelines(
    config: Config, image_size: Size | None, crop_size: Size | None, inference: Inference
) -> None:
    """Set the sizes of pictures, crops, padding and sliding windows, in place.

    Crops and windows that are not given keep their share of the picture that is tested on.

    Args:
        config: of mmsegmentation.
        image_size: what pictures are fitted into, before the training's random ratio.
        crop_size: of training pictures.
        inference: what the suite says of it.

    Raises:
        UserError: the training crops nothing that ``crop_size`` could set, or it is unknown what
            size of windows shall slide.
    """
    for loader in (config.train_dataloader, config.val_dataloader):
        loader["dataset"] = _single(loader["dataset"])
        transforms(loader["dataset"], _take_labels_as_they_are)
    train, tested = config.train_dataloader["dataset"], config.val_dataloader["dataset"]
    old_crop, old_size = _crop(train), _tested_size(tested)
    share = (1.0, 1.0)
    if image_size is not None:
        _resize(train, image_size, old_size)
        _resize(tested, image_size, old_size)
        if old_size is not None:
            share = image_size[0] / old_size[0], image_size[1] / old_size[1]
    crop = crop_size or (_scaled(old_crop, share) if old_crop else None)
    _set_crop(config, train, crop, required=crop_size is not None)
    _set_inference(config.model, crop, share, inference, keep=crop_size is None)


def _single(dataset: Any) -> Any:
    """The data set that is repeated, or the first of those that are joined: there is one here."""
    while dataset.get("type") in ("RepeatDataset", "ConcatDataset"):
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    return dataset


def _take_labels_as_they_are(transform: dict[str, Any]) -> None:
    if transform["type"] == "LoadAnnotations":
        transform.pop("reduce_zero_label", None)


def _resize(dataset: Any, size: Size, old: Size | None) -> None:
    """One size for every transform that fits pictures into one, in place."""

    def change(transform: dict[str, Any]) -> None:
        kind = transform["type"]
        if kind in ("Resize", "RandomResize") and "scale" in transform:
            transform["scale"] = size
        elif kind == "ResizeShortestEdge":
            _become(transform, type="Resize", scale=size, keep_ratio=True)
        elif kind == "RandomChoiceResize":
            sides = [side if isinstance(side, int) else min(side) for side in transform["scales"]]
            usual = min(old) if old else max(sides)
            ratios = min(sides) / usual, max(sides) / usual
            _become(transform, type="RandomResize", scale=size, ratio_range=ratios, keep_ratio=True)

    transforms(dataset, change)


def _become(transform: dict[str, Any], **other: Any) -> None:
    transform.clear()
    transform.update(other)


def _tested_size(dataset: Any) -> Size | None:
    found: list[Size] = []

    def look(transform: dict[str, Any]) -> None:
        if transform["type"] == "Resize" and transform.get("scale"):
            found.append(tuple(transform["scale"]))

    transforms(dataset, look)
    return found[0] if found else None


def _crop(dataset: Any) -> Size | None:
    found: list[Size | None] = []

    def look(transform: dict[str, Any]) -> None:
        if transform["type"] == "RandomCrop":
            found.append(_size(transform["crop_size"]))

    transforms(dataset, look)
    return found[0] if found else None


def _set_crop(config: Config, dataset: Any, crop: Size | None, required: bool) -> None:
    """Crop to one size and pad smaller pictures to it, so that a batch can be stacked."""
    if crop is None:
        return
    if required and _crop(dataset) is None:
        raise UserError("the training pipeline of the config crops nothing: leave out crop_size")
    height_width = crop[::-1]

    def change(transform: dict[str, Any]) -> None:
        if transform["type"] == "RandomCrop":
            transform["crop_size"] = height_width

    transforms(dataset, change)
    preprocessor = config.model.get("data_preprocessor")
    if preprocessor is not None:
        preprocessor["size"] = height_width
        preprocessor.pop("size_divisor", None)


def _set_inference(
    model: Any, crop: Size | None, share: tuple[float, float], inference: Inference, keep: bool
) -> None:
    """``test_cfg``: the mode requested, or the config's own; its windows scaled if ``keep``."""
    own = dict(model.get("test_cfg") or {})
    mode = inference.mode or own.get("mode", "whole")
    window, stride = (_size(own.pop(key, None)) for key in ("crop_size", "stride"))
    if mode == "whole":
        model["test_cfg"] = ConfigDict({**own, "mode": "whole"})
        return
    chosen = inference.crop_size or (None if keep and window else crop)
    if chosen:
        found = slide(chosen, inference.stride)
    elif window:
        found = slide(
            _scaled(window, share),
            inference.stride or (_scaled(stride, share) if stride else None),
        )
    else:
        raise UserError(
            "the config names no crops for sliding inference: write inference: {name: slide, "
            "crop_size: [width, height]}"
        )
    model["test_cfg"] = ConfigDict({**own, **found})


def _size(height_width: Any) -> Size | None:
    """(width, height) of mmsegmentation's (height, width) or single side; None stays None."""
    if height_width is None:
        return None
    if isinstance(height_width, int):
        return height_width, height_width
    return int(height_width[1]), int(height_width[0])


def _scaled(size: Size, share: tuple[float, float]) -> Size:
    return max(1, round(size[0] * share[0])), max(1, round(size[1] * share[1]))
