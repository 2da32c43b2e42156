"""The two loops that are compared, each run in a process of its own."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.engine.session import TrainingSession
from benchmarks.meters.session import RunMeters
from benchmarks.meters.train_operations import TrainOperations
from methods.base import Method
from tasks.base import Recipe
from tasks.classification.task import ClassificationTask

SEED = 0


def plain_loop(case: dict[str, Any], report: Any) -> dict[str, float]:
    """Train as a PyTorch tutorial does: batches, loss, backward, step, scheduler step.

    Returns:
        ``steps_per_second`` between the end of the first step and the end of the last, and
        ``peak`` resident bytes of the process.
    """
    task, device = prepare(case)
    recipe: Recipe = task.recipe
    network = task.build_model().backbone.to(device).train()
    options = {k: v for k, v in recipe.optimizer.items() if k != "type"}
    optimizer = getattr(torch.optim, recipe.optimizer["type"])(network.parameters(), **options)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, case["steps"])
    source = task.batches(recipe.batch_size, SEED, device)
    ends: list[float] = []
    epoch = 0
    while len(ends) < case["steps"]:
        for batch in source.epoch(epoch):
            loss = F.cross_entropy(network(batch["inputs"]), batch["data_samples"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            ends.append(time.perf_counter())
            if len(ends) == case["steps"]:
                break
        epoch += 1
    return figures(ends, device)


def harness_loop(case: dict[str, Any], report: Any) -> dict[str, float]:
    """Train through the runner with every hook and meter on, checkpoints included.

    Validation, which the plain loop does not do, happens once, after the last step.
    """
    task, device = prepare(case)
    method = Timed(device)
    with tempfile.TemporaryDirectory() as folder:
        meters = RunMeters(device, TrainOperations())
        session = TrainingSession(
            task,
            method,
            task.build_model(),
            task.recipe,
            case["steps"],
            SEED,
            device,
            meters,
            Path(folder),
            validate_every=10**9,
            report=report,
        )
        with meters.running():
            session.run()
    return figures(method.ends, device)


class Timed(Method):
    """Plain training that notes when each step ends."""

    def __init__(self, device: torch.device) -> None:
        self.ends: list[float] = []

    def prepare(self, model: Any) -> Any:
        """Change nothing."""
        return model

    def train_step(self, model: Any, data: Any, optim_wrapper: Any) -> Any:
        """The model's own step, and the time after it."""
        outputs = super().train_step(model, data, optim_wrapper)
        self.ends.append(time.perf_counter())
        return outputs


def prepare(case: dict[str, Any]) -> tuple[ClassificationTask, torch.device]:
    """The case's task, with its data loaded, and its device."""
    torch.set_num_threads(case["threads"])
    torch.manual_seed(SEED)
    task = ClassificationTask(**case["task"])
    task.train_samples()
    return task, torch.device("cuda" if torch.cuda.is_available() else "cpu")


def figures(ends: list[float], device: torch.device) -> dict[str, float]:
    """Steps per second after the first step, and the peak memory of the process."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        ends[-1] = time.perf_counter()
        peak = float(torch.cuda.max_memory_allocated())
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return {"steps_per_second": (len(ends) - 1) / (ends[-1] - ends[0]), "peak": peak}
