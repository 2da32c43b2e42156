"""Peaks of the right size, and a training step taken apart."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import pytest
import torch
from meters.fake_nvml import FakeDevice, FakeNvml, VirtualClock
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmarks.meters import memory as memory_module
from benchmarks.meters.memory import PeakMemory
from benchmarks.meters.nvml import NvmlDevice
from benchmarks.meters.step_memory import StepMemory

MIB = 2**20


def values(meter: PeakMemory) -> dict[str, float | None]:
    return {m.metric: m.value for m in meter.measurements()}


def test_cpu_run_has_a_resident_peak_and_reasons() -> None:
    meter = PeakMemory("cpu")
    meter.start()
    before = values(meter)["mem_peak_resident"]
    # Pages that are new to the process: an allocator may hand out memory that is resident already.
    with mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    meter.stop()
    rows = {m.metric: m for m in meter.measurements()}
    assert before is not None
    assert 32 * MIB < rows["mem_peak_resident"].value - before < 200 * MIB
    for metric in ("mem_peak_allocated", "mem_peak_reserved", "mem_peak_process"):
        assert rows[metric].value is None
        assert rows[metric].reason == "no CUDA device in this run"


def test_the_mark_is_reset_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "clear_refs").write_text("")
    (tmp_path / "status").write_text("VmPeak:\t 9 kB\nVmHWM:\t   300 kB\n")
    meter = PeakMemory("cpu", proc=tmp_path)
    meter.start()
    assert (tmp_path / "clear_refs").read_text() == "5"
    assert values(meter)["mem_peak_resident"] == 300 * 1024
    (tmp_path / "status").write_text("VmHWM:\t   200 kB\n")
    assert values(meter)["mem_peak_resident"] == 300 * 1024


def test_without_proc_the_peak_is_of_the_whole_process(tmp_path: Path) -> None:
    meter = PeakMemory("cpu", proc=tmp_path / "absent")
    meter.start()
    row = next(m for m in meter.measurements() if m.metric == "mem_peak_resident")
    assert row.value > 50 * MIB
    assert "since the process began" in row.reason


def test_resumed_run_keeps_the_larger_peak(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("VmHWM:\t   900 kB\n")
    state = json.loads(json.dumps(PeakMemory("cpu", proc=tmp_path).state_dict()))
    (tmp_path / "status").write_text("VmHWM:\t   100 kB\n")
    meter = PeakMemory("cpu", proc=tmp_path)
    meter.load_state_dict(state)
    assert values(meter)["mem_peak_resident"] == 900 * 1024


class FakeCuda:
    """The allocator's statistics, which anybody may reset."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allocated = self.peak = 0
        self.retries = 3
        cuda = torch.cuda
        monkeypatch.setattr(cuda, "synchronize", lambda device=None: None)
        monkeypatch.setattr(cuda, "max_memory_allocated", lambda device=None: self.peak)
        monkeypatch.setattr(cuda, "max_memory_reserved", lambda device=None: 2 * self.peak)
        monkeypatch.setattr(cuda, "reset_peak_memory_stats", self.reset)
        monkeypatch.setattr(
            cuda, "memory_stats", lambda device=None: {"num_alloc_retries": self.retries}
        )

    def reset(self, device: object = None) -> None:
        self.peak = self.allocated

    def use(self, size: int) -> None:
        self.allocated = size
        self.peak = max(self.peak, size)


def test_peaks_survive_a_reset_by_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    card = FakeDevice(VirtualClock())
    monkeypatch.setattr(
        memory_module, "NvmlDevice", lambda device, nvml: NvmlDevice("GPU-aaaa-1111", nvml)
    )
    cuda.use(999)
    cuda.use(10)
    meter = PeakMemory("cuda:0", nvml=FakeNvml(card))
    meter.start()
    cuda.use(500)
    cuda.use(100)
    cuda.retries += 2
    meter.observe()
    torch.cuda.reset_peak_memory_stats()
    cuda.use(200)
    meter.stop()
    rows = {m.metric: m for m in meter.measurements()}
    assert rows["mem_peak_allocated"].value == 500
    assert rows["mem_peak_reserved"].value == 1000
    assert rows["mem_alloc_retries"].value == 2
    assert rows["mem_peak_process"].value is None
    assert "NVML does not list this process" in rows["mem_peak_process"].reason


def taken_apart(model, step, optimizer, peak=None) -> dict[str, float | None]:
    memory = StepMemory(peak)
    with memory.watching(model, [optimizer]):
        step()
    return {m.metric: m.value for m in memory.measurements()}


