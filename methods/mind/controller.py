"""The part of MIND that is not the backbone: what decides, what it needs to know, what it saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from methods.blocks import Block, BlockView
from methods.mind.spectral import BranchNorm

if TYPE_CHECKING:
    from methods.mind import Mind


class Introspection(nn.Module):
    """An MLP of 512 and 128 units from pooled activations to a choice of layers.

    Args:
        features: width of the concatenated pooled activations.
        layers: wrapped blocks L to choose from.
        selection: ``gumbel`` decides about each layer by itself; ``nested`` chooses one of the
            L + 1 sets that hold the first 0, 1, ..., L layers.
        temperature: of the relaxation in training.
    """

    def __init__(self, features: int, layers: int, selection: str, temperature: float) -> None:
        super().__init__()
        choices = layers + (selection == "nested")
        self.mlp = nn.Sequential(
            nn.Linear(features, 512),
            nn.ReLU(),
            nn.Linear(512, 128),
            nn.ReLU(),
            nn.Linear(128, choices),
        )
        self.selection = selection
        self.temperature = temperature

    def forward(self, features: Tensor) -> Tensor:
        """The mask (N, L) of zeros and ones from features (N, C).

        Drawn in training, with the gradient of the relaxed choice (straight-through); the
        likelier choice in evaluation.
        """
        logits = self.mlp(features).float()  # float16 cannot hold the noise
        choose = nested_choice if self.selection == "nested" else gumbel_sigmoid
        return choose(logits, self.temperature, self.training)

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(m.weight.numel() for m in self.mlp if isinstance(m, nn.Linear))


def gumbel_sigmoid(logits: Tensor, temperature: float, draw: bool) -> Tensor:
    """Straight-through choice of each layer: logits (N, L) to a mask (N, L).

    Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax", for two categories.
    """
    if draw:
        uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
        logits = logits + uniform.log() - (-uniform).log1p()
    soft = (logits / temperature).sigmoid()
    hard = (logits > 0).to(soft.dtype)
    return hard + (soft - soft.detach())


def nested_choice(logits: Tensor, temperature: float, draw: bool) -> Tensor:
    """Straight-through choice of one nested set: logits (N, L + 1) to a mask (N, L)."""
    if draw:
        choice = F.gumbel_softmax(logits, temperature, hard=True)
    else:
        choice = F.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)
    # The chosen set holds layer l when its number is above l.
    return choice.flip(1).cumsum(1).flip(1)[:, 1:]


def introspection_loss(
    mask: Tensor,
    iterations: Tensor,
    costs: Tensor,
    weights: Tensor,
    beta: float,
    gamma: float,
    delta: float,
) -> Tensor:
    """``mean(beta * cost + gamma * sum_l w_l m_l + delta * sum_l m_l)`` over the images.

    ``cost = sum_l m_l K_l c_l / sum_l c_l``. Only the mask carries gradient.

    Args:
        mask: m (N, L).
        iterations: K (N, L), steps of each layer.
        costs: c (L,), multiply-adds of one step.
        weights: w (L,).
        beta: weight of the executed cost.
        gamma: weight of the weighted choice.
        delta: weight of the number of chosen layers.
    """
    share = costs / costs.sum()
    cost = (mask * iterations * share).sum(1)
    return (beta * cost + gamma * (mask * weights).sum(1) + delta * mask.sum(1)).mean()


FRESH_ITERATIONS = 30
"""Power iterations where a norm is not known yet; afterwards one follows each training step."""


@dataclass
class Plan:
    """The choice for one batch and, filled in by the blocks, what came of it."""

    mask: Tensor
    """(N, L) of zeros and ones; carries the introspection network's gradient."""
    iterations: Tensor
    """(N, L), float: steps taken; 1 where a block was not chosen."""
    converged: Tensor
    """(N, L), bool: chosen and stood still."""
    steps: Tensor
    """(N, L), float: the same as ``iterations`` for chosen blocks, and in training what others
    would have taken."""


class Outcome(NamedTuple):
    """What the last pass did; (N, L) each, without gradient."""

    chosen: Tensor
    iterations: Tensor
    converged: Tensor


