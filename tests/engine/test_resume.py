"""A run that was killed and resumed equals one that was not, bit by bit."""

from __future__ import annotations

import itertools

import pytest
import torch
from engine.training_helpers import Interrupted, save_every_step, session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from methods.base import Method, Phase

STEPS = 46  # two epochs of 20 batches and a part of a third


class Noisy(Method):
    """Draws in every step, as dropout or stochastic depth do, and stops at a step if told to."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.step = itertools.count(1)

    def prepare(self, model):
        return model

    def train_step(self, model, data, optim_wrapper):
        if next(self.step) == self.stop_at:
            raise Interrupted
        noise = 0.1 * torch.randn_like(data["inputs"])
        return super().train_step(model, {**data, "inputs": data["inputs"] + noise}, optim_wrapper)


@pytest.fixture
def every_step(monkeypatch):
    save_every_step(monkeypatch)


def final(run):
    state = run.run()
    curve = [
        {k: v for k, v in point.items() if k not in ("seconds", "joules")} for point in state.curve
    ]
    return run.model.state_dict(), curve, state


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return final(session(tmp_path_factory.mktemp("whole"), Noisy(), STEPS))


@pytest.mark.usefixtures("every_step")
@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stop_at=st.integers(2, STEPS))
def test_resumed_at_any_step_equals_uninterrupted(tmp_path_factory, uninterrupted, stop_at):
    whole, curve, _ = uninterrupted
    folder = tmp_path_factory.mktemp("cut")
    with pytest.raises(Interrupted):
        session(folder, Noisy(stop_at), STEPS).run()
    resumed, resumed_curve, _ = final(session(folder, Noisy(), STEPS))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert resumed_curve == curve


@pytest.mark.usefixtures("every_step")
def test_resumed_run_does_not_repeat_finished_steps(tmp_path):
    with pytest.raises(Interrupted):
        session(tmp_path, Noisy(31), STEPS).run()
    second = Noisy()
    session(tmp_path, second, STEPS).run()
    assert next(second.step) - 1 == STEPS - 30


@pytest.mark.usefixtures("every_step")
def test_time_of_both_segments_is_accounted(tmp_path):
    first = session(tmp_path, Noisy(31), STEPS)
    with pytest.raises(Interrupted):
        first.run()
    second = session(tmp_path, Noisy(), STEPS)
    second.run()
    alone = session(tmp_path / "alone", Noisy(), STEPS)
    alone.run()
    assert second.meters.train_seconds() > 0.5 * alone.meters.train_seconds()


def test_a_finished_phase_is_not_trained_again(tmp_path):
    _, curve, _ = final(session(tmp_path, Noisy(), STEPS))
    again = Noisy(stop_at=1)
    _, curve_again, _ = final(session(tmp_path, again, STEPS))
    assert curve_again == curve


def test_a_checkpoint_that_cannot_be_read_is_set_aside(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "latest.pth").write_bytes(b"cut short")
    state = session(tmp_path, Noisy(), 3).run()
    assert state.finished[0].batches == 3
    assert (folder / "latest.damaged").read_bytes() == b"cut short"


class TwoPhases(Noisy):
    """Warms up, puts the warm-up weights back half way, and fine-tunes."""

    def phases(self, model):
        self.results = [(yield Phase("warm_up", epochs=1, keep=True))]
        kept = {key: value.clone() for key, value in model.state_dict().items()}
        self.results.append((yield Phase("search", share=0.5, stop=lambda curve: True)))
        model.load_state_dict(kept)
        self.results.append((yield Phase("fine_tune", changes={"optimizer": {"lr": 1e-3}})))


@pytest.fixture(scope="module")
def phased(tmp_path_factory):
    return final(session(tmp_path_factory.mktemp("phased"), TwoPhases(), 60))


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("stop_at", [10, 21, 35, 41, 55])
def test_phases_are_replayed_on_resume(tmp_path, phased, stop_at):
    whole, curve, state = phased
    assert [p.name for p in state.finished] == ["warm_up", "search", "fine_tune"]
    assert [p.batches for p in state.finished] == [20, 20, 20]
    with pytest.raises(Interrupted):
        session(tmp_path / "cut", TwoPhases(stop_at), 60).run()
    second = TwoPhases()
    resumed, resumed_curve, _ = final(session(tmp_path / "cut", second, 60))
    assert resumed_curve == curve
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert [result.batches for result in second.results] == [20, 20, 20]


class OwnOptimizers(Method):
    """Steps with optimizers of its own: of all weights, then of the later ones, now and then both.

    Args:
        stop_at: the step before which it is interrupted.
    """

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.step = itertools.count(1)

    def prepare(self, model):
        return model

    def phases(self, model):
        weights = list(model.parameters())
        self.optimizers = [(torch.optim.SGD(weights, lr=0.01), 1)]
        yield Phase("all", share=0.5)
        some = [torch.optim.SGD(part, lr=0.01) for part in (weights[-1:], weights[-2:-1])]
        self.optimizers = list(zip(some, (3, 1), strict=True))
        yield Phase("later")

    def train_step(self, model, data, optim_wrapper):
        number = next(self.step)
        if number == self.stop_at:
            raise Interrupted
        loss, logged = model.parse_losses(model(**model.data_preprocessor(data, True), mode="loss"))
        loss.backward()
        for optimizer, every in self.optimizers:
            if number % every == 0:
                optimizer.step()
        return logged


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("stop_at", [3, 6, 8, 11])
def test_updates_of_a_methods_own_optimizers_add_up_over_a_kill(tmp_path, stop_at):
    """In the resumed process they step for the first time in another order."""
    with pytest.raises(Interrupted):
        session(tmp_path, OwnOptimizers(stop_at), steps=12).run()
    again = OwnOptimizers()
    again.step = itertools.count(stop_at)
    finished = session(tmp_path, again, steps=12).run().finished
    assert [(phase.name, phase.optimizer_steps) for phase in finished] == [("all", 6), ("later", 6)]
