"""The checks of what training leaves: saved states and deployable networks."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from itertools import combinations

import torch

from benchmarks.conformance.figures import deployed, differing
from benchmarks.conformance.finding import Finding, failed, passed, some
from benchmarks.conformance.subject import Subject
from benchmarks.engine.building import structure
from tasks.errors import UserError
from tasks.files.checkpoints import load_plain


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
