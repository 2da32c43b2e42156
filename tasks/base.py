"""The task contract: data, model, loss, metrics and recipe, handed out as one object."""

from __future__ import annotations

import abc
import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import torch
    from mmengine.model import BaseModel
    from torch import nn

from tasks.errors import UserError
from tasks.metric import Metric
from tasks.registry import Registry

TASKS: Registry[type[Task]] = Registry("task", "TASKS", "tasks", group="depthbench.tasks")


class BatchSource(Protocol):
    """Batches of one split, in an order that depends on the seed and the epoch alone."""

    dataset: Any
    """What mmengine looks at for ``metainfo``; may be None."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, index: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of an epoch from ``start`` on, in the format of ``model.train_step``.

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
    tf32: bool = False
    """Whether a GPU may round the factors of float32 products and convolutions to TF32."""


@dataclass(frozen=True)
class Score:
    """A value of a task's metric with a note, or None with the reason why there is none."""

    value: float | None
    note: str = ""
    diverged: bool = field(default=False, compare=False)
    """Whether there is no value because the outputs for all images are NaN or infinite."""


class Judged(dict[str, "float | Score"]):
    """Metrics of a split, with what came of each image.

    Args:
        metrics: by name.
        outcomes: (N,) uint8 in the order of the split; see :mod:`benchmarks.records.outcomes`.
    """

    def __init__(self, metrics: Mapping[str, float | Score], outcomes: Any) -> None:
        super().__init__(metrics)
        self.outcomes = outcomes


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


def size_of(inputs: Any) -> int:
    """Images (or other samples) in a batch's inputs: a tensor, a list, or a tuple of tensors."""
    return len(inputs[0]) if isinstance(inputs, tuple) else len(inputs)


def not_finite(images: int, of: int) -> str:
    """Why a network has no quality: some of its outputs are no numbers."""
    return f"the outputs for {images} of {of} images are NaN or infinite"


def as_score(found: float | Score) -> Score:
    """What ``evaluate`` gives for a metric, as a score whose value is a finite float or None.

    Args:
        found: a score, a number, or a tensor or an array of one element.

    Raises:
        UserError: it is none of these.
    """
    score = found if isinstance(found, Score) else Score(found)
    if score.value is None:
        return replace(score, note=score.note or "the task gave no value")
    try:
        value = float("text" if isinstance(score.value, str) else score.value)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            f"a task gave {score.value!r} as the value of a metric: give a number, or a Score "
            "without a value and with the reason"
        ) from None
    if not math.isfinite(value):
        return Score(None, score.note or f"measured as {value}")
    return Score(value, score.note)


class _Sealed:
    """What must not read test or training images in this process just now; empty: anything may."""

    test = training = ""


@contextmanager
def sealed_test_split(by: str, training: bool = False) -> Iterator[None]:
    """Refuse to read the test split of any task inside the block.

    Args:
        by: what runs inside, for the message: ``training``.
        training: refuse training batches, too.
    """
    before = _Sealed.test, _Sealed.training
    _Sealed.test, _Sealed.training = by, by if training else before[1]
    try:
        yield
    finally:
        _Sealed.test, _Sealed.training = before


def _guarded(read: Callable[..., Any]) -> Callable[..., Any]:
    """A task's method that takes a split second or as ``split``, refused the test split."""

    @functools.wraps(read)
    def guarded(self: Task, *args: Any, **kwargs: Any) -> Any:
        if _Sealed.test and "test" in (*args, kwargs.get("split")) and not self.val_is_test:
            raise UserError(
                f"the test split of {self.dataset} was read by {_Sealed.test}: it is for the "
                "evaluation after training alone, so choose on the validation split"
            )
        return read(self, *args, **kwargs)

    return guarded


def _guarded_batches(read: Callable[..., Any]) -> Callable[..., Any]:
    """A task's ``batches``, refused where nothing may be trained."""

    @functools.wraps(read)
    def guarded(self: Task, *args: Any, **kwargs: Any) -> Any:
        if _Sealed.training:
            raise UserError(
                f"training images of {self.dataset} were read by {_Sealed.training}: training "
                "belongs into train_step and phases, where it is measured and counts against the "
                "budget; calibration into finish"
            )
        return read(self, *args, **kwargs)

    return guarded


