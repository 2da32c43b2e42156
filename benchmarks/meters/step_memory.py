"""What a training step holds in memory, in its separate kinds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._pytree import tree_leaves

from benchmarks.meters.memory import NO_CUDA, PeakMemory
from benchmarks.meters.parameters import parameters
from benchmarks.records.row import Measurement

PARTS = ("mem_parameters", "mem_gradients", "mem_optimizer", "mem_activations")
REST = "mem_rest"


class StepMemory:
    """The bytes that a step of training holds, kind by kind; of several steps the largest.

    ``mem_parameters`` (with buffers), ``mem_gradients`` as the optimizers find them, however they
    came about, ``mem_optimizer`` (state after the step) and ``mem_activations``: the most that
    was saved for the backward pass at any one time, every storage once, parameters left out. On
    CUDA ``mem_rest`` is the step's own peak less their sum: workspaces, temporary tensors, the
    batch, and what other code holds; it is negative where not all of them are alive at the peak.
    A warm-up step, whose workspaces are for search and compilation, counts only where no other was
    taken apart.

    Args:
        peak: the run's peak memory; flushed before CUDA's peak statistics are reset.
    """

    def __init__(self, peak: PeakMemory | None = None) -> None:
        self._peak = peak
        self.values: dict[str, float] = {}
        """Bytes by metric; of the step whose parts are the most together."""
        self.warm_up = True
        """Whether that step was one of warm-up."""
        self.trainable = 0
        """Unique elements that took gradients, in the step with the most of them."""

    @property
    def total(self) -> float:
        """Bytes of all parts together."""
        return sum(self.values.get(part, 0.0) for part in PARTS)

    @contextmanager
    def watching(
        self,
        model: nn.Module,
        optimizers: Iterable[torch.optim.Optimizer] = (),
        warm_up: bool = False,
    ) -> Iterator[None]:
        """Take one step apart: forward, backward and update run inside."""
        tensors = [*model.parameters(), *model.buffers()]
        device = tensors[0].device if tensors else torch.device("cpu")
        gradients = _Gradients(model, optimizers)
        saved = _SavedStorages(tensors)
        if device.type == "cuda":
            if self._peak is not None:
                self._peak.flush()
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        with gradients.followed(), saved.hooked():
            yield
        found = {
            "mem_parameters": storage_bytes(tensors),
            "mem_gradients": gradients.most,
            "mem_activations": saved.most,
        }
        state = gradients.optimizer_state()
        if state or gradients.updated:
            found["mem_optimizer"] = storage_bytes(state)
        total = sum(found.values())
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            found[REST] = torch.cuda.max_memory_allocated(device) - total
        self.trainable = max(self.trainable, parameters(model).trainable)
        if (not warm_up, total) >= (not self.warm_up, self.total):
            self.values = {metric: float(value) for metric, value in found.items()}
            self.warm_up = warm_up

    def measurements(self) -> list[Measurement]:
        """Bytes of each kind; all unavailable where no step was seen."""
        if not self.values:
            reason = "no step of training was taken apart"
            return [Measurement(metric, None, reason) for metric in (*PARTS, REST)]
        rows = [
            Measurement(metric, self.values[metric])
            if metric in self.values
            else Measurement(metric, None, "the step that was taken apart ended without an update")
            for metric in PARTS
        ]
        if REST in self.values:
            which = "the first step, with its warm-up" if self.warm_up else "one step"
            note = f"of the peak allocated in {which}"
            return [*rows, Measurement(REST, self.values[REST], note)]
        return [*rows, Measurement(REST, None, f"{NO_CUDA}: no peak allocated to explain")]

    def state_dict(self) -> dict[str, object]:
        """What a resumed run needs to keep its maxima."""
        return {
            "values": dict(self.values),
            "warm_up": self.warm_up,
            "trainable": self.trainable,
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take over the maxima of the run's earlier segments."""
        vars(self).update(state)


