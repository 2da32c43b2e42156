"""What detection and segmentation share: mmdet's and mmsegmentation's configs, data and models."""
