"""Training through the runner does what a plain PyTorch loop does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from engine.training_helpers import digits, session

from benchmarks.engine.checkpoint import write_checkpoint
from benchmarks.engine.optim import optim_wrapper_config, schedule_in_batches
from benchmarks.engine.snapshot import Snapshot
from benchmarks.engine.state import PhaseState
from methods.base import Method, Phase
from tasks.errors import UserError
from tasks.files.checkpoints import load_plain
from tasks.modules import copy_weights


class Plain(Method):
    changes_nothing = True

    def prepare(self, model):
        return model


def test_equals_a_plain_loop_bit_by_bit(tmp_path):
    run = session(tmp_path, Plain(), 25)
    task = digits()
    torch.manual_seed(0)
    network = task.build_model().backbone.train()
    options = {k: v for k, v in run.recipe.optimizer.items() if k != "type"}
    optimizer = torch.optim.SGD(network.parameters(), **options)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 25)
    source = task.batches(64, 0, torch.device("cpu"))
    batches = [b for epoch in (0, 1) for b in source.epoch(epoch)][:25]
    for batch in batches:
        loss = F.cross_entropy(network(batch["inputs"]), batch["data_samples"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    run.run()
    trained = run.model.backbone.state_dict()
    for key, value in network.state_dict().items():
        # mmengine and torch compute the cosine in different orders of operations.
        torch.testing.assert_close(trained[key], value, rtol=1e-4, atol=1e-5)


def test_learns_digits_and_keeps_the_best_of_validation(tmp_path):
    events = []
    run = session(tmp_path, Plain(), 60, report=events.append)
    state = run.run()
    assert [point["epoch"] for point in state.curve] == [1, 2, 3]
    # 8 seeds each, AVX-512 and AVX2: 0.061 ± 0.005 of the loss, best top-1 98.6 ± 0.5 (min. 97.9).
    assert state.curve[-1]["train_loss"] < 0.5 * state.curve[0]["train_loss"]
    assert state.best_value == max(point["top1"] for point in state.curve) > 80
    assert [e["epoch"] for e in events if e["event"] == "metric"] == [1, 2, 3]


def test_accumulated_batches_make_one_step(tmp_path):
    """Two batches of 32 summed equal one of 64 where no norm depends on the batch."""
    task = digits()
    frozen = {}
    for accumulate in (1, 2):
        run = session(tmp_path / str(accumulate), Plain(), 4 * accumulate, accumulate=accumulate)
        steps = []
        run.task = task
        optimizer_step = torch.optim.SGD.step

        def counted(self, *args, _steps=steps, _step=optimizer_step, **kwargs):
            _steps.append(1)
            return _step(self, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.SGD, "step", counted)
            run.run()
        frozen[accumulate] = len(steps)
    assert frozen == {1: 4, 2: 4}


@pytest.mark.parametrize("recipe", [{"amp": "bfloat16"}, {"channels_last": True}])
def test_trains_under(tmp_path, recipe):
    run = session(tmp_path, Plain(), 40, **recipe)
    state = run.run()
    # 8 seeds each, AVX-512 and AVX2: 0.181 ± 0.010 of the loss.
    assert state.curve[-1]["train_loss"] < 0.5 * state.curve[0]["train_loss"]


def test_autocast_computes_in_bfloat16(tmp_path):
    kinds = set()

    class Spy(Plain):
        def prepare(self, model):
            hook = model.backbone.conv1.register_forward_hook
            hook(lambda module, args, out: kinds.add((module.training, out.dtype)))
            return model

    session(tmp_path, Spy(), 2, amp="bfloat16").run()
    assert (True, torch.bfloat16) in kinds
    assert (False, torch.float32) in kinds


def test_a_loss_that_is_not_finite_fails_the_run(tmp_path):
    run = session(tmp_path, Plain(), 40, optimizer={"type": "SGD", "lr": 1e9})
    with pytest.raises(UserError, match="training loss became"):
        run.run()


def test_schedule_runs_on_fractions_of_the_budget():
    schedule = [
        {"type": "LinearLR", "start_factor": 0.1, "end": 0.1},
        {"type": "CosineAnnealingLR", "begin": 0.1, "T_max": 0.9},
        {"type": "MultiStepLR", "milestones": [0.5, 0.75]},
    ]
    linear, cosine, steps = schedule_in_batches(schedule, 200)
    assert (linear["end"], cosine["begin"], cosine["T_max"]) == (20, 20, 180)
    assert steps["milestones"] == [100, 150]
    assert not any(config["by_epoch"] for config in (linear, cosine, steps))


def test_a_warm_up_of_no_step_is_left_out():
    assert schedule_in_batches([{"type": "LinearLR", "end": 0.01}], 10) == []


def test_a_method_without_decay_meets_an_optimizer_without_decay(tmp_path):
    class Coefficients(Plain):
        paramwise = {"conv1": {"decay_mult": 0.0}}  # noqa: RUF012

    session(tmp_path, Coefficients(), 2, optimizer={"type": "SGD", "lr": 0.01}).run()


def test_float16_needs_a_gpu():
    recipe = digits().recipe
    with pytest.raises(UserError, match="bfloat16"):
        optim_wrapper_config(
            recipe.__class__(8, recipe.optimizer, amp="float16"), {}, torch.device("cpu")
        )


@pytest.mark.parametrize("field", ["batch_size", "channels_last", "compile"])
def test_a_phase_cannot_change_what_is_set_up_once(tmp_path, field):
    class Changing(Plain):
        def phases(self, model):
            yield Phase("fine_tune", changes={field: 1})

    with pytest.raises(UserError, match=f"phase 'fine_tune' changes {field}, .*suite's recipe"):
        session(tmp_path, Changing(), 3).run()


def taken(model):
    return Snapshot(copy_weights(model))


def test_a_validation_without_the_headline_metric_is_never_the_best():
    state, model = PhaseState(), torch.nn.Linear(1, 1)
    for epoch, value in enumerate([None, 3.0, None, 2.0], 1):
        state.add("train", {"epoch": epoch, "box_ap": value}, "box_ap", lambda: taken(model))
    assert (state.best_value, state.best_epoch) == (3.0, 2)
    assert len(state.curve) == 4


def test_kept_weights_that_stayed_the_same_are_held_and_saved_once(tmp_path):
    """A search keeps every depth that it tried: what deeper blocks share is not written again."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
    state = PhaseState()
    sizes = []
    for number in range(4):
        state.begin(f"depth={number}")
        torch.nn.init.constant_(model[0].bias, number)
        state.end(1, keep=taken(model))
        write_checkpoint(tmp_path / "kept.pth", {"kept": state.kept})
        sizes.append((tmp_path / "kept.pth").stat().st_size)
    assert sizes[-1] < sizes[0] + 3 * 4 * 64 * 4
    loaded = load_plain(tmp_path / "kept.pth")["kept"]
    for number in range(4):
        assert (loaded[f"depth={number}"]["0.bias"] == number).all()
        assert torch.equal(loaded[f"depth={number}"]["1.weight"], model[1].weight)
    with torch.no_grad():
        model[1].weight.add_(1)  # what is kept is a copy
    assert torch.equal(loaded["depth=0"]["1.weight"], state.kept["depth=0"]["1.weight"])
