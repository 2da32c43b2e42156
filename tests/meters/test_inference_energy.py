"""Joules of an image at inference, on a card and packages of known draw."""

from __future__ import annotations

import pytest
import torch
from meters.fake_nvml import FakeDevice, FakeNvml, VirtualClock
from torch import nn

from benchmarks.meters import nvml as nvml_module
from benchmarks.meters.energy import EnergyMeter
from benchmarks.meters.inference_energy import inference_energy

UUID = "GPU-aaaa-1111"


def measure(monkeypatch: pytest.MonkeyPatch, seconds_of_batch: float, real: bool = False):
    monkeypatch.setattr(nvml_module, "_cuda_uuid", lambda ordinal: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    clock = VirtualClock()
    device = FakeDevice(clock)
    meter = EnergyMeter(UUID, interval=None, nvml=FakeNvml(device), clock=clock, sleep=clock.sleep)
    model = nn.Identity().train()

    def run(network: nn.Module, inputs: torch.Tensor) -> None:
        assert not network.training
        clock.sleep(seconds_of_batch * (1 + float(inputs[0])))

    def examples(size: int):
        return [torch.full((size, 1), v) for v in (0.0, 2.0)] if real else torch.zeros(size, 1)

    found = inference_energy(model, examples, 8, torch.device("cpu"), run, meter=meter, clock=clock)
    assert model.training
    return found


def test_energy_of_an_image_is_the_draw_times_its_time(monkeypatch):
    found = measure(monkeypatch, 0.01)
    assert found.metric == "energy_image@8"
    assert found.value == pytest.approx(200.0 * 0.01 / 8, rel=0.05)
    assert "quantisation error" in found.reason


def test_batches_of_real_images_take_turns(monkeypatch):
    found = measure(monkeypatch, 0.01, real=True)
    assert found.value == pytest.approx(200.0 * 0.01 * 2 / 8, rel=0.05)
    assert "2 batches of test images in turn, as the work depends on the image" in found.reason


def test_a_slow_batch_is_run_once_where_that_is_long_enough(monkeypatch):
    found = measure(monkeypatch, 4.0)
    assert found.value == pytest.approx(200.0 * 4.0 / 8, rel=0.05)
    assert found.reason.startswith("8 images in 4 s")


def test_without_a_meter_nothing_is_run():
    def run(network: nn.Module, inputs: torch.Tensor) -> None:
        raise AssertionError("the model was run")

    meter = EnergyMeter("cpu")
    found = inference_energy(
        nn.Identity(), lambda n: torch.zeros(n, 1), 8, torch.device("cpu"), run, meter=meter
    )
    assert (found.value, found.reason) == (None, "no CUDA device in this run")
