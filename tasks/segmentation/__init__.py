"""Semantic segmentation on data in the Cityscapes layout, through mmsegmentation."""
