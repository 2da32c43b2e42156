"""What makes one set of weights many networks: blocks to skip, norms to switch, one switch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from tasks.errors import UserError


class Switch:
    """The flags of all stages, shared by everything in a backbone that depends on them.

    Attributes:
        skip: one flag a split stage, True where its skippable sub-path is skipped.
    """

    def __init__(self, stages: int) -> None:
        self.skip: tuple[bool, ...] = (False,) * stages

    def set_skip(self, flags: Sequence[bool]) -> None:
        """Choose a sub-network: all False is the super-net, all True the base-net.

        Raises:
            UserError: there is not one flag for every split stage.
        """
        if len(flags) != len(self.skip):
            raise UserError(
                f"the network has {len(self.skip)} stages to skip in, so give {len(self.skip)} "
                f"flags, not {len(flags)}"
            )
        self.skip = tuple(map(bool, flags))

    @contextmanager
    def all(self, skip: bool) -> Iterator[None]:
        """Be the base-net (``skip``) or the super-net for a while."""
        before = self.skip
        self.skip = (skip,) * len(before)
        try:
            yield
        finally:
            self.skip = before


class Skippable(nn.Module):
    """A block of a skippable sub-path: hands on its first argument when its stage skips."""

    def __init__(self, block: nn.Module, switch: Switch, flag: int) -> None:
        super().__init__()
        self.block = block
        self.switch = switch
        self.flag = flag

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        """The block's output, or ``x``; both have the same shape."""
        return x if self.switch.skip[self.flag] else self.block(x, *args, **kwargs)


class SkipAwareNorm(nn.Module):
    """Two norm layers in one place: ``skip`` is used when the stage skips, else ``full``.

    The second starts as a copy of the first, statistics included. It learns its own even where
    the backbone keeps those of the first (``norm_eval`` of mmdet and mmseg): a pretrained network
    has none for the base-net. Source: section 3.4.
    """

    def __init__(self, norm: nn.Module, switch: Switch, flag: int) -> None:
        super().__init__()
        self.full = norm
        self.skip = copy.deepcopy(norm)
        self.switch = switch
        self.flag = flag

    @property
    def current(self) -> nn.Module:
        """The norm layer that the present sub-network uses."""
        return self.skip if self.switch.skip[self.flag] else self.full

    def forward(self, x: Tensor) -> Tensor:
        """The normalised ``x``."""
        norm = self.current
        if norm is self.skip and norm.training != self.training:
            norm.train(self.training)
        return norm(x)


@contextmanager
def stochastic_depth_off(backbone: nn.Module) -> Iterator[None]:
    """Drop no residual branch for a while (section 4.2: it conflicts with skipping)."""
    drops = [(m, "p") for m in backbone.modules() if isinstance(m, StochasticDepth)]
    # mmcv's and timm's class of the same purpose.
    drops += [(m, "drop_prob") for m in backbone.modules() if type(m).__name__ == "DropPath"]
    before = [getattr(module, name) for module, name in drops]
    for module, name in drops:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for (module, name), value in zip(drops, before, strict=True):
            setattr(module, name, value)
