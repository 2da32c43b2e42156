"""Train a model through a method's phases, from wherever an earlier attempt stopped."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel

from benchmarks.budget import Part
from benchmarks.engine.checkpoint import write_checkpoint
from benchmarks.engine.finishing import FINISH, finish
from benchmarks.engine.hooks import (
    CheckpointHook,
    LossHook,
    MeterHook,
    OptimizerHook,
    ProgressHook,
    Report,
    StepEndHook,
    StepLimitHook,
    ValidationHook,
)
from benchmarks.engine.optim import merge_recipe, optim_wrapper_config, schedule_in_batches
from benchmarks.engine.random_state import random_state
from benchmarks.engine.runner import PhaseRunner
from benchmarks.engine.snapshot import InTraining
from benchmarks.engine.spending import Spending, SpendingHook
from benchmarks.engine.starting import INIT_FROM
from benchmarks.engine.state import PhaseState
from benchmarks.meters.session import RunMeters
from benchmarks.records.progress import write_progress
from methods.base import Method, Phase, PhaseResult, Phases, overrides
from tasks.base import BatchSource, Recipe, Task
from tasks.errors import UserError
from tasks.files.checkpoints import load_plain

log = logging.getLogger("depthbench")

RESERVED_PHASES = frozenset(
    {"setup", "val", "test", "val_best", "test_best", "inference", "training", FINISH, INIT_FROM}
)
"""What the column ``phase`` of rows calls other things than phases of training."""


@dataclass
class TrainingSession:
    """One model's training, resumable at any step.

    Args:
        task: gives batches and validation.
        method: gives the phases and the step.
        model: the prepared model; trained in place.
        recipe: the merged recipe.
        batches: that all phases together may train on; None where only meters end them.
        seed: of the batch order and the training draws.
        device: where to train.
        meters: opened and closed around what they measure.
        folder: the run folder; checkpoints go to ``checkpoints/latest.pth``.
        validate_every: epochs between validations.
        report: takes progress events.
        metered: amounts by metered unit, besides ``steps``; the first one spent ends training.
        optimizer_steps: that end training, however many a batch makes; None for no limit.
    """

    task: Task
    method: Method
    model: BaseModel
    recipe: Recipe
    batches: int | None
    seed: int
    device: torch.device
    meters: RunMeters
    folder: Path
    validate_every: int
    report: Report
    state: PhaseState = field(default_factory=PhaseState)
    metered: Mapping[str, float] = field(default_factory=dict)
    optimizer_steps: float | None = None
    held: InTraining = field(init=False)
    spent: float = field(init=False, default=0.0)
    """The fraction of the budget that all phases have spent."""

    @property
    def checkpoint(self) -> Path:
        """The one checkpoint that is kept up to date."""
        return self.folder / "checkpoints" / "latest.pth"

    def run(self) -> PhaseState:
        """Run the phases that are left and return what they gave.

        Finished phases are replayed: the method's generator gets the recorded results, and the
        kept weights where it requested them, so that it continues as if nothing had happened.

        Raises:
            UserError: the method's phases are not those of the checkpoint.
        """
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        saved = load_checkpoint(self.checkpoint)
        if saved is not None:
            self.state.load_state_dict(saved["depthbench"])
            self.meters.load_state_dict(saved["meters"])
            self.report({"event": "note", "text": f"resumed in phase '{self.state.phase}'"})
        source = self._source()
        self.held = InTraining(self.method, self.model, self.device)
        if self.recipe.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if self.recipe.compile:
            self.model.compile()

        finished = saved is not None and self.state.finish_done
        replay = list(self.state.finished)
        names = {""}
        phases = self.method.phases(self.model)
        result = None
        while True:
            # What is replayed was booked when it was done first.
            with nullcontext() if replay else self.meters.outside("phases"):
                phase = next(phases, None) if result is None else _next(phases, result)
            if phase is None:
                if replay:
                    raise _other_phases("none", replay[0].name)
                break
            _require_new(phase.name, names)
            resuming = not replay and saved is not None and not saved["phase_done"]
            if not replay and not resuming and self._spent() >= 1:
                with self.meters.outside("phases"):
                    phases.close()
                break
            if replay:
                result = replay.pop(0)
                if phase.name != result.name:
                    raise _other_phases(f"'{phase.name}'", result.name)
                if phase.keep:
                    self.held.reshape(self.state.kept_structures.get(phase.name))
                    self.model.load_state_dict(self.state.kept[phase.name])
                if not replay and saved is not None and saved["phase_done"]:
                    self.held.load(saved)
                continue
            if resuming and saved is not None:
                self.held.load(saved)
            result = self._run_phase(phase, source, resuming)
            saved = None
        self.spent = min(1.0, self._spent())
        if not finished and overrides(self.method, "finish"):
            self._finish()
        return self.state

    def _finish(self) -> None:
        """The method's work after training, as a phase of its own."""
        with self.meters.training(FINISH), self.meters.window("train"):
            finish(self.task, self.method, self.model, self.recipe, self.seed)
        self.state.finish_done = True
        last = self.state.finished[-1] if self.state.finished else None
        self._save_phase_end(0, last.batches if last else 0, 1)

    def _source(self) -> BatchSource:
        """What is trained on: the task's batches, or what the method makes of them.

        A budget in batches is one in images where a method decides what a batch is.
        """
        plain = self.task.batches(self.recipe.batch_size, self.seed, self.device)
        source = self.method.batches(plain)
        if source is plain:
            return source
        if not hasattr(source, "epoch") or not hasattr(source, "__len__"):
            raise UserError(
                f"batches of the method {type(self.method).__name__} gave {source!r}: return a "
                "source with len() and epoch(index, start), as the task's"
            )
        if len(source) < 1:
            raise UserError(
                f"batches of the method {type(self.method).__name__} leaves no batch in an epoch"
            )
        if self.batches is not None:
            images = min(self.recipe.batch_size, self.task.train_samples())
            self.metered = {**self.metered, "samples": float(self.batches * images)}
            self.batches = None
        return source

    def _trained(self) -> int:
        """Batches of the finished phases."""
        return sum(result.batches for result in self.state.finished)

    def _spending(self) -> Spending:
        return Spending(self.meters, self.metered, self.batches)

    def _spent(self) -> float:
        """The fraction of the budget that the finished phases have spent."""
        updates = (
            self.meters.steps.updates() / self.optimizer_steps if self.optimizer_steps else 0.0
        )
        return max(updates, self._spending().fraction(self._trained()))

    def _batches_of(self, phase: Phase, source: BatchSource) -> int | None:
        """Batches that a phase may train on; None where only meters can tell."""
        wanted = None if phase.epochs is None else math.ceil(phase.epochs * len(source))
        if self.metered or self.batches is None:
            return wanted
        planned = max(1, round(phase.share * self.batches))
        return min(self.batches - self._trained(), planned if wanted is None else wanted)

    def _run_phase(self, phase: Phase, source: BatchSource, resuming: bool) -> Any:
        batches = self._batches_of(phase, source)
        recipe = phase_recipe(self.recipe, phase)
        config = optim_wrapper_config(recipe, self.method.paramwise, self.device)
        carried = self._carried(phase) if phase.carry_optimizer and not resuming else None
        if not resuming:
            self.state.begin(phase.name, self._spent())
        spending = self._spending_hook(phase, batches, recipe) if self.metered else None
        losses = LossHook()
        saver = CheckpointHook(self.checkpoint, self.meters, self.state, recipe.accumulate)
        hooks = [
            # Compiled steps that are counted run uncompiled: the second one then compiles.
            MeterHook(self.meters, 2 if recipe.compile and self.meters.operations else 1),
            losses,
            StepEndHook(self.meters),
            *([] if spending is None else [spending]),
            ValidationHook(
                self.task,
                self.device,
                self.meters,
                phase,
                self.state,
                self.held,
                losses,
                self.validate_every,
                self.report,
            ),
            ProgressHook(
                phase.name, self.report, None if spending is None else lambda: spending.fraction
            ),
            saver,
            *(
                []
                if self.optimizer_steps is None
                else [StepLimitHook(self.meters, self.optimizer_steps)]
            ),
        ]
        if carried is not None:
            hooks.append(OptimizerHook(carried, phase.name))
        with self.meters.outside("hooks"):
            own = [*self.method.hooks(), *phase.hooks]
        runner = PhaseRunner(
            self.model,
            source,
            self.method.train_step,
            batches,
            self.meters,
            self.device,
            config,
            [] if spending or batches is None else schedule_in_batches(recipe.schedule, batches),
            hooks,
            own,
            str(self.folder / "mmengine"),
            # Each phase has draws of its own, which draws in prepare() must not shift.
            seed=self.seed + 1000 * (len(self.state.finished) + 1),
            checkpoint=str(self.checkpoint) if resuming else None,
            further=self.held.saved,
            name=f"{self.folder.name}-{len(self.state.finished)}",
        )
        with self.meters.training(phase.name):
            runner.train()
        made = self.meters.steps
        result = self.state.end(
            runner.iter,
            self.held.take() if phase.keep else None,
            samples=made[phase.name].images,
            optimizer_steps=made[phase.name].updated,
        )
        if self._spent() < 1:  # another phase may go on with it
            self.state.optimizer = runner.optim_wrapper.state_dict()
        self._save_phase_end(runner.epoch + 1, result.batches, len(source))
        return result

    def _carried(self, phase: Phase) -> dict[str, Any]:
        """The optimizer that a phase goes on with.

        Raises:
            UserError: it is the first phase.
        """
        if self.state.optimizer is None:
            raise UserError(
                f"phase '{phase.name}' carries on the optimizer of the phase before, and there is "
                "none: leave carry_optimizer out"
            )
        return self.state.optimizer

    def _spending_hook(self, phase: Phase, limit: int | None, recipe: Recipe) -> SpendingHook:
        share = phase.share if phase.epochs is None else 1.0
        return SpendingHook(
            self._spending(),
            Part(self.state.began_at, share),
            recipe.schedule,
            self._trained(),
            limit,
            recipe.accumulate,
            self.device,
        )

    def _save_phase_end(self, epoch: int, batches: int, per_epoch: int) -> None:
        """A phase's end is a checkpoint of its own: model and records, no optimizer."""
        with self.meters.window("checkpoint"):
            saved = {
                "phase_done": True,
                "state_dict": self.model.state_dict(),
                **self.held.saved(),
                "random": random_state(),
                "depthbench": self.state.state_dict(),
                "meters": self.meters.state_dict(),
            }
            write_checkpoint(self.checkpoint, saved)
            write_progress(self.checkpoint, saved, epoch, batches, per_epoch)