class _Gradients:
    """Bytes of the gradients that optimizers find, and the optimizers that stepped."""

    def __init__(self, model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        self._parameters = list(model.parameters())
        self._optimizers = {id(optimizer): optimizer for optimizer in optimizers}
        self._passing: dict[int, int] = {}
        self._most = 0
        self.updated = False
        """Whether any optimizer has stepped."""

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Look before every update that is made inside, and at the end."""
        with ExitStack() as scope:
            scope.callback(register_optimizer_step_pre_hook(self._before_update).remove)
            for parameter in self._parameters:
                if parameter.requires_grad and parameter.is_leaf:
                    hook = parameter.register_post_accumulate_grad_hook(self._accumulated)
                    scope.callback(hook.remove)
            yield
        self._look()

    @property
    def most(self) -> int:
        """Bytes at most; an update within the backward pass leaves none to be found at its end."""
        return self._most or sum(self._passing.values())

    def optimizer_state(self) -> list[torch.Tensor]:
        """All tensors that the optimizers keep."""
        leaves = tree_leaves([list(o.state.values()) for o in self._optimizers.values()])
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]

    def _before_update(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        self._optimizers[id(optimizer)] = optimizer
        self.updated = True
        self._look()

    def _look(self) -> None:
        held = storage_bytes(p.grad for p in self._parameters if p.grad is not None)
        self._most = max(self._most, held)

    def _accumulated(self, parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            self._passing[id(parameter)] = parameter.grad.nbytes


class _Saved:
    """A tensor that autograd keeps; leaving it takes its storage off the account."""

    def __init__(self, tensor: torch.Tensor, owner: _SavedStorages) -> None:
        self.tensor = tensor.detach()  # without the graph, which would keep itself alive
        self._owner = owner
        self._storage = owner.hold(tensor)

    def __del__(self) -> None:
        self._owner.drop(*self._storage)


class _SavedStorages:
    """Bytes of the storages that autograd holds at once, each counted once."""

    def __init__(self, left_out: Iterable[torch.Tensor]) -> None:
        self._left_out = {_storage_of(tensor)[0] for tensor in left_out}
        self._holders: dict[int, int] = {}
        self._now = 0
        self.most = 0

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Follow what is saved inside.

        The transforms of ``torch.func`` refuse such hooks: what is saved in them is not seen.
        """
        graph = torch.autograd.graph
        refuse = graph.disable_saved_tensors_hooks

        @contextmanager
        def step_aside(message: str) -> Iterator[None]:
            torch._C._autograd._pop_saved_tensors_default_hooks()
            try:
                with refuse(message):
                    yield
            finally:
                torch._C._autograd._push_saved_tensors_default_hooks(self.pack, self.unpack)

        graph.disable_saved_tensors_hooks = step_aside
        try:
            with graph.saved_tensors_hooks(self.pack, self.unpack):
                yield
        finally:
            graph.disable_saved_tensors_hooks = refuse

    def pack(self, tensor: torch.Tensor) -> _Saved:
        return _Saved(tensor, self)

    def unpack(self, saved: _Saved) -> torch.Tensor:
        return saved.tensor

    def hold(self, tensor: torch.Tensor) -> tuple[int, int]:
        pointer, size = _storage_of(tensor)
        if pointer not in self._left_out:
            if not self._holders.get(pointer):
                self._now += size
                self.most = max(self.most, self._now)
            self._holders[pointer] = self._holders.get(pointer, 0) + 1
        return pointer, size

    def drop(self, pointer: int, size: int) -> None:
        if pointer not in self._left_out:
            self._holders[pointer] -= 1
            if not self._holders[pointer]:
                self._now -= size


def _storage_of(tensor: torch.Tensor) -> tuple[int, int]:
    """Address and bytes; an address of its own for a tensor whose storage cannot be reached."""
    try:
        storage = tensor.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    except (NotImplementedError, RuntimeError):  # sparse, wrapped or functional tensors
        return -id(tensor), tensor.numel() * tensor.element_size()


def storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the storages behind some tensors, each once."""
    return sum(
        {
            (str(t.device), address): size
            for t, (address, size) in ((t, _storage_of(t)) for t in tensors)
        }.values()
    )
