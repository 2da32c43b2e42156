"""The base-net of adaptive depth as a network of its own, trained on the labels alone."""

from __future__ import annotations

from dataclasses import dataclass

from mmengine.logging import print_log
from mmengine.model import BaseModel

from methods.adaptive_depth.split import split_stages
from methods.base import METHODS, Method
from methods.blocks import block_view

__all__ = ["BaseNet"]


@METHODS.register("base_net")
@dataclass
class BaseNet(Method):
    """The base-net of adaptive depth trained by itself: every skippable block removed.

    The networks that the paper calls '-Base' (Kang, arXiv 2312.16392, table 1): of the same depth
    as the ``base`` of ``adaptive_depth``, trained on the labels alone. The difference between the
    two is what training them jointly adds.
    """

    swin_last_mandatory: bool = False
    """Swin: the last stage stays whole."""

    def prepare(self, model: BaseModel) -> BaseModel:
        """Put the identity in the place of every skippable block.

        Raises:
            UserError: the backbone has no stage that can be split, or the option is for another.
        """
        stages = split_stages(block_view(model), self.swin_last_mandatory)
        for stage in stages:
            for block in stage.skippable:
                block.drop()
        left = ", ".join(str(len(stage.mandatory)) for stage in stages)
        print_log(f"base_net: blocks a stage: {left}", logger="current")
        return model
