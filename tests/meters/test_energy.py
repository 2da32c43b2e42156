"""The energy meter against a fake card with a known power curve."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meters.fake_nvml import ARCH_AMPERE, FakeDevice, FakeNvml, VirtualClock

from benchmarks.meters import nvml as nvml_module
from benchmarks.meters.energy import EnergyMeter
from benchmarks.meters.nvml import NvmlDevice, NvmlError

UUID = "GPU-aaaa-1111"


@pytest.fixture(autouse=True)
def no_real_cuda_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml_module, "_cuda_uuid", lambda ordinal: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


class Bench:
    """A meter, its card and its clock; ``run`` lets time pass with samples every 0.1 s."""

    def __init__(self, **card: object) -> None:
        self.clock = VirtualClock()
        self.card = FakeDevice(self.clock, **card)
        self.nvml = FakeNvml(self.card)
        self.meter = self.new_meter()

    def new_meter(self) -> EnergyMeter:
        return EnergyMeter(
            UUID, interval=None, nvml=self.nvml, clock=self.clock, sleep=self.clock.sleep
        )

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now + 0.1 < end:
            self.clock.now += 0.1
            self.meter.sample()
        self.clock.now = end

    def rows(self) -> dict[str, tuple[float | None, str]]:
        return {m.metric: (m.value, m.reason) for m in self.meter.measurements()}


def test_constant_power() -> None:
    bench = Bench()
    with bench.meter.window("train"):
        bench.run(20.0)
    rows = bench.rows()
    assert rows["energy_gpu_counter"][0] == pytest.approx(4000.0, abs=20.0)
    assert rows["energy_gpu_integrated"][0] == pytest.approx(4000.0, rel=1e-6)
    assert rows["energy_gpu_error"][0] == pytest.approx(0.1 * 200.0, rel=0.01)
    assert "differ" not in rows["energy_gpu_counter"][1]
    assert "quantisation" not in rows["energy_gpu_counter"][1]
    assert "not wall power" in rows["energy_gpu_counter"][1]


def test_ramp_is_integrated_by_trapezoids() -> None:
    bench = Bench(power=lambda t: 10.0 * t, energy=lambda t: 5.0 * t * t)
    with bench.meter.window("train"):
        bench.run(12.0)
    rows = bench.rows()
    assert rows["energy_gpu_integrated"][0] == pytest.approx(720.0, rel=1e-3)
    assert rows["energy_gpu_counter"][0] == pytest.approx(720.0, abs=0.1 * 120)


def test_short_windows_carry_their_error_and_shorter_ones_are_refused() -> None:
    bench = Bench()
    with bench.meter.window("train"):
        bench.run(5.0)
    with bench.meter.window("checkpoint"):
        bench.run(0.4)
    rows = bench.rows()
    assert "quantisation error up to 20 J" in rows["energy_gpu_counter"][1]
    for metric in ("energy_gpu_counter", "energy_gpu_integrated", "energy_gpu_error"):
        value, reason = rows[f"{metric}@checkpoint"]
        assert value is None
        assert "too short" in reason


def test_missing_counter_is_missing_and_the_integral_remains() -> None:
    bench = Bench()
    bench.card.has_counter = False
    with bench.meter.window("train"):
        bench.run(10.0)
    rows = bench.rows()
    assert rows["energy_gpu_counter"][0] is None
    assert "not supported" in rows["energy_gpu_counter"][1]
    assert rows["energy_gpu_integrated"][0] == pytest.approx(2000.0)
    assert bench.meter.joules() == {"train": None}
    assert bench.meter.joules(source="integrated")["train"] == pytest.approx(2000.0)


@pytest.mark.parametrize("regained", [0.0, 50_000.0])
def test_counter_reset_is_noticed(regained: float) -> None:
    """Also where the counter has overtaken its old value at the end of the window."""
    bench = Bench()
    with bench.meter.window("train"):
        bench.run(5.0)
        bench.card.offset = -900.0
        bench.run(5.0)
        bench.card.offset += regained
        bench.run(5.0)
    with bench.meter.window("evaluate"):
        bench.run(5.0)
    rows = bench.rows()
    assert rows["energy_gpu_counter"][0] is None
    assert "went backwards" in rows["energy_gpu_counter"][1]
    assert rows["energy_gpu_integrated"][0] == pytest.approx(3000.0)
    assert rows["energy_gpu_counter@evaluate"][0] == pytest.approx(1000.0, abs=20.0)


def test_lost_device_has_no_energy_rather_than_none() -> None:
    bench = Bench()
    with bench.meter.window("train"):
        bench.run(5.0)
        bench.card.lost = True
        bench.run(5.0)
    with bench.meter.window("evaluate"):
        bench.run(5.0)
    rows = bench.rows()
    for condition in ("", "@evaluate"):
        for metric in ("energy_gpu_counter", "energy_gpu_integrated"):
            value, reason = rows[metric + condition]
            assert value is None
            assert "lost" in reason
        assert rows[f"energy_gpu_error{condition}"][0] is None


def test_a_device_that_comes_back_spoils_only_the_window_it_was_lost_in() -> None:
    bench = Bench()
    with bench.meter.window("train"):
        bench.run(5.0)
        bench.card.lost = True
        bench.run(2.0)
        bench.card.lost = False
        bench.run(5.0)
    with bench.meter.window("evaluate"):
        bench.run(5.0)
    joules = bench.meter.joules()
    assert joules["train"] is None
    assert bench.meter.joules(source="integrated")["train"] is None
    assert joules["evaluate"] == pytest.approx(1000.0, abs=20.0)


def test_a_loss_at_a_boundary_spoils_both_sides() -> None:
    bench = Bench()
    with bench.meter.window("train"):
        bench.run(5.0)
        bench.card.lost = True
        bench.run(0.5)
    bench.card.lost = False
    with bench.meter.window("evaluate"):
        bench.run(5.0)
        bench.card.lost = True
    bench.card.lost = False
    bench.run(5.0)
    with bench.meter.window("checkpoint"):
        bench.run(5.0)
    for source in ("counter", "integrated"):
        joules = bench.meter.joules(source=source)
        assert joules["train"] is None
        assert joules["evaluate"] is None
        assert joules["checkpoint"] == pytest.approx(1000.0, abs=20.0)


def test_divergence_is_flagged() -> None:
    bench = Bench()
    bench.card.counter_factor = 1.2
    with bench.meter.window("train"):
        bench.run(20.0)
    assert "differ by 16.7%" in bench.rows()["energy_gpu_counter"][1]
    assert "differ by 16.7%" in bench.rows()["energy_gpu_integrated"][1]


def square(t: float) -> float:
    """Watts: 100 and 300 in turn, 5 s each."""
    return 300.0 if t % 10.0 >= 5.0 else 100.0


def square_joules(t: float) -> float:
    return 2000.0 * (t // 10.0) + 100.0 * (t % 10.0) + 200.0 * max(0.0, t % 10.0 - 5.0)


@pytest.mark.parametrize("counter", [True, False])
def test_energy_over_a_sampling_gap_is_flagged_and_its_error_holds_the_gap(counter: bool) -> None:
    """5 s are missing: the high half of a square wave, between two samples of its low half."""
    bench = Bench(power=square, energy=square_joules)
    bench.card.has_counter = counter
    bench.clock.now += 0.03
    with bench.meter.window("evaluate"):
        bench.run(10.0)
    before = square_joules(bench.card.seconds)
    with bench.meter.window("train"):
        bench.run(4.9)
        bench.clock.now += 5.2
        bench.run(4.9)
    truth = square_joules(bench.card.seconds) - before
    rows = bench.rows()
    wrong = truth - rows["energy_gpu_integrated"][0]
    assert wrong > 0.3 * truth
    assert "power was not sampled for 5.3 s" in rows["energy_gpu_integrated"][1]
    assert "not sampled" not in rows["energy_gpu_counter"][1]
    assert "not sampled" not in rows["energy_gpu_integrated@evaluate"][1]
    error, note = rows["energy_gpu_error"]
    assert wrong < error < 1.3 * wrong
    assert "not sampled for 5.3 s" in note
    assert rows["energy_gpu_error@evaluate"][0] < 30.0
    if counter:
        assert "differ" in rows["energy_gpu_integrated"][1]

    state = json.loads(json.dumps(bench.meter.state_dict()))
    bench.meter = bench.new_meter()
    bench.meter.load_state_dict(state)
    with bench.meter.window("train"):
        pass
    assert bench.rows()["energy_gpu_error"][0] == pytest.approx(error, rel=0.2)


def test_the_usual_intervals_between_samples_are_no_gap() -> None:
    bench = Bench(power=square, energy=square_joules)
    with bench.meter.window("train"):
        bench.run(5.0)
        bench.clock.now += 0.8
        bench.meter.sample()
        bench.run(5.0)
    assert "not sampled" not in bench.rows()["energy_gpu_integrated"][1]


def test_idle_draw_is_beside_the_total() -> None:
    bench = Bench(power=lambda t: 70.0 if t < 3.05 else 300.0)
    assert bench.rows()["energy_idle"][1]
    assert bench.meter.measure_idle(3.0) == pytest.approx(70.0)
    bench.clock.now += 1.0
    with bench.meter.window("train"):
        bench.run(10.0)
    assert bench.rows()["energy_idle"][0] == pytest.approx(700.0)
    assert bench.rows()["energy_gpu_integrated"][0] == pytest.approx(3000.0)


def test_without_idle_sampling_there_is_no_idle_energy() -> None:
    bench = Bench()
    with bench.meter.window("train"):
        bench.run(10.0)
    value, reason = bench.rows()["energy_idle"]
    assert value is None
    assert "not sampled" in reason


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["evaluate", "checkpoint"]), st.floats(0.0, 4.0)), max_size=6
    ),
    st.floats(1.0, 5.0),
)
def test_windows_sum_to_the_whole(inner: list[tuple[str, float]], between: float) -> None:
    bench = Bench(power=lambda t: 100.0 + 20.0 * t, energy=lambda t: 100.0 * t + 10.0 * t * t)
    before, counted_from = bench.clock.now, bench.card.joules()
    with bench.meter.window("train"):
        bench.run(between)
        for name, seconds in inner:
            with bench.meter.window(name):
                bench.run(seconds)
            bench.run(between)
    joules = bench.meter.joules()
    assert sum(joules.values()) == pytest.approx(bench.card.joules() - counted_from, abs=0.01)
    elapsed = bench.clock.now - before
    whole = 100.0 * elapsed + 10.0 * elapsed**2
    quantisation = 2 * 0.1 * bench.card.watts()
    assert sum(joules.values()) == pytest.approx(whole, abs=quantisation)
    integrated = bench.meter.joules(source="integrated")
    assert sum(integrated.values()) == pytest.approx(whole, rel=1e-3)


def test_phases_have_rows_of_their_own() -> None:
    bench = Bench()
    for phase in ("search", "train"):
        bench.meter.phase = phase
        with bench.meter.window("train"):
            bench.run(10.0 if phase == "search" else 20.0)
    assert bench.meter.joules("search")["train"] == pytest.approx(2000.0, abs=20.0)
    assert bench.meter.joules("train")["train"] == pytest.approx(4000.0, abs=20.0)
    assert bench.meter.joules()["train"] == pytest.approx(6000.0, abs=40.0)


def test_a_phase_may_change_inside_a_window() -> None:
    bench = Bench()
    with bench.meter.window("train"):
        bench.run(10.0)
        bench.meter.phase = "fine"
        bench.run(10.0)
    rows = {m.metric: m.value for m in bench.meter.measurements("fine")}
    assert rows["energy_gpu_counter"] == pytest.approx(2000.0, abs=20.0)


def test_resumed_run_adds_on() -> None:
    bench = Bench()
    bench.meter.measure_idle(1.0)
    with bench.meter.window("train"):
        bench.run(10.0)
        state = json.loads(json.dumps(bench.meter.state_dict()))
    bench.clock.now += 1000.0
    bench.meter = bench.new_meter()
    bench.meter.load_state_dict(state)
    with bench.meter.window("train"):
        bench.run(5.0)
    rows = bench.rows()
    assert rows["energy_gpu_counter"][0] == pytest.approx(3000.0, abs=40.0)
    assert rows["energy_gpu_integrated"][0] == pytest.approx(3000.0, rel=1e-3)
    assert rows["energy_idle"][0] == pytest.approx(200.0 * 15)


def test_a_problem_before_the_interruption_is_remembered() -> None:
    bench = Bench()
    bench.card.has_counter = False
    with bench.meter.window("train"):
        bench.run(10.0)
    state = bench.meter.state_dict()
    bench.card.has_counter = True
    bench.meter = bench.new_meter()
    bench.meter.load_state_dict(state)
    with bench.meter.window("train"):
        bench.run(10.0)
    assert bench.rows()["energy_gpu_counter"][0] is None


def test_company_is_flagged() -> None:
    bench = Bench()
    bench.card.processes = {os.getpid(): 2**30, 4242: 2**30}
    with bench.meter.window("train"):
        bench.run(10.0)
    assert "shared with other processes" in bench.rows()["energy_gpu_counter"][1]


def test_facts_for_the_manifest() -> None:
    bench = Bench()
    bench.card.throttle = 4
    bench.meter.start()
    with bench.meter.window("train"):
        bench.run(2.0)
    bench.card.throttle = 0
    bench.meter.stop()
    facts = json.loads(json.dumps(bench.meter.facts()))
    assert facts["start"]["driver"] == "999.01"
    assert facts["start"]["sm_clock_mhz"] == 1700
    assert facts["stop"]["throttle_reasons"] == []
    assert facts["throttle_reasons"] == ["power cap"]
    assert facts["temperature_c_max"] == 55
    assert "power_limit_w" not in facts["start"]


def test_background_thread_samples() -> None:
    card = FakeDevice(time.monotonic)
    meter = EnergyMeter(UUID, interval=0.01, nvml=FakeNvml(card))
    meter.start()
    with meter.window("train"):
        time.sleep(1.1)
    meter.stop()
    rows = {m.metric: m.value for m in meter.measurements()}
    assert rows["energy_gpu_integrated"] == pytest.approx(220.0, rel=0.2)


def test_cpu_run_and_missing_nvml_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = EnergyMeter("cpu").measurements()
    assert {m.reason for m in rows} == {"no CUDA device in this run"}
    assert all(m.value is None for m in rows)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "not installed" in EnergyMeter("cuda:0").measurements()[0].reason
    meter = EnergyMeter("cuda:7", nvml=FakeNvml(FakeDevice(VirtualClock())), interval=None)
    with meter.window("train"):
        pass
    assert "no such device" in meter.measurements()[0].reason


def test_pynvml_is_found_where_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(FakeDevice(clock)))
    meter = EnergyMeter("cuda:0", interval=None, clock=clock)
    with meter.window("train"):
        clock.now += 10.0
    assert meter.joules()["train"] == pytest.approx(2000.0, abs=20.0)


def two_cards() -> FakeNvml:
    clock = VirtualClock()
    return FakeNvml(
        FakeDevice(clock, uuid="GPU-aaaa-1111", name="first"),
        FakeDevice(clock, uuid="GPU-bbbb-2222", name="second"),
    )


@pytest.mark.parametrize(
    ("visible", "ordinal", "name"),
    [
        (None, 0, "first"),
        (None, 1, "second"),
        ("1,0", 0, "second"),
        ("1,0", 1, "first"),
        ("1", 0, "second"),
        ("GPU-bbbb-2222,GPU-aaaa-1111", 0, "second"),
        ("GPU-bb", 0, "second"),
    ],
)
def test_visible_devices_are_mapped(visible: str | None, ordinal: int, name: str) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert NvmlDevice(ordinal, two_cards(), environ).name == name


def test_the_uuid_that_cuda_gives_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA orders devices by speed unless told otherwise, NVML by bus."""
    monkeypatch.setattr(nvml_module, "_cuda_uuid", lambda ordinal: "GPU-bbbb-2222")
    assert NvmlDevice(0, two_cards(), {}).name == "second"


