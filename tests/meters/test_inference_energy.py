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


def measure(monkeypatch: pytest.MonkeyPatch, seconds_of_batch: float):
    monkeypatch.setattr(nvml_module, "_cuda_uuid", lambda ordinal: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    clock = VirtualClock()
    device = FakeDevice(clock)
    meter = EnergyMeter(UUID, interval=None, nvml=FakeNvml(device), clock=clock, sleep=clock.sleep)
    model = nn.Identity().train()

    def run(network: nn.Module, inputs: torch.Tensor) -> None:
        assert not network.training
        clock.sleep(seconds_of_batch)

    found = inference_energy(
        model, lambda n: torch.zeros(n, 1), 8, torch.device("cpu"), run, meter=meter, clock=clock
    )
    assert model.training
    return found


def test_energy_of_an_image_is_the_draw_times_its_time(monkeypatch):
    found = measure(monkeypatch, 0.01)
    assert found.metric == "energy_image@8"
    assert found.value == pytest.approx(200.0 * 0.01 / 8, rel=0.05)
    assert "quantisation error" in found.reason


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
