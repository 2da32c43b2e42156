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
    from torch import nn

    from tasks.base import BatchSource, TaskView

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
    carry_optimizer: bool = False
    """Begin with the optimizer of the phase before, its state and its learning rate."""
    network: Callable[[BaseModel], BaseModel] | None = None
    """What is validated in this phase, taken from the model: a teacher that is trained first. By
    default the model itself."""
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


def overrides(method: Method, name: str) -> bool:
    """Whether a method has a member of its own in place of the contract's default."""
    parts: Sequence[Method] = getattr(method, "parts", ())
    if parts:
        return any(overrides(part, name) for part in parts)
    return getattr(type(method), name) is not getattr(Method, name)


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
    families: ClassVar[Sequence[str]] = ()
    """Families of tasks that the method is for (``("classification",)``); empty for all."""
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

    def companions(self, model: BaseModel) -> Mapping[str, nn.Module]:
        """Networks that training needs and deployment does not: a teacher, a running average.

        They are the method's own, made in :meth:`prepare`, and no part of the model. The harness
        moves them to the device, keeps them in checkpoints, counts their parameters in a row of
        their own (``params_companions``), and leaves their modes to the method.

        Args:
            model: the prepared model.
        """
        return {}

    def batches(self, source: BatchSource) -> BatchSource:
        """What is trained on, made from the task's batches: chosen, weighted or reshaped.

        Batches of classification have a tensor ``index``: the numbers of their images in the
        training split. The images that training is given count against the budget.

        Args:
            source: the task's batches. What is returned has the same two members, and the same
                ``index`` of an epoch must give the same batches whatever ran before.
        """
        return source

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

    def finish(self, model: BaseModel, batches: Iterable[dict[str, Any]]) -> None:  # noqa: B027
        """After the last phase and before :meth:`variants`: calibration, recomputed statistics.

        Its time and energy are those of a phase ``finish``. It is called for the last weights and
        for the best ones, and must depend on nothing else.

        Args:
            model: the trained model, in evaluation mode; no gradients are kept.
            batches: one epoch of training batches.
        """

    def structure(self, model: BaseModel) -> Mapping[str, Any] | None:
        """The shapes of a network that changes them while it trains, as JSON could hold them.

        It is stored with all weights. None for a network that keeps the shapes that
        :meth:`prepare` gave it.
        """
        return None

    def restructure(
        self,
        model: BaseModel,
        structure: Mapping[str, Any],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """Give a model the shapes that :meth:`structure` told, in place, before weights are loaded.

        Args:
            model: as :meth:`prepare` left it, or at an earlier structure of the same run.
            structure: to bring it to.
            optimizer: None where the harness calls; a method that calls this while it trains can
                pass the one whose state goes along.
        """
        raise UserError(f"the method {type(self).__name__} has a structure, but no restructure")

    def state_dict(self) -> dict[str, Any]:
        """What the method must remember besides the model: counters, snapshots, hooks' state.

        Tensors, numbers, texts and containers of them. It is in every checkpoint, and
        :meth:`load_state_dict` is given it where a run resumes or is opened again.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take back what :meth:`state_dict` gave, before the hooks of the next phase are made."""

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
