"""Which layers of the blocks before and after a block its weights can be made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from methods.blocks import Block, BlockView, Parts

Layers = dict[str, nn.Module]


def weight_layers(module: nn.Module, parts: Parts, roles: Iterable[str]) -> Layers:
    """The layers of a block that play ``roles``, by role.

    With ``qkv`` come the layers of the attention that hold further parameters (the relative
    position table), under ``attention`` and their path in it.
    """
    paths = parts.role_paths
    layers = {role: module.get_submodule(paths[role]) for role in roles if role in paths}
    if "qkv" not in layers:
        return layers
    attention = layers["qkv"]
    if not isinstance(attention, nn.MultiheadAttention):
        attention = module.get_submodule(paths["qkv"].rpartition(".")[0])
    known = set(layers.values())
    for path, layer in attention.named_modules(prefix="attention"):
        if layer not in known and own_tensors(layer):
            layers[path] = layer
    return layers


def own_tensors(layer: nn.Module) -> dict[str, Tensor]:
    """The parameters of a layer without those of the modules inside it."""
    return dict(layer.named_parameters(recurse=False))


def channel_dim(name: str) -> int:
    """The dimension of output channels in a parameter; heads in the relative position table."""
    return 1 if name == "relative_position_bias_table" else 0


def sources(
    view: BlockView,
    block: Block,
    roles: Mapping[str, tuple[str, str]],
    project: bool = False,
) -> tuple[Layers | None, Layers | None]:
    """The layers of the block before and of the block after that the block can be made of.

    Args:
        view: the backbone's blocks.
        block: the block to be replaced.
        roles: the block's role to the roles of the layer before and of the layer after that take
            part in it.
        project: widths may differ.

    Returns:
        By the block's role; None for a side that is missing or whose shapes do not fit.
    """
    own = weight_layers(block.module, block.parts, roles)
    if not roles.keys() <= own.keys():
        return None, None
    before, after = (
        view.block(number) if 1 <= number <= len(view) else None
        for number in (block.number - 1, block.number + 1)
    )
    return (
        _taken(own, before, {role: pair[0] for role, pair in roles.items()}, project),
        _taken(own, after, {role: pair[1] for role, pair in roles.items()}, project),
    )


def _taken(
    own: Layers, other: Block | None, roles: Mapping[str, str], project: bool
) -> Layers | None:
    """By the role in ``own``, the layers of another block; None when one is missing or unfit."""
    if other is None:
        return None
    theirs = weight_layers(other.module, other.parts, roles.values())
    taken = {}
    for role, layer in own.items():
        found = theirs.get(roles.get(role, role))
        if found is None or not _agree(layer, found, project):
            return None
        taken[role] = found
    return taken


def _agree(own: nn.Module, other: nn.Module, project: bool) -> bool:
    """Whether two layers have parameters of the same names and of shapes that fit."""
    mine, theirs = own_tensors(own), own_tensors(other)
    if not mine or mine.keys() != theirs.keys():
        return False
    return all(
        _fits(name, tuple(mine[name].shape), tuple(theirs[name].shape), project) for name in mine
    )


def _fits(name: str, mine: tuple[int, ...], theirs: tuple[int, ...], project: bool) -> bool:
    if not project or len(mine) != len(theirs):
        return mine == theirs
    if channel_dim(name) == 1:  # (positions, heads): only the heads are channels
        return mine[0] == theirs[0]
    return mine[2:] == theirs[2:]
