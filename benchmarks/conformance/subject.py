"""The method under test, and the small real runs that the checks look at."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from benchmarks.budget import Budget
from benchmarks.conformance.settings import SEED, ground_of, shown_arch
from benchmarks.conformance.watching import Watch, Watched
from benchmarks.engine.building import Built, build_run, prepared_model
from benchmarks.engine.hooks import CheckpointHook
from benchmarks.engine.random_state import random_state, set_random_state
from benchmarks.engine.session import TrainingSession
from benchmarks.engine.state import PhaseState
from benchmarks.meters.session import RunMeters
from benchmarks.meters.train_operations import TrainOperations
from benchmarks.spec import RunSpec
from methods.base import METHODS, Method, Trial
from tasks.base import as_score, sealed_test_split
from tasks.errors import UserError
from tasks.modules import copy_weights


class NoRun(Exception):  # noqa: N818 - a state, not an error
    """A check needs the trained model, and training it failed before."""


@dataclass(frozen=True)
class Run:
    """A run that came to its end."""

    built: Built
    model: BaseModel
    state: PhaseState
    watch: Watch
    steps: int
    """Batches trained on in this process: a resumed run counts from where it went on."""
    folder: Path
    weights: Mapping[str, Tensor]
    """A copy of the model's state as training left it."""
    meters: RunMeters
    hidden: Sequence[str] = ()
    """Attributes of the method with networks that are neither in the model nor companions."""

    @property
    def curve(self) -> list[dict[str, Any]]:
        """The validations without their times and energies."""
        metered = ("seconds", "joules", "train_flops")
        return [{k: v for k, v in p.items() if k not in metered} for p in self.state.curve]

    def variants(self) -> dict[str, BaseModel]:
        """The deployable networks in evaluation mode; one may be the model itself."""
        with sealed_test_split("the method, in variants", training=True):
            found = self.built.method.variants(self.model)
        return {k: v.eval() for k, v in found.items()}

    def outputs(self, network: BaseModel) -> Tensor:
        """What a network says to one batch of test images: all its output tensors in a row."""
        task = self.built.task
        batch = next(task.eval_batches("test", self.built.device))
        with torch.no_grad():
            inputs = network.data_preprocessor(batch, False)["inputs"]
            return torch.cat(
                [leaf.flatten() for leaf in tree_leaves(task.forward(network, inputs))]
            )

    @cached_property
    def answers(self) -> dict[str, Tensor]:
        """The outputs of every variant on one batch of test images."""
        return {name: self.outputs(network) for name, network in self.variants().items()}

    @cached_property
    def scores(self) -> dict[str, float | None]:
        """The primary metric of every variant on the test images."""
        return self.scored("test")

    def scored(self, split: str) -> dict[str, float | None]:
        """The primary metric of every variant on a split."""
        task, device = self.built.task, self.built.device
        return {
            name: as_score(task.evaluate(network, split, device)[task.headline]).value
            for name, network in self.variants().items()
        }


