"""A meter that raises costs its own rows, and the run keeps all the others."""

from __future__ import annotations

import logging

import pytest
import torch
from meters.variant_helpers import built_around, digits, reasons, values
from torch import nn

from benchmarks.engine.costing import variant_costs
from benchmarks.meters.guard import LONGEST, guarded
from benchmarks.records.row import Measurement
from tasks.classification.classifier import Classifier
from tasks.errors import UserError


def raises(error: BaseException):
    def measure():
        raise error

    return measure


def test_any_error_is_a_reason_in_its_own_rows(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "depthbench"):
        found = guarded(("macs", "disk_size"), raises(KeyError("no\n such\tkey")))
    assert found == [
        Measurement(metric, None, "KeyError: 'no\\n such\\tkey'")
        for metric in ("macs", "disk_size")
    ]
    assert caplog.records[0].exc_info[0] is KeyError
    (found,) = guarded(("macs",), raises(ValueError("one\n  two" + "." * 999)))
    assert found.reason.startswith("ValueError: one two...")
    assert len(found.reason) == LONGEST
    (found,) = guarded(("macs",), raises(AssertionError()))
    assert found.reason == "AssertionError"


def test_a_users_error_is_told_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    (found,) = guarded(("macs",), raises(UserError("no count is known")))
    assert found.reason == "no count is known"
    assert not caplog.records


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_an_interrupt_passes(error: BaseException) -> None:
    with pytest.raises(type(error)):
        guarded(("macs",), raises(error))


def test_measurements_pass_through() -> None:
    one = Measurement("macs", 1.0)
    assert guarded(("macs",), lambda: one) == [one]
    assert guarded(("macs",), lambda: (one, one)) == [one, one]


def test_each_meter_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unsaved(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1))

        def state_dict(self, *args, **kwargs):
            raise OSError("no space left")

    built = built_around(digits(), (1, 3))
    rows = variant_costs(built, Classifier(Unsaved(64, 10)))
    missing = {metric for metric, value in values(rows).items() if value is None}
    assert {"params_inference", "weights_bytes", "disk_size"} <= missing
    assert reasons(rows)["disk_size"] == "OSError: no space left"
    assert values(rows)["macs"] == 640
    assert values(rows)["latency@3"] > 0

    class Picky(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) == 3:
                raise RuntimeError("three is too many")
            return super().forward(x.flatten(1))

    rows = variant_costs(built, Classifier(Picky(64, 10)))
    for metric in ("macs", "macs_per_pass", "latency@3", "throughput@3"):
        assert reasons(rows)[metric] == "RuntimeError: three is too many"
    for metric in ("params_inference", "weights_bytes", "macs@fvcore", "latency@1"):
        assert values(rows)[metric] > 0

    def broken(*args, **kwargs):
        raise ZeroDivisionError("a meter of its own")

    monkeypatch.setattr("benchmarks.engine.costing.inference_energy", broken)
    monkeypatch.setattr(type(built.task), "example_input", broken)
    rows = variant_costs(built, Classifier(Unsaved(64, 10)))
    assert reasons(rows)["energy_image@3"] == "ZeroDivisionError: a meter of its own"
    assert {row.reason.split(":")[0] for row in rows if row.value is None} == {
        "OSError",
        "ZeroDivisionError",
    }


def test_a_network_without_parameters_says_where_its_weights_are() -> None:
    class Int8(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("q", torch.ones(10, 64, dtype=torch.int8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) @ self.q.float().T

    rows = variant_costs(built_around(digits()), Classifier(Int8()))
    assert values(rows)["params_inference"] == 0
    assert values(rows)["weights_bytes"] == 640
    assert reasons(rows)["params_inference"] == (
        "640 bytes of weights are stored outside of parameters"
    )
    assert values(rows)["macs"] == 640
    plain = variant_costs(built_around(digits()), digits().build_model())
    assert reasons(plain)["params_inference"] == ""
    assert values(plain)["weights_bytes"] == 4 * values(plain)["params_inference"]
