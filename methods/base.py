"""The method contract: ``prepare``, and what a method may add to it.

A method is a small class, usually a dataclass whose fields are its options::

    @METHODS.register("half_depth")
    @dataclass
    class HalfDepth(Method):
        \"\"\"Every second shape-preserving block removed.\"\"\"

        def prepare(self, model):
            view = block_view(model)
            ...
            return model

Everything else has a default: the training step is the model's own, there is one phase, and the
one deployable network is the model as trained.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.errors import UserError
from tasks.metric import Metric
from tasks.registry import Registry

if TYPE_CHECKING:
    import torch
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel
    from mmengine.optim import OptimWrapper

    from tasks.base import TaskView

METHODS: Registry[type[Method]] = Registry(
    "method", "METHODS", "methods", group="depthbench.methods"
)


@dataclass(frozen=True)
class PhaseResult:
    """What a phase left behind.

    ``batches`` counts the phase's batches, ``samples`` the images in them, ``optimizer_steps`` the
    optimizer steps really made; ``curve`` holds one mapping per validation: ``epoch``, ``batch``
    and the task's metrics.
    """

    name: str
    batches: int
    curve: tuple[Mapping[str, float], ...] = ()
    samples: int = 0
    optimizer_steps: int = 0


@dataclass(frozen=True)
class Phase:
    """One stretch of training with its own optimizer and schedule.

    Each phase has its own rows for time and energy. ``share`` is the fraction of the run's budget
    that the phase may spend; ``epochs`` is a number of epochs instead, still counted
    against the budget.

    Where a meter ends the phase (seconds, joules, training FLOPs) its length is not known in
    advance: a hook that needs it reads ``runner.train_loop.expected_iters``, a forecast that
    improves, and not ``max_iters``.
    """

    name: str = "train"
    share: float = 1.0
    epochs: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the recipe for this phase, as a suite file writes them:
    ``{"optimizer": {"lr": 0.001}, "schedule": []}``. What is set up once for the whole run cannot
    be among them: ``batch_size``, ``channels_last``, ``compile`` and ``tf32``."""
    stop: Callable[[Sequence[Mapping[str, float]]], bool] | None = None
    """Called after each validation with the phase's curve so far; True ends the phase."""
    keep: bool = False
    """Keep the weights at the end of the phase, so that a resumed run sees them again."""
    keep_optimizer: bool = False
    """Keep the optimizer at the end of the phase, for a next one that goes on with it."""
    go_on: bool = False
    """Begin with the optimizer, its state and its learning rate, that the phase before has kept."""
    hooks: Sequence[Hook] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UserError(
                f"phase '{self.name}' has a share of {self.share}: give a fraction from 0 to 1"
            )
        if self.epochs is not None and not 0 <= self.epochs < math.inf:
            raise UserError(
                f"phase '{self.name}' has {self.epochs} epochs: give a number of at least 0"
            )


Phases = Generator[Phase, PhaseResult, None]


@dataclass(frozen=True)
class Trial:
    """A short training that shows what a method does: its options, and its length."""

    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    """None takes the epochs that the kit has for the family."""


class Method(abc.ABC):
    """What is done to a model so that it trains or runs with less."""

    paramwise: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    """Substrings of parameter names to mmengine's per-parameter settings
    (``{"fusion": {"decay_mult": 0.0}}``)."""
    metrics: ClassVar[Mapping[str, Metric | str]] = {}
    """The metrics that :meth:`analyse` adds, by name: ``Metric("%", better="lower")``, or a unit
    alone where neither way is better (``{"gates_open": "%"}``)."""
    changes_nothing: ClassVar[bool] = False
    """True for a baseline that leaves the model as it is: silences the no-effect warning."""
    not_compiled: str = ""
    """Why ``torch.compile`` cannot be used, as the end of a sentence; empty where it can."""
    tried_with: ClassVar[Mapping[str, Trial]] = {}
    """How ``depthbench check`` tries the method, by task family, where the defaults of the method
    and of the kit do not suit."""
    sources: ClassVar[Sequence[str]] = ()
    """Further modules that decide a number, written out as a tuple of dotted names.

    The id of a run covers what can be found by reading imports: the package of the class and of
    its bases, what they import, and registered methods that they name. A module that is imported
    by a computed name is not found, and is named here; its whole package counts."""

    def setup(self, task: TaskView) -> None:  # noqa: B027 - optional on purpose
        """Meet the task before ``prepare``: for methods that build further models.

        An ensemble builds its members with ``task.build_model(arch)``; most need nothing. The view
        has no images: those of training come to :meth:`train_step`, those of the test split are
        read after training alone.
        """

    @abc.abstractmethod
    def prepare(self, model: BaseModel) -> BaseModel:
        """Change the model before training (in place or not) and return it.

        Raises:
            UserError: the method has no meaning for this model.
        """

    def train_step(
        self, model: BaseModel, data: dict[str, Any], optim_wrapper: OptimWrapper
    ) -> dict[str, torch.Tensor]:
        """One batch: forward, backward, optimizer step; returns the losses to log."""
        return model.train_step(data, optim_wrapper=optim_wrapper)

    def phases(self, model: BaseModel) -> Phases:
        """Yield the phases of training; each ``yield`` returns the phase's result.

        The generator may change the model between phases. On resume it is run again from the
        start with the recorded results, so it must depend on nothing else.
        """
        yield Phase()

    def hooks(self) -> Sequence[Hook]:
        """Hooks of mmengine that run in every phase."""
        return ()

    def variants(self, model: BaseModel) -> Mapping[str, BaseModel]:
        """The deployable networks by name; each is evaluated and costed as rows of its own."""
        return {"full": model}

    def remark(self, variant: str) -> str:
        """What a reader must know of a deployable network's quality; empty for nothing.

        It stands in the reason of the rows and below the tables: a search that the budget ended,
        say. One sentence without a semicolon.
        """
        return ""

    def analyse(
        self, variant: str, model: BaseModel, batches: Iterable[dict[str, Any]]
    ) -> Mapping[str, float]:
        """Metrics of the method's own for one deployable network on the test set.

        Args:
            variant: its name in :meth:`variants`.
            model: the network, in evaluation mode.
            batches: test batches in the format that ``model.train_step`` takes.

        Returns:
            Values by metric name (``diversity``, ``top1@hard``); those that the harness does not
            know take their unit from ``metrics``.
        """
        return {}
