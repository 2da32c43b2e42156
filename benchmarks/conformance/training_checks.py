"""The checks of training: learning, repeating, resuming, gradients, recipes."""

from __future__ import annotations

import math

from benchmarks.conformance.figures import differences, differing, figures
from benchmarks.conformance.finding import Finding, failed, passed, some
from benchmarks.conformance.subject import Run, Subject
from benchmarks.conformance.watching import Interrupted
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
    few = min(5, len(losses))
    first, last = sum(losses[:few]) / few, sum(losses[-few:]) / few
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
    """A run that was killed half way and resumed equals one that was not."""
    whole = subject.trained
    middle = whole.steps // 2 + 1
    folder = subject.new_folder()
    try:
        subject.train(folder=folder, stop_at=middle, save_every_step=True)
    except Interrupted:
        pass
    else:
        return failed(
            f"the interrupted run never made step {middle}, though the first run did",
            "make the phases depend on nothing but the recorded results",
        )
    resumed = subject.train(folder=folder)
    if resumed.steps != whole.steps - middle + 1:
        return failed(
            f"resumed at step {middle} of {whole.steps} it made {resumed.steps} more steps",
            "make the phases depend on nothing but the recorded results",
        )
    return compared(
        whole,
        resumed,
        f"a run killed before step {middle} of {whole.steps} and resumed",
        "keep what training depends on in parameters and buffers, or in a hook that saves and "
        "loads it with the checkpoint; an attribute of the method starts over on resume",
    )


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
    return passed(f"{what} has the same weights and curve, bit by bit")


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
    if run.watch.moved:
        moved = sorted(run.watch.moved)
        return failed(
            f"{len(moved)} frozen parameters moved in training ({some(moved)})",
            "update no parameter whose requires_grad is False, or make it a buffer",
        )
    frozen = len(named) - len(wanted)
    return passed(f"all {len(wanted)} trainable parameters had a gradient; {frozen} frozen stayed")


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
