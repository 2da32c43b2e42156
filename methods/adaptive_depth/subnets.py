"""Sub-networks: their names, and each as a plain network of its own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from methods.adaptive_depth.distillation import Tap
from methods.blocks import Skip
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
    """A block of a skippable sub-path: returns its first argument when its stage skips."""

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


Model = TypeVar("Model", bound=nn.Module)
Flags = tuple[bool, ...]


def select_subnets(selection: str | Sequence[str], stages: int) -> dict[str, Flags]:
    """Sub-networks by name, in the order of a table.

    A name has a letter a stage, T where it is skipped; ``FF..F`` is called ``super`` and
    ``TT..T`` ``base``.

    Args:
        selection: ``default`` (from the super-net to the base-net, skipping first in the early
            stages, then in the late ones), ``all`` of the ``2 ** stages``, or names.
        stages: how many stages are split.

    Raises:
        UserError: a name that is no sub-network's.
    """
    if selection == "default":
        early = [tuple(i < skipped for i in range(stages)) for skipped in range(stages + 1)]
        chosen = [*early, *(flags[::-1] for flags in early[1:-1])]
    elif selection == "all":
        chosen = list(itertools.product((False, True), repeat=stages))
    elif not selection:
        raise UserError("adaptive_depth: subnets is empty; name one or leave the option out")
    else:
        chosen = [parse_flags(name, stages) for name in selection]
    return {subnet_name(flags): flags for flags in dict.fromkeys(chosen)}


def subnet_name(flags: Flags) -> str:
    """``super``, ``base`` or a letter a stage: ``TTFF``."""
    if len(set(flags)) == 1:
        return "base" if flags[0] else "super"
    return "".join("T" if flag else "F" for flag in flags)


def parse_flags(name: str, stages: int) -> Flags:
    """The flags of a sub-network's name; ``FFFF`` and ``TTTT`` are taken too.

    Raises:
        UserError: the name is no sub-network's.
    """
    if name in ("super", "base"):
        return (name == "base",) * stages
    if len(name) != stages or set(name) - set("TF"):
        raise UserError(
            f"adaptive_depth has no sub-network '{name}': write super, base or {stages} letters, "
            f"T where a stage is skipped ({'T' + 'F' * (stages - 1)})"
        )
    return tuple(letter == "T" for letter in name)


def export(model: Model, flags: Sequence[bool]) -> Model:
    """One sub-network as a plain network: original classes, its own weights, nothing to switch.

    Args:
        model: a prepared model (its ``backbone``) or backbone; it is left as it is.
        flags: the sub-network; an identity stands where a block is skipped.

    Returns:
        A copy with the same outputs as ``model`` has with these flags set.
    """
    exported = copy.deepcopy(model)
    backbone = getattr(exported, "backbone", exported)
    backbone.switch.set_skip(flags)
    for name, module in list(backbone.named_modules()):
        if isinstance(module, SkipAwareNorm):
            backbone.set_submodule(name, module.current)
        elif isinstance(module, Skippable):
            skipped = module.switch.skip[module.flag]
            backbone.set_submodule(name, Skip() if skipped else module.block)
    for module in exported.modules():
        for key, hook in list(module._forward_hooks.items()):
            if isinstance(hook, Tap):
                del module._forward_hooks[key]
    del backbone.switch, backbone.set_skip, backbone.recorder
    return exported
