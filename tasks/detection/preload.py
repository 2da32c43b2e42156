"""Imported once for all runs of a suite that detects: everything that registering mmdet imports."""

import tasks.detection.task  # noqa: F401
