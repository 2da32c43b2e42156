"""Object detection and instance segmentation on COCO-format data, through mmdet."""
