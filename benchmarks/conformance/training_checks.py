"""The checks of training: learning, repeating, resuming, gradients, recipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.conformance.figures import differences, differing, figures
from benchmarks.conformance.finding import Finding, failed, passed, some
from benchmarks.conformance.subject import Run, Subject
from benchmarks.conformance.watching import Interrupted
from benchmarks.engine.building import prepared_model
from benchmarks.records.row import METRICS

FEW = 4
"""Batches of the runs that only look whether something works."""


def learns(subject: Subject) -> Finding:
    """The training loss falls, and the primary metric on test images says so too."""
    run, ground = subject.trained, subject.ground
    losses = run.watch.losses
    if not losses:
        return failed(
            "no training step returned a 'loss'",
            "return the losses to log from train_step, the whole under 'loss'",
        )
    first, last = fall(losses, run.watch.phases)
    scores = {variant: score for variant, score in run.scores.items() if score is not None}
    name = max(scores, key=lambda variant: scores[variant], default="")
    best = scores.get(name, math.nan)
    title = METRICS[run.built.task.headline].title
    seen = (
        f"the loss went from {first:.3g} to {last:.3g} in {run.steps} steps; "
        f"{title} on test is {best:.1f} % ({name}), {ground.untrained}"
    )
    if not last < ground.fell * first:
        return failed(
            seen, "the loss should fall clearly: see that the step updates what the loss depends on"
        )
    if not best >= ground.learnt:
        return failed(
            seen,
            f"it should reach {ground.learnt:g} %: see that the variants carry the trained "
            "weights, and statistics of norm layers, or give it more epochs",
        )
    return passed(seen)


def fall(losses: Sequence[float], phases: Sequence[int]) -> tuple[float, float]:
    """The mean loss of the first steps and of the last ones, of the phase in which it falls most.

    Args:
        losses: of all steps.
        phases: where the losses of each phase begin.
    """
    found = []
    for begin, end in zip(phases, [*phases[1:], len(losses)], strict=True):
        few = min(5, end - begin)
        if few:
            first, last = losses[begin : begin + few], losses[end - few : end]
            found.append((sum(first) / few, sum(last) / few))
    return min(found, key=lambda pair: pair[1] / pair[0] if pair[0] else math.inf)


def changes(subject: Subject) -> Finding:
    """Something differs from plain training, unless the method says that nothing does."""
    found = figures(subject)
    changed = differences(subject, found)
    claims_none = subject.trained.built.method.changes_nothing
    if changed and claims_none:
        return failed(
            f"it declares changes_nothing, but end_to_end differs in {some(changed)}",
            "take changes_nothing away",
        )
    if not changed and not claims_none:
        return failed(
            "parameters, activations, MACs, trained weights and outputs are those of end_to_end",
            "see that prepare() acts on this network, or declare changes_nothing = True",
        )
    return passed(f"differs from end_to_end in {some(changed)}" if changed else "nothing, as told")


def repeats(subject: Subject) -> Finding:
    """Two runs with one seed are equal bit by bit."""
    once = subject.trained
    again = subject.train()
    return compared(
        once,
        again,
        "a second run with the same seed",
        "draw from torch's, numpy's or random's global generators, which every run seeds, "
        "and keep nothing in class or module variables",
    )


def resumes(subject: Subject) -> Finding:
    """A run that was killed three times and resumed equals one that was not."""
    whole = subject.trained
    kills = kill_points(whole.steps, [result.batches for result in whole.state.finished])
    folder, done = subject.new_folder(), 0
    fix = "make the phases depend on nothing but the recorded results"
    for kill in kills:
        try:
            subject.train(folder=folder, stop_at=kill - done, save_every_step=True)
        except Interrupted:
            done = kill - 1
        else:
            return failed(
                f"the interrupted run never made step {kill}, though the first run did", fix
            )
    resumed = subject.train(folder=folder)
    if resumed.steps != whole.steps - done:
        return failed(
            f"resumed at step {done + 1} of {whole.steps} it made {resumed.steps} more steps", fix
        )
    where = ", ".join(map(str, kills))
    return compared(
        whole,
        resumed,
        f"a run killed before steps {where} of {whole.steps} and resumed",
        "keep what training depends on in parameters and buffers, in companions, or in "
        "state_dict(); an attribute of the method starts over on resume",
    )


def kill_points(steps: int, phases: Sequence[int]) -> list[int]:
    """Up to three steps in the middle of phases, counted from 1.

    Args:
        steps: of the whole run.
        phases: batches of each phase.
    """
    ends = {sum(phases[: number + 1]) for number in range(len(phases))}
    found: list[int] = []
    for part in (0.3, 0.55, 0.8):
        kill = next((k for k in range(round(part * steps) + 1, steps + 1) if k - 1 not in ends), 0)
        if kill > max(found, default=1):
            found.append(kill)
    return found


def compared(one: Run, other: Run, what: str, fix: str) -> Finding:
    """Weights and curves of two runs, bit by bit."""
    unequal = differing(one.weights, other.weights)
    if unequal:
        return failed(
            f"{what} ends with other weights: {len(unequal)} of {len(one.weights)} tensors differ "
            f"({some(unequal)})",
            fix,
        )
    if repr(one.curve) != repr(other.curve):
        return failed(f"{what} has the same weights but another curve of validations", fix)
    differ = [f"'{k}'" for k, v in one.answers.items() if not _same(v, other.answers.get(k))]
    if differ or one.answers.keys() != other.answers.keys():
        return failed(f"{what} has the same weights but other answers ({some(differ)})", fix)
    return passed(f"{what} has the same weights, curve and answers, bit by bit")


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and torch.equal(one, other)


def gradients(subject: Subject) -> Finding:
    """Every parameter that is to train gets a gradient, and none that is frozen moves."""
    run = subject.trained
    named = dict(run.model.named_parameters())
    wanted = [name for name, p in named.items() if p.requires_grad]
    without = [name for name in wanted if name not in run.watch.reached]
    if without:
        return failed(
            f"{len(without)} of {len(wanted)} parameters never had a gradient other than zero "
            f"({some(without)})",
            "use them in the loss, or freeze or remove them: they count as parameters",
        )
    frozen, moved = len(named) - len(wanted), len(run.watch.moved)
    still = f"{frozen} frozen" + (f", {moved} of which moved without one" if moved else " stayed")
    return passed(f"all {len(wanted)} trainable parameters had a gradient; {still}")


def updates(subject: Subject) -> Finding:
    """One batch makes one optimizer step at most."""
    run = subject.trained
    if run.watch.updates > run.steps:
        return failed(
            f"{run.watch.updates} optimizer steps in {run.steps} batches",
            "make one update a batch (methods.step): a budget in epochs pays for batches",
        )
    return passed(f"{run.watch.updates} optimizer steps in {run.steps} batches")


def untrained(subject: Subject) -> Finding:
    """Nothing is trained in ``setup``, ``prepare`` or ``variants``."""
    run = subject.trained
    places = {
        "setup or prepare": lambda: prepared_model(subject.build(), note=lambda text: None),
        "variants": run.variants,
    }
    for place, call in places.items():
        with watched_training() as seen:
            call()
        if seen:
            return failed(
                f"{len(seen)} {seen[0]} in {place}",
                "train in train_step and phases, where it is measured and counts against the "
                "budget; calibrate in finish",
            )
    return passed("no update and no backward pass in setup, prepare or variants")


@contextmanager
def watched_training() -> Iterator[list[str]]:
    """The optimizer steps and backward passes inside, by name."""
    seen: list[str] = []
    backward, grad = torch.autograd.backward, torch.autograd.grad

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append("backward passes")
            return function(*args, **kwargs)

        return call

    handle = register_optimizer_step_post_hook(lambda *_: seen.append("optimizer steps"))
    torch.autograd.backward, torch.autograd.grad = watched(backward), watched(grad)
    try:
        yield seen
    finally:
        torch.autograd.backward, torch.autograd.grad = backward, grad
        handle.remove()


def holds(subject: Subject) -> Finding:
    """Every network that the method keeps is in the model or a companion."""
    hidden = subject.trained.hidden
    if hidden:
        return failed(
            f"the method keeps a network as {some([f'self.{name}' for name in hidden])}, which no "
            "checkpoint holds and no row counts",
            "return it from companions(model), or make it a part of the model",
        )
    return passed("no network is kept outside of the model and its companions")


def autocasts(subject: Subject) -> Finding:
    """A few steps under bfloat16 autocast."""
    return finite(subject.train(steps=FEW, amp="bfloat16"), "under bfloat16 autocast")


def accumulates(subject: Subject) -> Finding:
    """Gradients of two batches make one optimizer step."""
    plain = subject.train(steps=FEW)
    run = subject.train(steps=FEW, accumulate=2)
    phases = len(run.state.finished)
    if run.watch.updates > plain.watch.updates / 2 + phases / 2:
        return failed(
            f"with accumulate: 2 there were {run.watch.updates} optimizer steps in {FEW} batches, "
            f"without {plain.watch.updates}",
            "let optim_wrapper.update_params make the backward pass and the step, once a batch",
        )
    return finite(run, f"with accumulate: 2 ({run.watch.updates} optimizer steps)")


def channels_last(subject: Subject) -> Finding:
    """A few steps in the channels-last memory format."""
    return finite(subject.train(steps=FEW, channels_last=True), "in channels-last format")


def finite(run: Run, how: str) -> Finding:
    """Whether a short run left finite losses, weights and outputs."""
    losses = run.watch.losses
    broken = [k for k, v in run.weights.items() if v.is_floating_point() and not v.isfinite().all()]
    broken += [name for name, answer in run.answers.items() if not answer.isfinite().all()]
    if broken or not all(map(math.isfinite, losses)):
        return failed(
            f"{len(losses)} batches {how} gave numbers that are not finite ({some(broken)})",
            "see what overflows, or needs more precision",
        )
    return passed(f"{run.steps} batches {how} work, and so do the variants")
