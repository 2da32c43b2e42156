"""All that training moves: weights, the network's structure, companions, the method's own state."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import nn

from methods.base import Method
from tasks.errors import UserError
from tasks.modules import copy_weights


@dataclass(frozen=True)
class Snapshot:
    """Weights on the host, and what they belong to."""

    weights: dict[str, torch.Tensor]
    structure: Any = None
    companions: Mapping[str, dict[str, torch.Tensor]] | None = None


class InTraining:
    """A model in training with what its method keeps beside it.

    Args:
        method: the run's.
        model: as the method has prepared it.
        device: where the run trains; the model is moved there.

    Raises:
        UserError: the method's companions are no networks, or its structure is no JSON.
    """

    def __init__(self, method: Method, model: BaseModel, device: torch.device) -> None:
        self.method, self.model = method, model
        # Shapes that were trained earlier are made from these, however the model has changed since.
        self._prepared = copy.deepcopy(model) if self.structure() is not None else None
        model.to(device)
        self.companions = dict(method.companions(model))
        for name, network in self.companions.items():
            if not isinstance(network, nn.Module):
                raise UserError(
                    f"companions of the method {type(method).__name__} gave {network!r} as "
                    f"'{name}': give networks (nn.Module) by name"
                )
            network.to(device)

    def structure(self) -> Any:
        """The network's structure as JSON gives it back; None where it never changes."""
        found = self.method.structure(self.model)
        try:
            return None if found is None else json.loads(json.dumps(found))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"structure of the method {type(self.method).__name__} is nothing that JSON holds "
                f"({error}): make it of mappings, lists, numbers and texts"
            ) from None

    def reshape(self, structure: Any) -> None:
        """Bring the model to a structure, unless it has it."""
        if structure is not None and structure != self.structure():
            self.method.restructure(self.model, structure)

    def take(self) -> Snapshot:
        """A copy of everything on the host."""
        companions = {name: copy_weights(each) for name, each in self.companions.items()}
        return Snapshot(copy_weights(self.model), self.structure(), companions or None)

    def saved(self) -> dict[str, Any]:
        """What a checkpoint holds besides the model's weights."""
        return {
            "structure": self.structure(),
            "companions": {name: each.state_dict() for name, each in self.companions.items()},
            "method": self.method.state_dict(),
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take over a checkpoint: structure and weights, companions, the method's own state."""
        self.reshape(saved.get("structure"))
        try:
            self.model.load_state_dict(saved["state_dict"])
        except RuntimeError as error:
            if saved.get("structure") is not None:
                raise
            raise UserError(
                "the checkpoint's weights do not fit the prepared network: a method whose network "
                f"changes while it trains must define structure and restructure ({error})"
            ) from error
        self._load_companions(saved.get("companions") or {})
        self.method.load_state_dict(saved.get("method") or {})

    @contextmanager
    def restored(self, snapshot: Snapshot) -> Iterator[BaseModel]:
        """Be what a snapshot holds for a while; gives the model, which may be another object."""
        now = self.take()
        model = self.model
        if snapshot.structure != now.structure and self._prepared is not None:
            model = copy.deepcopy(self._prepared).to(next(self.model.parameters()).device)
            if snapshot.structure is not None:
                self.method.restructure(model, snapshot.structure)
        model.load_state_dict(snapshot.weights)
        self._load_companions(snapshot.companions or {})
        try:
            yield model
        finally:
            if model is self.model:
                model.load_state_dict(now.weights)
            self._load_companions(now.companions or {})

    def _load_companions(self, states: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        for name, state in states.items():
            if name in self.companions:
                self.companions[name].load_state_dict(state)
