"""Several methods on one network: ``methods: [[replacement, checkpointing]]`` in a suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from methods.base import METHODS, Method, Phases, overrides
from tasks.errors import UserError
from tasks.registry import build

if TYPE_CHECKING:
    import torch
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel
    from mmengine.optim import OptimWrapper
    from torch import nn

    from tasks.base import BatchSource, TaskView

ONE = ("train_step", "phases", "variants", "structure")
"""What one part alone may define: two answers could not both hold."""


@METHODS.register("compose")
@dataclass
class Compose(Method):
    """Several methods on one network, prepared in their order.

    Training step, phases, deployable networks and structure are those of the part that defines
    them. Everything else adds up: hooks, companions, metrics, per-parameter settings, state.
    """

    methods: Sequence[str | Mapping[str, Any]]
    """Names, or ``{name: {option: value}}``, in the order in which they prepare."""

    def __post_init__(self) -> None:
        """Build the parts.

        Raises:
            UserError: there are fewer than two, or two define what only one can.
        """
        named = [_named(each) for each in self.methods]
        if len(named) < 2:
            raise UserError("compose needs at least two methods; write a single one by its name")
        self.parts: list[Method] = []  # `overrides` looks at them
        for name, options in named:
            kind, values = METHODS.find(name)
            self.parts.append(build(f"method '{name}'", kind, {**options, **values}))
        self.names = [name for name, _ in named]
        self._of = {member: self._only(member) for member in ONE}
        each = self.parts
        self.paramwise = {k: v for part in each for k, v in part.paramwise.items()}
        self.metrics = {k: v for part in each for k, v in part.metrics.items()}
        self.sources = tuple(dict.fromkeys(s for part in each for s in part.sources))
        self.changes_nothing = all(part.changes_nothing for part in each)
        self.not_compiled = next((p.not_compiled for p in each if p.not_compiled), "")
        families = [set(part.families) for part in each if part.families]
        self.families = sorted(set.intersection(*families)) if families else ()

    def setup(self, task: TaskView) -> None:
        """Of every part."""
        for part in self.parts:
            part.setup(task)

    def prepare(self, model: BaseModel) -> BaseModel:
        """Of every part, in order."""
        for name, part in zip(self.names, self.parts, strict=True):
            try:
                model = part.prepare(model)
            except UserError as error:
                raise UserError(f"compose, at {name}: {error}") from error
        return model

    def companions(self, model: BaseModel) -> Mapping[str, nn.Module]:
        """Of every part, each name with the part's in front."""
        return {
            f"{name}.{key}": network
            for name, part in zip(self.names, self.parts, strict=True)
            for key, network in part.companions(model).items()
        }

    def batches(self, source: BatchSource) -> BatchSource:
        """Of every part, each on what the one before has made."""
        for part in self.parts:
            source = part.batches(source)
        return source

    def train_step(
        self, model: BaseModel, data: dict[str, Any], optim_wrapper: OptimWrapper
    ) -> dict[str, torch.Tensor]:
        """Of the part that defines it."""
        return self._of["train_step"].train_step(model, data, optim_wrapper)

    def phases(self, model: BaseModel) -> Phases:
        """Of the part that defines them."""
        return self._of["phases"].phases(model)

    def hooks(self) -> Sequence[Hook]:
        """Of every part."""
        return [hook for part in self.parts for hook in part.hooks()]

    def finish(self, model: BaseModel, batches: Iterable[dict[str, Any]]) -> None:
        """Of every part that has one; all see the same batches."""
        finishing = [part for part in self.parts if overrides(part, "finish")]
        kept = list(batches) if len(finishing) > 1 else batches
        for part in finishing:
            part.finish(model, kept)

    def structure(self, model: BaseModel) -> Mapping[str, Any] | None:
        """Of the part that defines it."""
        return self._of["structure"].structure(model)

    def restructure(
        self,
        model: BaseModel,
        structure: Mapping[str, Any],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """Of the part that defines ``structure``."""
        self._of["structure"].restructure(model, structure, optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Of every part, by its place."""
        return {str(place): part.state_dict() for place, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of every part."""
        for place, part in enumerate(self.parts):
            part.load_state_dict(state.get(str(place), {}))

    def variants(self, model: BaseModel) -> Mapping[str, BaseModel]:
        """Of the part that defines them."""
        return self._of["variants"].variants(model)

    def remark(self, variant: str) -> str:
        """Of every part, in a row."""
        return ", ".join(filter(None, (part.remark(variant) for part in self.parts)))

    def analyse(
        self, variant: str, model: BaseModel, batches: Iterable[dict[str, Any]]
    ) -> Mapping[str, float]:
        """Of every part that has metrics."""
        analysing = [part for part in self.parts if overrides(part, "analyse")]
        kept = list(batches) if len(analysing) > 1 else batches
        return {k: v for part in analysing for k, v in part.analyse(variant, model, kept).items()}

    def _only(self, member: str) -> Method:
        """The one part that defines a member; the first where none does."""
        defining = [n for n, part in enumerate(self.parts) if overrides(part, member)]
        if len(defining) > 1:
            names = " and ".join(self.names[number] for number in defining)
            raise UserError(
                f"{names} cannot be composed: both define {member}, and only one can hold"
            )
        return self.parts[defining[0]] if defining else self.parts[0]


def _named(each: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(each, str):
        return each, {}
    if isinstance(each, Mapping) and len(each) == 1:
        ((name, options),) = each.items()
        if options is None or isinstance(options, Mapping):
            return str(name), dict(options or {})
    raise UserError(f"a method of compose is a name or 'name: {{option: value}}', got {each!r}")
