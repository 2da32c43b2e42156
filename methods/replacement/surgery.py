"""Replace one block: give it, or a light stand-in, weights made of its neighbours'."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from methods.blocks import Block
from methods.replacement.fusion import ChannelProjection, Mix
from methods.replacement.light import light_block
from methods.replacement.neighbours import Layers, channel_dim, own_tensors, weight_layers
from methods.replacement.norms import own_statistics
from methods.replacement.synthesis import NeighbourRecipe, Source
from methods.synthesis import synthesise

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
