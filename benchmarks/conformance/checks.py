"""The checks: each takes the method under test and says what it saw."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from itertools import combinations

import torch

from benchmarks.building import structure
from benchmarks.conformance.figures import (
    Figure,
    deployed,
    differences,
    differing,
    figures,
)
from benchmarks.conformance.finding import Finding, failed, passed, some
from benchmarks.conformance.subject import Interrupted, Run, Subject
from tasks.errors import UserError

LEARNT = 50.0
"""Test accuracy in % that the full run must reach; chance is 10."""
FELL = 0.7
"""The loss of the last steps, as a share of the first steps', that counts as learning."""
FEW = 4
"""Batches of the runs that only look whether something works."""


def learns(subject: Subject) -> Finding:
    """The training loss falls, and test images are told apart."""
    run = subject.trained
    losses = run.watch.losses
    if not losses:
        return failed(
            "no training step returned a 'loss'",
            "return the losses to log from train_step, the whole under 'loss'",
        )
    few = min(5, len(losses))
    first, last = sum(losses[:few]) / few, sum(losses[-few:]) / few
    name, best = best_variant(run)
    seen = (
        f"the loss went from {first:.3g} to {last:.3g} in {run.steps} steps; "
        f"test accuracy is {best:.1f} % ({name}), chance is 10 %"
    )
    if not last < FELL * first:
        return failed(
            seen, "the loss should fall clearly: see that the step updates what the loss depends on"
        )
    if best < LEARNT:
        return failed(
            seen,
            f"it should reach {LEARNT:.0f} %: see that the variants carry the trained weights, "
            "and statistics of norm layers",
        )
    return passed(seen)


def best_variant(run: Run) -> tuple[str, float]:
    """The deployable network with the best test accuracy."""
    task, device = run.built.task, run.built.device
    accuracy = {
        name: task.evaluate(network, "test", device)[task.headline]
        for name, network in run.variants().items()
    }
    best = max(accuracy, key=lambda name: accuracy[name])
    return best, accuracy[best]


def changes(subject: Subject) -> Finding:
    """Something differs from plain training, unless the method says that nothing does."""
    found: list[Figure] = figures(subject)
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
        "loads it with the checkpoint; an attribute of the method starts anew on resume",
    )


def compared(one: Run, other: Run, what: str, mend: str) -> Finding:
    """Weights and curves of two runs, bit by bit."""
    unequal = differing(one.weights, other.weights)
    if unequal:
        return failed(
            f"{what} ends with other weights: {len(unequal)} of {len(one.weights)} tensors differ "
            f"({some(unequal)})",
            mend,
        )
    if repr(one.curve) != repr(other.curve):
        return failed(f"{what} has the same weights but another curve of validations", mend)
    return passed(f"{what} has the same weights and curve, bit by bit")


def saves(subject: Subject) -> Finding:
    """The saved state is all there is: put into another draw of the model, it gives the outputs."""
    run = subject.trained
    loaded = subject.train(folder=run.folder, seed=run.built.spec.seed + 1)
    if run.answers.keys() != loaded.answers.keys():
        return failed(
            f"the loaded model has the variants {', '.join(loaded.answers)}, "
            f"the trained one {', '.join(run.answers)}",
            "let variants() depend on the state of the model and on the phases' results alone",
        )
    unequal = unequal_answers(run.answers, loaded.answers)
    if unequal:
        return failed(
            f"a fresh model that loads the trained state answers otherwise in {some(unequal)}",
            "make every tensor that the outputs depend on a parameter or a buffer",
        )
    return passed(
        f"a fresh model with the trained state of {len(run.weights)} tensors gives the same "
        f"outputs in {variants_in_words(run.answers)}"
    )


def exports(subject: Subject) -> Finding:
    """Variants are repeatable, can be copied and saved, and leave the model as it is."""
    run = subject.trained
    method, model = run.built.method, run.model
    modes = [module.training for module in model.modules()]
    before = structure(model)
    variants = dict(method.variants(model))
    if not variants:
        return failed("variants() gives no network", "return at least one, by name")
    moved = differing(run.weights, model.state_dict())
    if moved or structure(model) != before or modes != [m.training for m in model.modules()]:
        what = f"the state ({some(moved)})" if moved else "modules or their modes"
        return failed(
            f"making the variants changed {what} of the training model",
            "let variants() work on copy.deepcopy(model)",
        )
    for name, network in variants.items():
        network.eval()
        answer = run.answers[name]
        again, copied = run.outputs(network), copy.deepcopy(network)
        if not torch.equal(answer, again):
            return failed(
                f"'{name}' answers otherwise when asked again",
                "make evaluation deterministic, and variants() independent of earlier calls",
            )
        if not answer.isfinite().all():
            return failed(
                f"'{name}' gives outputs that are not finite", "see what overflows in evaluation"
            )
        if not torch.equal(answer, run.outputs(copied)):
            return failed(
                f"a deep copy of '{name}' answers otherwise",
                "let modules hold no reference to something outside the network: hooks and "
                "shared objects must be copied with it",
            )
        problem = reloaded(copied)
        if problem or not torch.equal(answer, run.outputs(copied)):
            return failed(
                f"the saved weights of '{name}' do not bring it back"
                + (f": {problem}" if problem else ""),
                "make its state_dict hold tensors only, under the names it loads",
            )
    if differing(run.weights, model.state_dict()):
        return failed(
            "using the variants in evaluation changed the training model",
            "share no buffer that evaluation writes to",
        )
    return passed(
        f"{variants_in_words(variants)} repeat, copy and load, and the model is untouched"
    )


def reloaded(network: torch.nn.Module) -> str:
    """Save, wipe and load a network's state in place; what went wrong, if anything."""
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    try:
        network.load_state_dict(torch.load(file, weights_only=True))
    except Exception as error:
        return str(error).strip().splitlines()[0]
    return ""


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


def costs(subject: Subject) -> Finding:
    """Every variant can be costed, and no two are the same network."""
    run = subject.trained
    try:
        found = deployed(run)
    except UserError as error:
        return failed(f"a variant cannot be costed: {error}", "use operations that can be counted")
    for one, other in combinations(found, 2):
        same_costs = all(found[one][k] == found[other][k] for k in ("params_inference", "macs"))
        if same_costs and torch.equal(run.answers[one], run.answers[other]):
            return failed(
                f"'{one}' and '{other}' have the same parameters, MACs and outputs",
                "leave one of them out, or see that each is what its name says",
            )
    told = [
        f"{name}: {values['params_inference'] / 1e3:.1f} k parameters, "
        f"{values['macs'] / 1e6:.2f} M MACs"
        for name, values in found.items()
    ]
    return passed("; ".join(told))


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


def unequal_answers(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names of the variants whose outputs are not equal bit by bit."""
    return [f"'{name}'" for name in one if not torch.equal(one[name], other[name])]


def variants_in_words(variants: dict[str, object]) -> str:
    """``1 variant``, ``3 variants``."""
    return f"{len(variants)} variant{'s' if len(variants) != 1 else ''}"


CHECKS: tuple[Callable[[Subject], Finding], ...] = (
    learns,
    changes,
    repeats,
    resumes,
    saves,
    exports,
    gradients,
    costs,
    autocasts,
    accumulates,
    channels_last,
)
"""All checks in the order of the report."""
