"""A sub-network of adaptive depth as a network of its own, trained on the labels alone."""

from __future__ import annotations

from dataclasses import dataclass

from mmengine.logging import print_log
from mmengine.model import BaseModel

from methods.adaptive_depth.split import split_stages
from methods.adaptive_depth.subnets import parse_flags
from methods.base import METHODS, Method
from methods.blocks import block_view

__all__ = ["BaseNet"]


@METHODS.register("base_net")
@dataclass
class BaseNet(Method):
    """The base-net of adaptive depth trained by itself: every skippable block removed.

    The networks that the paper calls '-Base' (Kang, arXiv 2312.16392, table 1), and with ``skip``
    its individual networks (Figure 3): of the same depth as a sub-network of ``adaptive_depth``,
    trained on the labels alone. The difference between the two is what training them jointly adds.
    """

    swin_last_mandatory: bool = False
    """Swin: the last stage stays whole."""
    skip: str = "base"
    """Which sub-network: a letter a split stage, T where its skippable blocks are removed, such as
    ``TTFF``."""

    def prepare(self, model: BaseModel) -> BaseModel:
        """Put the identity in the place of every skippable block.

        Raises:
            UserError: the backbone has no stage that can be split, or the option is for another.
        """
        stages = split_stages(block_view(model), self.swin_last_mandatory)
        flags = iter(parse_flags(self.skip, sum(stage.split for stage in stages)))
        blocks = []
        for stage in stages:
            dropped = stage.skippable if stage.split and next(flags) else ()
            for block in dropped:
                block.drop()
            blocks.append(len(stage.mandatory) + len(stage.skippable) - len(dropped))
        left = ", ".join(map(str, blocks))
        print_log(f"base_net: blocks a stage: {left}", logger="current")
        return model