@pytest.mark.parametrize(("visible", "ordinal"), [("", 0), ("1", 1), ("-1", 0), ("x", 0)])
def test_hidden_devices_are_not_measured(visible: str, ordinal: int) -> None:
    with pytest.raises(NvmlError, match="CUDA_VISIBLE_DEVICES"):
        NvmlDevice(ordinal, two_cards(), {"CUDA_VISIBLE_DEVICES": visible})


def test_mig_slice_measures_its_card_and_says_so() -> None:
    nvml = two_cards()
    piece = FakeDevice(VirtualClock(), uuid="MIG-cccc-3333")
    piece.parent = nvml.devices[1]
    nvml.devices.append(piece)
    device = NvmlDevice(0, nvml, {"CUDA_VISIBLE_DEVICES": "MIG-cccc-3333"})
    assert (device.name, device.slice_of) == ("second", "MIG-cccc-3333")
    meter = EnergyMeter("MIG-cccc-3333", interval=None, nvml=nvml, clock=VirtualClock())
    assert any("MIG slice" in note for note in meter.facts()["notes"])


@pytest.mark.parametrize(
    ("instant", "architecture", "name", "note"),
    [
        (True, ARCH_AMPERE, "RTX 3090", "instant power"),
        (False, ARCH_AMPERE, "RTX 3090", "averaged over 1 s"),
        (False, ARCH_AMPERE, "NVIDIA A100-SXM4", "as the driver reports it"),
        (False, 5, "Tesla V100", "as the driver reports it"),
    ],
)
def test_power_method_by_architecture(
    instant: bool, architecture: int, name: str, note: str
) -> None:
    card = FakeDevice(VirtualClock(), name=name)
    card.has_instant, card.architecture = instant, architecture
    device = NvmlDevice(UUID, FakeNvml(card))
    assert note in device.power_note
    assert device.power() == pytest.approx(200.0)