def _next(phases: Phases, result: PhaseResult) -> Phase | None:
    try:
        return phases.send(result)
    except StopIteration:
        return None


def _require_new(name: str, names: set[str]) -> None:
    """Refuse a phase whose rows would look like those of others."""
    if name in names or name in RESERVED_PHASES:
        raise UserError(
            f"a phase of the method is called '{name}', which "
            + ("an earlier one is, too" if name in names and name else "names other rows")
            + ": give every phase a name of its own"
        )
    names.add(name)


def _other_phases(now: str, before: str) -> UserError:
    return UserError(
        f"the method's next phase is {now}, but '{before}' was trained: let phases() depend on the "
        "model and the earlier phases' results alone, and start a new run when it is changed"
    )


def phase_recipe(recipe: Recipe, phase: Phase) -> Recipe:
    """The run's recipe with the changes of a phase.

    Raises:
        UserError: a change is no field of a recipe, or one that is set up once for the whole run.
    """
    for name in phase.changes:
        if name in ("batch_size", "channels_last", "compile", "tf32"):
            raise UserError(
                f"phase '{phase.name}' changes {name}, which stays the same for the whole run: "
                "set it in the suite's recipe instead"
            )
    return merge_recipe(recipe, phase.changes)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The saved state, or None where there is none or it cannot be read (then it is set aside)."""
    if not path.exists():
        return None
    try:
        saved = dict(load_plain(path))
    except (UserError, TypeError, ValueError) as error:
        log.warning("checkpoint %s cannot be read (%s): starting again", path.name, error)
        path.replace(path.with_suffix(".damaged"))
        return None
    saved.setdefault("phase_done", False)
    return saved
