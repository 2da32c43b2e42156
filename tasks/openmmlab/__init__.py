"""What detection and segmentation share: mmdet's and mmsegmentation's configs, data and models.

Importing this package makes mmcv's operations available, without which neither can be imported.
"""

from tasks.openmmlab.ops import install

install()
