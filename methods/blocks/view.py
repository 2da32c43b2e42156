"""Blocks, the view that orders them, and the table of backbones that have a view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor, nn

from tasks.errors import UserError


class Skip(nn.Identity):
    """Takes the place of a dropped block: returns its first argument.

    Unlike ``nn.Identity`` it takes the further arguments that some blocks are called with.
    """

    def forward(self, input: Tensor, *args: object, **kwargs: object) -> Tensor:
        """Return ``input`` as it is."""
        return input


@dataclass(frozen=True)
class Parts:
    """What a family knows about one of its blocks; modules are named by their path inside it.

    A module of your own that stands in a stage describes itself with a method
    ``block_parts() -> Parts``.
    """

    kind: str
    """``basic``, ``bottleneck``, ``preact``, ``inverted_residual``, ``vit`` or ``swin``."""
    in_channels: int
    out_channels: int
    stride: int
    norm_paths: tuple[str, ...]
    """Norm layers of the main branch, in order of use."""
    role_paths: Mapping[str, str]
    """Role to the weight-bearing layer that plays it."""
    branch_paths: tuple[str, ...]
    """Modules whose output is added to the shortcut; empty when nothing is added."""
    projection: bool = False
    """The shortcut is anything but the identity."""


@dataclass(frozen=True, eq=False)
class Block:
    """One residual block of a backbone, and where it hangs.

    ``number`` (over the whole backbone) and ``stage`` count from 1. Modules are looked up when
    asked for, so a block shows the network as it is now.
    """

    number: int
    stage: int
    parent: nn.Module = field(repr=False)
    key: str
    parts: Parts = field(repr=False)
    frozen: bool = False
    """The backbone keeps the block's stage as it is (``frozen_stages`` of mmdet and mmseg): each
    ``train()`` puts whatever stands there in evaluation mode and takes its gradients."""

    @property
    def module(self) -> nn.Module:
        """The module that stands at the block's place now."""
        return self.parent.get_submodule(self.key)

    @property
    def kind(self) -> str:
        """The block's family; see :attr:`Parts.kind`."""
        return self.parts.kind

    @property
    def in_channels(self) -> int:
        """Channels (embedding dimensions) that come in."""
        return self.parts.in_channels

    @property
    def out_channels(self) -> int:
        """Channels (embedding dimensions) that go out."""
        return self.parts.out_channels

    @property
    def stride(self) -> int:
        """Factor by which each side of the feature map shrinks."""
        return self.parts.stride

    @property
    def shape_preserving(self) -> bool:
        """Whether the identity could stand in the block's place."""
        same = self.parts.in_channels == self.parts.out_channels
        return same and self.parts.stride == 1 and not self.parts.projection

    @property
    def norms(self) -> dict[str, nn.Module]:
        """Path inside the block to norm layer, main branch only, in order of use."""
        return {path: self.module.get_submodule(path) for path in self.parts.norm_paths}

    @property
    def roles(self) -> dict[str, nn.Module]:
        """Role (``conv1``, ``expand``, ``qkv``, ...) to weight-bearing layer."""
        module = self.module
        return {role: module.get_submodule(path) for role, path in self.parts.role_paths.items()}

    @property
    def branch_ends(self) -> list[nn.Module]:
        """The modules whose outputs are the outputs of the block's residual branches."""
        return [self.module.get_submodule(path) for path in self.parts.branch_paths]

    def replace(self, module: nn.Module) -> None:
        """Put ``module`` in the block's place."""
        self.parent.set_submodule(self.key, module)

    def drop(self) -> None:
        """Put the identity in the block's place.

        Raises:
            UserError: the block changes width or resolution.
        """
        if not self.shape_preserving:
            raise UserError(
                f"block {self.number} cannot be dropped, for it changes the feature map "
                f"({self.in_channels} to {self.out_channels} channels, stride {self.stride}); "
                "choose a block that keeps its shape"
            )
        self.replace(Skip())


