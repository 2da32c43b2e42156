"""Replace a block by one made of its neighbours', and fold what was made into plain layers."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from methods.blocks import Block, BlockView, Parts
from methods.replacement.fusion import ChannelProjection, Mix, NeighbourRecipe, Source
from methods.replacement.light import light_block
from methods.synthesis import SynthesisedLayer, fold, synthesise

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


@dataclass
class OwnMode:
    """A forward pre-hook: the module's batch norms are in the mode of the module itself.

    ``norm_eval`` of mmdet's and mmseg's backbones puts every batch norm in evaluation mode, to
    keep the statistics of a pretrained network. Here they would be those of other weights, or
    the mean of 0 and variance of 1 of a new layer, for good.
    """

    paths: Sequence[str]
    """Of the norm layers inside the module."""

    def __call__(self, module: nn.Module, inputs: tuple[object, ...]) -> None:
        """Put the norm layers right before they are used."""
        for path in self.paths:
            norm = module.get_submodule(path)
            if norm.training != module.training:
                norm.train(module.training)


def own_statistics(module: nn.Module, norms: Sequence[str]) -> None:
    """Let the batch norms among ``norms``, paths in a replaced block, learn their statistics."""
    batch_norms = [path for path in norms if isinstance(module.get_submodule(path), _BatchNorm)]
    if batch_norms:
        module.register_forward_pre_hook(OwnMode(batch_norms))


def forget_own_statistics(module: nn.Module) -> None:
    """Undo :func:`own_statistics`."""
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, OwnMode):
            del module._forward_pre_hooks[key]


_HALVES = {"attention": ("qkv", "proj"), "mlp": ("fc1", "fc2")}


@dataclass(frozen=True)
class Fusion:
    """How weights are made of the neighbours'; see the options of ``Replacement``."""

    fusion: str = "channel"
    init: float = 0.5
    frozen: bool = False
    detach: bool = False


def full_roles(block: Block, submodules: tuple[str, ...]) -> tuple[str, ...]:
    """The roles whose weights are synthesised when the block keeps its structure.

    All of them; in a transformer those of its halves ``submodules``.
    """
    if block.kind in ("vit", "swin"):
        return tuple(role for half in submodules for role in _HALVES[half])
    return tuple(block.roles)


def replace_by_full(
    block: Block, roles: tuple[str, ...], before: Layers | None, after: Layers | None, how: Fusion
) -> None:
    """Keep the block's structure and norms; make its weights of the neighbours' (2024 form).

    Args:
        block: the block to replace, in place.
        roles: the roles whose weights are synthesised.
        before: by role, the layers of the block before; None when it is not used.
        after: likewise for the block after.
        how: the transformation.
    """
    synthesise_layers(weight_layers(block.module, block.parts, roles), before, after, how)
    own_statistics(block.module, block.parts.norm_paths)


def replace_by_light(
    block: Block, submodule: str, before: Layers | None, after: Layers | None, how: Fusion
) -> None:
    """Put one synthesised operator in the block's place (2026 form); see `replace_by_full`."""
    light = light_block(block, submodule)
    layers = weight_layers(light, light.parts, light.parts.role_paths)
    synthesise_layers(layers, before, after, how)
    own_statistics(light, light.parts.norm_paths)
    block.replace(light)


def synthesise_layers(
    layers: Layers, before: Layers | None, after: Layers | None, how: Fusion
) -> None:
    """Make every parameter of ``layers`` (by role) of those of the neighbours' layers.

    Each layer registers its coefficients as ``parameter_fusion`` and the projections of a
    neighbour of other widths as ``channel_projection``. The one pair of ``fusion="scalar"`` is
    registered in the first layer.
    """
    sides = {"before": before, "after": after}
    shared: Mix | None = None
    for role, layer in layers.items():
        tensors = own_tensors(layer)
        taken = {side: found[role] for side, found in sides.items() if found is not None}
        projections = _projections(role, layer, taken)
        mixes, recipes = nn.ModuleDict(), {}
        for name, tensor in tensors.items():
            dim = channel_dim(name)
            mix = shared
            if mix is None:
                channels = tensor.shape[dim] if how.fusion == "channel" else None
                mix = Mix("before" in taken, "after" in taken, channels, how.init, how.frozen)
                mixes[name] = mix.to(tensor)
                shared = mix if how.fusion == "scalar" else None
            made_of = {
                side: Source(other, name, projections.get(side), how.detach)
                for side, other in taken.items()
            }
            recipes[name] = NeighbourRecipe(mix, made_of.get("before"), made_of.get("after"), dim)
        synthesise(layer, recipes)
        if len(mixes):
            layer.parameter_fusion = mixes
        if projections:
            layer.channel_projection = nn.ModuleDict(projections)


def _projections(role: str, layer: nn.Module, taken: Layers) -> dict[str, ChannelProjection]:
    """By side, what brings a neighbour's layer to the widths of ``layer``, where they differ."""
    name, tensor = next(iter(own_tensors(layer).items()))
    dim = channel_dim(name)
    target = tuple(tensor.movedim(dim, 0).shape)
    projections = {}
    for side, other in taken.items():
        shape = tuple(getattr(other, name).movedim(dim, 0).shape)
        if shape != target:
            # Query, key and value are stacked in one weight.
            parts = 3 if role == "qkv" else 1
            projections[side] = ChannelProjection(shape, target, parts).to(tensor)
    return projections


Model = TypeVar("Model", bound=nn.Module)


def export(model: Model) -> Model:
    """A copy of ``model`` whose synthesised layers own their present weights.

    The copy gives the same outputs, knows no neighbours and no coefficients, and consists of plain
    layers: with the full operator blocks of their original class, with the light one small
    modules. ``model`` itself is not changed.
    """
    exported = copy.deepcopy(model)
    for layer in list(exported.modules()):
        if isinstance(layer, SynthesisedLayer):
            fold(layer)
    for layer in exported.modules():
        forget_own_statistics(layer)
        for name in ("parameter_fusion", "channel_projection"):
            layer._modules.pop(name, None)
    return exported
