"""Python files that a run would execute because a file names them, and who has to agree.

What a user writes on the command line is trusted, and so is a suite file, whose Python files are
listed before they run. A results folder may be anybody's: its Python files run with ``--trust``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from benchmarks.records.identity.sources import strings
from benchmarks.spec import RunSpec
from tasks.errors import UserError


def python_files(spec: RunSpec) -> list[str]:
    """The files that building a run executes: its method file, and configs, which are Python.

    Configs that mmdet and mmsegmentation ship (``mmdet::...``) are theirs and not listed.
    """
    options = (spec.task_options, spec.method_options, spec.recipe)
    named = [each for option in options for each in strings(option) if _is_file(each)]
    return list(dict.fromkeys([*([spec.method_file] if spec.method_file else []), *named]))


def require_trust(spec: RunSpec, where: object, trust: bool) -> None:
    """Refuse to run Python files that a record names, unless the user said ``--trust``.

    Args:
        spec: of the record.
        where: the record, for the message.
        trust: whether the user said so.

    Raises:
        UserError: names the file.
    """
    files = python_files(spec)
    if files and not trust:
        raise UserError(
            f"{where} names the Python file {files[0]}, which would be run: read it, and add "
            "--trust if it may"
        )


def listing(specs: Iterable[RunSpec]) -> list[str]:
    """A line for every Python file that a suite names: ``runs Python: FILE``.

    A method file is named on the command line, and not in a suite.
    """
    named = [replace(spec, method_file=None) for spec in specs]
    files = dict.fromkeys(each for spec in named for each in python_files(spec))
    return [f"runs Python: {each}" for each in files]


def _is_file(text: str) -> bool:
    return text.lower().endswith((".py", ".pyc")) and "::" not in text
