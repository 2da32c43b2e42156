"""``depthbench check``: does a method or a task keep its contract on small real runs?"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.errors import UserError


def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A registered method or task, or a Python file that registers some.",
        ),
    ],
    option: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE, an option of it; may be given several times."),
    ] = None,
    method_file: Annotated[
        Path | None, typer.Option(help="A Python file that registers METHOD.")
    ] = None,
    task: Annotated[
        str, typer.Option(help="What to try it on: classification, detection or segmentation.")
    ] = "classification",
    arch: Annotated[
        str | None,
        typer.Option(
            help="The network, as a suite file writes it, such as cifar_resnet20 or "
            "'{name: cifar_resnet26, width: 8}'; by default a small one the method accepts."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the full run, of some 20 batches each.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print the tracebacks of crashed checks.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
) -> None:
    """Check that a method, or a task, keeps its contract on small real runs.

    Of a method: learning, repeating, resuming, saving, export, gradients, costs and recipes. Of a
    task: batches, splits, fingerprint, evaluation, training and costs.

    Trains a small classifier of digits several times, or a small detector or segmentor of scenes
    of digits, which takes less than a minute on a CPU. Exits with 0 when no check failed, 1
    otherwise.

    Example: depthbench check my_method.py --option every=2
    """
    # Not at the top: torch is slow to import, and ``--help`` needs none of it.
    from benchmarks.conformance.checking import check_method, check_task, named
    from benchmarks.conformance.report import as_document, as_text, task_text
    from benchmarks.suites.plugins import import_method_file

    options = read_options(option or ())
    network = read_value(arch, "arch") if arch is not None else None
    if method_file is not None:
        import_method_file(method_file)
    methods, tasks = named(target)
    checked_methods, checked_tasks = [], []
    for name in tasks:
        checked_tasks.append(check_task(name, {} if methods else options))
        if not as_json:
            print(task_text(checked_tasks[-1], verbose) + "\n", flush=True)
    for name in methods:
        checked_methods.append(check_method(name, options, network, epochs, task))
        if not as_json:
            print(as_text(checked_methods[-1], verbose) + "\n", flush=True)
    if as_json:
        print(json.dumps(as_document(checked_methods, checked_tasks), indent=2))
    passed = [one.passed for one in checked_methods] + [one.passed for one in checked_tasks]
    if not all(passed):
        raise typer.Exit(1)


def read_options(texts: Iterable[str]) -> dict[str, Any]:
    """``["every=2", "blocks=[3, 6]"]`` as a mapping.

    Raises:
        UserError: one has no equals sign, or its value cannot be read.
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"cannot read the option '{text}': write it as --option every=2")
        if key in options:
            raise UserError(f"duplicate --option {key}: give it once")
        options[key] = read_value(value, f"option {key}")
    return options


def read_value(text: str, what: str) -> Any:
    """A value as a suite file writes it: ``2``, ``light``, ``[3, 6]``.

    Raises:
        UserError: it is no YAML.
    """
    from benchmarks.suites.document import Document

    try:
        return Document(f"--{what}", text, lines=False).value("its value")
    except UserError as error:
        raise UserError(
            f"cannot read the {what} '{text}' ({error}): write it as in a suite file, such as 2, "
            "light, [3, 6] or {name: cifar_resnet26, width: 8}"
        ) from None