def explained(model: nn.Module, x: torch.Tensor, forward=None) -> dict[str, float | None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        (forward or model)(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return taken_apart(model, step, optimizer)


def test_a_step_taken_apart() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
    x = torch.randn(8, 16)
    parts = explained(model, x)
    weights = 2 * (16 * 16 + 16) * 4
    assert parts["mem_parameters"] == weights
    assert parts["mem_gradients"] == weights
    assert parts["mem_optimizer"] == weights
    # Input, hidden ReLU output (also the second layer's input) and last ReLU output.
    assert parts["mem_activations"] == 3 * x.nbytes
    assert parts["mem_rest"] is None


def test_frozen_and_shared_parameters_have_no_gradient_of_their_own() -> None:
    model = nn.Sequential(nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False))
    model[0].weight.requires_grad_(False)
    parts = explained(model, torch.randn(2, 16))
    assert parts["mem_gradients"] == parts["mem_optimizer"] == 16 * 16 * 4
    model[1].weight = model[0].weight = nn.Parameter(torch.randn(16, 16))
    parts = explained(model, torch.randn(2, 16))
    assert parts["mem_parameters"] == parts["mem_gradients"] == 16 * 16 * 4


def test_checkpointing_saves_activations() -> None:
    model = nn.Sequential(*[nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(6)])
    x = torch.randn(64, 16, requires_grad=True)
    plain = explained(model, x)["mem_activations"]

    def recomputing(value: torch.Tensor) -> torch.Tensor:
        for block in model:
            value = checkpoint(block, value, use_reentrant=True)
        return value

    assert plain == 7 * x.nbytes
    assert explained(model, x, recomputing)["mem_activations"] <= 6 * x.nbytes + 3 * x.nbytes


def test_two_backward_passes_do_not_add_up() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
    x = torch.randn(4, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        for _ in range(2):
            model(x).sum().backward()
        optimizer.step()

    parts = taken_apart(model, step, optimizer)
    assert parts["mem_activations"] == 2 * x.nbytes
    assert parts["mem_optimizer"] == 0


def test_gradients_written_by_hand_are_seen() -> None:
    model = nn.Linear(16, 16, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        with torch.no_grad():
            model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
        optimizer.zero_grad()

    assert taken_apart(model, step, optimizer)["mem_gradients"] == 16 * 16 * 4


def test_an_optimizer_of_the_methods_own_has_its_state_counted() -> None:
    model = nn.Linear(16, 16, bias=False)
    own = torch.optim.Adam(model.parameters())
    given = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        model(torch.randn(2, 16)).sum().backward()
        own.step()

    state = 2 * 16 * 16 * 4 + 4  # two moments and the number of steps
    assert taken_apart(model, step, given)["mem_optimizer"] == state


def test_of_several_steps_the_one_that_holds_most_counts() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    memory = StepMemory()
    for images in (4, 64, 8):
        with memory.watching(model, [optimizer]):
            model(torch.randn(images, 16)).sum().backward()
            optimizer.step()
    assert memory.values["mem_activations"] == 2 * 64 * 16 * 4
    restored = StepMemory()
    restored.load_state_dict(json.loads(json.dumps(memory.state_dict())))
    assert restored.values == memory.values


def test_a_step_under_watch_computes_what_it_does_unwatched() -> None:
    """Double backward, and torch.func, which refuses saved-tensor hooks, go on working."""
    torch.manual_seed(0)
    weight, x = torch.randn(5, 5), torch.randn(3, 5)

    def step() -> torch.Tensor:
        model = nn.Linear(5, 5)
        model.weight = nn.Parameter(weight.clone())
        model.bias.data.zero_()
        first = torch.autograd.grad(model(x).tanh().sum(), model.weight, create_graph=True)[0]
        first.square().sum().backward()
        inner = torch.func.grad(lambda w: (x @ w).sin().sum())(weight)
        return model.weight.grad + inner

    plain = step()
    with StepMemory().watching(nn.Linear(1, 1)):
        watched = step()
    assert torch.equal(plain, watched)


@pytest.mark.gpu
def test_cuda_peak_is_explained() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = nn.Sequential(nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 2048)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(512, 2048, device="cuda")

    def step() -> None:
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    peak = PeakMemory("cuda")
    peak.start()
    rows = taken_apart(model, step, optimizer, peak)
    peak.stop()
    total = sum(rows.values())
    assert values(peak)["mem_peak_allocated"] >= total
    assert rows["mem_parameters"] == 2 * (2048 * 2048 + 2048) * 4
    assert abs(rows["mem_rest"]) < 0.5 * total
