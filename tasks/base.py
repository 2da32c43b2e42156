"""The task contract: data, model, loss, metrics and recipe, handed out as one object."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import torch
    from mmengine.model import BaseModel
    from torch import nn

from tasks.errors import UserError
from tasks.registry import Registry

TASKS: Registry[type[Task]] = Registry("task", "TASKS", "tasks", group="depthbench.tasks")


class BatchSource(Protocol):
    """Batches of one split, in an order that depends on the seed and the epoch alone."""

    dataset: Any
    """What mmengine looks at for ``metainfo``; may be None."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, index: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of an epoch, from batch ``start`` on, as ``model.train_step`` eats them.

        The same index gives the same batches whatever ran before, which is what makes a resumed
        run equal to one that was never interrupted.
        """


@dataclass(frozen=True)
class Recipe:
    """How a model is trained, apart from for how long.

    ``schedule`` holds mmengine parameter scheduler configs whose ``begin``, ``end``, ``T_max`` and
    ``milestones`` are fractions of the budget (0 to 1), so that one recipe serves any budget.
    """

    batch_size: int
    optimizer: dict[str, Any]
    """An mmengine (torch) optimizer config: ``{"type": "SGD", "lr": 0.1, ...}``."""
    schedule: tuple[dict[str, Any], ...] = ()
    paramwise: dict[str, Any] = field(default_factory=dict)
    """mmengine's ``paramwise_cfg`` (``norm_decay_mult``, ``custom_keys``, ...)."""
    clip_grad: dict[str, Any] | None = None
    """mmengine's ``clip_grad``: ``{"max_norm": 1.0}``."""
    accumulate: int = 1
    """Batches whose gradients are summed into one optimizer step."""
    amp: str | None = None
    """None, ``"float16"`` (with loss scaling) or ``"bfloat16"``."""
    channels_last: bool = False
    compile: bool = False


@dataclass(frozen=True)
class Score:
    """A value of a task's metric with a note, or None with the reason why there is none."""

    value: float | None
    note: str = ""


@dataclass(frozen=True)
class Drawing:
    """Which pictures of predictions are wanted, and where."""

    folder: Path
    split: str = "test"
    """``val`` or ``test``."""
    count: int = 6
    """Images, evenly spread over the split and always the same."""
    title: str = ""
    """What predicts, for the captions."""
    min_score: float = 0.3
    """In 0..1; objects that are predicted with no higher score are left out."""


def as_score(value: float | Score) -> Score:
    """A plain value as a score without a note."""
    return value if isinstance(value, Score) else Score(value)


class Task(abc.ABC):
    """One data set, one model family and how they are trained and judged.

    A task is built from the options of a suite file, knows no method, and gives the same model
    interface to all of them: an mmengine ``BaseModel`` whose ``backbone`` attribute is the
    network that methods change.
    """

    family: ClassVar[str]
    """``classification``, ``detection`` or ``segmentation``."""
    headline: ClassVar[str]
    """The metric that validation selects by (higher is better)."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Modules or distributions whose version can change a number, besides those of every run and
    those that the task's code imports."""
    sources: Sequence[str] = ()
    """Further modules that decide a number, written out as a tuple of dotted names: those that are
    imported by a computed name. All else that the task's code imports is found by reading it."""
    backbone_is_part: ClassVar[bool] = False
    """Whether the model has more than its backbone: then the backbone is costed apart too."""
    dataset: str
    arch: str
    recipe: Recipe
    val_is_test: bool = False
    """Whether the data set has no test split of its own, so that ``val`` serves as both."""

    @abc.abstractmethod
    def check(self) -> None:
        """Raise ``UserError`` for anything that would fail later: absent data, a bad root."""

    @abc.abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Checksums and splits of the data: what decides the numbers besides code and options."""

    @abc.abstractmethod
    def build_model(self, arch: Any = None) -> BaseModel:
        """A fresh model on the CPU, drawn from torch's global generator.

        Args:
            arch: another architecture of the family, as a suite writes it; None for the task's.
        """

    @abc.abstractmethod
    def batches(self, batch_size: int, seed: int, device: torch.device) -> BatchSource:
        """The augmented training batches."""

    @abc.abstractmethod
    def evaluate(
        self, model: BaseModel, split: str, device: torch.device
    ) -> Mapping[str, float | Score]:
        """Metrics by name (units as in ``benchmarks.records.METRICS``) on ``val`` or ``test``."""

    @abc.abstractmethod
    def eval_batches(self, split: str, device: torch.device) -> Iterator[dict[str, Any]]:
        """The batches of ``val`` or ``test`` in their fixed order, not augmented."""

    @abc.abstractmethod
    def example_input(self, batch_size: int, device: torch.device) -> torch.Tensor:
        """An input batch for costing, as :meth:`forward` takes it."""

    @abc.abstractmethod
    def train_samples(self) -> int:
        """Images in an epoch of training."""

    def forward(self, model: nn.Module, inputs: torch.Tensor) -> object:
        """The pass whose operations are counted: the network on :meth:`example_input`."""
        return model(inputs, mode="tensor")

    def infer(self, model: nn.Module, inputs: torch.Tensor) -> object:
        """The pass whose latency is measured: a whole inference, post-processing included."""
        return self.forward(model, inputs)

    def draw(self, model: BaseModel, drawing: Drawing, device: torch.device) -> list[Path]:
        """Write pictures of the model's predictions beside the truth and return their files.

        Raises:
            UserError: the task has no pictures.
        """
        raise UserError(f"the task {self.family} has no pictures of its predictions")


def data_folder(data_root: str | None) -> Path:
    """The folder of all data sets: ``data_root``, $DEPTHBENCH_DATA, or ~/.cache/depthbench."""
    root = data_root or os.environ.get("DEPTHBENCH_DATA") or "~/.cache/depthbench"
    return Path(root).expanduser()
