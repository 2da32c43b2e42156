"""Enter mmdet or mmsegmentation: their modules registered, their names looked up first."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from tasks.errors import UserError

PACKAGES = {"mmdet": "mmdet", "mmseg": "mmsegmentation"}
"""Scopes, which are import names, and the distributions that hold them."""


@contextmanager
def openmmlab(scope: str) -> Iterator[None]:
    """Inside, registries look names up in ``mmdet`` or ``mmseg`` first, and nothing is printed.

    mmengine logs how each parameter was drawn, and pycocotools prints whatever it does.

    Raises:
        UserError: the package, or mmcv, cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(f"{scope}.utils").register_all_modules(init_default_scope=False)
    except ImportError as error:
        raise UserError(
            f"{PACKAGES[scope]} cannot be imported ({error}): install depthbench as its README "
            "says; where the message names libGL or libglib, install those of your system"
        ) from error
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with DefaultScope.overwrite_default_scope(scope), redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
