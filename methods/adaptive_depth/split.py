"""Where each stage divides into a mandatory and a skippable sub-path.

Source: Kang, "Adaptive Depth Networks with Skippable Sub-Paths" (arXiv 2312.16392), sections 3.1
and 4.1; one-block stages and the norms outside blocks as in the official code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torchvision.models import MobileNetV2

from methods.blocks import Block, BlockView
from tasks.errors import UserError

VIT_GROUP = 3
"""Encoder layers that make a stage of a vision transformer; the last of them can be skipped."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage's two sub-paths, and the flag that decides between them.

    ``flag`` counts from 0. A stage that is not ``split`` (it has a single block, or is the
    unfinished last group of a vision transformer) always runs whole; its flag is that of the next
    split stage, or of the last one, and chooses only its norm layers.
    """

    mandatory: list[Block]
    skippable: list[Block]
    flag: int
    split: bool

    @property
    def end(self) -> Block:
        """The block whose output is the stage's."""
        return [*self.mandatory, *self.skippable][-1]


def split_stages(view: BlockView, swin_last_mandatory: bool = False) -> list[Stage]:
    """Divide every stage of a backbone.

    Convolutional networks and Swin: the first half of the blocks, rounded up, is mandatory. Vision
    transformers: two of every three encoder layers.

    Args:
        view: the backbone, unchanged.
        swin_last_mandatory: Swin's last stage runs whole; its flag still chooses its norms.

    Raises:
        UserError: no stage has a block to skip, or the option is for another backbone.
    """
    kinds = {block.kind for block in view}
    if swin_last_mandatory and kinds != {"swin"}:
        raise UserError(
            "adaptive_depth: swin_last_mandatory is for Swin backbones, not "
            f"{type(view.backbone).__name__}; leave it out"
        )
    groups = _groups_of_three(view) if kinds == {"vit"} else _runs(view)
    counts = [_mandatory(group) for group in groups]
    split = [count < len(group) for group, count in zip(groups, counts, strict=True)]
    if swin_last_mandatory:
        counts[-1] = len(groups[-1])
    if all(count == len(group) for group, count in zip(groups, counts, strict=True)):
        least = f"a group of {VIT_GROUP} layers" if kinds == {"vit"} else "a stage of 2 blocks"
        raise UserError(
            f"adaptive_depth needs {least} or more to split, and {type(view.backbone).__name__} "
            f"has stages of {', '.join(str(len(group)) for group in groups)}; "
            "choose a deeper backbone"
        )
    return [
        Stage(group[:count], group[count:], min(sum(split[:index]), sum(split) - 1), split[index])
        for index, (group, count) in enumerate(zip(groups, counts, strict=True))
    ]


def _groups_of_three(view: BlockView) -> list[list[Block]]:
    return [view.blocks[i : i + VIT_GROUP] for i in range(0, len(view), VIT_GROUP)]


def _runs(view: BlockView) -> list[list[Block]]:
    """The stages, and a new one wherever a block inside one changes the feature map's shape.

    A thin MobileNetV2 has rows of equal width that the view takes for one stage.
    """
    runs: list[list[Block]] = []
    for stage in view.stages:
        for place, block in enumerate(stage):
            if place == 0 or not block.shape_preserving:
                runs.append([])
            runs[-1].append(block)
    return runs


def _mandatory(group: list[Block]) -> int:
    """How many blocks of a stage always run."""
    if group[0].kind == "vit":
        return VIT_GROUP - 1 if len(group) == VIT_GROUP else len(group)
    return (len(group) + 1) // 2


@dataclass(frozen=True, eq=False)
class NormPlace:
    """A norm layer in the mandatory path: ``path`` inside ``parent``, and its stage's flag."""

    parent: nn.Module
    path: str
    flag: int


def mandatory_norms(view: BlockView, stages: list[Stage]) -> Iterator[NormPlace]:
    """Every norm layer that gets a second set.

    Those on the main branch of mandatory blocks; further MobileNetV2's in its first and last
    convolution, and Swin's in the patch merging before a stage. A ResNet's stem and its
    projection shortcuts share one set.
    """
    for stage in stages:
        for block in stage.mandatory:
            for path in block.norms:
                yield NormPlace(block.module, path, stage.flag)
    backbone = view.backbone
    if isinstance(backbone, MobileNetV2):
        yield NormPlace(backbone.features[0], "1", stages[0].flag)
        yield NormPlace(backbone.features[-1], "1", stages[-1].flag)
    # Known by name: torchvision has two such classes and mmdet and mmseg have their own.
    merging = [m for m in backbone.modules() if type(m).__name__.startswith("PatchMerging")]
    for module, following in zip(merging, stages[1:], strict=False):
        if isinstance(module.norm, nn.Module):  # mmdet's and mmseg's can be without
            yield NormPlace(module, "norm", following.flag)
