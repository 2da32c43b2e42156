"""Sub-networks: their names, and each as a plain network of its own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from methods.adaptive_depth.distillation import Tap
from methods.adaptive_depth.switching import SkipAwareNorm, Skippable
from methods.blocks import Skip
from tasks.errors import UserError, unknown_name

Model = TypeVar("Model", bound=nn.Module)
Flags = tuple[bool, ...]

SELECTIONS = ("default", "all")


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
    elif isinstance(selection, str):
        raise unknown_name("adaptive_depth subnets", selection, SELECTIONS)
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
