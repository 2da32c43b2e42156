"""The checks of what training leaves: saved states and deployable networks."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch

from benchmarks.conformance.figures import deployed, differing
from benchmarks.conformance.finding import Finding, failed, passed, skipped, some
from benchmarks.conformance.subject import Subject
from benchmarks.engine.building import structure
from benchmarks.engine.costing import variant_operations
from benchmarks.meters.counter import UnknownOperation
from benchmarks.records.row import RESERVED, metric_info
from tasks.errors import UserError
from tasks.files.checkpoints import load_plain

WORSE = 3.0
"""Points that the best variant may be below the trained network: one of a few hundred images."""


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
        network.load_state_dict(load_plain(file))
    except Exception as error:
        return str(error).strip().splitlines()[0]
    return ""


def deploys(subject: Subject) -> Finding:
    """The best variant is as good on validation as the network that was trained."""
    run = subject.trained
    points = [point[run.built.task.headline] for point in run.curve]
    scores = {k: v for k, v in run.scored("val").items() if v is not None}
    if not points or points[-1] is None or not scores:
        return skipped("there is no validation to compare with")
    info, last = metric_info(run.built.task.headline), points[-1]
    sign = -1 if info.better == "lower" else 1
    name = max(scores, key=lambda variant: sign * scores[variant])
    allowed = WORSE if info.unit == "%" else 0.1 * abs(last)
    seen = f"{info.title} on validation is {scores[name]:.1f} ('{name}'), {last:.1f} in training"
    if sign * (last - scores[name]) > allowed:
        return failed(
            seen, "let one of the variants be the network that was trained, with all its parts"
        )
    return passed(seen)


def analyses(subject: Subject) -> Finding:
    """``analyse`` gives numbers, under names of their own."""
    run = subject.trained
    task, method = run.built.task, run.built.method
    found: dict[str, Any] = {}
    for name, network in run.variants().items():
        values = method.analyse(name, network, task.eval_batches("test", run.built.device))
        for metric, value in values.items():
            if metric in RESERVED or metric == task.headline:
                return failed(
                    f"analyse returns '{metric}', which the harness or the task measures",
                    f"give it a name of its own, or a condition such as {metric}@hard",
                )
            float(math.nan if value is None else value)
        found |= values
    return passed(f"metrics of its own: {some(list(found))}" if found else "no metrics of its own")


def costs(subject: Subject) -> Finding:
    """Every variant can be costed, and no two are the same network."""
    run = subject.trained
    try:
        found = deployed(run)
    except UnknownOperation as error:
        return skipped(f"an operation without a known cost: {error}")
    except UserError as error:
        return failed(f"a variant cannot be costed: {error}", "use operations that can be counted")
    for one, other in combinations(found, 2):
        same_costs = all(found[one][k] == found[other][k] for k in ("params_inference", "macs"))
        if same_costs and torch.equal(run.answers[one], run.answers[other]):
            task, device = run.built.task, run.built.device
            if any(
                variant_operations(task, run.variants()[name], device).probe.note
                or variant_operations(task, run.variants()[name], device).depends
                for name in (one, other)
            ):
                return passed(f"no image took another path in '{one}' than in '{other}'")
            return failed(
                f"'{one}' and '{other}' have the same parameters, MACs and outputs",
                "leave one of them out, or see that each is what its name says",
            )
    facts = [
        f"{name}: {values['params_inference'] / 1e3:.1f} k parameters, "
        f"{values['macs'] / 1e6:.2f} M MACs"
        for name, values in found.items()
    ]
    return passed("; ".join(facts))


def unequal_answers(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names of the variants whose outputs are not equal bit by bit."""
    return [f"'{name}'" for name in one if not torch.equal(one[name], other[name])]


def variants_in_words(variants: Mapping[str, object]) -> str:
    """``1 variant``, ``3 variants``."""
    return f"{len(variants)} variant{'s' if len(variants) != 1 else ''}"