@dataclass(frozen=True, eq=False)
class BlockView:
    """A backbone as ordered stages of blocks.

    A stage is a run of blocks that work at one width and resolution, entered through its first
    block or through a separate down-sampling layer.
    """

    backbone: nn.Module = field(repr=False)
    stages: list[list[Block]]

    @property
    def blocks(self) -> list[Block]:
        """All blocks, in order."""
        return [block for stage in self.stages for block in stage]

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    def __len__(self) -> int:
        return sum(map(len, self.stages))

    def block(self, number: int) -> Block:
        """The block with that number, counted from 1.

        Raises:
            UserError: there is no such block.
        """
        if not 1 <= number <= len(self):
            raise UserError(
                f"there is no block {number}: {type(self.backbone).__name__} has blocks "
                f"1 to {len(self)}"
            )
        return self.blocks[number - 1]

    def neighbours(self, block: Block) -> tuple[Block | None, Block | None]:
        """The blocks just before and just after, None where the stage ends."""
        stage = self.stages[block.stage - 1]
        place = block.number - stage[0].number
        before = stage[place - 1] if place > 0 else None
        after = stage[place + 1] if place + 1 < len(stage) else None
        return before, after


Place = tuple[nn.Module, str]
ViewFunction = TypeVar("ViewFunction", bound=Callable[..., BlockView])
_VIEWS: list[tuple[Callable[[nn.Module], bool], Callable[..., BlockView]]] = []


def register_view(
    match: type[nn.Module] | Callable[[nn.Module], bool],
) -> Callable[[ViewFunction], ViewFunction]:
    """Decorate the function that gives the view of a backbone of class ``match``.

    ``match`` may also be a predicate on the backbone. What is registered last is tried first, so
    a view of your own overrides a built-in one.
    """
    accepts = (lambda backbone: isinstance(backbone, match)) if isinstance(match, type) else match

    def decorate(function: ViewFunction) -> ViewFunction:
        _VIEWS.insert(0, (accepts, function))
        return function

    return decorate


def block_view(model: nn.Module) -> BlockView:
    """The block view of a backbone, or of the ``backbone`` of a task's model.

    The view shows the network as it stands: a dropped block is no longer counted.

    Raises:
        UserError: the backbone, or a block of it, is of a kind that has no view.
    """
    backbone = model.backbone if isinstance(getattr(model, "backbone", None), nn.Module) else model
    own = getattr(backbone, "block_view", None)
    if callable(own):
        return own()
    for accepts, function in _VIEWS:
        if accepts(backbone):
            return function(backbone)
    raise UserError(
        f"there is no block view of the backbone {type(backbone).__name__}: give it a method "
        "block_view() that returns a methods.blocks.BlockView, or register a function that "
        "does with @methods.blocks.register_view"
    )


def parts_of(
    module: nn.Module, describe: Callable[[nn.Module], Parts | None], backbone: nn.Module
) -> Parts | None:
    """The parts of a module that stands in a stage; None where a block was dropped.

    Raises:
        UserError: neither the module nor ``describe``, its family, can tell its parts.
    """
    if isinstance(module, nn.Identity):
        return None
    own = getattr(module, "block_parts", None)
    parts = own() if callable(own) else describe(module)
    if parts is None:
        raise UserError(
            f"there is no block view of {type(module).__name__}, a block of "
            f"{type(backbone).__name__}: give it a method block_parts() that returns a "
            "methods.blocks.Parts"
        )
    return parts


def build_view(
    backbone: nn.Module,
    stages: Iterable[Sequence[Place]],
    describe: Callable[[nn.Module], Parts | None],
) -> BlockView:
    """Number the blocks found at ``stages`` (a parent and a key each) and describe them.

    Dropped blocks are passed over; a stage may be left without any. Raises as :func:`parts_of`.
    """
    found: list[list[Block]] = []
    number = 0
    frozen_stages = getattr(backbone, "frozen_stages", 0)
    for index, places in enumerate(stages, start=1):
        found.append([])
        for parent, key in places:
            parts = parts_of(parent.get_submodule(key), describe, backbone)
            if parts is not None:
                number += 1
                frozen = index <= frozen_stages
                found[-1].append(Block(number, index, parent, key, parts, frozen))
    return BlockView(backbone, found)
