"""Peak memory in its separate kinds, and what the peak of a training step is made of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.meters.nvml import NvmlDevice, NvmlError
from benchmarks.records import Measurement

NO_CUDA = "no CUDA device in this run"


class PeakMemory:
    """Peak allocated, reserved and process memory on CUDA, and peak resident set on the host.

    The maxima are this object's own. Whoever resets CUDA's peak statistics (mmengine's log
    processor does, at each log) loses nothing if ``observe`` is called before.

    Args:
        device: the device of the run.
        nvml: the ``pynvml`` module or a stand-in; None imports it.
        proc: the folder of this process under ``/proc``.
    """

    def __init__(
        self,
        device: torch.device | str,
        nvml: Any = None,
        proc: str | Path = "/proc/self",
    ) -> None:
        self._device = torch.device(device)
        self._proc = Path(proc)
        self._peaks: dict[str, float] = {}
        self._missing: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._retries = 0
        self._retries_before = 0
        self._nvml: NvmlDevice | None = None
        if self._device.type == "cuda":
            try:
                self._nvml = NvmlDevice(self._device, nvml)
            except NvmlError as error:
                self._missing["mem_peak_process"] = f"no NVML device: {error}"

    def start(self) -> None:
        """Reset the system's own marks and begin."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._retries_before = self._cuda_retries()
        if not self._reset_resident():
            self._notes["mem_peak_resident"] = "since the process began: the mark cannot be reset"

    def observe(self) -> None:
        """Take the maxima up to now; cheap enough for every log interval."""
        if self._device.type == "cuda":
            self._raise("mem_peak_allocated", torch.cuda.max_memory_allocated(self._device))
            self._raise("mem_peak_reserved", torch.cuda.max_memory_reserved(self._device))
            self._observe_process()
            self._retries += max(0, self._cuda_retries() - self._retries_before)
            self._retries_before = self._cuda_retries()
        resident = self._resident()
        if resident is not None:
            self._raise("mem_peak_resident", resident)

    def stop(self) -> None:
        """Take the maxima at the end."""
        self.observe()

    def measurements(self) -> list[Measurement]:
        """Bytes of every kind of peak, and the allocator's retries."""
        self.observe()
        cuda = self._device.type == "cuda"
        rows = []
        for metric in ("mem_peak_allocated", "mem_peak_reserved", "mem_peak_process"):
            reason = self._missing.get(metric, "never observed") if cuda else NO_CUDA
            rows.append(self._row(metric, reason))
        rows.append(
            Measurement("mem_alloc_retries", float(self._retries))
            if cuda
            else Measurement("mem_alloc_retries", None, NO_CUDA)
        )
        rows.append(self._row("mem_peak_resident", "this system tells no peak resident set"))
        return rows

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to keep its maxima."""
        self.observe()
        return {"peaks": dict(self._peaks), "retries": self._retries, "notes": dict(self._notes)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the maxima of the run's earlier segments."""
        for metric, value in state["peaks"].items():
            self._raise(metric, value)
        self._retries += state["retries"]
        self._notes = {**state["notes"], **self._notes}

    def _row(self, metric: str, reason: str) -> Measurement:
        if metric in self._peaks:
            return Measurement(metric, self._peaks[metric], self._notes.get(metric, ""))
        return Measurement(metric, None, reason)

    def _raise(self, metric: str, value: float) -> None:
        self._peaks[metric] = max(float(value), self._peaks.get(metric, 0.0))

    def _observe_process(self) -> None:
        if self._nvml is None:
            return
        try:
            self._raise("mem_peak_process", self._nvml.process_memory())
        except NvmlError as error:
            self._missing["mem_peak_process"] = str(error)

    def _cuda_retries(self) -> int:
        return torch.cuda.memory_stats(self._device).get("num_alloc_retries", 0)

    def _reset_resident(self) -> bool:
        try:
            # 5 resets the high-water mark of the resident set (proc(5)).
            (self._proc / "clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def _resident(self) -> int | None:
        """Bytes of the resident set's high-water mark."""
        try:
            for line in (self._proc / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        try:
            import resource
        except ImportError:
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def explain_peak(
    model: nn.Module,
    step: Callable[[], object],
    optimizer: torch.optim.Optimizer,
    peak: PeakMemory | None = None,
) -> list[Measurement]:
    """What a training step holds in memory, in bytes.

    Parameters (with buffers), gradients, optimizer state after the step, and activations: the
    most that was saved for the backward pass at any one time, every storage once, parameters
    left out. On CUDA ``mem_rest`` is the step's own peak less their sum: workspaces, temporary
    tensors, the batch, and what other code holds; it is negative where not all of them are alive
    at the peak.

    Args:
        model: the model that is trained.
        step: runs one real step (forward, backward, optimizer); it changes the model.
        optimizer: the optimizer that the step uses.
        peak: told to observe before the peak statistics of CUDA are reset.
    """
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    gradients: dict[int, int] = {}

    def record(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            gradients[id(parameter)] = parameter.grad.nbytes

    handles = [
        p.register_post_accumulate_grad_hook(record) for p in model.parameters() if p.requires_grad
    ]
    if device.type == "cuda":
        if peak is not None:
            peak.observe()
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    saved = _SavedStorages(tensors)
    try:
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
            step()
    finally:
        for handle in handles:
            handle.remove()
    state = [t for values in optimizer.state.values() for t in values.values()]
    parts = {
        "mem_parameters": _storage_bytes(tensors),
        "mem_gradients": sum(gradients.values()),
        "mem_optimizer": _storage_bytes(t for t in state if isinstance(t, torch.Tensor)),
        "mem_activations": saved.most,
    }
    rows = [Measurement(metric, float(value)) for metric, value in parts.items()]
    if device.type == "cuda":
        rest = torch.cuda.max_memory_allocated(device) - sum(parts.values())
        rows.append(Measurement("mem_rest", float(rest), "of the peak allocated in one step"))
    else:
        rows.append(Measurement("mem_rest", None, f"{NO_CUDA}: no peak allocated to explain"))
    return rows


class _Saved:
    """A tensor that autograd keeps; leaving it takes its storage off the account."""

    def __init__(self, tensor: torch.Tensor, owner: _SavedStorages) -> None:
        self.tensor = tensor
        self._owner = owner
        owner.hold(tensor)

    def __del__(self) -> None:
        self._owner.drop(self.tensor)


class _SavedStorages:
    """Bytes of the storages that autograd holds at once, each counted once."""

    def __init__(self, left_out: Iterable[torch.Tensor]) -> None:
        self._left_out = {t.untyped_storage().data_ptr() for t in left_out}
        self._holders: dict[int, int] = {}
        self._now = 0
        self.most = 0

    def pack(self, tensor: torch.Tensor) -> _Saved:
        return _Saved(tensor, self)

    def unpack(self, saved: _Saved) -> torch.Tensor:
        return saved.tensor

    def hold(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        pointer = storage.data_ptr()
        if pointer in self._left_out:
            return
        if not self._holders.get(pointer):
            self._now += storage.nbytes()
            self.most = max(self.most, self._now)
        self._holders[pointer] = self._holders.get(pointer, 0) + 1

    def drop(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        pointer = storage.data_ptr()
        if pointer in self._left_out:
            return
        self._holders[pointer] -= 1
        if not self._holders[pointer]:
            self._now -= storage.nbytes()


def _storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(
        {
            (t.device, t.untyped_storage().data_ptr()): t.untyped_storage().nbytes()
            for t in tensors
        }.values()
    )
