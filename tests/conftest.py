"""For all tests."""

import tasks.openmmlab  # noqa: F401 - mmcv's operations, for tests that import mmdet or mmseg
