"""SuperWeight's searches where nobody knows the length of a phase beforehand."""

from __future__ import annotations

import pytest
import torch
from engine.training_helpers import save_every_step
from superweight_helpers import (
    CPU,
    EPOCH,
    SEARCHES,
    TWO,
    Interrupted,
    Killed,
    rows,
    session,
)

from benchmarks.meters.session import RunMeters
from benchmarks.meters.train_operations import TrainOperations
from methods.superweight import SuperWeight
from tasks.errors import UserError


def metered_session(folder, method, batches):
    """A session whose budget is the training FLOPs of a number of batches, all alike."""
    plain = SuperWeight(members=method.members, max_params=method.max_params)
    price = session(folder / "price", plain, 1)
    price.meters = RunMeters(CPU, TrainOperations(strict=True))
    price.run()
    run = session(folder / "run", method, None)
    run.meters = RunMeters(CPU, TrainOperations(strict=True))
    run.metered = {"train_flops": batches * price.meters.spent("train_flops")}
    return run


@pytest.mark.parametrize("epochs", [1, None])
def test_coefficients_part_too_where_a_meter_ends_training(tmp_path, epochs):
    method = SuperWeight(**TWO, coefficients="search", beta=1.1, coefficient_epochs=epochs)
    run = metered_session(tmp_path, method, 3 * EPOCH)
    state = run.run()
    assert state.finished[0].batches == 3 * EPOCH
    assert all(found == list(range(len(found))) for found in rows(run.model))


def test_a_search_that_the_meter_cuts_off_says_so(tmp_path):
    method = SuperWeight(**TWO, coefficients="search", coefficient_epochs=2)
    with pytest.raises(UserError, match="ended before the coefficient search"):
        metered_session(tmp_path, method, EPOCH).run()
    method = SuperWeight(**TWO, clusters="search", search_epochs=2)
    with pytest.raises(UserError, match="ends within the cluster search"):
        metered_session(tmp_path, method, EPOCH).run()


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [3, 2 * EPOCH + 2])
def test_resumed_searches_equal_an_uninterrupted_run_where_a_meter_ends_them(
    tmp_path, monkeypatch, stop_at
):
    save_every_step(monkeypatch)
    options = {**SEARCHES, "search_epochs": None, "search_share": 0.5}
    whole = metered_session(tmp_path / "whole", SuperWeight(**options), 3 * EPOCH)
    whole.run()
    cut = Killed(**options).kill_at(stop_at)
    with pytest.raises(Interrupted):
        metered_session(tmp_path / "cut", cut, 3 * EPOCH).run()
    again = metered_session(tmp_path / "cut", SuperWeight(**options), 3 * EPOCH)
    again.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
