"""For all tests."""

# yapf, which mmengine imports, writes a cache at its first import in an environment: here, before
# the processes of the tests start, for two at once would read each other's half of it.
import torch
import torchvision
import yapf  # noqa: F401

import tasks.openmmlab  # noqa: F401 - mmcv's operations, for tests that import mmdet or mmseg


def pytest_report_header() -> str:
    """What a log of the tests was made with."""
    return f"torch {torch.__version__}, torchvision {torchvision.__version__}"
