"""The segmentation task: a segmentor of mmsegmentation on data in the Cityscapes layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

from tasks.base import TASKS, BatchSource, Drawing, Score
from tasks.errors import UserError
from tasks.files.contents import tell_shared
from tasks.openmmlab.task import OpenMMLabTask
from tasks.options import check_options, size_of
from tasks.segmentation.cityscapes import (
    CITYSCAPES,
    VOID,
    CityscapesSplit,
    check_cityscapes,
)
from tasks.segmentation.labels import CheckedBatches, checked
from tasks.segmentation.models import CITYSCAPES_IMAGES, READY, SCHEDULES
from tasks.segmentation.pipelines import fit_pipelines
from tasks.segmentation.sliding import inference_option, network_forward


@TASKS.register("segmentation")
class SegmentationTask(OpenMMLabTask):
    """Semantic segmentation: any mmsegmentation config on data in the Cityscapes layout.

    Ready segmentors are ``fcn_r50_d8``, ``pspnet_r50_d8``, ``deeplabv3_r50_d8``,
    ``deeplabv3_r101_d8`` and ``deeplabv3plus_r50_d8``, and ``fcn_tiny``, ``pspnet_tiny``,
    ``deeplabv3_tiny`` and ``deeplabv3plus_tiny`` for a CPU. The method changes the backbone; heads
    are the config's.

    Args:
        dataset: a folder of ``leftImg8bit/`` and ``gtFine/`` under ``data_root`` by its name
            (``cityscapes``), or ``{name: ..., path: FOLDER, classes: [...], image_suffix: ...,
            mask_suffix: ...}``; ``label`` is what tables call it.
        arch: a ready segmentor, an mmsegmentation config by name (``mmseg::upernet/FILE.py``) or
            file, or ``{name: ..., dotted.key: value}`` to change keys of the config.
        data_root: the folder of all data sets; by default the environment variable
            DEPTHBENCH_DATA, or ~/.cache/depthbench.
        pretrained: the backbone's weights, a local checkpoint of torchvision or mmengine, or
            ``random``. A config that names weights needs one of the two.
        schedule: a recipe by name instead of the config's: ``40k_iterations`` or ``small``.
        image_size: width and height that pictures are resized to fit in, instead of the config's.
        crop_size: width and height of the training crops, instead of the config's, which keep
            their share of ``image_size``.
        inference: ``whole``, or ``slide`` for windows of the crops' size that overlap by a third,
            or ``{name: slide, crop_size: [width, height], stride: [width, height]}``, instead of
            the config's.
        cost_size: width and height of the picture that is costed, instead of the one tested on.
        eval_batch_size: images in an evaluation batch, instead of the config's.
        workers: processes that read pictures; by default 4 where a GPU trains, else none.

    Raises:
        UserError: an unknown name or option, or a config that cannot be read.
    """

    family = "segmentation"
    fixed_shapes = True  # crops of one size; mmsegmentation's configs search, too
    headline = "miou"
    scope = "mmseg"
    packages = ("mmseg", "mmcv")
    ready = READY
    schedules = SCHEDULES
    written_for = CITYSCAPES_IMAGES

    def __init__(
        self,
        dataset: str | Mapping[str, Any] = "cityscapes",
        arch: str | Mapping[str, Any] = "fcn_r50_d8",
        data_root: str | None = None,
        pretrained: str | None = None,
        schedule: str | None = None,
        image_size: Sequence[int] | None = None,
        crop_size: Sequence[int] | None = None,
        inference: str | Mapping[str, Any] | None = None,
        cost_size: Sequence[int] | None = None,
        eval_batch_size: int | None = None,
        workers: int | None = None,
    ) -> None:
        self._crop_size = size_of("crop_size", crop_size)
        self._inference = inference_option(inference)
        super().__init__(
            dataset,
            arch,
            data_root,
            pretrained,
            schedule,
            image_size,
            cost_size,
            eval_batch_size,
            workers,
        )
        options = self._dataset_options
        check_options(
            "option of dataset", options, ("path", "classes", "image_suffix", "mask_suffix")
        )
        classes = options.get("classes", list(CITYSCAPES))
        if not isinstance(classes, list | tuple) or not all(isinstance(c, str) for c in classes):
            raise UserError("classes must be a list of names in the order of the labels")
        self._classes = tuple(classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by label: Cityscapes' 19, or those of the data set's options."""
        return self._classes

    @property
    def val_is_test(self) -> bool:  # type: ignore[override]
        """Whether no test split has labels, as Cityscapes' has none."""
        return "test" not in self._splits

    def check_data(self) -> None:
        """Read and check pictures and masks of every split."""
        splits = self._splits
        tell_shared(self.dataset, {name: split.checksums for name, split in splits.items()})
        if (self._eval_batch_size or 1) > 1:
            for name in list(splits)[1:]:
                self._check_one_size(name)

    def data_facts(self) -> dict[str, Any]:
        """Images and a sha256 of each split."""
        splits = self._splits.items()
        return {
            "images": {name: split.images for name, split in splits},
            "sha256": {name: split.digest for name, split in splits},
        }

    def dataset_config(self, split: str) -> dict[str, Any]:
        """Pictures and masks as they were checked; labels are taken as they are."""
        from tasks.segmentation.folders import CheckedPairs

        files = self._splits[split]
        return {
            "type": CheckedPairs,
            "pairs": [
                (str(files.image_folder / image), str(files.mask_folder / mask))
                for image, mask in files.pairs.items()
            ],
            "data_root": None,
            "ann_file": "",
            "data_prefix": {},
            "reduce_zero_label": False,
            "ignore_index": VOID,
            # A few thousand names need no shared memory, and packing them takes half a second.
            "serialize_data": False,
            "metainfo": {"palette": colours(self.classes)},
        }

    def adapt(self, config: Config) -> None:
        """Set sizes of pictures, crops and windows."""
        fit_pipelines(config, self._image_size, self._crop_size, self._inference)

    def batches(self, batch_size: int, seed: int, device: torch.device) -> BatchSource:
        """The augmented training batches; a label that is no class is refused when it is met."""
        return CheckedBatches(super().batches(batch_size, seed, device), len(self.classes))

    def eval_batches(self, split: str, device: torch.device) -> Iterator[dict[str, Any]]:
        """All images of ``val`` or ``test`` in their order, their masks checked."""
        return checked(super().eval_batches(split, device), len(self.classes))

    def scores(
        self, outputs: Iterator[tuple[dict[str, Any], Sequence[Any]]], split: str
    ) -> dict[str, float | Score]:
        """Mean IoU, accuracy over pixels and over classes, and the IoU of every class."""
        from tasks.segmentation.metrics import intersection_over_union

        return intersection_over_union(self.classes, outputs)

    def forward(self, model: nn.Module, inputs: torch.Tensor) -> object:
        """The network on the picture or, where inference slides, on every window of it."""
        return network_forward(model, inputs)

    def draw(self, model: BaseModel, drawing: Drawing, device: torch.device) -> list[Path]:
        """One picture an image: its labels, and beside them the predicted classes."""
        from tasks.openmmlab.drawing import Panels, draw_images
        from tasks.segmentation.pictures import segmentation_panels

        dataset = self.split(drawing.split)

        def panels(info: Mapping[str, Any], predicted: Any) -> Panels:
            return segmentation_panels(info, predicted.pred_sem_seg.data[0], dataset.metainfo)

        return draw_images(self.scope, model, dataset, drawing, panels)

    @cached_property
    def _splits(self) -> dict[str, CityscapesSplit]:
        options = dict(self._dataset_options)
        return check_cityscapes(options.pop("path"), **{**options, "classes": self.classes})

    def _check_one_size(self, split: str) -> None:
        """Refuse pictures of several sizes: mmsegmentation evaluates them one by one alone."""
        sizes = self._splits[split].sizes
        if len(sizes) > 1:
            raise UserError(
                f"the pictures of {split} have {len(sizes)} different sizes: set eval_batch_size "
                "to 1"
            )


def colours(classes: Sequence[str]) -> list[tuple[int, int, int]]:
    """Cityscapes' colours for its own classes; others for any others."""
    if all(name in CITYSCAPES for name in classes):
        return [CITYSCAPES[name] for name in classes]
    from tasks.openmmlab.drawing import palette

    return palette({"classes": classes})
