"""Semantic segmentation on data in the Cityscapes layout, through mmsegmentation."""

import tasks.openmmlab  # noqa: F401 - mmcv's operations, before anything imports mmseg
