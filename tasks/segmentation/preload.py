"""Imported once for all runs of a suite that segments: all that registering mmseg imports."""

import tasks.segmentation.task  # noqa: F401
