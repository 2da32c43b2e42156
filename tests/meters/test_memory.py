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
from benchmarks.meters.nvml import NvmlDevice, NvmlError
from benchmarks.meters.step_memory import StepMemory

MIB = 2**20


def values(meter: PeakMemory, phase: str = "train") -> dict[str, float | None]:
    return {m.metric: m.value for m in meter.measurements(phase)}


def test_cpu_run_has_a_resident_peak_and_reasons() -> None:
    meter = PeakMemory("cpu")
    meter.start()
    meter.open("train")
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


def test_each_window_has_a_mark_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "clear_refs").write_text("")

    def mark(kilobytes: int) -> None:
        (tmp_path / "status").write_text(f"VmPeak:\t 9 kB\nVmHWM:\t   {kilobytes} kB\n")

    mark(100)
    meter = PeakMemory("cpu", proc=tmp_path)
    meter.start()
    assert (tmp_path / "clear_refs").read_text() == "5"
    for window, kilobytes in (("first_step", 900), ("train", 300), ("evaluate", 800)):
        with meter.window(window):
            mark(kilobytes)
    with meter.window("train"):
        mark(200)
    assert values(meter)["mem_peak_resident"] == 300 * 1024
    meter.phase = "tune"
    assert values(meter, "tune")["mem_peak_resident"] is None
    with meter.window("first_step"):
        mark(250)
    (row,) = (m for m in meter.measurements("tune") if m.metric == "mem_peak_resident")
    assert (row.value, row.reason) == (250 * 1024, "of the first step, with its warm-up")
    with meter.window("train"), meter.window("counted"):
        mark(260)
    assert values(meter, "tune")["mem_peak_resident"] == 260 * 1024
    assert values(meter)["mem_peak_resident"] == 300 * 1024


def test_without_proc_the_peak_is_of_the_whole_process(tmp_path: Path) -> None:
    meter = PeakMemory("cpu", proc=tmp_path / "absent")
    meter.start()
    meter.open("train")
    row = next(m for m in meter.measurements() if m.metric == "mem_peak_resident")
    assert row.value > 50 * MIB
    assert "since the process began" in row.reason


def test_resumed_run_keeps_the_larger_peak(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("VmHWM:\t   900 kB\n")
    killed = PeakMemory("cpu", proc=tmp_path)
    killed.open("train")
    state = json.loads(json.dumps(killed.state_dict()))
    (tmp_path / "status").write_text("VmHWM:\t   100 kB\n")
    meter = PeakMemory("cpu", proc=tmp_path)
    meter.load_state_dict(state)
    with meter.window("train"):
        pass
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
    meter.open("train")
    cuda.use(500)
    cuda.use(100)
    cuda.retries += 2
    meter.flush()
    torch.cuda.reset_peak_memory_stats()
    cuda.use(200)
    meter.close()
    rows = {m.metric: m for m in meter.measurements()}
    assert rows["mem_peak_allocated"].value == 500
    assert rows["mem_peak_reserved"].value == 1000
    assert rows["mem_alloc_retries"].value == 2
    assert rows["mem_peak_process"].value is None
    assert "NVML does not list this process" in rows["mem_peak_process"].reason


def test_what_is_no_training_takes_no_part_in_the_peak_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    monkeypatch.setattr(memory_module, "NvmlDevice", _no_nvml)
    meter = PeakMemory("cuda:0")
    meter.start()
    with meter.window("first_step"):
        cuda.use(700)  # cuDNN's search
        cuda.use(50)
    with meter.window("train"):
        cuda.use(300)
        cuda.retries += 1
        with meter.window("evaluate"):
            cuda.use(600)
            cuda.use(50)
            cuda.retries += 5
        cuda.use(250)
    with meter.window("evaluate"):
        cuda.use(900)  # deployable networks
    found = values(meter)
    assert (found["mem_peak_allocated"], found["mem_alloc_retries"]) == (300, 1)


def _no_nvml(*_: object) -> NvmlDevice:
    raise NvmlError("none here")


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


def test_a_step_of_warm_up_stands_only_for_want_of_another() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    memory = StepMemory()
    for images, warm_up in ((64, True), (4, False), (32, True), (8, False)):
        with memory.watching(model, [optimizer], warm_up):
            model(torch.randn(images, 16)).sum().backward()
            optimizer.step()
    assert memory.values["mem_activations"] == 2 * 8 * 16 * 4
    assert not memory.warm_up


def test_the_state_of_an_optimizer_that_has_not_stepped_is_unknown() -> None:
    """A float16 scaler leaves out the first updates; with accumulation not every batch has one."""
    model = nn.Linear(16, 16)
    adam = torch.optim.Adam(model.parameters())
    memory = StepMemory()
    with memory.watching(model, [adam]):
        model(torch.randn(2, 16)).sum().backward()
    row = next(m for m in memory.measurements() if m.metric == "mem_optimizer")
    assert (row.value, row.reason) == (
        None, "the step that was taken apart ended without an update",
    )  # fmt: skip
    with memory.watching(model, [adam]):
        model(torch.randn(2, 16)).sum().backward()
        adam.step()
    assert memory.values["mem_optimizer"] > 2 * 16 * 16 * 4


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

    step()  # cuBLAS keeps a workspace from its first product on
    peak = PeakMemory("cuda")
    peak.start()
    with peak.window("train"):
        rows = taken_apart(model, step, optimizer, peak)
    total = sum(rows.values())
    assert values(peak)["mem_peak_allocated"] >= total
    assert rows["mem_parameters"] == 2 * (2048 * 2048 + 2048) * 4
    assert abs(rows["mem_rest"]) < 0.5 * total
