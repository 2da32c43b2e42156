"""The detection task: a detector of mmdet on a data set in COCO format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from tasks.base import TASKS, Drawing, Score
from tasks.detection.coco import CocoSplit, check_coco
from tasks.detection.finite import NotFiniteError, heads_watched
from tasks.detection.models import COCO_IMAGES, READY, SCHEDULES
from tasks.files.contents import tell_shared
from tasks.openmmlab.config import transforms
from tasks.openmmlab.task import OpenMMLabTask
from tasks.options import check_options

if TYPE_CHECKING:
    import torch
    from mmengine.model import BaseModel


@TASKS.register("detection")
class DetectionTask(OpenMMLabTask):
    """Object detection and instance segmentation: any mmdet config on COCO-format data.

    Ready detectors are ``faster_rcnn_r50_fpn``, ``mask_rcnn_r50_fpn`` and ``retinanet_r50_fpn``,
    and ``faster_rcnn_tiny``, ``mask_rcnn_tiny`` and ``retinanet_tiny`` for a CPU. The method
    changes the backbone; neck and heads are the config's.

    Args:
        dataset: a folder of COCO format under ``data_root`` by its name (``coco``), or
            ``{name: ..., path: FOLDER, classes: [...], splits: {train: {annotations: FILE,
            images: FOLDER}, val: ...}}``; ``label`` is what tables call it. ``digit_scenes``, or
            ``{name: digit_scenes, train: 64, size: 96}``, needs no data: scenes of handwritten
            digits are made when they are named.
        arch: a ready detector, an mmdet config by name (``mmdet::fcos/FILE.py``) or file, or
            ``{name: ..., dotted.key: value}`` to change keys of the config.
        data_root: the folder of all data sets; by default the environment variable
            DEPTHBENCH_DATA, or ~/.cache/depthbench.
        pretrained: the backbone's weights, a local checkpoint of torchvision or mmengine (also
            looked for under ``data_root``), or ``random``. A config that names weights needs one
            of the two.
        schedule: a recipe by name instead of the config's: ``12_epochs``, ``90k_iterations`` or
            ``small``.
        image_size: width and height that pictures are resized to fit in, instead of the config's.
        cost_size: width and height of the picture that is costed, instead of the one tested on.
        eval_batch_size: images in an evaluation batch, instead of the config's.
        workers: processes that read pictures; by default 4 where a GPU trains, else none.

    Raises:
        UserError: an unknown name or option, or a config that cannot be read.
    """

    family = "detection"
    headline = "box_ap"
    scope = "mmdet"
    packages = ("mmdet", "mmcv", "pycocotools")
    ready = READY
    schedules = SCHEDULES
    written_for = COCO_IMAGES

    def __init__(
        self,
        dataset: str | Mapping[str, Any] = "coco",
        arch: str | Mapping[str, Any] = "retinanet_r50_fpn",
        data_root: str | None = None,
        pretrained: str | None = None,
        schedule: str | None = None,
        image_size: Sequence[int] | None = None,
        cost_size: Sequence[int] | None = None,
        eval_batch_size: int | None = None,
        workers: int | None = None,
    ) -> None:
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
        check_options("option of dataset", self._dataset_options, ("path", "splits", "classes"))

    @property
    def classes(self) -> tuple[str, ...]:
        """Categories in the order of the annotation file."""
        return self._splits["train"].classes

    @property
    def val_is_test(self) -> bool:  # type: ignore[override]
        """Whether there are no annotations of a test split, as COCO's are not public."""
        return "test" not in self._splits

    @property
    def kinds(self) -> list[str]:
        """What CocoMetric evaluates: ``bbox`` and, where the config trains masks, ``segm``."""
        metric = self.config.val_evaluator.get("metric", "bbox")
        return [metric] if isinstance(metric, str) else list(metric)

    def check_data(self) -> None:
        """Read and check the annotations and pictures of every split."""
        splits = {name: split.checksums for name, split in self._splits.items()}
        tell_shared(self.dataset, splits)

    def data_facts(self) -> dict[str, Any]:
        """Images, boxes and a sha256 of each split."""
        splits = self._splits.items()
        return {
            "images": {name: split.images for name, split in splits},
            "boxes": {name: split.boxes for name, split in splits},
            "sha256": {name: split.digest for name, split in splits},
        }

    def dataset_config(self, split: str) -> dict[str, Any]:
        """Mmdet's own, on our files."""
        files = self._splits[split]
        return {
            "type": "CocoDataset",
            "data_root": "",
            "ann_file": str(files.annotation_file),
            "data_prefix": {"img": str(files.image_folder)},
        }

    def adapt(self, config: Config) -> None:
        """One scale wherever a pipeline has one or chooses among several."""
        size = self._image_size

        def change(transform: dict[str, Any]) -> None:
            if transform["type"] in ("Resize", "RandomResize", "FixScaleResize"):
                transform["scale"] = size
            elif transform["type"] == "RandomChoiceResize":
                transform["scales"] = [size]

        if size is not None:
            for loader in (config.train_dataloader, config.val_dataloader):
                transforms(loader["dataset"], change)

    def wide(self, dataset: Any) -> Sequence[bool] | None:
        """Aspects, where the config batches by them."""
        sampler = self.config.train_dataloader.get("batch_sampler") or {}
        if sampler.get("type") != "AspectRatioBatchSampler":
            return None
        infos = (dataset.get_data_info(index) for index in range(len(dataset)))
        return [info["width"] >= info["height"] for info in infos]

    def predict(self, model: BaseModel, batch: dict[str, Any]) -> Sequence[Any]:
        """Predictions for a batch; None for its images where a head gave no finite output."""
        with heads_watched(model):
            try:
                return model.test_step(batch)
            except NotFiniteError:
                return [None] * len(batch["inputs"])

    def scores(
        self, outputs: Iterator[tuple[dict[str, Any], Sequence[Any]]], split: str
    ) -> dict[str, float | Score]:
        """Box AP and, for detectors that segment, mask AP: at 0.5 to 0.95, 0.5, 0.75, by size."""
        from tasks.detection.metrics import average_precision

        dataset = self.split(split)
        return average_precision(dataset.ann_file, dataset.metainfo, outputs, self.kinds)

    def draw(self, model: BaseModel, drawing: Drawing, device: torch.device) -> list[Path]:
        """One picture an image: its annotated objects, and beside them those detected."""
        from tasks.detection.pictures import detection_panels
        from tasks.openmmlab.drawing import Panels, draw_images

        dataset, masks = self.split(drawing.split), "segm" in self.kinds

        def panels(info: Mapping[str, Any], predicted: Any) -> Panels:
            found = predicted.pred_instances
            return detection_panels(info, found, dataset.metainfo, masks, drawing.min_score)

        return draw_images(self.scope, model, dataset, drawing, panels)

    @cached_property
    def _splits(self) -> dict[str, CocoSplit]:
        options = self._dataset_options
        masks = "segm" in self.kinds
        return check_coco(options["path"], options.get("splits"), options.get("classes"), masks)