class Pass(NamedTuple):
    """One pass of the backbone over N images."""

    outcome: Outcome
    macs: Tensor
    """(N,), float64: multiply-adds of each image, look-ahead and introspection included."""


class Controller(nn.Module):
    """Chooses the mask of a batch and keeps the norms that make the iterations converge.

    Hangs beside the backbone, so that the backbone's parameters keep their names.

    Args:
        options: the method's options, completed.
        view: the backbone's blocks.
        wrapped: the blocks that can be iterated.
        control: ``spectral``, ``damping`` or ``none``.
    """

    def __init__(
        self, options: Mind, view: BlockView, wrapped: Sequence[Block], control: str
    ) -> None:
        super().__init__()
        self.options, self.damped = options, control == "damping"
        self.wrapped = list(wrapped)
        self.stage_ends = [view.stages[number - 1][-1] for number in _stages(wrapped)]
        self.introspection: Introspection | None = None
        if options.mode == "learned":
            width = sum(block.out_channels for block in self.stage_ends)
            self.introspection = Introspection(
                width, len(wrapped), options.selection, options.temperature
            )
        self.norms = nn.ModuleList(BranchNorm(block) for block in wrapped if control == "spectral")
        self._sigmas: list[Tensor] | None = None
        """The norms with their gradient, while a training step is under way."""
        self.macs: tuple[float, list[float]] | None = None
        """Multiply-adds for one image: of the plain pass, and of each wrapped block."""
        self._counts: dict[tuple[int, ...], tuple[float, list[float]]] = {}
        """The same for each shape of an image that has been seen."""
        self._constants: dict[Any, Tensor] = {}
        self._passes: list[Pass] | None = None
        self.plan: Plan | None = None
        self.wants_loss = False
        self.loss: Tensor | None = None
        self.last: Outcome | None = None

    def choose(self, plain: Callable[[Tensor], Any], x: Tensor) -> Plan | None:
        """The plan for a batch of images x (N, ...); None where nothing is to be iterated."""
        mode, shape = self.options.mode, (len(x), len(self.wrapped))
        if mode == "none":
            return None
        if self.introspection is not None:
            mask = self.introspection(self.features(plain, x))
        elif mode == "fixed":
            mask = torch.ones(shape, device=x.device)
        elif self.training:
            mask = (torch.rand(shape, device=x.device) < self.options.rate).float()
        else:
            mask = (draws_by_image(x, len(self.wrapped)) < self.options.rate).float().to(x.device)
        return Plan(
            mask,
            torch.ones(shape, device=x.device),
            torch.zeros(shape, dtype=torch.bool, device=x.device),
            torch.ones(shape, device=x.device),
        )

    def features(self, plain: Callable[[Tensor], Any], x: Tensor) -> Tensor:
        """Pooled activations (N, C) of the wrapped stages, from a plain pass that leaves no trace.

        The pass runs in evaluation mode, so that training and inference show the same features.
        """
        seen: list[Tensor] = []
        with ExitStack() as stack:
            for block in self.stage_ends:

                def look(
                    module: nn.Module, inputs: Any, out: Tensor, kind: str = block.kind
                ) -> None:
                    seen.append(pooled(out, kind))

                stack.callback(block.module.register_forward_hook(look).remove)
            with torch.no_grad():
                plain(x)
        return torch.cat(seen, 1).float()

    def scale(self, index: int) -> Tensor | float:
        """The factor on the residual branch of wrapped block ``index``, in every pass."""
        if not len(self.norms):
            return 1.0
        sigma = self.norms[index].sigma if self._sigmas is None else self._sigmas[index]
        return (self.options.norm / sigma.clamp_min(1e-12)).clamp(max=1.0)

    @contextmanager
    def following_weights(self) -> Iterator[None]:
        """Norms that are up to date, inside with their gradient.

        In training they follow the weights in every pass, in evaluation only where none is known.
        """
        pairs = list(zip(self.norms, self.wrapped, strict=True)) if len(self.norms) else []
        if self.training or not all(norm.known for norm, _ in pairs):
            sigmas = [
                norm.update(block, 1 if norm.known else FRESH_ITERATIONS) for norm, block in pairs
            ]
            self._sigmas = sigmas if sigmas and self.training else None
        try:
            yield
        finally:
            self._sigmas = None

    @contextmanager
    def watched(self) -> Iterator[list[Pass]]:
        """What the backbone's passes inside do; several, where an image is seen in windows."""
        passes: list[Pass] = []
        self._passes = passes
        try:
            yield passes
        finally:
            self._passes = None

    def finish(self, plan: Plan | None, images: int) -> None:
        """Keep the outcome and, where it is wanted, the introspection loss.

        Args:
            plan: of the pass that ended; None where nothing was to be iterated.
            images: how many there were.
        """
        self.last = None
        if plan is not None:
            self.last = Outcome(plan.mask.detach() > 0.5, plan.iterations, plan.converged)
        if self._passes is not None:
            self._passes.append(self._executed(images))
        if plan is None:
            return
        if self.wants_loss and self.introspection is not None and self.macs is not None:
            costs = self._constant(self.macs[1], plan.mask)
            weights = self.options.layer_weights
            self.loss = self.options.lam * introspection_loss(
                plan.mask,
                plan.steps,
                costs,
                costs / costs.sum() if weights is None else self._constant(weights, plan.mask),
                self.options.beta,
                self.options.gamma,
                self.options.delta,
            )

    def _constant(self, values: Sequence[float], like: Tensor) -> Tensor:
        """Numbers as a tensor beside ``like``, copied there once."""
        key = (tuple(values), like.device, like.dtype)
        if key not in self._constants:
            with torch.inference_mode(False):
                self._constants[key] = like.new_tensor(key[0])
        return self._constants[key]

    def _executed(self, images: int) -> Pass:
        assert self.macs is not None
        plain, blocks = self.macs
        fixed = plain
        if self.introspection is not None:
            fixed = 2 * plain + self.introspection.macs
        if self.last is not None:
            done = Outcome(*(part.cpu() for part in self.last))
        else:
            shape = (images, len(self.wrapped))
            nothing = torch.zeros(shape, dtype=torch.bool)
            done = Outcome(nothing, torch.ones(shape), nothing)
        extra = (done.iterations.double() - 1) @ torch.tensor(blocks, dtype=torch.float64)
        return Pass(done, fixed + extra)

    @torch.no_grad()
    def count(self, plain: Callable[[Tensor], Any], x: Tensor) -> None:
        """Know the multiply-adds of a plain pass and its wrapped blocks for an image of ``x``.

        They are counted on the first image of each shape, out of sight of other counters.
        """
        shape = tuple(x.shape[1:])
        self.macs = self._counts.get(shape)
        if self.macs is not None:
            return
        marks: list[int] = []
        with (
            ExitStack() as stack,
            _disable_current_modes(),
            FlopCounterMode(display=False) as counter,
        ):

            def mark(*_: Any) -> None:
                marks.append(counter.get_total_flops())

            for block in self.wrapped:
                stack.callback(block.module.register_forward_pre_hook(mark).remove)
                stack.callback(block.module.register_forward_hook(mark).remove)
            plain(x[:1])
        pairs = zip(marks[::2], marks[1::2], strict=True)
        # The counter counts a multiply-add as two operations.
        self.macs = self._counts[shape] = (
            counter.get_total_flops() / 2,
            [(after - before) / 2 for before, after in pairs],
        )


def pooled(out: Tensor, kind: str) -> Tensor:
    """Mean over positions: (N, C, H, W), or (N, ..., C) of a transformer, to (N, C)."""
    if kind in ("vit", "swin"):
        return out.detach().flatten(1, -2).mean(1)
    return out.detach().flatten(2).mean(2)


def draws_by_image(x: Tensor, count: int) -> Tensor:
    """Uniform draws (N, count) that depend on each image alone, whatever batch it comes in."""
    bits = x.detach().float().cpu().contiguous().view(torch.int32).flatten(1).long()
    places = torch.arange(1, bits.shape[1] + 1)
    seeds = (bits * places).sum(1) % (2**31)
    rows = [torch.rand(count, generator=torch.Generator().manual_seed(int(s))) for s in seeds]
    return torch.stack(rows)


def _stages(blocks: Sequence[Block]) -> list[int]:
    return sorted({block.stage for block in blocks})
