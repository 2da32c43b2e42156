"""The checks of a task: its batches, splits, fingerprint, evaluation and model."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from benchmarks.conformance.figures import differing
from benchmarks.conformance.finding import Finding, failed, passed, skipped, some
from benchmarks.conformance.settings import SEED
from benchmarks.engine.building import declare_task_metrics
from benchmarks.engine.optim import optim_wrapper_config
from benchmarks.meters.counter import UnknownOperation
from benchmarks.meters.operations import count_macs
from tasks.base import TASKS, Task, as_score, size_of
from tasks.modules import copy_weights
from tasks.registry import build

CPU = torch.device("cpu")
SHARED = 0.05
"""Share of a split's samples that another may hold too: data sets have duplicates."""


class TaskSubject:
    """A task under test.

    Args:
        name: as registered.
        options: of the task.

    Raises:
        UserError: the name or an option is unknown, or the data are not there.
    """

    def __init__(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        self.name, self.options = name, dict(options or {})
        self.task = self.build()
        declare_task_metrics(self.task)
        self.task.check()

    def build(self) -> Task:
        """The task, fresh."""
        factory, values = TASKS.find(self.name)
        return build(f"task '{self.name}'", factory, {**self.options, **values})

    def epoch(self, index: int, start: int = 0, seed: int = SEED) -> Iterator[dict[str, Any]]:
        """Training batches."""
        source = self.task.batches(self.task.recipe.batch_size, seed, CPU)
        return source.epoch(index, start)

    @cached_property
    def model(self) -> Any:
        """The task's network, drawn from the seed."""
        torch.manual_seed(SEED)
        return self.task.build_model()


def batches(subject: TaskSubject) -> Finding:
    """The same seed and epoch give the same batches, whatever was drawn before."""
    first = [digest(batch) for batch in islice(subject.epoch(1), 5)]
    torch.rand(3), np.random.rand(3)
    again = [digest(batch) for batch in islice(subject.epoch(1), 5)]
    if not first:
        return failed("an epoch has no batch", "let epoch() yield at least one batch")
    if first != again:
        return failed(
            "the batches of epoch 1 differ when they are read again",
            "draw order and augmentation from a generator seeded with (seed, epoch), never from a "
            "global one",
        )
    if first == [digest(batch) for batch in islice(subject.epoch(2), 5)]:
        return failed("epochs 1 and 2 have the same batches", "let the order depend on the epoch")
    if first == [digest(batch) for batch in islice(subject.epoch(1, seed=SEED + 1), 5)]:
        return failed("seeds 0 and 1 have the same batches", "let the order depend on the seed")
    return passed("the batches depend on seed and epoch alone")


def tail(subject: TaskSubject) -> Finding:
    """``epoch(index, start)`` is the rest of ``epoch(index)``."""
    source = subject.task.batches(subject.task.recipe.batch_size, SEED, CPU)
    whole = [digest(batch) for batch in source.epoch(0)]
    if len(whole) != len(source):
        return failed(
            f"an epoch gave {len(whole)} batches, and len() says {len(source)}",
            "let len() be the batches that epoch() yields",
        )
    start = len(whole) // 2
    if [digest(batch) for batch in source.epoch(0, start)] != whole[start:]:
        return failed(
            f"epoch(0, {start}) is not what epoch(0) gives from batch {start} on",
            "draw all of an epoch's choices before the first batch, and cut them afterwards",
        )
    return passed(f"an epoch of {len(whole)} batches can be entered at batch {start}")


def splits(subject: TaskSubject) -> Finding:
    """No sample of one split is in another."""
    task = subject.task
    held = {name: samples(task, name) for name in ("val", "test")}
    held["train"] = {each for batch in subject.epoch(0) for each in sample_digests(batch)}
    pairs = [("test", "train"), ("val", "train")]
    if not task.val_is_test:
        pairs.append(("test", "val"))
    for one, other in pairs:
        both = len(held[one] & held[other])
        if both > SHARED * len(held[one]):
            return failed(
                f"{both} of {len(held[one])} samples of {one} are in {other}",
                "cut the splits so that they share no sample, or say val_is_test",
            )
    sizes = ", ".join(f"{name} {len(each)}" for name, each in held.items())
    return passed(f"different samples by split ({sizes}; augmented ones cannot be compared)")


def fingerprints(subject: TaskSubject) -> Finding:
    """The fingerprint is the same each time, and another one when the data change."""
    known = repr(subject.task.fingerprint())
    if known != repr(subject.build().fingerprint()):
        return failed("two tasks of the same options have other fingerprints", "hash data alone")
    places = list(arrays(vars(subject.build())))
    if not places:
        return skipped("the task holds no data in memory that could be changed")
    for number in range(len(places)):
        task = subject.build()
        found = list(arrays(vars(task)))
        if number < len(found) and _change(found[number]) and repr(task.fingerprint()) != known:
            return passed("the fingerprint changes with the data")
    return failed(
        "the fingerprint stays the same when the data change",
        "let it hold a checksum of inputs and labels: it is part of a run's id",
    )


def evaluates(subject: TaskSubject) -> Finding:
    """Evaluation repeats bit by bit, gives the primary metric, and leaves the model as it is."""
    task, model = subject.task, subject.model
    before, modes = copy_weights(model), [module.training for module in model.modules()]
    scores = [{k: as_score(v).value for k, v in task.evaluate(model, "val", CPU).items()}]
    scores.append({k: as_score(v).value for k, v in task.evaluate(model, "val", CPU).items()})
    if task.headline not in scores[0]:
        return failed(
            f"evaluate gives {some(sorted(scores[0]))}, and not the primary metric {task.headline}",
            "let evaluate return it",
        )
    if repr(scores[0]) != repr(scores[1]):
        return failed("evaluating twice gives other metrics", "draw nothing while evaluating")
    if differing(before, model.state_dict()):
        return failed("evaluation changed the model", "evaluate without gradients, in eval mode")
    if modes != [module.training for module in model.modules()]:
        return failed(
            "evaluation left modules in another mode", "use tasks.modules.eval_mode(model)"
        )
    return passed(f"{', '.join(scores[0])} repeat on {task.eval_size('val', CPU)} samples")


def trains(subject: TaskSubject) -> Finding:
    """A training step gives a finite loss and changes the weights."""
    from mmengine.optim import build_optim_wrapper

    task = subject.task
    model = copy.deepcopy(subject.model)
    config = optim_wrapper_config(task.recipe, {}, CPU)
    wrapper, before = build_optim_wrapper(model, config), copy_weights(model)
    model.train()
    losses = [model.train_step(batch, wrapper) for batch in islice(subject.epoch(0), 3)]
    values = [float(loss["loss"]) for loss in losses if "loss" in loss]
    if len(values) < len(losses) or not all(map(math.isfinite, values)):
        return failed("a training step gives no finite 'loss'", "let forward return {'loss': ...}")
    if not differing(before, model.state_dict()):
        return failed("three training steps changed no weight", "see that the loss has gradients")
    return passed(f"the loss of the first {len(values)} steps: {values[0]:.3g} to {values[-1]:.3g}")


def costs(subject: TaskSubject) -> Finding:
    """The network runs on ``example_input``, and its operations can be counted."""
    task = subject.task
    example = task.example_input(2, CPU)
    if size_of(example) != 2:
        return failed(
            f"example_input(2, device) holds {size_of(example)} samples", "make it of that size"
        )
    try:
        macs = count_macs(subject.model, task.example_input(1, CPU), run=task.forward)
    except UnknownOperation as error:
        return skipped(str(error))
    return passed(f"{macs / 1e6:.3g} M MACs a sample; {task.train_samples():,} in an epoch")


TASK_CHECKS: tuple[Callable[[TaskSubject], Finding], ...] = (
    batches,
    tail,
    splits,
    fingerprints,
    evaluates,
    trains,
    costs,
)
"""In the order of the report."""


def digest(values: Any) -> str:
    """A hash of all tensors in a batch."""
    found = hashlib.sha256()
    for leaf in tree_leaves(values):
        content = leaf.detach().cpu().numpy().tobytes() if isinstance(leaf, Tensor) else repr(leaf)
        found.update(content if isinstance(content, bytes) else content.encode())
    return found.hexdigest()


def samples(task: Task, split: str) -> set[str]:
    """A hash for every sample of a split."""
    return {each for batch in task.eval_batches(split, CPU) for each in sample_digests(batch)}


def sample_digests(batch: Mapping[str, Any]) -> Iterator[str]:
    """A hash for every sample of a batch, from its inputs."""
    inputs = batch["inputs"]
    for place in range(size_of(inputs)):
        parts = inputs if isinstance(inputs, tuple) else (inputs,)
        yield digest([part[place] for part in parts])


def arrays(values: Any, depth: int = 3) -> Iterator[Any]:
    """Arrays and tensors with data in the attributes of an object, and in theirs."""
    if isinstance(values, np.ndarray | Tensor):
        if math.prod(values.shape) >= 10:
            yield values
        return
    if depth == 0:
        return
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, list | tuple):
        for each in values[:100]:
            yield from arrays(each, depth - 1)
    elif hasattr(values, "__dict__"):
        yield from arrays(list(vars(values).values()), depth - 1)


def _change(values: Any) -> bool:
    """Change the first number of an array in place; False where it cannot be."""
    try:
        flat = values.reshape(-1) if isinstance(values, Tensor) else values.ravel()
        flat[0] = flat[0] + 1 if flat.dtype not in (bool, torch.bool) else not flat[0]
        if isinstance(values, np.ndarray) and not np.shares_memory(flat, values):
            values.flat[0] = flat[0]
    except (ValueError, TypeError, RuntimeError):
        return False
    return True
