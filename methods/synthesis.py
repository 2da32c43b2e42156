"""Layers whose parameters are made from other tensors whenever they are used.

A synthesised layer keeps its class's behaviour (convolution, linear, attention); only its weight
tensors are properties instead of parameters. Its recipes hold what they are made of by plain
reference, so that ``parameters()`` and ``state_dict()`` list nothing twice, and copying or
pickling a whole model keeps the references inside the copy.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Recipe(abc.ABC):
    """How one tensor is made, and its value between changes of what it is made of.

    In evaluation without gradients the tensor is made once and kept until an ingredient changes
    (another tensor, other storage, or an in-place edit that torch counts). Edits through
    ``.data`` are not counted by torch; they are seen after the next ``train()`` or ``eval()``.
    """

    _kept: tuple[list[Tensor], list[tuple[int, int]], Tensor] | None = None

    @abc.abstractmethod
    def ingredients(self) -> list[Tensor]:
        """The tensors that decide the result, as they are now."""

    @abc.abstractmethod
    def compose(self) -> Tensor:
        """Make the tensor; differentiable."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def tensor(self, training: bool) -> Tensor:
        """The tensor for a forward pass: kept in evaluation without gradients, else made anew."""
        if training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.compose()
        made_of = self.ingredients()
        if any(type(t) not in (Tensor, nn.Parameter) or t.is_inference() for t in made_of):
            return self.compose()  # nothing to tell an edit by
        stamps = [(t.data_ptr(), t._version) for t in made_of]
        if self._kept is None or self._kept[1] != stamps:
            with torch.inference_mode(False), torch.no_grad():
                # Holding the ingredients' memory keeps their addresses from being used again.
                self._kept = ([t.detach() for t in made_of], stamps, self.compose())
        return self._kept[2]

    def forget(self) -> None:
        """Drop the kept tensor."""
        self._kept = None


class SynthesisedLayer(nn.Module):
    """Mixin of the classes that :func:`synthesise` makes."""

    recipes: Mapping[str, Recipe]
    _plain: type[nn.Module]
    _names: tuple[str, ...]

    def train(self, mode: bool = True) -> SynthesisedLayer:
        """Switch mode, and forget the tensors made so far."""
        for recipe in self.recipes.values():
            recipe.forget()
        return super().train(mode)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The class is made on the fly, so pickle and deepcopy must make it again.
        _, _, *state = super().__reduce_ex__(protocol)
        return (_blank, (self._plain, self._names), *state)


def synthesise(layer: nn.Module, recipes: Mapping[str, Recipe]) -> None:
    """Turn ``layer`` in place into one whose parameters ``recipes`` are made, not stored."""
    for name in recipes:
        del layer._parameters[name]
    layer.recipes = recipes
    layer.__class__ = _class(type(layer), tuple(recipes))  # type: ignore[arg-type]


def fold(layer: SynthesisedLayer) -> None:
    """Turn a synthesised layer in place back into a plain one that owns its present weights."""
    values = {name: recipe.compose().detach().clone() for name, recipe in layer.recipes.items()}
    del layer.recipes
    layer.__class__ = layer._plain
    for name, value in values.items():
        layer.register_parameter(name, nn.Parameter(value))


@functools.cache
def _class(plain: type[nn.Module], names: tuple[str, ...]) -> type[SynthesisedLayer]:
    body: dict[str, Any] = {name: _property(name) for name in names}
    body |= {"_plain": plain, "_names": names, "__module__": __name__}
    return type(f"Synthesised{plain.__name__}", (SynthesisedLayer, plain), body)


def _property(name: str) -> property:
    def get(self: SynthesisedLayer) -> Tensor:
        return self.recipes[name].tensor(self.training)

    return property(get, doc=f"``{name}``, made by its recipe.")


def _blank(plain: type[nn.Module], names: tuple[str, ...]) -> SynthesisedLayer:
    """An empty instance for pickle and deepcopy to fill."""
    kind = _class(plain, names)  # type: ignore[arg-type]
    return kind.__new__(kind)