class Task(abc.ABC):
    """One data set, one model family and how they are trained and judged.

    A task is built from the options of a suite file, knows no method, and gives the same model
    interface to all of them: an mmengine ``BaseModel`` whose ``backbone`` attribute is the
    network that methods change.
    """

    family: ClassVar[str]
    """``classification``, ``detection``, ``segmentation``, or another one's name."""
    headline: ClassVar[str]
    """The primary metric: validation selects by it, the way that is better for it."""
    metrics: ClassVar[Mapping[str, Metric | str]] = {}
    """Metrics of :meth:`evaluate` that the project has no entry for, by name:
    ``Metric("", better="higher", title="R²")``."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Modules or distributions whose version can change a number, besides those of every run and
    those that the task's code imports."""
    sources: Sequence[str] = ()
    """Further modules that decide a number, written out as a tuple of dotted names: those that are
    imported by a computed name. All else that the task's code imports is found by reading it."""
    backbone_is_part: ClassVar[bool] = False
    """Whether the model has more than its backbone: then the backbone is costed apart too."""
    fixed_shapes: ClassVar[bool] = False
    """Whether all batches of training have one shape, so that cuDNN may search for its fastest
    kernels."""
    dataset: str
    arch: str
    recipe: Recipe
    val_is_test: bool = False
    """Whether the data set has no test split of its own, so that ``val`` serves as both."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("evaluate", "eval_batches"):
            if name in vars(cls):
                setattr(cls, name, _guarded(vars(cls)[name]))
        if "batches" in vars(cls):
            cls.batches = _guarded_batches(vars(cls)["batches"])  # type: ignore[method-assign]

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
        """Metrics by name (units: ``METRICS`` of ``records/row.py``) on ``val`` or ``test``.

        As :class:`Judged` they come with an outcome for each image, which the run keeps.
        """

    @abc.abstractmethod
    def eval_batches(self, split: str, device: torch.device) -> Iterator[dict[str, Any]]:
        """The batches of ``val`` or ``test`` in their fixed order, not augmented."""

    def eval_size(self, split: str, device: torch.device) -> int:
        """Images in ``val`` or ``test``."""
        return sum(size_of(batch["inputs"]) for batch in self.eval_batches(split, device))

    def eval_images(
        self, split: str, indices: Sequence[int], device: torch.device
    ) -> Iterator[dict[str, Any]]:
        """Some images of ``val`` or ``test``, each a batch as those of :meth:`eval_batches`.

        A task that can read single images need not go through all of them, as this does.

        Args:
            split: ``val`` or ``test``.
            indices: numbers in the order of :meth:`eval_batches`, rising.
            device: where they are wanted.
        """
        wanted = set(indices)
        start = 0
        for batch in self.eval_batches(split, device):
            size = size_of(batch["inputs"])
            for place in range(size):
                if start + place in wanted:
                    yield {key: _cut(part, place) for key, part in batch.items()}
            start += size

    @abc.abstractmethod
    def example_input(
        self, batch_size: int, device: torch.device
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """An input batch for costing, as :meth:`forward` takes it: a tensor, or a tuple of them."""

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


def _cut(part: Any, place: int) -> Any:
    """One sample of a part of a batch, as a batch."""
    if isinstance(part, tuple):
        return tuple(each[place : place + 1] for each in part)
    return part[place : place + 1]


class TaskView:
    """What a method sees of the task in ``setup``: what builds networks, and no images.

    It has the task's ``family``, ``headline``, ``dataset``, ``arch``, ``recipe``,
    ``backbone_is_part``, ``build_model``, ``example_input``, ``forward``, ``infer`` and
    ``train_samples``.

    Args:
        task: the run's.
    """

    _SHOWN = frozenset(
        (
            *("family", "headline", "dataset", "arch", "recipe", "backbone_is_part"),
            *("build_model", "example_input", "forward", "infer", "train_samples"),
        )
    )

    def __init__(self, task: Task) -> None:
        self._task = task

    @property
    def classes(self) -> int | None:
        """The number of classes; None where the task has none."""
        classes = getattr(self._task, "classes", None)
        return classes if classes is None or isinstance(classes, int) else len(classes)

    def __getattr__(self, name: str) -> Any:
        if name in self._SHOWN:
            return getattr(self._task, name)
        if name.startswith("_") or not hasattr(Task, name):
            raise AttributeError(f"a task shows methods no '{name}'")
        raise UserError(
            f"a method has asked its task for '{name}' in setup: a method is shown "
            f"classes, {', '.join(sorted(self._SHOWN))}, and trains on what train_step is given"
        )


def data_folder(data_root: str | None) -> Path:
    """The folder of all data sets: ``data_root``, $DEPTHBENCH_DATA, or ~/.cache/depthbench."""
    root = data_root or os.environ.get("DEPTHBENCH_DATA") or "~/.cache/depthbench"
    return Path(root).expanduser()