class Subject:
    """One method with its options, tried on a network that it accepts.

    Args:
        name: a registered method.
        options: its options; they join those of its ``tried_with``.
        arch: the network, as a suite writes it; by default the first small one that the method
            accepts.
        epochs: of the full run; by default those of ``tried_with``, or the family's.
        task: the family that it is tried on, a key of ``settings.GROUNDS``.

    Raises:
        UserError: a name or an option is unknown, or the method accepts none of the networks.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any] | None = None,
        arch: str | Mapping[str, Any] | None = None,
        epochs: int | None = None,
        task: str = "classification",
    ) -> None:
        self.ground = ground_of(task)
        trial = METHODS.get(name).tried_with.get(task, Trial())
        self.name, self.task = name, task
        self.options = {**trial.options, **(options or {})}
        self.epochs = epochs or trial.epochs or self.ground.epochs
        self._folder = tempfile.TemporaryDirectory(prefix="depthbench-")
        self._failed = False
        with contained():
            self.arch = self._accepted(self.ground.archs if arch is None else (arch,))

    def build(self, seed: int = SEED, **recipe: Any) -> Built:
        """The parts of a run, fresh."""
        return self._build(self.arch, seed, **recipe)

    def train(
        self,
        steps: int | None = None,
        seed: int = SEED,
        folder: Path | None = None,
        stop_at: int | None = None,
        save_every_step: bool = False,
        **recipe: Any,
    ) -> Run:
        """Train a freshly prepared model as a run of a suite would.

        Args:
            steps: batches; by default those of the full run.
            seed: of weights and draws.
            folder: of a run to go on with; by default a new one.
            stop_at: the step to be interrupted at.
            save_every_step: write a checkpoint after every step, however short the run.
            recipe: changes to the recipe.

        Raises:
            Interrupted: as was requested.
        """
        built = self.build(seed, **recipe)
        model = prepared_model(built, note=lambda text: None)
        folder = folder or self.new_folder()
        watch, state = Watch(), PhaseState()
        meters = RunMeters(built.device, TrainOperations(seed=SEED))
        hooks: list[Hook] = [watch]
        if save_every_step:
            path = folder / "checkpoints" / "latest.pth"
            accumulate = built.recipe.accumulate
            hooks.append(CheckpointHook(path, meters, state, accumulate, first=0, longest=0))
        method = Watched(built.method, hooks, stop_at)
        batches = built.task.batches(built.recipe.batch_size, SEED, built.device)
        session = TrainingSession(
            task=built.task,
            method=method,
            model=model,
            recipe=built.recipe,
            batches=steps or self.epochs * len(batches),
            seed=SEED,
            device=built.device,
            meters=meters,
            folder=folder,
            validate_every=1,
            report=lambda event: None,
            state=state,
        )
        with sealed_test_split("the method, while it trained"):
            session.run()
        hidden = hidden_networks(built.method, model, session.held.companions.values())
        weights = copy_weights(model)
        return Run(built, model, state, watch, method.steps, folder, weights, meters, hidden)

    def new_folder(self) -> Path:
        """An empty folder that goes with this object."""
        return Path(tempfile.mkdtemp(dir=self._folder.name))

    @property
    def trained(self) -> Run:
        """The full run, trained when it is first requested.

        Raises:
            NoRun: it was requested before and failed.
        """
        if self._failed:
            raise NoRun
        try:
            return self._trained
        except Exception:
            self._failed = True
            raise

    @cached_property
    def _trained(self) -> Run:
        return self.train()

    @cached_property
    def reference(self) -> Run:
        """Plain training of the same network for as long."""
        plain = Subject("end_to_end", arch=self.arch, epochs=self.epochs, task=self.task)
        return plain.train()

    def _accepted(self, archs: Sequence[str | Mapping[str, Any]]) -> str | Mapping[str, Any]:
        self.dataset = self._build(archs[0]).task.dataset
        reason = ""
        for arch in archs:
            try:
                prepared_model(self._build(arch), note=lambda text: None)
            except UserError as error:
                reason = str(error)
            except Exception:  # a crash, which the first check that trains reports
                return arch
            else:
                return arch
        shown = ", ".join(map(shown_arch, archs))
        raise UserError(
            f"{self.name} accepts none of the networks it was tried on ({shown}), "
            f"so choose one with --arch; the last reason: {reason}"
        )

    def _build(self, arch: str | Mapping[str, Any], seed: int = SEED, **recipe: Any) -> Built:
        return build_run(
            RunSpec(
                suite="check",
                profile="smoke",
                task=self.task,
                task_options={**self.ground.options, "arch": arch},
                method=self.name,
                method_options=self.options,
                seed=seed,
                budget=Budget({"epochs": self.epochs}),
                recipe={**self.ground.recipe, **recipe},
                device="cpu",
                threads=1,
            )
        )


def hidden_networks(method: Method, model: nn.Module, companions: Iterable[nn.Module]) -> list[str]:
    """Attributes of a method that hold networks outside of the model and the companions."""
    known = {id(p) for each in (model, *companions) for p in each.parameters()}

    def networks(value: Any) -> Iterator[nn.Module]:
        if isinstance(value, nn.Module):
            yield value
        elif isinstance(value, Mapping):
            yield from networks(list(value.values()))
        elif isinstance(value, list | tuple):
            for each in value:
                yield from networks(each)

    held = [(method, "")] + [(p, f"{type(p).__name__}.") for p in getattr(method, "parts", ())]
    return [
        prefix + name
        for each, prefix in held
        for name, value in vars(each).items()
        if any(id(p) not in known for network in networks(value) for p in network.parameters())
    ]


@contextmanager
def contained() -> Iterator[None]:
    """Let a run in this process leave no trace, as if it had a process of its own.

    Threads, visible devices and random states are given back; what is logged, printed or warned
    of is no part of a report and is swallowed.
    """
    threads, drawn = torch.get_num_threads(), random_state()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        swallowed = io.StringIO()
        with (
            redirect_stdout(swallowed),
            redirect_stderr(swallowed),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
        set_random_state(drawn)
        if visible is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