def test_process_memory() -> None:
    card = FakeDevice(VirtualClock())
    device = NvmlDevice(UUID, FakeNvml(card))
    card.processes = {os.getpid(): 3 * 2**20}
    assert device.process_memory() == 3 * 2**20
    card.processes = {1: 3 * 2**20}
    with pytest.raises(NvmlError, match="container"):
        device.process_memory()
    card.processes = {os.getpid(): None}
    with pytest.raises(NvmlError, match="single processes"):
        device.process_memory()


def test_training_joules_are_read_without_asking_the_driver(monkeypatch) -> None:
    bench = Bench()
    assert bench.meter.train_joules() == 0
    with bench.meter.window("train"):
        bench.run(5.0)
        with bench.meter.window("evaluate"):
            bench.run(50.0)
        bench.run(5.0)
        monkeypatch.setattr(bench.nvml, "nvmlDeviceGetTotalEnergyConsumption", None)
        assert bench.meter.train_joules() == pytest.approx(2000.0, abs=60.0)
        assert bench.meter.problem == ""


def test_training_joules_are_missing_where_a_part_is(monkeypatch) -> None:
    bench = Bench()
    bench.card.has_counter = False
    with bench.meter.window("train"):
        bench.run(5.0)
        assert bench.meter.train_joules() is None
    assert "counter cannot be read" in bench.meter.problem
    assert EnergyMeter("cpu").train_joules() is None
