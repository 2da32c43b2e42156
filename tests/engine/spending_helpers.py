"""Runs of a tiny network whose every step takes what a test says, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn

from benchmarks.engine.session import TrainingSession
from benchmarks.meters.session import RunMeters
from methods.base import Method, Phase
from tasks.base import Recipe

CPU = torch.device("cpu")
EPOCH = 5
BATCH = 4


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Tiny(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(3, 2)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        out = self.backbone(inputs)
        return out if mode != "loss" else {"loss": (out - data_samples).square().mean()}


class Batches:
    dataset = None

    def __len__(self) -> int:
        return EPOCH

    def epoch(self, index: int, start: int = 0) -> Iterator[dict[str, Any]]:
        for number in range(start, EPOCH):
            draw = torch.Generator().manual_seed(100 * index + number)
            inputs = torch.randn(BATCH, 3, generator=draw)
            yield {"inputs": inputs, "data_samples": inputs[:, :2]}


class TinyTask:
    headline = "top1"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def batches(self, batch_size: int, seed: int, device: torch.device) -> Batches:
        return Batches()

    def evaluate(self, model: Any, split: str, device: torch.device) -> dict[str, float]:
        self._clock.now += 1000.0
        return {"top1": 50.0}


class Rates(Hook):
    """Notes the learning rate that each step is made with."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.seen.append(runner.optim_wrapper.get_lr()["lr"][0])


class Paced(Method):
    """Every batch takes as many seconds as the list says, over and over; phases are given."""

    def __init__(
        self,
        clock: Clock,
        seconds: Sequence[float] = (1.0,),
        phases: Sequence[Phase] = (Phase(),),
        stop_at: int | None = None,
    ) -> None:
        self.clock, self.seconds, self.plan = clock, seconds, phases
        self.stop_at = stop_at
        self.rates = Rates()
        self.taken: list[tuple[str, float]] = []
        self.results: list[Any] = []
        self._now = ""

    def prepare(self, model: Any) -> Any:
        return model

    def hooks(self) -> list[Hook]:
        return [self.rates]

    def phases(self, model: Any) -> Any:
        for phase in self.plan:
            self._now = phase.name
            self.results.append((yield phase))

    def train_step(self, model: Any, data: Any, optim_wrapper: Any) -> Any:
        if len(self.taken) + 1 == self.stop_at:
            raise KeyboardInterrupt
        seconds = self.seconds[len(self.taken) % len(self.seconds)]
        self.taken.append((self._now, seconds))
        self.clock.now += seconds
        return super().train_step(model, data, optim_wrapper)


def tiny_session(
    folder: Path,
    method: Paced,
    metered: dict[str, float],
    steps: int | None = None,
    schedule: Sequence[dict[str, Any]] = (),
    operations: Any = None,
    lr: float = 0.1,
    **more: Any,
) -> TrainingSession:
    """A session ready to run; evaluations take 1000 s, which no budget may feel."""
    torch.manual_seed(0)
    fields = {"validate_every": 1, "report": lambda event: None}
    recipe = {key: more.pop(key) for key in ("accumulate",) if key in more}
    return TrainingSession(
        task=TinyTask(method.clock),
        method=method,
        model=Tiny(),
        recipe=Recipe(BATCH, {"type": "SGD", "lr": lr}, schedule=tuple(schedule), **recipe),
        batches=steps,
        seed=0,
        device=CPU,
        meters=RunMeters(CPU, operations, method.clock),
        folder=folder,
        metered=metered,
        **{**fields, **more},
    )
