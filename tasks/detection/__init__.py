"""Object detection and instance segmentation on COCO-format data, through mmdet."""

import tasks.openmmlab  # noqa: F401 - mmcv's operations, before anything imports mmdet
