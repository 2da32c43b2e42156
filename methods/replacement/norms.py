"""Norm layers of replaced blocks, where the backbone keeps the statistics of its batch norms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


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
