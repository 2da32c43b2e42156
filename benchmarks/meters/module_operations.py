"""Counting by the modules that run instead of by operations.

mmcv's counter hooks the modules that it knows; functions that a forward pass calls by itself
(``F.relu``, ``F.interpolate``, the pooling of a feature pyramid, RoIAlign) are none of them. Seen
where PyTorch dispatches, a module's ReLU and a function's are the same operation, so such a
convention needs the modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

ModuleFormula = Callable[[Any, torch.Tensor, torch.Tensor], int]
"""``formula(module, input, output)`` gives what a call of the module costs."""


class ModuleCounter:
    """Add up what the modules of a model cost while it runs.

    Args:
        formulas: by class; a subclass is priced as the first class that it is of.

    Attributes:
        total: what has been counted.
        covered: the multiply-adds that ran inside priced modules.
    """

    def __init__(self, formulas: Mapping[type[nn.Module], ModuleFormula]) -> None:
        self._formulas = formulas
        self._entered: list[int] = []
        self.total = 0
        self.covered = 0

    @contextmanager
    def counting(self, model: nn.Module, executed: Callable[[], int]) -> Iterator[None]:
        """Inside, every call of a module counts; a priced module's parts belong to its price.

        Args:
            model: whose modules count.
            executed: all multiply-adds that ran so far.
        """

        def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._entered.append(executed())

        def leave(
            module: nn.Module, args: Any, kwargs: Any, out: Any, formula: ModuleFormula
        ) -> None:
            before = self._entered.pop()
            if not self._entered:
                inputs = next(iter((*args, *kwargs.values())))
                self.covered += executed() - before
                self.total += formula(module, inputs, out)

        with ExitStack() as scope:
            for module in model.modules():
                formula = self._formula(module)
                if formula is None:
                    continue
                counted = partial(leave, formula=formula)
                scope.callback(module.register_forward_pre_hook(enter).remove)
                scope.callback(module.register_forward_hook(counted, with_kwargs=True).remove)
            yield

    def _formula(self, module: nn.Module) -> ModuleFormula | None:
        return next((f for kind, f in self._formulas.items() if isinstance(module, kind)), None)


def _convolution(module: Any, inputs: torch.Tensor, out: torch.Tensor) -> int:
    positions = out.shape[0] * out.shape[2:].numel()
    return positions * module.weight.numel() + _bias(module, out)


def _transposed_convolution(module: Any, inputs: torch.Tensor, out: torch.Tensor) -> int:
    positions = inputs.shape[0] * inputs.shape[2:].numel()
    return positions * module.weight.numel() + _bias(module, out)


def _bias(module: Any, out: torch.Tensor) -> int:
    return 0 if module.bias is None else out.numel()


def _linear(module: Any, inputs: torch.Tensor, out: torch.Tensor) -> int:
    return inputs.numel() * out.shape[-1]  # its bias is left out, unlike a convolution's


def _norm(module: Any, inputs: torch.Tensor, out: torch.Tensor) -> int:
    return inputs.numel() * (1 if module.weight is None else 2)


def _input(module: Any, inputs: torch.Tensor, out: torch.Tensor) -> int:
    return inputs.numel()


def _output(module: Any, inputs: torch.Tensor, out: torch.Tensor) -> int:
    return out.numel()


_DIMENSIONS = (1, 2, 3)
_NORMS = tuple(
    getattr(nn, f"{kind}Norm{n}d") for kind in ("Batch", "Instance") for n in _DIMENSIONS
)
_POOLING = tuple(
    getattr(nn, f"{kind}Pool{n}d")
    for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg")
    for n in _DIMENSIONS
)

MMCV: dict[type[nn.Module], ModuleFormula] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    nn.ConvTranspose2d: _transposed_convolution,
    nn.Linear: _linear,
    **dict.fromkeys((*_NORMS, nn.GroupNorm, nn.LayerNorm), _norm),
    **dict.fromkeys((nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6), _output),
    **dict.fromkeys(_POOLING, _input),
    nn.Upsample: _output,
}
"""mmcv/cnn/utils/flops_counter.py: the modules that it knows, and what it asks for each."""
