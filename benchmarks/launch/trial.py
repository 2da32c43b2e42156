"""Try a run before it starts: what would be refused later is refused now, and a step is timed."""

from __future__ import annotations

import itertools
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from mmengine.optim import build_optim_wrapper

from benchmarks.budget import Budget
from benchmarks.engine.building import Built, prepared_model
from benchmarks.engine.optim import optim_wrapper_config
from benchmarks.engine.snapshot import InTraining
from benchmarks.meters.operations import OperationCounter
from benchmarks.meters.session import no_joules
from benchmarks.meters.step_ledger import StepLedger
from tasks.base import BatchSource, sealed_test_split
from tasks.crash import describe
from tasks.errors import UserError


@dataclass(frozen=True)
class Trial:
    """What one batch of training takes: ``seconds`` and ``flops``, each None if not measured.

    ``updates`` is the number of optimizer updates where the recipe asks for one.
    """

    seconds: float | None = None
    flops: float | None = None
    updates: float = 1.0

    def batches(self, budget: Budget, total_batches: int | None) -> int | None:
        """About how many batches a budget pays for; None where nothing tells.

        Args:
            budget: of the run.
            total_batches: that its counted units pay for, if any do.
        """
        prices = {"seconds": self.seconds, "train_flops": self.flops}
        found = [] if total_batches is None else [total_batches]
        for unit, amount in budget.metered.items():
            price = prices.get(unit)
            if price:
                found.append(max(1, math.ceil(amount / price)))
        return min(found, default=None)

    def time_of(self, batches: int | None) -> float | None:
        """Seconds that a number of batches takes."""
        return None if batches is None or self.seconds is None else batches * self.seconds


def try_run(built: Built, source: BatchSource, measure: bool) -> Trial:
    """Prepare the model once, and make a training step where something must be known of it.

    Args:
        built: the run's parts.
        source: its training batches.
        measure: time a step on a real batch: the fastest of three after one to warm up, or fewer
            where one takes over a second. A GPU's first step does not count: in it the context and
            the libraries are set up. At least the batches of one update are tried, so
            that the number of updates does not depend on the clock.

    Raises:
        UserError: the method refuses the model, or the budget cannot be measured here.
    """
    amounts = built.spec.budget.amounts
    if "joules" in amounts:
        refuse_joules(built)
    model = prepared_model(built)
    counts = "train_flops" in amounts
    if not measure and not counts:
        return Trial()
    InTraining(built.method, model, built.device)
    source = built.method.batches(source)
    config = optim_wrapper_config(built.recipe, built.method.paramwise, built.device)
    try:
        wrapper = build_optim_wrapper(model, config)
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise UserError(
            f"the recipe's optimizer {config['optimizer']} cannot be built: {describe(error)}"
        ) from error
    model.train()
    seconds: list[float] = []
    flops = None
    steps, updates, asked = StepLedger(), 1.0, built.recipe.accumulate
    most = max(asked, 4) if measure else asked
    set_up = int(built.device.type != "cpu")
    for batch in itertools.islice(itertools.cycle(source.epoch(0)), most):
        started = time.perf_counter()
        with (
            sealed_test_split("the method, in a training step"),
            steps.counting_updates("trial"),
            OperationCounter() if counts and not seconds else nullcontext() as counter,
        ):
            built.method.train_step(model, batch, wrapper)
        if built.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        if counter is not None:
            flops = 2.0 * counter.macs
        if len(seconds) == asked:
            updates = max(1.0, float(steps.updates()))
        if len(seconds) >= max(asked, set_up + 1) and seconds[-1] > 1:
            break
    if flops is not None:
        step, flops_budget = flops * built.recipe.accumulate, amounts["train_flops"]
        if flops_budget < step:
            raise UserError(
                f"a budget of {Budget({'train_flops': flops_budget})} is less than one optimizer "
                f"step, which takes {step:.3g}: give a larger budget or a smaller batch"
            )
    return Trial(min(seconds[1:] or seconds) if measure else None, flops, updates)


def refuse_joules(built: Built) -> None:
    """Raise ``UserError`` where a budget in joules could not be kept."""
    reason = no_joules(built.device)
    if reason:
        raise UserError(
            f"a budget in joules needs an energy meter, and there is none for this run ({reason}): "
            "give it in seconds or train_flops"
        )
